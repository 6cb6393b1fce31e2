//! The first words on a tunnel connection, after TLS and before HTTP/2: one JSON message each way.
//!
//! The connector says what it offers; who it is was already proved by its certificate. Unknown fields are ignored,
//! so that a later peer of the same version can say more.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::frame;
use crate::identity::check_location;

/// Version of the hello and of what follows it.
pub const VERSION: u32 = 1;
/// Connections on which the acceptor opens streams, toward systems of the company.
pub const INBOUND: &str = "inbound";
/// Connections on which the connector opens streams, toward services of the cluster. An acceptor that serves none
/// refuses with [`UNSUPPORTED_KIND`].
pub const OUTBOUND: &str = "outbound";
/// The reason of [`HelloRefusal::Kind`].
pub const UNSUPPORTED_KIND: &str = "unsupported-kind";
/// Longest hello in bytes.
pub const MAX_HELLO: usize = 4096;
/// Deadline of the exchange.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Longest name of an agent, an instance or a replica in bytes.
const MAX_NAME: usize = 128;
/// The reason of [`HelloRefusal::Avoided`].
pub const AVOIDED: &str = "avoided-replica";
/// Replicas that an acceptor announces at most.
pub const MAX_REPLICAS: usize = 16;

/// What the connector says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConnectorHello {
    /// [`VERSION`].
    pub version: u32,
    /// What the connection is for: [`INBOUND`] or [`OUTBOUND`].
    pub kind: String,
    /// Location id; empty is the default location.
    #[serde(default)]
    pub location: String,
    /// Name and version of the program, for people.
    #[serde(default)]
    pub agent: String,
    /// Streams the connector serves at once on this connection; 0 leaves it to the acceptor.
    #[serde(default)]
    pub max_streams: usize,
    /// One start of one connector process.
    #[serde(default)]
    pub instance: String,
    /// Which of its connections this is.
    #[serde(default)]
    pub slot: u16,
    /// Replicas the connector is connected to already. One of them refuses when there are others, so that the
    /// connections end at different replicas although a balancer stands in between.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
}

/// What the acceptor answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AcceptorHello {
    /// [`VERSION`].
    pub version: u32,
    /// Whether the session is established.
    pub accepted: bool,
    /// Why not: a word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why not: a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The acceptor's name among its replicas.
    #[serde(default)]
    pub replica: String,
    /// All replicas, so that a connector can spread its connections over them.
    #[serde(default)]
    pub replicas: Vec<String>,
}

/// Why an acceptor refuses a hello.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HelloRefusal {
    /// Not the JSON of a hello.
    #[error("the hello is malformed: {0}")]
    Malformed(String),
    /// Another version.
    #[error("hello version {0} is not supported, this acceptor speaks version 1; update the older side")]
    Version(u32),
    /// A kind of connection that this acceptor does not have.
    #[error(
        "connections of kind {0:?} are not supported by this acceptor; update it, or switch service channels on there"
    )]
    Kind(String),
    /// A field is over its bounds.
    #[error("field {0} is too long or has characters that are not allowed")]
    Field(&'static str),
    /// The certificate is bound to another location.
    #[error(
        "the certificate allows location id {allowed:?} only; use that one, or enrol again with another token"
    )]
    Location {
        /// What the certificate allows.
        allowed: String,
    },
    /// Too many sessions.
    #[error("{0}")]
    TooMany(String),
    /// The connector has a connection to this replica already.
    #[error("another connection already ends at this replica")]
    Avoided,
    /// The acceptor is about to stop.
    #[error("this acceptor is stopping; connect to another replica")]
    Draining,
}

impl HelloRefusal {
    /// The word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Field(_) => "bad-hello",
            Self::Version(_) => "unsupported-version",
            Self::Kind(_) => UNSUPPORTED_KIND,
            Self::Location { .. } => "denied-location",
            Self::TooMany(_) => "too-many-sessions",
            Self::Draining => "draining",
            Self::Avoided => AVOIDED,
        }
    }

    /// The answer to send.
    pub fn answer(&self) -> AcceptorHello {
        AcceptorHello {
            version: VERSION,
            accepted: false,
            reason: Some(self.reason().to_owned()),
            message: Some(self.to_string().chars().take(512).collect()),
            replica: String::new(),
            replicas: Vec::new(),
        }
    }
}

/// Why a connector did not get a session.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The connection broke or the answer was malformed. With TLS 1.3 this is also how a refused client certificate
    /// shows, because the server checks it after the client believes to be connected.
    #[error(
        "no answer from the acceptor ({0}); if it repeats, its log says why, e.g. a certificate it did not accept"
    )]
    Broken(#[from] io::Error),
    /// The acceptor said no.
    #[error("the acceptor refused the connection ({reason}): {message}")]
    Refused {
        /// The word for programs.
        reason: String,
        /// The sentence for people.
        message: String,
    },
}

