//! Expressions: the small instructions of which the kernel's rules are made. They load from a packet into registers,
//! compare, look up, and act.

use super::attributes::{Attributes, find, find_name, find_number, read};
use super::constants::*;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads what is known about the packet.
    Meta { key: u32 },
    /// Writes what is known about the packet.
    SetMeta { key: u32 },
    /// Loads bytes of a header.
    Payload {
        header: u32,
        offset: u32,
        length: u32,
        register: u32,
    },
    /// Keeps these bits.
    Mask { mask: Vec<u8> },
    /// Ends the rule unless equal (or unequal).
    Compare { equal: bool, value: Vec<u8> },
    /// Ends the rule unless in the set.
    Lookup { set: String },
    /// Loads a constant.
    Constant { register: u32, value: Vec<u8> },
    /// Ends the chain.
    Verdict(i32),
    /// Loads whether the packet's socket is transparent.
    SocketTransparent,
    /// Leads to a transparent socket.
    TransparentProxy { family: u8 },
    /// Translates the destination to this machine.
    Redirect,
    /// Not tracked.
    Untrack,
    /// Something else, by its name.
    Other(String),
}

impl Expression {
    /// As an element of a rule's list.
    pub(crate) fn write(&self, list: &mut Attributes) {
        list.nested(NFTA_LIST_ELEM, |element| {
            element.name(NFTA_EXPR_NAME, self.name());
            if *self != Self::Untrack {
                element.nested(NFTA_EXPR_DATA, |data| self.write_data(data));
            }
        });
    }

