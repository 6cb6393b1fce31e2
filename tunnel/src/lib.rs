//! Room: one reverse tunnel.
//!
//! The connector dials out over mutually authenticated TLS 1.3 and the cluster side opens streams toward it, so
//! that no port has to be opened in the company firewall. On the cluster side an [`Acceptor`] accepts connectors
//! and a [`Registry`] answers "give me a stream to this system of that tenant and location"; on the company side
//! a [`Dialer`] keeps the connections up and hands every [`IncomingStream`] to a [`StreamHandler`].
//!
//! The room knows nothing of what travels inside a stream, of destinations, or of tenants beyond opaque strings.
//!
//! A connector may also open streams itself, toward services of the cluster: [`channel`].
//!
//! In the order the data flows: [`tls`] and [`identity`] (who is it), [`enrol`] (how a connector gets its
//! certificate), [`hello`] (what it offers), [`mux`] (streams on one connection), [`registry`] (which connection),
//! [`open`] (what is asked), [`stream`] (the bytes).

pub mod acceptor;
pub mod channel;
pub mod dialer;
pub mod enrol;
mod files;
mod frame;
pub mod hello;
pub mod identity;
pub mod metrics;
pub mod mux;
pub mod open;
pub mod registry;
pub mod stream;
pub mod tls;

pub use acceptor::{Acceptor, AcceptorConfig, AcceptorError, AcceptorLimits};
pub use channel::{
    ChannelError, ChannelHandler, ChannelName, ChannelPeer, ChannelRequest, ChannelService, IncomingChannel,
    Offered,
};
pub use dialer::{
    Channels, ConnectionState, Dialer, DialerConfig, DialerError, DialerStatus, IncomingStream, StreamHandler,
};
pub use identity::PeerIdentity;
pub use metrics::TunnelMetrics;
pub use open::{BadOpen, DenyReason, OpenError, OpenRequest, Protocol};
pub use registry::{Registry, SessionInfo};
pub use stream::TunnelStream;
