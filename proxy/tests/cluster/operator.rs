//! An operator that says what it is told to, over real TLS and HTTP/2.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_destination::WorkloadIdentity;
use landbridge_destination::identity::{
    CERTIFICATE_PATH, CertificateAnswer, CertificateRequest, GATEWAY_NAME,
};
use landbridge_destination::serve::{Message, REPORT_PATH, Report, ReportAnswer, SERVER_NAME, STREAM_PATH};
use landbridge_runtime::tls;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PublicKeyData, SanType, date_time_ymd,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority and a certificate of it.
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
    acceptor: TlsAcceptor,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            ca_pem,
            issuer: Arc::new(issuer),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// A certificate for `key`, as the operator signs them.
    pub(crate) fn sign(&self, key: &impl PublicKeyData, account: &Account) -> String {
        sign(&self.issuer, key, account)
    }

    pub(crate) fn proper() -> Self {
        Self::new(SERVER_NAME)
    }
}

/// Who gets a certificate, and for how long.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) namespace: &'static str,
    pub(crate) is_gateway: bool,
    /// Seconds from now; may be over.
    pub(crate) life: i64,
}

impl Account {
    pub(crate) fn of(namespace: &'static str) -> Self {
        Self {
            namespace,
            is_gateway: false,
            life: 3600,
        }
    }

    pub(crate) fn gateway() -> Self {
        Self {
            is_gateway: true,
            ..Self::of("landbridge")
        }
    }
}

fn sign(issuer: &Issuer<'static, KeyPair>, key: &impl PublicKeyData, account: &Account) -> String {
    let identity = WorkloadIdentity::new(account.namespace, "default").unwrap();
    let mut params = CertificateParams::default();
    let uri = identity.to_uri().try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if account.is_gateway {
        let name = GATEWAY_NAME.try_into().unwrap();
        params.subject_alt_names.push(SanType::DnsName(name));
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let at = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.try_into().unwrap());
    params.not_before = at(now - 7200);
    params.not_after = at(now + account.life);
    params.signed_by(key, issuer).unwrap().pem()
}

/// How certificates are signed.
#[derive(Clone)]
struct Signing {
    issuer: Arc<Issuer<'static, KeyPair>>,
    bundle: String,
    accounts: HashMap<&'static str, Account>,
    signed: usize,
}

type Answers = Box<dyn Fn(&Report) -> (u16, ReportAnswer) + Send>;

#[derive(Default)]
struct Inner {
    /// Said to every new stream.
    first: Vec<Bytes>,
    streams: Vec<mpsc::UnboundedSender<Bytes>>,
    opened: usize,
    tokens: Vec<String>,
    reports: Vec<Report>,
    answers: Option<Answers>,
    signing: Option<Signing>,
}

/// A running operator; dropped, it is gone with all its connections.
pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Operator {
    pub(crate) async fn start(identity: &Identity, first: &[Message]) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), identity, first).await
    }

    pub(crate) async fn start_at(address: SocketAddr, identity: &Identity, first: &[Message]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            first: first.iter().map(line).collect(),
            ..Inner::default()
        }));
        let (acceptor, shared) = (identity.acceptor.clone(), Arc::clone(&inner));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, inner) = (acceptor.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(Arc::clone(&inner), request));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, inner, task }
    }

    /// What the operator says from now on to new streams.
    pub(crate) fn first(&self, first: &[Message]) {
        self.inner.lock().first = first.iter().map(line).collect();
    }

    /// Says something on all open streams.
    pub(crate) fn say(&self, message: &Message) {
        self.raw(line(message));
    }

    pub(crate) fn raw(&self, bytes: Bytes) {
        self.inner
            .lock()
            .streams
            .retain(|stream| stream.send(bytes.clone()).is_ok());
    }

    /// Ends all streams in an orderly way.
    pub(crate) fn end_streams(&self) {
        self.inner.lock().streams.clear();
    }

    /// How reports are answered, instead of being taken.
    pub(crate) fn answer(&self, answers: impl Fn(&Report) -> (u16, ReportAnswer) + Send + 'static) {
        self.inner.lock().answers = Some(Box::new(answers));
    }

    /// Signs certificates from now on: for these tokens, with the authority of `identity`, telling everybody to trust
    /// those of `bundle`.
    pub(crate) fn sign(&self, identity: &Identity, bundle: String, accounts: &[(&'static str, Account)]) {
        let mut inner = self.inner.lock();
        let signed = inner.signing.as_ref().map_or(0, |signing| signing.signed);
        inner.signing = Some(Signing {
            issuer: Arc::clone(&identity.issuer),
            bundle,
            accounts: accounts.iter().cloned().collect(),
            signed,
        });
    }

    /// Certificates that were signed.
    pub(crate) fn signed(&self) -> usize {
        self.inner
            .lock()
            .signing
            .as_ref()
            .map_or(0, |signing| signing.signed)
    }

    /// Streams that were ever opened.
    pub(crate) fn opened(&self) -> usize {
        self.inner.lock().opened
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.inner.lock().reports.clone()
    }

    /// Tokens of all calls.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.inner.lock().tokens.clone()
    }
}

