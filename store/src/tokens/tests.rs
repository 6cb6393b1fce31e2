//! The engine with a store around it that is made for the test, and real token services.

mod certificates;
mod keys;
mod saml;
mod service;
mod tenants;

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::tls;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

use super::*;
use crate::db::Place;

/// The token that stands for the user of the test.
const USER: &str = "user-token";

/// Everything the engine may ask for.
#[derive(Debug, Default)]
struct Around {
    claims: Value,
    signing: Option<Arc<SigningKey>>,
    identities: HashMap<String, Arc<Identity>>,
}

fn none<T: Send + 'static>(what: &str) -> BoxFuture<'static, Result<T, FetchError>> {
    let reason = format!("no {what}");
    Box::pin(async move { Err(reason.into()) })
}

impl Surroundings for Around {
    fn destination<'a>(
        &'a self,
        _: &'a Place,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<DestinationConfig>, FetchError>> {
        Box::pin(async { Ok(None) })
    }

    fn user<'a>(
        &'a self,
        token: &'a str,
        subaccount_id: &'a str,
    ) -> BoxFuture<'a, Result<KnownUser, FetchError>> {
        assert_eq!(subaccount_id, "sub-1");
        if token != USER {
            return none("user");
        }
        let known = KnownUser {
            claims: self.claims.clone(),
            subdomain: Some("usertenant".into()),
        };
        Box::pin(async { Ok(known) })
    }

    fn claims<'a>(&'a self, _: UserKeys<'a>, _: &'a str) -> BoxFuture<'a, Result<Value, FetchError>> {
        Box::pin(async { Ok(self.claims.clone()) })
    }

    fn signing_key<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<SigningKey>, FetchError>> {
        match self.signing.clone() {
            Some(key) => Box::pin(async { Ok(key) }),
            None => none("signing key"),
        }
    }

    fn identity<'a>(
        &'a self,
        _: &'a Place,
        name: &'a str,
        password: Option<SecretString>,
    ) -> BoxFuture<'a, Result<Arc<Identity>, FetchError>> {
        match self.identities.get(name).cloned() {
            Some(identity) if password.is_some() => Box::pin(async { Ok(identity) }),
            Some(_) => none("password"),
            None => none("key store"),
        }
    }
}

/// A key pair with a certificate of its own.
struct Pair {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Pair {
    fn new(common_name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            key: key.serialize_der(),
        }
    }

    fn rsa(common_name: &str) -> Self {
        Self::new(common_name, &PKCS_RSA_SHA256)
    }

    fn ec(common_name: &str) -> Self {
        Self::new(common_name, &PKCS_ECDSA_P256_SHA256)
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    fn signing(&self, common_name: &str) -> Arc<SigningKey> {
        Arc::new(SigningKey::new(&self.private(), &self.certificate, common_name.to_owned()).unwrap())
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::new(Identity::new(vec![self.certificate.clone()], self.private()))
    }
}

fn engine(around: Around) -> TokenEngine {
    engine_with(around, &[])
}

fn engine_with(around: Around, cas: &[CertificateDer<'_>]) -> TokenEngine {
    let dialer = Dialer::new(AddressPolicy::PublicOnly).unwrap();
    let fetcher = Fetcher::new(dialer, tls::roots(cas).unwrap(), true);
    TokenEngine::new(fetcher, Box::new(around), &Limits::default())
}

fn config(pairs: &[(&str, &str)]) -> DestinationConfig {
    pairs.iter().copied().collect()
}

/// What the call brought along: the token of the user as that of the call.
fn by_user() -> Given {
    Given {
        bearer: Some(USER.into()),
        ..Given::default()
    }
}

fn context(given: &Given) -> TokenContext<'_> {
    TokenContext {
        subaccount_id: "sub-1",
        owner: "",
        tenant: None,
        subdomain: "home",
        given,
        renew: false,
    }
}

async fn token(engine: &TokenEngine, config: &DestinationConfig, given: &Given) -> AuthToken {
    let tokens = engine.auth_tokens(&context(given), config).await.unwrap();
    tokens.unwrap().remove(0)
}

async fn good(engine: &TokenEngine, config: &DestinationConfig, given: &Given) -> AuthToken {
    let token = token(engine, config, given).await;
    assert_eq!(token.error, None);
    token
}
