//! A place among the connections that the proxy serves at one time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::ProxyMetrics;

/// Held as long as a connection lives, whatever it has become: a WebSocket keeps the place of the HTTP connection it
/// was. Shared by those who keep the connection going.
#[derive(Clone, Debug)]
pub struct Place {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    metrics: ProxyMetrics,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A place, if there is one left; counted either way.
    pub fn take(places: &Arc<Semaphore>, metrics: &ProxyMetrics) -> Option<Self> {
        let Ok(permit) = Arc::clone(places).try_acquire_owned() else {
            metrics.refused.inc();
            return None;
        };
        metrics.connections.inc();
        Some(Self {
            _held: Arc::new(Held {
                metrics: metrics.clone(),
                _permit: permit,
            }),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_the_last_holder_is_gone() {
        let (places, metrics) = (Arc::new(Semaphore::new(1)), ProxyMetrics::default());
        let place = Place::take(&places, &metrics).unwrap();
        let upgraded = place.clone();
        drop(place);
        assert!(Place::take(&places, &metrics).is_none());
        assert_eq!((metrics.connections.get(), metrics.refused.get()), (1, 1));
        drop(upgraded);
        assert!(Place::take(&places, &metrics).is_some());
    }
}
