//! What is said to the kernel over netlink: its messages (linux/netfilter/nf_tables.h, linux/netlink.h) and the socket.
//!
//! Sent as one batch between "begin" and "end": the kernel does all of it or nothing, and no packet sees a half.

pub(crate) mod attributes;
pub(crate) mod batch;
pub(crate) mod constants;
pub(crate) mod elements;
pub(crate) mod expressions;
pub(crate) mod lower;
pub(crate) mod routing;
pub(crate) mod socket;
pub(crate) mod table;
