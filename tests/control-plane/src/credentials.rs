//! Certificates and keys of a control plane, and kubeconfigs for those who call it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

/// A certificate and its private key, both PEM.
pub struct Identity {
    /// Of whom it is.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

impl Authority {
    /// A new one; `name` tells it from the others, since certificates are chained by name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = named(Vec::new(), name, None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params.self_signed(&key).context("sign an authority")?.pem();
        Ok(Self {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// One that was made earlier, from the two files it was written to.
    ///
    /// # Errors
    /// When they are not what [`Authority::new`] made.
    pub fn read(certificate: String, key: String) -> Result<Self> {
        let pair = KeyPair::from_pem(&key).context("read the key of an authority")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, pair).context("read an authority")?;
        Ok(Self {
            issuer,
            certificate,
            key,
        })
    }

    /// A server that is called by `names` (host names and addresses).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn serving(&self, names: &[&str]) -> Result<Identity> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = named(names, "kube-apiserver", None)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A caller: Kubernetes reads the user from the common name and a group from the organization.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = named(Vec::new(), user, group)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("sign a certificate")?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn named(hosts: Vec<String>, name: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts).context("name a certificate")?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}

/// Key pair that signs the tokens of service accounts: private (PKCS #8) and public PEM.
///
/// # Errors
/// When no key can be made.
pub fn token_keys() -> Result<(String, String)> {
    let key = KeyPair::generate().context("make a key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// A kubeconfig that needs no other file; JSON, which every reader of YAML takes.
pub fn kubeconfig(url: &str, authority: &str, user: Value) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "default",
        "clusters": [{"name": "default", "cluster": {
            "server": url, "certificate-authority-data": STANDARD.encode(authority)}}],
        "users": [{"name": "default", "user": user}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
    });
    format!("{config:#}\n")
}

/// The `user` of a kubeconfig who has a client certificate.
pub fn certificate_user(identity: &Identity) -> Value {
    json!({
        "client-certificate-data": STANDARD.encode(&identity.certificate),
        "client-key-data": STANDARD.encode(&identity.key),
    })
}

/// The `user` of a kubeconfig who has a bearer token.
pub fn token_user(token: &str) -> Value {
    json!({"token": token})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_complete() {
        let authority = Authority::new("test").unwrap();
        let user = certificate_user(&authority.client("alice", Some("team")).unwrap());
        let text = kubeconfig("https://127.0.0.1:1", &authority.certificate, user);
        let read: Value = serde_json::from_str(&text).unwrap();
        let decode =
            |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        let cluster = &read["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://127.0.0.1:1");
        assert_eq!(
            decode(&cluster["certificate-authority-data"]),
            authority.certificate
        );
        let user = &read["users"][0]["user"];
        assert!(decode(&user["client-certificate-data"]).starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(decode(&user["client-key-data"]).starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(read["current-context"], read["contexts"][0]["name"]);
    }

    #[test]
    fn the_token_keys_are_in_the_forms_that_the_server_reads() {
        let (private, public) = token_keys().unwrap();
        assert!(private.starts_with("-----BEGIN PRIVATE KEY-----"), "{private}");
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
    }
}
