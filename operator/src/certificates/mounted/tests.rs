use super::follow::{SWITCH, Shown, Waiting, switches};
use super::*;
use crate::certificates::authority::{Issued, new_authority, new_leaf};
use crate::certificates::renewal::{CA_LIFE, DAY, LEAF_LIFE};

const NOW: i64 = 1_800_000_000;

fn names() -> Vec<String> {
    MountedConfig::of(Path::new("certificates"), &CertificateConfig::new("system")).names
}

fn life(since: i64) -> Life {
    Life {
        from: since,
        until: since + CA_LIFE,
    }
}

fn files(authority: &Issued, names: &[String], since: i64) -> Files {
    let leaf = new_leaf(authority, life(since), names, since).unwrap();
    Files {
        leaf: leaf.certificate,
        key: leaf.key,
        bundle: authority.certificate.clone(),
    }
}

fn read(files: &Files) -> Result<Mounted, String> {
    Mounted::read(files, &names(), NOW).map_err(|error| error.to_string())
}

#[test]
fn every_mistake_is_told_with_what_to_do() {
    let (one, other) = (new_authority(NOW).unwrap(), new_authority(NOW).unwrap());
    let good = files(&one, &names(), NOW);
    assert!(read(&good).is_ok());
    let foreign = files(&other, &names(), NOW);
    let old = new_authority(NOW - 30 * DAY).unwrap();
    let cases = [
        (
            "no authority",
            Files {
                bundle: String::new(),
                ..good.clone()
            },
            "issuer that tells its authority",
        ),
        (
            "no PEM",
            Files {
                leaf: "hello".into(),
                ..good.clone()
            },
            "tls.crt cannot be read",
        ),
        (
            "no key",
            Files {
                key: SecretString::from("hello"),
                ..good.clone()
            },
            "tls.key cannot be read",
        ),
        (
            "another's key",
            Files {
                key: foreign.key.clone(),
                ..good.clone()
            },
            "tls.key is not the key of the first certificate in tls.crt",
        ),
        (
            "expired",
            files(&old, &names(), NOW - LEAF_LIFE),
            "the certificate ended at 2027-01-15T08:00:00Z",
        ),
        (
            "not yet",
            files(&one, &names(), NOW + DAY),
            "counts from 2027-01-16T07:00:00Z on",
        ),
        (
            "the Service's name is missing",
            files(&one, &names()[..1], NOW),
            "is not for landbridge-operator.system.svc: the Certificate must have the dnsNames landbridge-operator, \
             landbridge-operator.system.svc",
        ),
        (
            "for others",
            files(&one, &["elsewhere".into()], NOW),
            "is not for landbridge-operator, ",
        ),
        (
            "another's authority",
            Files {
                bundle: other.certificate.clone(),
                ..good.clone()
            },
            "ca.crt must be the authority that signed tls.crt",
        ),
    ];
    for (name, files, says) in cases {
        let error = read(&files).unwrap_err();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn a_text_around_certificates_and_carriage_returns_are_no_mistake() {
    let authority = new_authority(NOW).unwrap();
    let mut files = files(&authority, &names(), NOW);
    files.bundle = format!(
        "subject=CN = x\r\n{}",
        files.bundle.trim_end().replace('\n', "\r\n")
    );
    assert_eq!(read(&files).unwrap().authorities, [authority.certificate]);
}

#[test]
fn files_are_read_together_and_missing_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_folder(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("tls.crt in ") && error.contains("mount the Secret"),
        "{error}"
    );
    let put = |version: &str| {
        let part = folder.path().join(version);
        std::fs::create_dir(&part).unwrap();
        for file in [LEAF, LEAF_KEY, BUNDLE] {
            std::fs::write(part.join(file), version).unwrap();
        }
    };
    // As a kubelet does it: files are links through ..data, which is turned at once.
    put("..1");
    std::os::unix::fs::symlink("..1", folder.path().join("..data")).unwrap();
    assert_eq!(read_folder(folder.path()).unwrap().leaf, "..1");
    put("..2");
    std::os::unix::fs::symlink("..2", folder.path().join("..next")).unwrap();
    std::fs::rename(folder.path().join("..next"), folder.path().join("..data")).unwrap();
    assert_eq!(read_folder(folder.path()).unwrap().bundle, "..2");

    let long = "x".repeat(usize::try_from(MAX_FILE).unwrap() + 1);
    std::fs::write(folder.path().join("..2").join(BUNDLE), long).unwrap();
    let error = read_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("ca.crt in ") && error.contains("1 MiB"), "{error}");
}

#[test]
fn a_certificate_of_a_new_authority_waits_until_proxies_know_it() {
    let (old, new) = (new_authority(NOW).unwrap(), new_authority(NOW).unwrap());
    let first = read(&files(&old, &names(), NOW)).unwrap();
    let shown = Shown {
        leaf: Arc::clone(&first.certified),
        life: first.life,
        bundle: old.certificate.clone(),
    };
    let decide = |next: &Mounted, waiting, published: &str, now| {
        switches(Some(&shown), waiting, next, &names(), published, now)
    };
    let renewed = read(&files(&old, &names(), NOW)).unwrap();
    let exchanged = read(&files(&new, &names(), NOW)).unwrap();
    assert_eq!(
        switches(None, None, &exchanged, &names(), "", NOW),
        Ok(()),
        "there is nothing to go on with"
    );
    assert_eq!(
        decide(&renewed, None, "", NOW),
        Ok(()),
        "proxies know its authority"
    );

    assert_eq!(
        decide(&exchanged, None, &old.certificate, NOW),
        Err(None),
        "not published"
    );
    let both = format!("{}{}", new.certificate, old.certificate);
    let waiting = Waiting {
        authorities: vec![new.certificate.clone()],
        since: NOW,
    };
    assert_eq!(decide(&exchanged, None, &both, NOW), Err(Some(waiting.clone())));
    let later = NOW + SWITCH;
    assert_eq!(
        decide(&exchanged, Some(waiting.clone()), &both, later - 1),
        Err(Some(waiting.clone()))
    );
    assert_eq!(decide(&exchanged, Some(waiting), &both, later), Ok(()));

    let others = Waiting {
        authorities: vec![],
        since: NOW,
    };
    let anew = Waiting {
        authorities: vec![new.certificate.clone()],
        since: later,
    };
    assert_eq!(
        decide(&exchanged, Some(others), &both, later),
        Err(Some(anew)),
        "it waited for another one"
    );
    let over = NOW + LEAF_LIFE;
    let fresh = Mounted::read(&files(&new, &names(), over - DAY), &names(), over).unwrap();
    assert_eq!(
        decide(&fresh, None, &old.certificate, over),
        Ok(()),
        "the old one is worth nothing any more"
    );
}

#[test]
fn an_end_that_comes_near_is_noticed() {
    let authority = new_authority(NOW).unwrap();
    let mounted = read(&files(&authority, &names(), NOW)).unwrap();
    assert!(!mounted.ends_soon(NOW + LEAF_LIFE * 8 / 10));
    assert!(mounted.ends_soon(NOW + LEAF_LIFE * 95 / 100));
}
