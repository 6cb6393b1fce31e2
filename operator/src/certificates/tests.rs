use k8s_openapi::ByteString;

use super::material::{Data, Material};
use super::pem::Broken;
use super::renewal::{CA_LIFE, DAY, LEAF_LIFE, PUBLISH_FIRST, Renewal};
use super::*;

const NOW: i64 = 1_800_000_000;

fn names() -> Vec<String> {
    CertificateConfig::new("landbridge").names()
}

fn afresh() -> Material {
    Material::afresh(names(), NOW).unwrap()
}

fn read(data: &Data, now: i64) -> Material {
    Material::read(data, names(), now).unwrap()
}

fn authorities(material: &Material) -> usize {
    material.bundle().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn names_of_the_server() {
    let expected = [
        "landbridge-operator",
        "landbridge-operator.landbridge.svc.cluster.local",
        "landbridge-operator.landbridge.svc",
    ];
    assert_eq!(names(), expected);
}

#[test]
fn what_is_written_can_be_read() {
    let material = afresh();
    assert_eq!(material.ends(), (Some(NOW + LEAF_LIFE), NOW + CA_LIFE));
    let again = read(&material.write(), NOW);
    assert_eq!(again.write(), material.write());
    assert_eq!(again.bundle(), material.bundle());
    assert_eq!(
        again.certified().unwrap().cert,
        material.certified().unwrap().cert
    );
    assert_eq!(read(&material.write(), NOW).renew(NOW).unwrap(), []);
}

#[test]
fn an_authority_is_followed_by_one_that_everybody_knows() {
    let mut material = afresh();
    let first = material.certified().unwrap();
    let due = NOW + CA_LIFE * 2 / 3 + DAY;
    // The leaf of then; the operator ran all the time.
    material = read(&material.write(), due);
    assert_eq!(material.renew(due).unwrap(), [Renewal::NewCa, Renewal::NewLeaf]);
    assert_eq!(authorities(&material), 2);
    assert!(material.waits_for_publication());
    let signed_by_old = read(&material.write(), due).certified().unwrap();
    assert_ne!(signed_by_old.cert, first.cert);

    // Nobody has been told: it waits, however long that takes.
    assert_eq!(material.renew(due + DAY).unwrap(), []);
    material.published(due);
    material.published(due + 100);
    assert!(!material.waits_for_publication());
    let mut material = read(&material.write(), due);
    assert_eq!(material.renew(due + PUBLISH_FIRST - 1).unwrap(), []);
    assert_eq!(material.certified().unwrap().cert, signed_by_old.cert);
    let then = due + PUBLISH_FIRST;
    assert_eq!(material.renew(then).unwrap(), [Renewal::Promote]);
    assert_ne!(material.certified().unwrap().cert, signed_by_old.cert);
    assert_eq!(
        authorities(&material),
        2,
        "the old one is trusted as long as it lives"
    );
    assert_eq!(material.ends().1, due + CA_LIFE);

    // Nothing of this is lost in the Secret, and what the old authority signed is still accepted.
    let material = read(&material.write(), then);
    assert_eq!(authorities(&material), 2);
    let end = NOW + CA_LIFE;
    let mut material = read(&material.write(), end);
    assert_eq!(material.renew(end).unwrap(), [Renewal::NewLeaf, Renewal::Forget]);
    assert_eq!(authorities(&material), 1);
}

#[test]
fn an_operator_that_slept_too_long_begins_anew() {
    let late = NOW + CA_LIFE + DAY;
    let mut material = read(&afresh().write(), late);
    assert!(material.certified().is_none(), "nobody would accept it");
    assert_eq!(material.renew(late).unwrap(), [Renewal::Afresh]);
    assert_eq!(material.ends(), (Some(late + LEAF_LIFE), late + CA_LIFE));
}

fn with(data: &Data, key: &str, value: Option<&[u8]>) -> Data {
    let mut data = data.clone();
    match value {
        Some(value) => data.insert(key.to_owned(), ByteString(value.to_vec())),
        None => data.remove(key),
    };
    data
}

#[test]
fn without_the_authority_nothing_can_be_used() {
    let data = afresh().write();
    let other = afresh().write();
    let many = afresh().bundle().repeat(9);
    let cases = [
        ("ca.crt", None, "ca.crt is missing"),
        ("ca.key", None, "ca.key is missing"),
        ("ca.crt", Some(&b""[..]), "ca.crt is missing"),
        ("ca.crt", Some(&b"hello"[..]), "ca.crt cannot be read"),
        ("ca.crt", Some(&[0xff, 0xfe][..]), "ca.crt cannot be read"),
        ("ca.key", Some(&b"hello"[..]), "ca.key cannot be read"),
        (
            "ca.key",
            Some(&other["ca.key"].0[..]),
            "ca.key is not the key of the first certificate in ca.crt",
        ),
        ("ca.crt", Some(many.as_bytes()), "more than 8 certificates"),
    ];
    for (key, value, says) in cases {
        let broken: Broken = Material::read(&with(&data, key, value), names(), NOW).unwrap_err();
        assert!(broken.to_string().contains(says), "{key}: {broken}");
    }
    assert!(Material::read(&Data::new(), names(), NOW).is_err());
}

#[test]
fn what_can_be_made_again_is() {
    let (data, other) = (afresh().write(), afresh().write());
    let foreign = with(&data, "tls.crt", Some(&other["tls.crt"].0));
    let foreign = with(&foreign, "tls.key", Some(&other["tls.key"].0));
    let other_names = Material::afresh(vec!["elsewhere".into()], NOW).unwrap().write();
    let cases = [
        ("no certificate", with(&data, "tls.crt", None)),
        ("no key", with(&data, "tls.key", None)),
        ("not PEM", with(&data, "tls.crt", Some(b"hello"))),
        ("another's key", with(&data, "tls.key", Some(&other["tls.key"].0))),
        ("of another authority", foreign),
        ("for other names", other_names),
    ];
    for (name, data) in cases {
        let mut material = read(&data, NOW);
        assert!(material.certified().is_none(), "{name}");
        assert_eq!(material.renew(NOW).unwrap(), [Renewal::NewLeaf], "{name}");
        assert!(read(&material.write(), NOW).certified().is_some(), "{name}");
    }

    let due = NOW + CA_LIFE * 2 / 3 + DAY;
    let mut material = read(&data, due);
    material.renew(due).unwrap();
    let data = with(&material.write(), "next-ca.key", Some(b"hello"));
    let mut material = read(&data, due);
    assert!(
        !material.waits_for_publication(),
        "a next authority without its key is none"
    );
    assert_eq!(material.renew(due).unwrap(), [Renewal::NewCa]);
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", afresh());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn there_is_no_certificate_before_there_is_one() {
    let current = CurrentCertificate::default();
    assert!(!current.is_there());
    current.replace(afresh().certified().unwrap());
    assert!(current.is_there());
}
