//! Who is answered, and what goes over the wire.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_destination::gateway::RESOLVE_PATH;
use landbridge_destination::identity::GATEWAY_NAME;
use landbridge_runtime::tls;
use rcgen::KeyPair;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::store::target;

/// A connection with this certificate, or none, as far as the caller sees.
async fn connect(
    scene: &Scene,
    certificate: Option<(&Identity, Account)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for authority in tls::certificates(scene.identity.ca_pem.as_bytes()).unwrap() {
        roots.add(authority).unwrap();
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => config.with_no_client_auth(),
        Some((identity, account)) => {
            let key = KeyPair::generate().unwrap();
            let chain = tls::certificates(identity.sign(&key, &account).as_bytes()).unwrap();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(scene.resolve).await?;
    let name = ServerName::try_from(GATEWAY_NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The first bytes of HTTP that the gateway says, if it says any.
async fn hears(scene: &Scene, certificate: Option<(&Identity, Account)>) -> Vec<u8> {
    let mut heard = vec![0; 1024];
    let reading = async {
        let Ok(mut stream) = connect(scene, certificate).await else {
            return 0;
        };
        stream.read(&mut heard).await.unwrap_or_default()
    };
    let length = tokio::time::timeout(std::time::Duration::from_secs(60), reading)
        .await
        .unwrap();
    heard.truncate(length);
    heard
}

#[tokio::test]
async fn without_a_good_certificate_not_a_byte_is_said() {
    let scene = Scene::new(vec![route("erp")]).await;
    let foreign = Identity::proper();
    let ended = Account {
        life: -60,
        ..Account::of("shop")
    };
    for (what, certificate) in [
        ("none", None),
        ("of another authority", Some((&foreign, Account::of("shop")))),
        ("one that has ended", Some((&scene.identity, ended))),
    ] {
        assert_eq!(hears(&scene, certificate).await, b"", "{what}");
    }
    let gateway = scene.gateway.proxy();
    eventually("all are counted", || {
        gateway.metric("landbridge_sidecars_unverified_total") == Some(3.0)
    })
    .await;
    assert!(gateway.metric("landbridge_sidecars_answers_total").is_none());
    let good = hears(&scene, Some((&scene.identity, Account::of("shop")))).await;
    assert!(!good.is_empty(), "settings of HTTP/2");
}

#[tokio::test]
async fn a_sidecar_cannot_pass_for_a_gateway() {
    let scene = Scene::new(vec![route("erp")]).await;
    // Holds a good certificate of a workload, and sits where the gateway should be.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let mut impostor = Part::prepare(&scene.identity, "evil", Account::of("evil"), vec![route("erp")]).await;
    impostor.start(Role::Gateway(&scene.store, Some(listener)));
    impostor.ready().await;
    scene.store.put("erp", target("evil").await);
    let mut sidecar = Part::prepare(&scene.identity, "shop", Account::of("shop"), vec![route("erp")]).await;
    sidecar.start(Role::Sidecar(place));
    sidecar.ready().await;
    let (status, code, body) = call(sidecar.proxy().serves("erp").await).await;
    assert_eq!((status, code.as_deref()), (503, Some("gateway-unavailable")));
    assert!(body.contains("cannot prove that it is a gateway"), "{body}");
}

/// Asks by hand, over one connection.
struct Asker(http2::SendRequest<Full<Bytes>>);

impl Asker {
    async fn of(scene: &Scene) -> Self {
        let own = Some((&scene.identity, Account::of("shop")));
        let io = TokioIo::new(connect(scene, own).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Status, headers and body.
    async fn ask(&mut self, path: &str, body: impl Into<Bytes>) -> (u16, String) {
        let request = Request::post(format!("https://{GATEWAY_NAME}{path}"));
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = self.0.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = format!("{:?} {}", head.headers, String::from_utf8_lossy(&body));
        (head.status.as_u16(), text)
    }
}

const QUESTION: &str = r#"{"route":{"namespace":"shop","name":"erp"}}"#;

#[tokio::test]
async fn no_secret_of_a_destination_is_on_the_wire() {
    let scene = Scene::new(vec![route("erp")]).await;
    scene
        .store
        .put_tokens("erp", target("erp").await, 3600, &["the-token"]);
    let mut asker = Asker::of(&scene).await;
    let (status, answer) = asker.ask(RESOLVE_PATH, QUESTION).await;
    assert_eq!(status, 200);
    for needed in ["Bearer the-token", "the-header", "http://127.0.0.1:"] {
        assert!(answer.contains(needed), "{needed} in {answer}");
    }
    for secret in [
        "the-client-secret",
        "the-client-id",
        "the-token-service",
        "the-password",
        "the-refresh-token",
        "clientSecret",
    ] {
        assert!(!answer.contains(secret), "{secret} in {answer}");
    }
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let scene = Scene::new(vec![route("erp")]).await;
    let mut asker = Asker::of(&scene).await;
    for (path, body, expected) in [
        ("/v1/other", QUESTION.to_owned(), 404),
        (RESOLVE_PATH, "{}".to_owned(), 400),
        (RESOLVE_PATH, "x".repeat(70_000), 413),
    ] {
        let (status, said) = asker.ask(path, body).await;
        assert_eq!(status, expected, "{said}");
    }
    assert_eq!(scene.store.asked("erp"), 0);
}

#[tokio::test]
async fn nobody_makes_the_gateway_ask_the_store_all_the_time() {
    let scene = Scene::new(vec![route("erp")]).await;
    scene.store.put("erp", target("erp").await);
    let mut asker = Asker::of(&scene).await;
    let begin = tokio::time::Instant::now();
    let mut outdated = 0;
    for _ in 0..100 {
        let question = r#"{"route":{"namespace":"shop","name":"erp"},"freshMs":0}"#;
        let (status, answer) = asker.ask(RESOLVE_PATH, question).await;
        assert_eq!(status, 200);
        outdated += usize::from(answer.contains(r#""outdated":true"#));
    }
    // The first one, ten at once, and one each second.
    let most = 12 + usize::try_from(begin.elapsed().as_secs()).unwrap();
    let asked = scene.store.asked("erp");
    assert!(asked <= most, "{asked} of {most}");
    assert!(outdated >= 100 - most, "{outdated}");
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let scene = Scene::new(vec![route("erp")]).await;
    let short = Account {
        life: 5,
        ..Account::of("shop")
    };
    let io = TokioIo::new(connect(&scene, Some((&scene.identity, short))).await.unwrap());
    let (sender, connection) = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io)
        .await
        .unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), connection).await;
    assert!(ended.is_ok(), "still open");
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_sidecar_that_is_not_taken_does_not_try_all_the_time() {
    let scene = Scene::new(vec![route("erp")]).await;
    let foreign = Identity::proper();
    let mut sidecar = Part::prepare(&scene.identity, "shop", Account::of("shop"), vec![route("erp")]).await;
    let bundle = scene.identity.ca_pem.clone();
    sidecar
        .operator
        .sign(&foreign, bundle, &[("shop", Account::of("shop"))]);
    sidecar.start(Role::Sidecar(scene.resolve));
    sidecar.ready().await;
    let (status, code, _) = call(sidecar.proxy().serves("erp").await).await;
    assert_eq!((status, code.as_deref()), (503, Some("gateway-unavailable")));
    // It was waited for with 32 questions; the pauses between connections grow from 0.1 s.
    let dials = sidecar
        .proxy()
        .metric("landbridge_gateway_link_dials_total")
        .unwrap();
    assert!((2.0..=12.0).contains(&dials), "{dials}");
}

#[tokio::test]
async fn authorities_are_replaced_while_all_work() {
    let routes = || vec![route("erp"), route("crm")];
    let mut scene = Scene::new(routes()).await;
    scene.store.put("erp", target("erp").await);
    scene.store.put("crm", target("crm").await);
    let early = scene.sidecar("shop", routes()).await;
    assert_eq!(call(early.proxy().serves("erp").await).await.2, "erp");

    // A new authority signs. The gateway reads its ConfigMap again, whatever it has been told with its certificate.
    let next = Identity::proper();
    let bundle = format!("{}{}", next.ca_pem, scene.identity.ca_pem);
    scene.gateway.mounts.trust_pem(&bundle);
    scene
        .gateway
        .operator
        .sign(&next, bundle.clone(), &[(GATEWAY, Account::gateway())]);
    let mut late = Part::prepare(&scene.identity, "shop", Account::of("shop"), routes()).await;
    late.operator
        .sign(&next, bundle.clone(), &[("shop", Account::of("shop"))]);
    late.start(Role::Sidecar(scene.resolve));
    late.ready().await;
    until(late.proxy().serves("erp").await, "erp").await;

    // The gateway starts anew, with a certificate that the early sidecar's authorities do not know: it asks its operator.
    early
        .operator
        .sign(&next, bundle, &[("shop", Account::of("shop"))]);
    let signed = early.operator.signed();
    scene.gateway.proxy.take().unwrap().stop().await;
    let listener = TcpListener::bind(scene.resolve).await.unwrap();
    scene.gateway.start(Role::Gateway(&scene.store, Some(listener)));
    scene.gateway.ready().await;
    until(early.proxy().serves("crm").await, "crm").await;
    assert!(early.operator.signed() > signed);

    // A restarted sidecar knows from its disk whom to believe, also when what it was given has ended long ago.
    let mut again = early;
    again.proxy.take().unwrap().stop().await;
    again.mounts.trust(&Identity::proper());
    again.operator = Operator::start(&next, &[snapshot(1, routes(), Vec::new())]).await;
    let bundle = format!("{}{}", next.ca_pem, scene.identity.ca_pem);
    again
        .operator
        .sign(&next, bundle, &[("shop", Account::of("shop"))]);
    again.start(Role::Sidecar(scene.resolve));
    again.ready().await;
    until(again.proxy().serves("erp").await, "erp").await;
}
