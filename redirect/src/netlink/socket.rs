//! A netlink socket. Calls block, for as long as the kernel works on them: use them on a thread that may.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force, set_socket_timeout,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt::Timeout,
};

use super::attributes;
use super::batch::{Batch, question};
use super::constants::{
    NFGENMSG, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_HEADER,
};

/// Limit for an answer of the kernel. It answers within microseconds; a transaction may wait for another process's.
const ANSWER: Duration = Duration::from_secs(3);

/// Bytes of one receive at most. The kernel tells lists in pieces of 32 KiB at most.
const PIECE: usize = 64 << 10;

/// Bytes of one answer at most: 65 536 elements of two sets of 60 bytes each are 8 MB.
const MAX_ANSWER: usize = 64 << 20;

/// Buffers of the socket: a transaction must be in it as a whole, see [`MAX_DESTINATIONS`](crate::MAX_DESTINATIONS).
const BUFFER: usize = 8 << 20;

/// An open socket.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    socket: OwnedFd,
}

/// One message of the kernel.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// The message with its header.
    pub(crate) whole: Vec<u8>,
}

impl Message {
    /// What follows the header.
    pub(crate) fn payload(&self) -> &[u8] {
        self.whole.get(NLMSG_HEADER..).unwrap_or_default()
    }

    /// Attributes of a message of the packet filter.
    pub(crate) fn attributes(&self) -> &[u8] {
        self.payload().get(NFGENMSG..).unwrap_or_default()
    }

    /// What an error or an end says: `None` if this is neither.
    fn outcome(&self) -> Option<Result<(), Errno>> {
        if self.kind != NLMSG_ERROR && self.kind != NLMSG_DONE {
            return None;
        }
        let code = self.payload().first_chunk::<4>().copied().unwrap_or_default();
        Some(match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(Errno::from_raw_os_error(code.saturating_neg())),
        })
    }
}

impl NetlinkSocket {
    /// To the packet filter.
    pub(crate) fn netfilter() -> Result<Self, Errno> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// To routing.
    pub(crate) fn routing() -> Result<Self, Errno> {
        // NETLINK_ROUTE is 0.
        Self::open(None)
    }

    fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER))?;
        // Beyond the system's limit with NET_ADMIN, up to it without (which is enough to read).
        if set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
            set_socket_send_buffer_size(&socket, BUFFER)?;
        }
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, BUFFER)?;
        }
        Ok(Self { socket })
    }

    /// Makes all changes of a transaction, or none.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), Errno> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, confirmed) = batch.finish();
        self.send(&bytes)?;
        // The kernel has done its work when send returns: what it has to say is there.
        let mut done = false;
        let mut refused = None;
        loop {
            let messages = match self.receive(RecvFlags::DONTWAIT) {
                Ok(messages) => messages,
                Err(Errno::AGAIN) => break,
                // More refusals than the buffer holds; the first is among those it has.
                Err(Errno::NOBUFS) => continue,
                Err(error) => return Err(error),
            };
            for message in messages {
                match message.outcome() {
                    Some(Ok(())) => done |= message.sequence == confirmed,
                    Some(Err(error)) => {
                        refused.get_or_insert(error);
                    }
                    None => {}
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if done => Ok(()),
            None => Err(Errno::TIMEDOUT),
        }
    }

    /// Asks the packet filter for a list.
    pub(crate) fn list(
        &self,
        message: u8,
        attributes: attributes::Attributes,
    ) -> Result<Vec<Message>, Errno> {
        self.ask(&question(message, NLM_F_DUMP, 1, attributes), 1)
    }

    /// Asks the packet filter for one thing.
    pub(crate) fn get(
        &self,
        message: u8,
        attributes: attributes::Attributes,
    ) -> Result<Option<Message>, Errno> {
        match self.ask(&question(message, NLM_F_ACK, 1, attributes), 1) {
            Ok(messages) => Ok(messages.into_iter().next()),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that the kernel ends with a confirmation, a refusal or the end of a list.
    pub(crate) fn ask(&self, request: &[u8], sequence: u32) -> Result<Vec<Message>, Errno> {
        self.send(request)?;
        let mut all = Vec::new();
        let mut bytes = 0;
        let mut interrupted = false;
        loop {
            for message in self.receive(RecvFlags::empty())? {
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.outcome() {
                    Some(Ok(())) if interrupted => return Err(Errno::INTR),
                    Some(outcome) => return outcome.map(|()| all),
                    None => {
                        bytes += message.whole.len();
                        all.push(message);
                    }
                }
            }
            if bytes > MAX_ANSWER {
                return Err(Errno::MSGSIZE);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        send(&self.socket, bytes, SendFlags::empty()).map(|_| ())
    }

    fn receive(&self, flags: RecvFlags) -> Result<Vec<Message>, Errno> {
        let mut buffer = vec![0; PIECE];
        let (received, _) = recv(&self.socket, buffer.as_mut_slice(), flags)?;
        Ok(split(buffer.get(..received).unwrap_or_default()))
    }
}

/// The messages of one datagram. A refusal repeats what was refused and may be cut; its code is at the beginning.
fn split(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(head) = bytes.first_chunk::<NLMSG_HEADER>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length < NLMSG_HEADER {
            break;
        }
        let whole = bytes.get(..length).unwrap_or(bytes);
        messages.push(Message {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            sequence: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            whole: whole.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(NLMSG_HEADER + payload.len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0, 0],
            &sequence.to_ne_bytes(),
            &[0; 4],
            payload,
        ]
        .concat()
    }

    #[test]
    fn datagrams_are_split_and_outcomes_understood() {
        let bytes = [
            message(2, 1, &0i32.to_ne_bytes()),
            message(2, 2, &(-1i32).to_ne_bytes()),
            message(3, 3, &[0; 4]),
            message(0x0a00, 4, &[1, 0, 0, 0]),
        ]
        .concat();
        let messages = split(&bytes);
        let outcomes: Vec<_> = messages.iter().map(Message::outcome).collect();
        assert_eq!(
            outcomes,
            [Some(Ok(())), Some(Err(Errno::PERM)), Some(Ok(())), None]
        );
        assert_eq!(messages[3].sequence, 4);
    }

    #[test]
    fn damaged_datagrams_end() {
        assert!(split(&[1; 15]).is_empty());
        assert!(split(&[0; 16]).is_empty());
        // Cut in the middle of what was refused.
        let cut = &message(2, 9, &[&(-2i32).to_ne_bytes()[..], &[7; 100]].concat())[..60];
        assert_eq!(split(cut)[0].outcome(), Some(Err(Errno::NOENT)));
    }
}