    fn name(&self) -> &str {
        match self {
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Mask { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Constant { .. } | Self::Verdict(_) => "immediate",
            Self::SocketTransparent => "socket",
            Self::TransparentProxy { .. } => "tproxy",
            Self::Redirect => "redir",
            Self::Untrack => "notrack",
            Self::Other(name) => name,
        }
    }

    fn write_data(&self, data: &mut Attributes) {
        match self {
            Self::Meta { key } => {
                data.number(NFTA_META_KEY, *key);
                data.number(NFTA_META_DREG, NFT_REG_1);
            }
            Self::Payload {
                header,
                offset,
                length,
                register,
            } => {
                data.number(NFTA_PAYLOAD_DREG, *register);
                data.number(NFTA_PAYLOAD_BASE, *header);
                data.number(NFTA_PAYLOAD_OFFSET, *offset);
                data.number(NFTA_PAYLOAD_LEN, *length);
            }
            Self::Mask { mask } => write_mask(mask, data),
            Self::Compare { equal, value } => {
                data.number(NFTA_CMP_SREG, NFT_REG_1);
                data.number(NFTA_CMP_OP, if *equal { NFT_CMP_EQ } else { NFT_CMP_NEQ });
                data.nested(NFTA_CMP_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
            }
            Self::Lookup { set } => {
                data.name(NFTA_LOOKUP_SET, set);
                data.number(NFTA_LOOKUP_SREG, NFT_REG_1);
            }
            Self::SocketTransparent => {
                data.number(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
                data.number(NFTA_SOCKET_DREG, NFT_REG_1);
            }
            _ => self.write_action(data),
        }
    }

    /// Of those that do something, and of constants.
    fn write_action(&self, data: &mut Attributes) {
        match self {
            Self::SetMeta { key } => {
                data.number(NFTA_META_KEY, *key);
                data.number(NFTA_META_SREG, NFT_REG_1);
            }
            Self::Constant { register, value } => {
                data.number(NFTA_IMMEDIATE_DREG, *register);
                data.nested(NFTA_IMMEDIATE_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
            }
            Self::Verdict(code) => {
                data.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                data.nested(NFTA_IMMEDIATE_DATA, |data| {
                    data.nested(NFTA_DATA_VERDICT, |verdict| {
                        verdict.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
                    });
                });
            }
            Self::TransparentProxy { family } => {
                data.number(NFTA_TPROXY_FAMILY, u32::from(*family));
                data.number(NFTA_TPROXY_REG_ADDR, NFT_REG_1);
                data.number(NFTA_TPROXY_REG_PORT, NFT_REG_2);
            }
            Self::Redirect => {
                data.number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
                data.number(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
            }
            // No data, or written above.
            _ => {}
        }
    }

    /// Reads one element of a rule's list. What is not exactly as we write it is [`Other`](Self::Other).
    pub(crate) fn read(element: &[u8]) -> Self {
        let name = find_name(element, NFTA_EXPR_NAME).unwrap_or_default();
        let data = find(element, NFTA_EXPR_DATA).unwrap_or_default();
        let known = match name.as_str() {
            "meta" => meta(data),
            "payload" => payload(data),
            "bitwise" => mask(data),
            "cmp" => compare(data),
            "lookup" => lookup(data),
            "immediate" => immediate(data),
            "socket" => (numbers(data, &[(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT)])
                && register_is(data, NFTA_SOCKET_DREG, NFT_REG_1))
            .then_some(Self::SocketTransparent),
            "tproxy" => tproxy(data),
            "redir" => (register_is(data, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1)
                && find_number(data, NFTA_REDIR_FLAGS).unwrap_or_default() | NF_NAT_RANGE_PROTO_SPECIFIED
                    == NF_NAT_RANGE_PROTO_SPECIFIED)
                .then_some(Self::Redirect),
            "notrack" => Some(Self::Untrack),
            _ => None,
        };
        known.unwrap_or(Self::Other(name))
    }

    /// Reads a rule's list.
    pub(crate) fn read_list(list: &[u8]) -> Vec<Self> {
        read(list).map(|(_, element)| Self::read(element)).collect()
    }
}

fn write_mask(mask: &[u8], data: &mut Attributes) {
    data.number(NFTA_BITWISE_SREG, NFT_REG_1);
    data.number(NFTA_BITWISE_DREG, NFT_REG_1);
    data.number(NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
    data.nested(NFTA_BITWISE_MASK, |value| value.bytes(NFTA_DATA_VALUE, mask));
    let nothing = vec![0; mask.len()];
    data.nested(NFTA_BITWISE_XOR, |value| value.bytes(NFTA_DATA_VALUE, &nothing));
}

fn numbers(data: &[u8], expected: &[(u16, u32)]) -> bool {
    let is = |(kind, value): &(u16, u32)| find_number(data, *kind) == Some(*value);
    expected.iter().all(is)
}

fn register_is(data: &[u8], kind: u16, register: u32) -> bool {
    numbers(data, &[(kind, register)])
}

fn value(data: &[u8], kind: u16) -> Option<Vec<u8>> {
    Some(find(find(data, kind)?, NFTA_DATA_VALUE)?.to_vec())
}

fn meta(data: &[u8]) -> Option<Expression> {
    let key = find_number(data, NFTA_META_KEY)?;
    if register_is(data, NFTA_META_DREG, NFT_REG_1) {
        return Some(Expression::Meta { key });
    }
    register_is(data, NFTA_META_SREG, NFT_REG_1).then_some(Expression::SetMeta { key })
}

fn payload(data: &[u8]) -> Option<Expression> {
    Some(Expression::Payload {
        header: find_number(data, NFTA_PAYLOAD_BASE)?,
        offset: find_number(data, NFTA_PAYLOAD_OFFSET)?,
        length: find_number(data, NFTA_PAYLOAD_LEN)?,
        register: find_number(data, NFTA_PAYLOAD_DREG)?,
    })
}

fn mask(data: &[u8]) -> Option<Expression> {
    let nothing = value(data, NFTA_BITWISE_XOR)?.iter().all(|byte| *byte == 0);
    let registers = [(NFTA_BITWISE_SREG, NFT_REG_1), (NFTA_BITWISE_DREG, NFT_REG_1)];
    let mask = value(data, NFTA_BITWISE_MASK)?;
    (nothing && numbers(data, &registers)).then_some(Expression::Mask { mask })
}

fn compare(data: &[u8]) -> Option<Expression> {
    let operation = find_number(data, NFTA_CMP_OP)?;
    let known = register_is(data, NFTA_CMP_SREG, NFT_REG_1) && operation <= NFT_CMP_NEQ;
    let value = value(data, NFTA_CMP_DATA)?;
    known.then_some(Expression::Compare {
        equal: operation == NFT_CMP_EQ,
        value,
    })
}

fn lookup(data: &[u8]) -> Option<Expression> {
    let set = find_name(data, NFTA_LOOKUP_SET)?;
    // With a flag it is "not in", with a target a map.
    let plain = find_number(data, NFTA_LOOKUP_FLAGS).unwrap_or_default() == 0
        && find(data, NFTA_LOOKUP_DREG).is_none()
        && register_is(data, NFTA_LOOKUP_SREG, NFT_REG_1);
    plain.then_some(Expression::Lookup { set })
}

fn immediate(data: &[u8]) -> Option<Expression> {
    let register = find_number(data, NFTA_IMMEDIATE_DREG)?;
    if register != NFT_REG_VERDICT {
        let value = value(data, NFTA_IMMEDIATE_DATA)?;
        return Some(Expression::Constant { register, value });
    }
    let verdict = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?;
    // A jump has a chain too, and another code.
    let code = find_number(verdict, NFTA_VERDICT_CODE)?;
    Some(Expression::Verdict(i32::from_be_bytes(code.to_be_bytes())))
}

fn tproxy(data: &[u8]) -> Option<Expression> {
    let registers = [
        (NFTA_TPROXY_REG_ADDR, NFT_REG_1),
        (NFTA_TPROXY_REG_PORT, NFT_REG_2),
    ];
    let family = u8::try_from(find_number(data, NFTA_TPROXY_FAMILY)?).ok()?;
    numbers(data, &registers).then_some(Expression::TransparentProxy { family })
}

#[cfg(test)]
mod tests;
