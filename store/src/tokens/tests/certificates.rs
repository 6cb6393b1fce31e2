//! Client certificates at token services: T34 (seed L8951-L8989).

use std::net::SocketAddr;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::service::Service;
use super::*;

/// A token service that talks to nobody without this certificate.
async fn guarded(own: &Pair, client: &Pair) -> (Service, SocketAddr) {
    let mut roots = RootCertStore::empty();
    roots.add(client.certificate.clone()).unwrap();
    let provider = tls::provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![own.certificate.clone()], own.private())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::default();
    let router = service.router();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let service = TowerToHyperService::new(router);
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    (service, address)
}

#[tokio::test]
async fn a_certificate_instead_of_a_secret_t34() {
    let (own, client, stranger) = (Pair::ec("localhost"), Pair::ec("client"), Pair::ec("stranger"));
    let (service, address) = guarded(&own, &client).await;
    let around = Around {
        identities: [
            ("client.p12".to_owned(), client.identity()),
            ("stranger.p12".to_owned(), stranger.identity()),
        ]
        .into(),
        ..Around::default()
    };
    let engine = engine_with(around, std::slice::from_ref(&own.certificate));
    let url = format!("https://localhost:{}/oauth/token", address.port());
    let base = [
        ("Name", "d"),
        ("Authentication", "OAuth2ClientCredentials"),
        ("clientId", "c"),
        ("clientSecret", "never sent"),
        ("tokenServiceURL", &url),
        ("tokenService.KeyStorePassword", "p"),
    ];
    let with = |name: &str| {
        let mut config = config(&base);
        config.set("tokenService.KeyStoreLocation", name);
        config
    };
    let given = Given::default();
    for name in ["stranger.p12", "nothing.p12"] {
        let refused = token(&engine, &with(name), &given).await;
        assert!(refused.error.is_some(), "{name}");
    }
    let refused = token(&engine, &config(&base), &given).await;
    assert!(refused.error.is_some(), "without a certificate");
    let mut without = with("client.p12");
    without.remove("tokenService.KeyStorePassword");
    let refused = token(&engine, &without, &given).await;
    assert!(refused.error.unwrap().contains("no password"));
    assert_eq!(service.calls(), 0);
    let found = good(&engine, &with("client.p12"), &given).await;
    assert_eq!(found.value.expose_secret(), "token-1");
    assert_eq!(service.last().1, "grant_type=client_credentials&client_id=c");
    assert!(service.last().0.headers.get("authorization").is_none());
}
