use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::cached::renewal_time;
use super::*;

impl FetchFailure for String {
    /// `<reason> <seconds>`
    fn pause(&self) -> Option<Duration> {
        let (_, seconds) = self.split_once(' ')?;
        seconds.parse().ok().map(Duration::from_secs)
    }
}

fn token(value: &str, life: u64) -> Token {
    let life = Duration::from_secs(life);
    Token {
        access_token: value.into(),
        life,
        usable: life.saturating_sub(Duration::from_secs(30)),
        scope: None,
        refresh_token: None,
        issued_token_type: None,
    }
}

fn text(cached: &CachedToken) -> &str {
    cached.token.access_token.expose_secret()
}

/// A fetch that counts its calls and answers `t<number>`, or fails while `broken` is set.
#[derive(Clone, Default)]
struct Source {
    calls: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
}

impl Source {
    fn fetch(
        &self,
        life: u64,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Token, String>> + Send>> + use<> {
        let this = self.clone();
        move || {
            let this = this.clone();
            Box::pin(async move {
                let number = this.calls.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                if this.broken.load(Ordering::SeqCst) {
                    Err("down".into())
                } else {
                    Ok(token(&format!("t{number}"), life))
                }
            })
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn key() -> TokenKey {
    TokenKey::of([b"k".as_slice()])
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("condition not met within 10 s");
}

#[test]
fn keys_do_not_run_into_each_other() {
    let key = |parts: &[&str]| TokenKey::of(parts.iter().map(|part| part.as_bytes()));
    assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    assert_ne!(key(&["a", "b"]), key(&["ab"]));
    assert_ne!(key(&["a", "b"]), key(&["a", "", "b"]));
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
}

#[test]
fn renewal_comes_before_the_end() {
    for (life, from, to) in [
        (43_200, 31_104, 38_016),
        (300, 216, 264),
        (90, 27, 33),
        (60, 13, 17),
        (30, 0, 0),
        (5, 0, 0),
    ] {
        for _ in 0..100 {
            let at = renewal_time(&token("t", life)).as_secs();
            assert!((from..=to).contains(&at), "life {life}: renewed at {at}");
        }
    }
}

#[tokio::test]
async fn parallel_callers_share_one_fetch() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, fetch) = (cache.clone(), source.fetch(3600));
            tokio::spawn(async move { text(&cache.get(key(), fetch).await.unwrap()).to_owned() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "t1");
    }
    assert_eq!(source.calls(), 1);
    let stats = cache.stats();
    let seen = stats.hits.load(Ordering::Relaxed) + stats.coalesced.load(Ordering::Relaxed);
    assert_eq!((seen, stats.fetches.load(Ordering::Relaxed)), (49, 1));
}

#[tokio::test(start_paused = true)]
async fn renews_ahead_and_never_serves_an_expired_token() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    assert_eq!(text(&cache.get(key(), source.fetch(3600)).await.unwrap()), "t1");
    tokio::time::advance(Duration::from_secs(3250)).await;
    let old = cache.get(key(), source.fetch(3600)).await.unwrap();
    assert_eq!(text(&old), "t1", "callers keep the old token while it is good");
    assert!(old.remaining() <= Duration::from_secs(350));
    until(|| cache.stats().renewals.load(Ordering::Relaxed) == 1).await;
    assert_eq!(text(&cache.get(key(), source.fetch(3600)).await.unwrap()), "t2");

    source.broken.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(3571)).await;
    assert_eq!(
        cache.get(key(), source.fetch(3600)).await.unwrap_err(),
        "down",
        "in its last 30 s it is not used"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_renewal_keeps_the_old_token_and_pauses() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    cache.get(key(), source.fetch(3600)).await.unwrap();
    source.broken.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(3250)).await;
    for _ in 0..20 {
        assert_eq!(text(&cache.get(key(), source.fetch(3600)).await.unwrap()), "t1");
    }
    until(|| cache.stats().renewal_failures.load(Ordering::Relaxed) == 1).await;
    cache.get(key(), source.fetch(3600)).await.unwrap();
    assert_eq!(source.calls(), 2, "no second try within the pause");
    tokio::time::advance(Duration::from_secs(12)).await;
    source.broken.store(false, Ordering::SeqCst);
    cache.get(key(), source.fetch(3600)).await.unwrap();
    until(|| cache.stats().renewals.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_remembered_for_a_moment_only() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    source.broken.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(cache.get(key(), source.fetch(60)).await.unwrap_err(), "down");
    }
    assert_eq!(source.calls(), 1);
    tokio::time::advance(Duration::from_secs(6)).await;
    source.broken.store(false, Ordering::SeqCst);
    assert_eq!(text(&cache.get(key(), source.fetch(60)).await.unwrap()), "t2");
}

