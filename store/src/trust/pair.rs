//! Making a key pair with its certificate: RSA of 4096 bits, signed by itself with SHA-512, for two years, as those of the
//! original service (seed L10622; size and signature: later API).

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA512,
    RsaKeySize, SerialNumber,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// How long a certificate is valid: two years.
const LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);

/// Clocks differ: the certificate is valid from a little before it was made.
const LEEWAY: Duration = Duration::from_secs(3600);

/// What was made.
pub(super) struct Made {
    /// Base64 of the PKCS#8.
    pub(super) key: String,
    /// Base64 of the certificate.
    pub(super) certificate: String,
    /// The certificate in PEM.
    pub(super) pem: String,
}

/// Makes a certificate for a key (base64 of PKCS#8) or for a new one. A new one takes seconds of processor time.
pub(super) fn make(common_name: &str, key: Option<&str>) -> Result<Made, rcgen::Error> {
    let key = match key {
        Some(key) => {
            let der = STANDARD
                .decode(key)
                .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_RSA_SHA512)?
        }
        None => KeyPair::generate_rsa_for(&PKCS_RSA_SHA512, RsaKeySize::_4096)?,
    };
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "Landbridge");
    name.push(DnType::OrganizationalUnitName, "Destination store");
    params.distinguished_name = name;
    // Random: a certificate that is renewed in the same second is another one.
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = SystemTime::now();
    params.not_before = (now - LEEWAY).into();
    params.not_after = (now + LIFE).into();
    let certificate = params.self_signed(&key)?;
    Ok(Made {
        key: STANDARD.encode(key.serialize_der()),
        certificate: STANDARD.encode(certificate.der()),
        pem: certificate.pem(),
    })
}
