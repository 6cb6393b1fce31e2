//! When an answer may be used, when it is renewed ahead of need, and when it is given up. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::resolved::Resolved;

/// How long answers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// After this an answer is renewed in the background, so that a changed destination is seen.
    pub fresh: Duration,
    /// So long an answer is used beyond that when the store does not answer, unless its token expires.
    pub stale: Duration,
    /// So long a failure is remembered, so that a wrong destination does not become a flood at the store.
    pub negative: Duration,
    /// So long a destination that nothing is known of is asked for again and again while its store is away: it may be
    /// restarting, and a caller rather waits than fails.
    pub patience: Duration,
    /// Most answers kept.
    pub entries: u64,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(30),
            stale: Duration::from_secs(3600),
            negative: Duration::from_secs(5),
            patience: Duration::from_secs(8),
            entries: 10_000,
        }
    }
}

/// When an answer's state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From here on it is renewed in the background while it is still used.
    pub refresh: Instant,
    /// From here on it is not used.
    pub expire: Instant,
}

impl CachePolicy {
    /// The times of an answer that came at `received`. A token is renewed at 80 % of its life or 60 s before its
    /// end, whichever is sooner, 10 % earlier or later (`jitter` is 0 to 1) so that many proxies do not ask at once.
    pub fn times(&self, resolved: &Resolved, received: Instant, jitter: f64) -> Times {
        let mut refresh = self.fresh;
        let mut expire = self.fresh + self.stale;
        if let Some(end) = resolved
            .credential
            .as_ref()
            .and_then(|credential| credential.expires)
        {
            let life = end.saturating_duration_since(received);
            let ahead = life
                .mul_f64(0.8)
                .min(life.saturating_sub(Duration::from_secs(60)).max(life / 2));
            refresh = refresh.min(ahead.mul_f64(0.9 + 0.2 * jitter));
            expire = expire.min(life);
        }
        Times {
            refresh: received + refresh.min(expire),
            expire: received + expire,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use crate::resolved::Credential;
    use crate::upstream::{Trust, UpstreamKey, Way};
    use http::{HeaderValue, header::AUTHORIZATION};

    fn resolved(life: Option<u64>, now: Instant) -> Resolved {
        let key = UpstreamKey {
            way: Way::Internet,
            trust: Trust::Plain,
            host: "h".into(),
            port: 80,
        };
        Resolved {
            name: "d".into(),
            target: None,
            upstream: Pool::default().upstream(key, None),
            headers: Vec::new(),
            credential: life.map(|seconds| Credential {
                name: AUTHORIZATION,
                value: HeaderValue::from_static("Bearer t"),
                expires: Some(now + Duration::from_secs(seconds)),
                renewable: true,
            }),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renewed_ahead_and_never_used_expired() {
        let now = Instant::now();
        let policy = CachePolicy {
            fresh: Duration::from_secs(100_000),
            ..CachePolicy::default()
        };
        // (life, jitter, renewed at, given up at), in seconds
        for (life, jitter, refresh, expire) in [
            (Some(1000), 0.5, 800, 1000),
            (Some(200), 0.5, 140, 200),
            (Some(100), 0.5, 50, 100),
            (Some(1000), 0.0, 720, 1000),
            (Some(1000), 1.0, 880, 1000),
            (Some(0), 0.5, 0, 0),
            (None, 0.5, 100_000, 103_600),
        ] {
            let times = policy.times(&resolved(life, now), now, jitter);
            let seconds = |at: Instant| (at - now).as_secs_f64().round() as u64;
            assert_eq!(
                (seconds(times.refresh), seconds(times.expire)),
                (refresh, expire),
                "{life:?} {jitter}"
            );
        }
        let short = CachePolicy::default().times(&resolved(Some(1000), now), now, 0.5);
        assert_eq!(
            (short.refresh - now).as_secs(),
            30,
            "a changed destination is seen before the token ends"
        );
    }
}
