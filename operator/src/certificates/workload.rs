//! Certificates for others: sidecars and gateways, who prove by them to each other who they are.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use landbridge_destination::identity::{CertificateAnswer, GATEWAY_NAME, WorkloadIdentity};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::authority::{IssueError, name, validity};
use super::pem::{BUNDLE, life_of};

/// Life of a certificate, seconds. Callers renew after half an hour, so an operator that is away for a day harms nobody.
pub const WORKLOAD_LIFE: i64 = 86_400;

/// Why a certificate is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request is none, or its signature is not by the key in it.
    #[error(
        "the certificate signing request cannot be used: {0}; send a PKCS#10 request as PEM, signed with its own key"
    )]
    Request(String),
    /// It cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authority has ended.
    #[error("the operator's authority has ended and is being replaced; try again")]
    Ended,
}

/// Signs with the operator's authority.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    until: i64,
    bundle: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with this authority, and tells everybody to trust those of `bundle`. All are PEM.
    ///
    /// # Errors
    /// Certificate or key cannot be read.
    pub fn new(certificate: &str, key: &SecretString, bundle: String) -> Result<Self, IssueError> {
        let life =
            life_of(BUNDLE, certificate).map_err(|broken| IssueError::from_text(broken.to_string()))?;
        let key = KeyPair::from_pem(key.expose_secret())?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(certificate, key)?,
            until: life.until,
            bundle,
        })
    }

    /// A certificate for the key of `csr` that says that its holder is `account`. Of the request only the key counts;
    /// every name and use is set here. Gateways are servers too.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(
        &self,
        csr: &str,
        account: &WorkloadIdentity,
        is_gateway: bool,
        now: i64,
    ) -> Result<CertificateAnswer, SignError> {
        let refused = |error: rcgen::Error| SignError::Request(error.to_string());
        // Checks that the request is signed with its own key, so that nobody gets a certificate for another's.
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(refused)?;
        let until = self.until.min(now + WORKLOAD_LIFE);
        let valid = u64::try_from(until - now).ok().filter(|valid| *valid > 0);
        let valid_seconds = valid.ok_or(SignError::Ended)?;
        let mut params = CertificateParams::default();
        // No subject: X.509 limits a common name to 64 characters, and nobody may take it for an identity.
        params.distinguished_name = name(if is_gateway {
            GATEWAY_NAME
        } else {
            "landbridge workload"
        });
        let uri = account.to_uri().try_into().map_err(IssueError::from)?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_gateway {
            let dns = GATEWAY_NAME.try_into().map_err(IssueError::from)?;
            params.subject_alt_names.push(SanType::DnsName(dns));
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, now, until);
        let certificate = params.signed_by(&request.public_key, &self.issuer);
        Ok(CertificateAnswer {
            certificate: certificate.map_err(IssueError::from)?.pem().replace("\r\n", "\n"),
            authority: self.bundle.clone(),
            valid_seconds,
        })
    }
}

/// The present [`Signer`]; exchanged while the operator runs. None until the authority is known.
#[derive(Debug, Default)]
pub struct CurrentSigner {
    current: ArcSwapOption<Signer>,
}

impl CurrentSigner {
    /// The present one.
    pub fn get(&self) -> Option<Arc<Signer>> {
        self.current.load_full()
    }

    /// From now on this one.
    pub fn replace(&self, next: Signer) {
        self.current.store(Some(Arc::new(next)));
    }
}

#[cfg(test)]
mod tests;