/// Reads the connector's hello.
pub(crate) async fn receive<T: AsyncRead + Unpin>(
    io: &mut T,
) -> io::Result<Result<ConnectorHello, HelloRefusal>> {
    let message = in_time(frame::read(io, MAX_HELLO)).await?;
    Ok(parse(&message))
}

/// Sends the acceptor's answer.
pub(crate) async fn answer<T: AsyncWrite + Unpin>(io: &mut T, answer: &AcceptorHello) -> io::Result<()> {
    in_time(frame::write(io, &encode(answer)?)).await
}

/// The connector's side of the exchange.
pub(crate) async fn exchange<T>(io: &mut T, hello: &ConnectorHello) -> Result<AcceptorHello, HelloError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    in_time(frame::write(io, &encode(hello)?)).await?;
    let message = in_time(frame::read(io, MAX_HELLO)).await?;
    let answer: AcceptorHello = serde_json::from_slice(&message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if answer.accepted {
        return Ok(answer);
    }
    let short = |text: Option<String>| text.unwrap_or_default().chars().take(512).collect();
    Err(HelloError::Refused {
        reason: short(answer.reason),
        message: short(answer.message),
    })
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

/// Only the version is looked at first: a later version may have any other form.
fn parse(message: &[u8]) -> Result<ConnectorHello, HelloRefusal> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let malformed = |error: serde_json::Error| HelloRefusal::Malformed(error.to_string());
    let Versioned { version } = serde_json::from_slice(message).map_err(malformed)?;
    if version != VERSION {
        return Err(HelloRefusal::Version(version));
    }
    let hello: ConnectorHello = serde_json::from_slice(message).map_err(malformed)?;
    if hello.kind != INBOUND && hello.kind != OUTBOUND {
        return Err(HelloRefusal::Kind(hello.kind.chars().take(32).collect()));
    }
    check_location(&hello.location).map_err(|_| HelloRefusal::Field("location"))?;
    check_name("agent", &hello.agent)?;
    check_name("instance", &hello.instance)?;
    if hello.avoid.len() > MAX_REPLICAS {
        return Err(HelloRefusal::Field("avoid"));
    }
    Ok(hello)
}

fn check_name(field: &'static str, value: &str) -> Result<(), HelloRefusal> {
    let fine = value.len() <= MAX_NAME && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if fine {
        Ok(())
    } else {
        Err(HelloRefusal::Field(field))
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the hello took longer than 10 s");
    timeout(DEADLINE, work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_it_knows_and_refuses_the_rest_with_a_reason() {
        let minimal = br#"{"version":1,"kind":"inbound","future":{"x":1}}"#;
        let hello = parse(minimal).unwrap();
        assert_eq!(
            (hello.location.as_str(), hello.slot, hello.max_streams),
            ("", 0, 0)
        );
        let long = format!(
            r#"{{"version":1,"kind":"inbound","agent":"{}"}}"#,
            "x".repeat(129)
        );
        let cases: [(&[u8], &str); 9] = [
            (b"", "bad-hello"),
            (b"GET / HTTP/1.1", "bad-hello"),
            (b"[]", "bad-hello"),
            (br#"{"version":"1"}"#, "bad-hello"),
            (br#"{"version":2}"#, "unsupported-version"),
            (br#"{"version":1}"#, "bad-hello"),
            (br#"{"version":1,"kind":"sideways"}"#, "unsupported-kind"),
            (br#"{"version":1,"kind":"inbound","location":"a/b"}"#, "bad-hello"),
            (long.as_bytes(), "bad-hello"),
        ];
        for (message, reason) in cases {
            let refusal = parse(message).unwrap_err();
            assert_eq!(refusal.reason(), reason, "{}", String::from_utf8_lossy(message));
            assert!(encode(&refusal.answer()).unwrap().len() < MAX_HELLO);
        }
    }

    #[tokio::test]
    async fn both_sides_understand_each_other() {
        let (mut connector, mut acceptor) = tokio::io::duplex(MAX_HELLO);
        let hello = parse(br#"{"version":1,"kind":"inbound","location":"hq","slot":1}"#).unwrap();
        let sent = hello.clone();
        let client = tokio::spawn(async move { exchange(&mut connector, &sent).await });
        assert_eq!(receive(&mut acceptor).await.unwrap().unwrap(), hello);
        answer(&mut acceptor, &HelloRefusal::Draining.answer())
            .await
            .unwrap();
        let error = client.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, HelloError::Refused { reason, .. } if reason == "draining"),
            "{error}"
        );
    }
}
