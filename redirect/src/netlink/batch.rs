//! Messages to the packet filter, alone or as a transaction.

use super::attributes::Attributes;
use super::constants::{
    NFGENMSG, NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFPROTO_INET,
    NFPROTO_UNSPEC, NLM_F_ACK, NLM_F_REQUEST, NLMSG_HEADER,
};

/// A transaction being written.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// Where the last message begins.
    last: usize,
}

impl Batch {
    /// An empty transaction. With the number of a generation the kernel refuses it (`ERESTART`) if anybody has changed
    /// anything since: what was read before is then still true when the change is made.
    pub(crate) fn new(generation: Option<u32>) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        let mut attributes = Attributes::default();
        if let Some(generation) = generation {
            attributes.number(NFNL_BATCH_GENID, generation);
        }
        let generic = generic_header(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
        append(
            &mut bytes,
            NFNL_MSG_BATCH_BEGIN,
            NLM_F_REQUEST,
            0,
            generic,
            attributes,
        );
        Self {
            bytes,
            sequence: 0,
            last: 0,
        }
    }

    /// One change.
    pub(crate) fn add(&mut self, message: u8, flags: u16, attributes: Attributes) {
        self.sequence = self.sequence.wrapping_add(1);
        self.last = self.bytes.len();
        let generic = generic_header(NFPROTO_INET, 0);
        append(
            &mut self.bytes,
            nftables(message),
            NLM_F_REQUEST | flags,
            self.sequence,
            generic,
            attributes,
        );
    }

    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequence == 0
    }

    /// What to send, and the sequence number of the message that the kernel confirms.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u32) {
        // Messages are worked on in order, so the last one's confirmation is that of all.
        let at = self.last + 6;
        if let Some(flags) = self.bytes.get_mut(at..at + 2) {
            flags.copy_from_slice(&(u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK).to_ne_bytes());
        }
        let generic = generic_header(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
        let end = self.sequence.wrapping_add(1);
        append(
            &mut self.bytes,
            NFNL_MSG_BATCH_END,
            NLM_F_REQUEST,
            end,
            generic,
            Attributes::default(),
        );
        (self.bytes, self.sequence)
    }
}

/// A question, outside of any transaction.
pub(crate) fn question(message: u8, flags: u16, sequence: u32, attributes: Attributes) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let generic = generic_header(NFPROTO_INET, 0);
    append(
        &mut bytes,
        nftables(message),
        NLM_F_REQUEST | flags,
        sequence,
        generic,
        attributes,
    );
    bytes
}

/// Message type on the wire: subsystem and message.
pub(crate) fn nftables(message: u8) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | u16::from(message)
}

/// struct nfgenmsg: family, version 0, resource in network byte order.
fn generic_header(family: u8, resource: u16) -> [u8; NFGENMSG] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn append(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    generic: [u8; NFGENMSG],
    attributes: Attributes,
) {
    let length = NLMSG_HEADER + NFGENMSG + attributes.len();
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    // The kernel knows the sender's port.
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&generic);
    bytes.extend_from_slice(&attributes.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::constants::{NFTA_TABLE_NAME, NLM_F_CREATE};
    use super::*;

    #[test]
    fn a_transaction_has_its_frame_and_asks_for_one_confirmation() {
        let mut batch = Batch::new(Some(7));
        assert!(batch.is_empty());
        for name in ["a", "b"] {
            let mut attributes = Attributes::default();
            attributes.name(NFTA_TABLE_NAME, name);
            batch.add(0, NLM_F_CREATE, attributes);
        }
        let (bytes, confirmed) = batch.finish();
        assert_eq!(confirmed, 2);
        let begin = [
            &28u32.to_ne_bytes()[..],
            &16u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            &[0; 8],
            // Resource: subsystem 10 in network byte order.
            &[0, 0, 0, 10],
            &8u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            &[0, 0, 0, 7],
        ]
        .concat();
        assert_eq!(bytes[..28], begin);
        let message = |at: usize| (bytes[at + 4..at + 8].to_vec(), bytes[at + 16]);
        let flags = |flags: u16| [0x0a00u16.to_ne_bytes(), flags.to_ne_bytes()].concat();
        assert_eq!(message(28), (flags(0x401), 1));
        assert_eq!(message(56), (flags(0x405), 1));
        assert_eq!(bytes[84..92], [&20u32.to_ne_bytes()[..], &[17, 0, 1, 0]].concat());
        assert_eq!(bytes.len(), 104);
    }
}
