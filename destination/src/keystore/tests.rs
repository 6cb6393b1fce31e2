use std::path::Path;
use std::process::Command;

use super::*;

/// Made by
/// `keytool -genkeypair -alias client -keyalg EC -groupname secp256r1 -dname CN=client -validity 36500 -storetype JKS
/// -keystore client.jks -storepass changeit`, and the same certificate once more with `keytool -importcert -alias trusted`.
const JKS: &[u8] = include_bytes!("../../testdata/client.jks");

fn password(text: &str) -> Option<SecretString> {
    Some(text.into())
}

/// A folder with a certificate of an authority, in the formats of openssl.
struct Made(tempfile::TempDir);

impl Made {
    fn new(commands: &[&str]) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 2");
        this.run("req -new -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=client");
        this.run("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2");
        for command in commands {
            this.run(command);
        }
        this
    }

    fn run(&self, arguments: &str) {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        assert!(
            done.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn bytes(&self, name: impl AsRef<Path>) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    fn der(&self, name: &str) -> Vec<u8> {
        let store = read(name, &self.bytes(name), None).unwrap();
        store.certificates[0].to_vec()
    }
}

fn chain(store: &KeyStore) -> Vec<Vec<u8>> {
    let [entry] = store.entries.as_slice() else {
        panic!("{store:?}");
    };
    entry
        .chain
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect()
}

#[test]
fn pkcs12_of_every_age() {
    let made = Made::new(&[
        "pkcs12 -export -out new.p12 -inkey key.pem -in own.pem -certfile ca.pem -passout pass:secret",
        "pkcs12 -export -legacy -out old.p12 -inkey key.pem -in own.pem -certfile ca.pem -passout pass:secret",
        "pkcs12 -export -nokeys -out trust.p12 -in ca.pem -passout pass:secret",
    ]);
    let expected = vec![made.der("own.pem"), made.der("ca.pem")];
    for name in ["new.p12", "old.p12"] {
        let bytes = made.bytes(name);
        let store = read(name, &bytes, password("secret").as_ref()).unwrap();
        assert_eq!(chain(&store), expected, "{name}");
        assert!(store.certificates.is_empty());
        let wrong = read(name, &bytes, password("other").as_ref()).unwrap_err();
        assert_eq!(wrong, KeyStoreError::WrongPassword, "{name}");
        assert_eq!(
            read(name, &bytes, None).unwrap_err(),
            KeyStoreError::PasswordMissing
        );
        let cut = read(name, &bytes[..bytes.len() / 2], password("secret").as_ref());
        assert!(matches!(cut, Err(KeyStoreError::Unusable(_))), "{cut:?}");
    }
    let trust = read("trust.p12", &made.bytes("trust.p12"), password("secret").as_ref()).unwrap();
    assert!(trust.entries.is_empty());
    assert_eq!(trust.certificates[0].to_vec(), made.der("ca.pem"));
}

#[test]
fn too_many_rounds_are_not_even_begun() {
    let made = Made::new(&[
        "pkcs12 -export -out slow.p12 -inkey key.pem -in own.pem -passout pass:secret -iter 2000001",
        "pkcs8 -topk8 -in key.pem -out slow.pem -passout pass:secret -iter 2000001",
    ]);
    for name in ["slow.p12", "slow.pem"] {
        let read = read(name, &made.bytes(name), password("secret").as_ref());
        assert_eq!(read.unwrap_err(), KeyStoreError::TooSlow(2_000_000), "{name}");
    }
}

#[test]
fn pem_in_any_order() {
    let made = Made::new(&[
        "pkcs8 -topk8 -in key.pem -out encrypted.pem -passout pass:secret",
        "rsa -in key.pem -traditional -out traditional.pem",
        "rsa -in key.pem -traditional -aes128 -passout pass:secret -out old.pem",
    ]);
    let expected = vec![made.der("own.pem"), made.der("ca.pem")];
    let parts = |names: &[&str]| names.iter().flat_map(|name| made.bytes(name)).collect::<Vec<_>>();
    for (names, secret) in [
        (&["key.pem", "own.pem", "ca.pem"][..], None),
        (&["ca.pem", "own.pem", "traditional.pem"], None),
        (&["own.pem", "encrypted.pem", "ca.pem"], password("secret")),
    ] {
        let store = read("store.pem", &parts(names), secret.as_ref()).unwrap();
        assert_eq!(chain(&store), expected, "{names:?}");
    }
    for (names, secret, expected) in [
        (
            &["encrypted.pem", "own.pem"][..],
            None,
            KeyStoreError::PasswordMissing,
        ),
        (
            &["encrypted.pem", "own.pem"],
            password("other"),
            KeyStoreError::WrongPassword,
        ),
        (&["key.pem", "ca.pem"], None, KeyStoreError::NoCertificate),
    ] {
        assert_eq!(
            read("store.pem", &parts(names), secret.as_ref()).unwrap_err(),
            expected,
            "{names:?}"
        );
    }
    let old = read(
        "store.pem",
        &parts(&["old.pem", "own.pem"]),
        password("secret").as_ref(),
    );
    assert!(old.unwrap_err().to_string().contains("does not protect"));
    // Only what is to be trusted.
    let trust = read("trust.crt", &parts(&["ca.pem", "own.pem"]), None).unwrap();
    assert_eq!(trust.certificates.len(), 2);
}

#[test]
fn jks_with_keys_and_certificates() {
    let store = read("client.jks", JKS, password("changeit").as_ref()).unwrap();
    let own = chain(&store);
    assert_eq!((store.entries[0].alias.as_str(), own.len()), ("client", 1));
    assert_eq!(store.certificates[0].to_vec(), own[0]);
    // The key is the certificate's.
    let found = linking::Found {
        alias: String::new(),
        key: store.entries[0].key.clone_key(),
    };
    assert!(linking::link(vec![found], store.certificates).is_ok());
    for (bytes, secret, expected) in [
        (JKS, None, KeyStoreError::PasswordMissing),
        (JKS, password("other"), KeyStoreError::WrongPassword),
        (
            &JKS[..JKS.len() - 1],
            password("changeit"),
            KeyStoreError::WrongPassword,
        ),
        (&JKS[..10], password("changeit"), KeyStoreError::WrongPassword),
    ] {
        assert_eq!(read("client.jks", bytes, secret.as_ref()).unwrap_err(), expected);
    }
}

#[test]
fn what_is_no_store_is_told() {
    let secret = password("changeit");
    for (name, bytes, told) in [
        ("a.jks", &b""[..], "empty"),
        ("a.jks", b"hello", "JKS"),
        ("a.p12", b"hello", "PKCS#12"),
        ("a.pem", b"hello", "none of them"),
        ("a.jks", &[0xce, 0xce, 0xce, 0xce, 0], "JCEKS"),
        (
            "a.pem",
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "broken",
        ),
        (
            "a.pem",
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "neither",
        ),
        ("a.der", &[0x30, 0x03, 0x02, 0x01, 0x03], "cannot be read"),
    ] {
        let error = read(name, bytes, secret.as_ref()).unwrap_err().to_string();
        assert!(error.contains(told), "{name}: {error}");
    }
    assert_eq!(
        read("a.pem", &vec![b'-'; MAX_BYTES + 1], None).unwrap_err(),
        KeyStoreError::TooLarge
    );
}