fn line(message: &Message) -> Bytes {
    let mut line = serde_json::to_vec(message).unwrap();
    line.push(b'\n');
    line.into()
}

/// Lines as a body without an end.
struct Lines(mpsc::UnboundedReceiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

async fn answer(
    inner: Arc<Mutex<Inner>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let token = head.headers["authorization"].to_str().unwrap().to_owned();
    inner.lock().tokens.push(token.clone());
    if head.uri.path() == CERTIFICATE_PATH {
        let Ok(body) = body.collect().await else {
            return Ok(Response::new(BoxBody::default()));
        };
        return Ok(certify(&mut inner.lock(), &token, &body.to_bytes()));
    }
    if head.uri.path() == STREAM_PATH {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = inner.lock();
        for line in &inner.first {
            sender.send(line.clone()).unwrap();
        }
        inner.streams.push(sender);
        inner.opened += 1;
        return Ok(Response::new(Lines(receiver).boxed()));
    }
    assert_eq!(head.uri.path(), REPORT_PATH);
    let Ok(body) = body.collect().await else {
        // The proxy has gone away in the middle.
        return Ok(Response::new(BoxBody::default()));
    };
    let report: Report = serde_json::from_slice(&body.to_bytes()).unwrap();
    let mut inner = inner.lock();
    let (status, answer) = match &inner.answers {
        Some(answers) => answers(&report),
        None => (200, ReportAnswer::Taken),
    };
    inner.reports.push(report);
    let body = http_body_util::Full::new(Bytes::from(serde_json::to_vec(&answer).unwrap()));
    Ok(Response::builder().status(status).body(body.boxed()).unwrap())
}

fn certify(inner: &mut Inner, token: &str, body: &[u8]) -> Response<BoxBody<Bytes, Infallible>> {
    let signing = inner.signing.as_mut();
    let account = signing.and_then(|signing| {
        let account = signing
            .accounts
            .get(token.strip_prefix("Bearer ").unwrap())?
            .clone();
        signing.signed += 1;
        Some((signing, account))
    });
    let (status, text) = match account {
        None => (403, r#"{"error":"not you"}"#.to_owned()),
        Some((signing, account)) => {
            let request: CertificateRequest = serde_json::from_slice(body).unwrap();
            let csr = CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
            let answer = CertificateAnswer {
                certificate: sign(&signing.issuer, &csr.public_key, &account),
                authority: signing.bundle.clone(),
                valid_seconds: account.life.max(0).cast_unsigned(),
            };
            (200, serde_json::to_string(&answer).unwrap())
        }
    };
    let body = http_body_util::Full::new(Bytes::from(text));
    Response::builder().status(status).body(body.boxed()).unwrap()
}

/// Files that a proxy has mounted.
pub(crate) struct Mounts {
    folder: tempfile::TempDir,
}

impl Mounts {
    pub(crate) fn new(identity: &Identity) -> Self {
        let mounts = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        mounts.trust(identity);
        mounts.token("token-1");
        mounts
    }

    pub(crate) fn trust(&self, identity: &Identity) {
        self.trust_pem(&identity.ca_pem);
    }

    pub(crate) fn trust_pem(&self, pem: &str) {
        replace(&self.ca(), pem);
    }

    pub(crate) fn token(&self, token: &str) {
        replace(&self.token_file(), &format!("{token}\n"));
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }
}

/// In one step, as mounted files are replaced.
fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, path).unwrap();
}