#[tokio::test]
async fn short_lived_tokens_are_not_kept() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    assert_eq!(text(&cache.get(key(), source.fetch(20)).await.unwrap()), "t1");
    assert_eq!(text(&cache.get(key(), source.fetch(20)).await.unwrap()), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_forgotten_once() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    let first = cache.get(key(), source.fetch(3600)).await.unwrap();
    // A renewal is under way when the token is refused: it must not bring the key back.
    tokio::time::advance(Duration::from_secs(3250)).await;
    cache.get(key(), source.fetch(3600)).await.unwrap();
    cache.invalidate(key(), &first).await;
    until(|| cache.stats().renewals.load(Ordering::Relaxed) == 1).await;
    let second = cache.get(key(), source.fetch(3600)).await.unwrap();
    assert_eq!(text(&second), "t3");
    cache.invalidate(key(), &first).await;
    assert_eq!(
        text(&cache.get(key(), source.fetch(3600)).await.unwrap()),
        "t3",
        "the newer one stays"
    );
}

/// A token service that is slower than its callers succeeds all the same, however many give up.
#[tokio::test(start_paused = true)]
async fn a_fetch_outlives_its_callers() {
    let (cache, calls) = (
        TokenCache::<String>::new(Duration::from_secs(5)),
        Arc::new(AtomicUsize::new(0)),
    );
    let fetch = {
        let calls = Arc::clone(&calls);
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Ok(token("late", 3600))
            }
        }
    };
    // More than the 200 abandoned waiters at which the cache library panics.
    for _ in 0..300 {
        let waiting = cache.get(key(), fetch.clone());
        assert!(
            tokio::time::timeout(Duration::from_millis(50), waiting)
                .await
                .is_err()
        );
    }
    until(|| cache.flights.board(key()).1.is_some()).await;
    let known = cache
        .peek(key(), &fetch)
        .await
        .expect("kept, although nobody waited");
    assert_eq!(text(&known.unwrap()), "late");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_fetch_that_panics_does_not_block_its_key() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    let bad = cache.clone();
    let fetch = || async { panic!("a bug") };
    assert!(
        tokio::spawn(async move { bad.get(key(), fetch).await.is_ok() })
            .await
            .is_err()
    );
    assert_eq!(text(&cache.get(key(), source.fetch(60)).await.unwrap()), "t1");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_stays_until_the_new_one_is_there() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    let first = cache.get(key(), source.fetch(3600)).await.unwrap();
    source.broken.store(true, Ordering::SeqCst);
    assert_eq!(
        cache
            .replace(key(), &first, source.fetch(3600))
            .await
            .unwrap_err(),
        "down"
    );
    assert_eq!(
        text(&cache.get(key(), source.fetch(3600)).await.unwrap()),
        "t1",
        "for everybody else"
    );
    source.broken.store(false, Ordering::SeqCst);
    let second = cache.replace(key(), &first, source.fetch(3600)).await.unwrap();
    assert_eq!(text(&second), "t3");
    let again = cache.replace(key(), &first, source.fetch(3600)).await.unwrap();
    assert_eq!(text(&again), "t3", "the refused one has been replaced already");
    assert_eq!(text(&cache.get(key(), source.fetch(3600)).await.unwrap()), "t3");
}

#[tokio::test(start_paused = true)]
async fn forced_renewals_are_limited() {
    let (cache, source) = (TokenCache::new(Duration::from_secs(5)), Source::default());
    let mut token = cache.get(key(), source.fetch(3600)).await.unwrap();
    for _ in 0..30 {
        token = cache.replace(key(), &token, source.fetch(3600)).await.unwrap();
    }
    assert_eq!(
        (source.calls(), text(&token)),
        (11, "t11"),
        "one fetch and ten renewals"
    );
    tokio::time::advance(Duration::from_secs(6)).await;
    token = cache.replace(key(), &token, source.fetch(3600)).await.unwrap();
    assert_eq!(text(&token), "t12");
}

#[tokio::test(start_paused = true)]
async fn a_stated_pause_is_kept_to_up_to_a_minute() {
    for (stated, quiet, over) in [(30, 29, 2), (3600, 59, 2), (1, 4, 2)] {
        let (cache, calls) = (
            TokenCache::<String>::new(Duration::from_secs(5)),
            Arc::new(AtomicUsize::new(0)),
        );
        let fetch = {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err(format!("busy {stated}")))
            }
        };
        let ask = async || {
            assert!(cache.get(key(), fetch.clone()).await.is_err());
            calls.load(Ordering::SeqCst)
        };
        assert_eq!(ask().await, 1);
        tokio::time::advance(Duration::from_secs(quiet)).await;
        assert_eq!(ask().await, 1, "{stated}");
        tokio::time::advance(Duration::from_secs(over)).await;
        assert_eq!(ask().await, 2, "{stated}");
    }
}

#[test]
fn entries_weigh_all_their_texts() {
    let mut long = token("0123456789", 60);
    long.scope = Some("s".repeat(100));
    long.refresh_token = Some("r".repeat(1000).into());
    let entry = Entry::<String>::Token(Arc::new(CachedToken::new(long, forced_renewals())));
    assert_eq!(weight(&entry), ENTRY_OVERHEAD + 1110);
    let failed = Failed {
        error: "e".repeat(50),
        at: Instant::now(),
        life: Duration::from_secs(5),
    };
    assert_eq!(weight(&Entry::Failed(Arc::new(failed))), ENTRY_OVERHEAD + 50);
}
