//! Ports for those who must name one before it is opened.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// A port of loopback that nobody uses at the moment.
///
/// Not from the range that the system gives to outgoing connections (32768 and up): one of them could take it before it
/// is used. Another process of the tests starts elsewhere in the range; a clash is still possible, so that callers try
/// again.
///
/// # Errors
/// When all 10 000 ports of the range are in use.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 21_000;
    const COUNT: u16 = 10_000;
    let start = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let offset = u32::from(start) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(offset % u32::from(COUNT)).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port of 127.0.0.1 from {FIRST} on: which program has them all? (ss -ltnp)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_can_be_bound_and_a_bound_one_is_not_given() {
        let port = free_port().unwrap();
        assert!((21_000..31_000).contains(&port));
        let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
        for _ in 0..50 {
            assert_ne!(free_port().unwrap(), port);
        }
    }
}
