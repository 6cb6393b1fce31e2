//! Why the operator is not heard.

use std::io;
use std::path::PathBuf;

use landbridge_destination::serve::{MAX_MESSAGE_BYTES, SERVER_NAME, SILENCE};
use landbridge_runtime::dial::DialError;

/// What stands between the proxy and the operator.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The resolver of names cannot be built.
    #[error("cannot start name resolution: {0}")]
    Resolver(#[source] io::Error),
    /// A file that is needed for a call cannot be read, or holds something else.
    #[error("cannot use {what} in {path}: {reason}; check what is mounted there")]
    File {
        /// What it is for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No connection.
    #[error("cannot reach the operator: {0}")]
    Dial(#[from] DialError),
    /// The other side cannot prove that it is the operator, or does not speak TLS 1.3 and HTTP/2.
    #[error(
        "the operator at {address} cannot prove that it is '{SERVER_NAME}': {reason}; check that the authority in \
         {authority} is the operator's current one"
    )]
    Tls {
        /// Whom.
        address: String,
        /// Why.
        reason: String,
        /// Where the authority was read from.
        authority: String,
    },
    /// The exchange broke off.
    #[error("the exchange with the operator failed: {0}")]
    Exchange(String),
    /// A deadline passed.
    #[error("the operator did not answer within {0} s")]
    Timeout(u64),
    /// The operator does not want us.
    #[error("the operator refused with status {status}: {reason}")]
    Refused {
        /// Status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("the operator has said nothing for {} s", SILENCE.as_secs())]
    Silent,
    /// The operator ended the stream, as it does when it stops or the token has aged.
    #[error("the operator ended the stream")]
    Ended,
    /// A line is over the limit.
    #[error("the operator sent a message of more than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// A line is no message.
    #[error("the operator sent a message that cannot be read ({0}); its version may not fit this proxy's")]
    Unreadable(String),
    /// A change does not follow on what is known: something in between was lost.
    #[error(
        "the operator's change {found} does not follow on version {known}; everything is asked for again"
    )]
    OutOfStep {
        /// Version that is known; 0 before the first snapshot.
        known: u64,
        /// Version of the change.
        found: u64,
    },
}
