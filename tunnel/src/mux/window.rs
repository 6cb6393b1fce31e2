//! The receive window of the streams, chosen at run time.
//!
//! A stream cannot be faster than one window per round trip, so a fixed window is either slow on long links or
//! costs memory on all of them. The window follows twice the measured bandwidth-delay product. Growing is fast
//! (it doubles every second until the link is full), shrinking waits, because traffic comes in bursts.

use std::time::Duration;

use super::settings::{MAX_STREAM_WINDOW, STREAM_WINDOW, WINDOW_BUDGET};

/// Consecutive quiet measurements before the window shrinks.
const QUIET_TICKS: u32 = 10;

#[derive(Debug)]
pub(super) struct WindowControl {
    current: u32,
    quiet: u32,
}

impl WindowControl {
    pub(super) fn new() -> Self {
        Self {
            current: STREAM_WINDOW,
            quiet: 0,
        }
    }

    /// The new window after `bytes` arrived within `elapsed`, or `None` to leave it.
    pub(super) fn tick(
        &mut self,
        bytes: u64,
        elapsed: Duration,
        rtt: Duration,
        active: usize,
    ) -> Option<u32> {
        let target = target(bytes, elapsed, rtt, active);
        if target > self.current + self.current / 4 {
            return Some(self.choose(target));
        }
        // Over the budget (many streams were opened): at once. Otherwise only after a quiet while.
        if self.current > ceiling(active) {
            return Some(self.choose(ceiling(active)));
        }
        if target < self.current / 2 {
            self.quiet += 1;
            if self.quiet >= QUIET_TICKS {
                return Some(self.choose(target));
            }
        } else {
            self.quiet = 0;
        }
        None
    }

    fn choose(&mut self, window: u32) -> u32 {
        self.current = window;
        self.quiet = 0;
        window
    }
}

fn ceiling(active: usize) -> u32 {
    let share = WINDOW_BUDGET / u64::try_from(active.max(1)).unwrap_or(u64::MAX);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    share.clamp(STREAM_WINDOW, MAX_STREAM_WINDOW)
}

fn target(bytes: u64, elapsed: Duration, rtt: Duration, active: usize) -> u32 {
    let micros = elapsed.as_micros().max(1);
    let in_flight = u128::from(bytes) * rtt.as_micros() * 2 / micros;
    let wanted = u32::try_from(in_flight).unwrap_or(u32::MAX);
    wanted.clamp(STREAM_WINDOW, ceiling(active))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAR: Duration = Duration::from_millis(50);

    #[test]
    fn grows_on_a_long_fat_link_up_to_the_ceiling() {
        let mut control = WindowControl::new();
        let mut window = STREAM_WINDOW;
        for _ in 0..12 {
            // One stream moves exactly one window per round trip: twenty of them in a second.
            if let Some(next) = control.tick(u64::from(window) * 20, SECOND, FAR, 1) {
                assert!(next > window);
                window = next;
            }
        }
        assert_eq!(window, MAX_STREAM_WINDOW);
    }

    #[test]
    fn stays_small_on_a_short_link() {
        let mut control = WindowControl::new();
        assert_eq!(control.tick(1 << 30, SECOND, Duration::from_micros(100), 1), None);
    }

    #[test]
    fn stays_within_the_budget_of_many_streams() {
        let mut control = WindowControl::new();
        let window = control.tick(1 << 32, SECOND, FAR, 64).unwrap();
        assert_eq!(u64::from(window), WINDOW_BUDGET / 64);
        assert_eq!(control.tick(1 << 32, SECOND, FAR, 1000), Some(STREAM_WINDOW));
    }

    #[test]
    fn shrinks_only_after_a_quiet_while() {
        let mut control = WindowControl::new();
        assert!(control.tick(1 << 30, SECOND, FAR, 1).is_some());
        for _ in 1..QUIET_TICKS {
            assert_eq!(control.tick(0, SECOND, FAR, 1), None);
        }
        assert_eq!(control.tick(0, SECOND, FAR, 1), Some(STREAM_WINDOW));
    }
}
