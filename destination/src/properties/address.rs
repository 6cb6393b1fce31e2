//! Host and port of a TCP destination.

use std::fmt;
use std::str::FromStr;

use super::shorten;

/// Where a TCP destination is. The host is a name or an address, without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host name, IPv4 or IPv6 address.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
}

/// An address that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("is missing; set Address to host:port")]
    Missing,
    /// Something there, but no address.
    #[error("\"{0}\" is no address; write host:port or tcp://host:port, with a port from 1 to 65535")]
    Malformed(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        parse(text).ok_or_else(|| AddressError::Malformed(shorten(text)))
    }
}

fn parse(text: &str) -> Option<Address> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tcp") => rest.strip_suffix('/').unwrap_or(rest),
        Some(_) => return None,
        None => text,
    };
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner
        }
        None => host,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bracketed = rest.starts_with('[');
    if host.is_empty() || host.len() > 253 || (!bracketed && !host.chars().all(plain)) {
        return None;
    }
    let all_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| all_digits && *port != 0)?;
    Some(Address {
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        for (text, host, port) in [
            ("db.corp:5432", "db.corp", 5432),
            ("tcp://echo_1:7/", "echo_1", 7),
            (" TCP://10.0.0.1:20 ", "10.0.0.1", 20),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Address {
                    host: host.into(),
                    port
                }),
                "{text}"
            );
        }
        assert_eq!("[::1]:1".parse::<Address>().unwrap().to_string(), "[::1]:1");
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "db",
            "db:",
            ":1",
            "db:0",
            "db:+1",
            "db:65536",
            "http://db:1",
            "::1:80",
            "a b:1",
            "[x]:1",
            "h/p:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
