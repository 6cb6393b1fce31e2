use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use super::*;

/// Vouches for tokens that begin with "good", takes its time, and counts.
#[derive(Default)]
struct Fake {
    asked: AtomicUsize,
    away: bool,
}

impl TokenReviewer for Arc<Fake> {
    async fn review(&self, token: &SecretString) -> Result<Identity, ReviewError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.away {
            return Err(ReviewError::Unavailable("the API server is away".into()));
        }
        match token.expose_secret().strip_prefix("good") {
            Some(_) => Ok(identity("shop", None)),
            None => Err(ReviewError::Refused("it is bad".into())),
        }
    }
}

fn identity(namespace: &str, expires: Option<i64>) -> Identity {
    Identity {
        namespace: Arc::from(namespace),
        service_account: Arc::from("default"),
        pod: None,
        expires,
    }
}

fn gate(fake: &Arc<Fake>, timing: GateTiming) -> Gate<Arc<Fake>> {
    Gate::new(Arc::clone(fake), timing, ServeMetrics::default())
}

fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

#[tokio::test]
async fn the_api_server_is_asked_once_for_a_token() {
    let fake = Arc::<Fake>::default();
    let gate = gate(&fake, GateTiming::default());
    let headers = headers("Bearer good");
    let many = (0..50).map(|_| gate.identify(PEER, &headers));
    for identity in futures_util::future::join_all(many).await {
        assert_eq!(&*identity.unwrap().namespace, "shop");
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn refusals_are_remembered_briefly_and_limited() {
    let fake = Arc::<Fake>::default();
    let timing = GateTiming {
        refused: Duration::from_millis(50),
        failures: (2, Duration::from_secs(3600)),
        ..GateTiming::default()
    };
    let gate = gate(&fake, timing);
    let bad = |number: u32| headers(&format!("Bearer bad{number}"));
    let error = gate.identify(PEER, &bad(0)).await.unwrap_err().to_string();
    assert!(
        error.contains("it is bad") && error.contains("audience 'landbridge'"),
        "{error}"
    );
    gate.identify(PEER, &bad(0)).await.unwrap_err();
    assert_eq!(fake.asked.load(Ordering::Relaxed), 1, "remembered");
    gate.identify(PEER, &bad(1)).await.unwrap_err();
    assert_eq!(
        gate.identify(PEER, &bad(2)).await,
        Err(IdentityError::TooManyFailures)
    );
    assert_eq!(
        fake.asked.load(Ordering::Relaxed),
        2,
        "nobody is asked any more for this address"
    );
    let other = IpAddr::from([10, 0, 0, 2]);
    assert!(gate.identify(other, &headers("Bearer good")).await.is_ok());
    assert!(
        gate.identify(PEER, &headers("Bearer good")).await.is_ok(),
        "what is known is good from anywhere"
    );
    let until = Instant::now() + Duration::from_secs(20);
    let asked = || fake.asked.load(Ordering::Relaxed);
    while asked() < 4 && Instant::now() < until {
        gate.identify(other, &bad(0)).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asked(), 4, "a refusal is not for ever");
}

#[tokio::test]
async fn an_api_server_that_is_away_refuses_nobody() {
    let fake = Arc::new(Fake {
        away: true,
        ..Fake::default()
    });
    let gate = gate(&fake, GateTiming::default());
    for asked in 1..=20 {
        let error = gate.identify(PEER, &headers("Bearer good")).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unavailable(_)), "{error}");
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked, "not remembered");
    }
}

#[tokio::test]
async fn what_is_no_token_is_not_asked_about() {
    let fake = Arc::<Fake>::default();
    let gate = gate(&fake, GateTiming::default());
    let mut two = headers("Bearer good");
    two.append(AUTHORIZATION, HeaderValue::from_static("Bearer good"));
    let long = headers(&format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1)));
    for headers in [
        HeaderMap::new(),
        headers("Basic eDp5"),
        headers("Bearer  "),
        headers("good"),
        two,
        long,
    ] {
        let error = gate.identify(PEER, &headers).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unauthorized(_)), "{error}");
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}

fn jwt(expires: i64) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"any");
    let claims = serde_json::json!({ "exp": expires });
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

#[tokio::test]
async fn a_token_counts_until_its_end() {
    /// Vouches for everything: the end has to be seen here.
    struct Anything;
    impl TokenReviewer for Anything {
        async fn review(&self, _: &SecretString) -> Result<Identity, ReviewError> {
            Ok(identity("shop", None))
        }
    }
    let gate = Gate::new(Anything, GateTiming::default(), ServeMetrics::default());
    let now = Timestamp::now();
    let token = |left: i64| headers(&format!("Bearer {}", jwt(now.as_second() + left)));
    let known = gate.identify(PEER, &token(600)).await.unwrap();
    assert_eq!(known.expires, Some(now.as_second() + 600));
    assert_eq!(stream_life(&known, now), Duration::from_secs(600));
    let error = gate.identify(PEER, &token(-1)).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    assert_eq!(
        stream_life(&identity("shop", Some(now.as_second() + 90_000)), now),
        MAX_STREAM
    );
    assert_eq!(stream_life(&identity("shop", None), now), MAX_STREAM);
}

#[test]
fn proxies_see_all_and_others_their_namespace() {
    let policy = Policy {
        proxies: vec![ProxyAccount {
            namespace: "landbridge".into(),
            service_account: "default".into(),
        }],
        nodes: vec![ProxyAccount {
            namespace: "nodes".into(),
            service_account: "default".into(),
        }],
    };
    assert_eq!(policy.audience(&identity("landbridge", None)), Audience::All);
    let node = identity("nodes", None);
    assert_eq!(policy.audience(&node), Audience::All);
    assert!(!policy.is_proxy(&node), "nobody is sent to it");
    assert_eq!(
        policy.audience(&identity("shop", None)),
        Audience::Namespace(Arc::from("shop"))
    );
    assert!(!Policy::default().is_proxy(&identity("landbridge", None)));
}
