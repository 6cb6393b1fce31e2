//! The table as messages, and the table that the kernel has.

use rustix::io::Errno;

use super::attributes::{Attributes, comment, find, find_name, find_number, read_comment, user_data};
use super::batch::{Batch, nftables};
use super::constants::*;
use super::elements;
use super::expressions::Expression;
use super::lower::{lower, raise};
use super::socket::NetlinkSocket;
use crate::ruleset::{Chain, ChainKind, Elements, Hook, Rule, Ruleset, Set, TABLE};

/// How often a list is asked for when others change the packet filter meanwhile.
const TRIES: usize = 20;

/// Adds to the transaction: this table in place of the one there is, if any.
pub(crate) fn replace(batch: &mut Batch, table: &Ruleset) {
    remove(batch);
    let mut attributes = Attributes::default();
    attributes.name(NFTA_TABLE_NAME, TABLE);
    attributes.number(NFTA_TABLE_FLAGS, 0);
    attributes.bytes(NFTA_TABLE_USERDATA, &comment(&table.comment));
    batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, attributes);
    for (id, set) in (1..).zip(&table.sets) {
        batch.add(NFT_MSG_NEWSET, NLM_F_CREATE, new_set(set, id));
        for attributes in elements::messages(set) {
            batch.add(NFT_MSG_NEWSETELEM, NLM_F_CREATE, attributes);
        }
    }
    for chain in &table.chains {
        batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, new_chain(chain));
        for rule in &chain.rules {
            let flags = NLM_F_CREATE | NLM_F_APPEND;
            batch.add(NFT_MSG_NEWRULE, flags, new_rule(&chain.name, rule));
        }
    }
}

/// Adds to the transaction: no table. Made first, so that it can be deleted when there is none.
pub(crate) fn remove(batch: &mut Batch) {
    for message in [NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE] {
        let mut attributes = Attributes::default();
        attributes.name(NFTA_TABLE_NAME, TABLE);
        if message == NFT_MSG_NEWTABLE {
            attributes.number(NFTA_TABLE_FLAGS, 0);
        }
        batch.add(message, NLM_F_CREATE, attributes);
    }
}

/// Adds to the transaction: the difference between the destinations of two tables.
pub(crate) fn update(batch: &mut Batch, old: &Ruleset, new: &Ruleset) {
    for set in &new.sets {
        let Elements::Destinations(wanted) = &set.elements else {
            continue;
        };
        let before = old.sets.iter().find(|other| other.name == set.name);
        let nothing = crate::settings::Destinations::new();
        let there = match before.map(|set| &set.elements) {
            Some(Elements::Destinations(there)) => there,
            _ => &nothing,
        };
        let changed = |elements| Set {
            elements: Elements::Destinations(elements),
            ..set.clone()
        };
        let gone = changed(there.difference(wanted).copied().collect());
        for attributes in elements::messages(&gone) {
            batch.add(NFT_MSG_DELSETELEM, 0, attributes);
        }
        let added = changed(wanted.difference(there).copied().collect());
        for attributes in elements::messages(&added) {
            batch.add(NFT_MSG_NEWSETELEM, NLM_F_CREATE, attributes);
        }
    }
}

fn new_set(set: &Set, id: u32) -> Attributes {
    let flags = match set.elements {
        Elements::Destinations(_) => 0,
        Elements::Networks(_) => NFT_SET_INTERVAL,
    };
    let mut attributes = Attributes::default();
    attributes.name(NFTA_SET_TABLE, TABLE);
    attributes.name(NFTA_SET_NAME, &set.name);
    attributes.number(NFTA_SET_FLAGS, flags);
    attributes.number(NFTA_SET_KEY_TYPE, elements::key_type(set));
    attributes.number(NFTA_SET_KEY_LEN, elements::key_length(set));
    attributes.number(NFTA_SET_ID, id);
    // nft(8) prints addresses by this.
    let order = user_data(UDATA_SET_KEYBYTEORDER, &BYTEORDER_BIG_ENDIAN.to_ne_bytes());
    attributes.bytes(NFTA_SET_USERDATA, &order);
    attributes
}

fn new_chain(chain: &Chain) -> Attributes {
    let kind = match &chain.kind {
        ChainKind::Filter => "filter",
        ChainKind::Route => "route",
        ChainKind::Nat => "nat",
        ChainKind::Other(kind) => kind,
    };
    let hook = match chain.hook {
        Hook::Prerouting => NF_INET_PRE_ROUTING,
        Hook::Output => NF_INET_LOCAL_OUT,
        Hook::Other(number) => number,
    };
    let mut attributes = Attributes::default();
    attributes.name(NFTA_CHAIN_TABLE, TABLE);
    attributes.name(NFTA_CHAIN_NAME, &chain.name);
    attributes.name(NFTA_CHAIN_TYPE, kind);
    attributes.bytes(NFTA_CHAIN_POLICY, &NF_ACCEPT.to_be_bytes());
    attributes.nested(NFTA_CHAIN_HOOK, |inner| {
        inner.number(NFTA_HOOK_HOOKNUM, hook);
        inner.bytes(NFTA_HOOK_PRIORITY, &chain.priority.to_be_bytes());
    });
    attributes
}

fn new_rule(chain: &str, rule: &Rule) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.name(NFTA_RULE_TABLE, TABLE);
    attributes.name(NFTA_RULE_CHAIN, chain);
    attributes.nested(NFTA_RULE_EXPRESSIONS, |list| {
        for expression in rule.statements.iter().flat_map(lower) {
            expression.write(list);
        }
    });
    attributes.bytes(NFTA_RULE_USERDATA, &comment(&rule.comment));
    attributes
}

/// Number of the packet filter's state; another one after every change of anybody.
pub(crate) fn generation(socket: &NetlinkSocket) -> Result<u32, Errno> {
    let answer = socket.get(NFT_MSG_GETGEN, Attributes::default())?;
    let known = answer.filter(|message| message.kind == nftables(NFT_MSG_NEWGEN));
    // NFTA_GEN_ID is 1.
    known
        .and_then(|message| find_number(message.attributes(), 1))
        .ok_or(Errno::OPNOTSUPP)
}

/// The comment of the table there is.
pub(crate) fn comment_now(socket: &NetlinkSocket) -> Result<Option<String>, Errno> {
    let mut attributes = Attributes::default();
    attributes.name(NFTA_TABLE_NAME, TABLE);
    let Some(message) = socket.get(NFT_MSG_GETTABLE, attributes)? else {
        return Ok(None);
    };
    let data = find(message.attributes(), NFTA_TABLE_USERDATA).unwrap_or_default();
    Ok(Some(read_comment(data)))
}

/// The table there is, and the generation that it is of.
pub(crate) fn read(socket: &NetlinkSocket) -> Result<(Option<Ruleset>, u32), Errno> {
    for _ in 0..TRIES {
        let before = generation(socket)?;
        let table = match read_once(socket) {
            // Somebody changed the list while it was told.
            Err(Errno::INTR | Errno::NOENT) => continue,
            table => table?,
        };
        if generation(socket)? == before {
            return Ok((table.map(Ruleset::sorted), before));
        }
    }
    Err(Errno::INTR)
}

fn read_once(socket: &NetlinkSocket) -> Result<Option<Ruleset>, Errno> {
    let Some(comment) = comment_now(socket)? else {
        return Ok(None);
    };
    let mut sets = Vec::new();
    for message in socket.list(NFT_MSG_GETSET, of_table(NFTA_SET_TABLE))? {
        let attributes = message.attributes();
        let name = find_name(attributes, NFTA_SET_NAME).unwrap_or_default();
        let key_type = find_number(attributes, NFTA_SET_KEY_TYPE).unwrap_or_default();
        if !is_ours(attributes, NFTA_SET_TABLE) {
            continue;
        }
        if let Some(set) = elements::empty(name, key_type) {
            sets.push(read_elements(socket, set)?);
        }
    }
    let mut chains = Vec::new();
    for message in socket.list(NFT_MSG_GETCHAIN, of_table(NFTA_CHAIN_TABLE))? {
        if is_ours(message.attributes(), NFTA_CHAIN_TABLE) {
            chains.push(read_chain(message.attributes()));
        }
    }
    for message in socket.list(NFT_MSG_GETRULE, of_table(NFTA_RULE_TABLE))? {
        let attributes = message.attributes();
        let name = find_name(attributes, NFTA_RULE_CHAIN).unwrap_or_default();
        let chain = chains.iter_mut().find(|chain| chain.name == name);
        if let Some(chain) = chain.filter(|_| is_ours(attributes, NFTA_RULE_TABLE)) {
            chain.rules.push(read_rule(attributes));
        }
    }
    Ok(Some(Ruleset {
        comment,
        sets,
        chains,
    }))
}

fn of_table(kind: u16) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.name(kind, TABLE);
    attributes
}

/// Older kernels tell the chains of all tables.
fn is_ours(attributes: &[u8], kind: u16) -> bool {
    find_name(attributes, kind).as_deref() == Some(TABLE)
}

fn read_elements(socket: &NetlinkSocket, mut set: Set) -> Result<Set, Errno> {
    let mut attributes = of_table(NFTA_SET_ELEM_LIST_TABLE);
    attributes.name(NFTA_SET_ELEM_LIST_SET, &set.name);
    let messages = socket.list(NFT_MSG_GETSETELEM, attributes)?;
    let keys = messages
        .iter()
        .flat_map(|message| elements::read_keys(message.attributes()));
    elements::fill(&mut set, keys.collect());
    Ok(set)
}

fn read_chain(attributes: &[u8]) -> Chain {
    let hook = find(attributes, NFTA_CHAIN_HOOK).unwrap_or_default();
    let number = find_number(hook, NFTA_HOOK_HOOKNUM);
    let priority = find_number(hook, NFTA_HOOK_PRIORITY).unwrap_or_default();
    let kind = find_name(attributes, NFTA_CHAIN_TYPE).unwrap_or_default();
    // A chain that drops what its rules do not name is none of ours.
    let accepts = find_number(attributes, NFTA_CHAIN_POLICY).is_none_or(|policy| policy == 1);
    Chain {
        name: find_name(attributes, NFTA_CHAIN_NAME).unwrap_or_default(),
        kind: match kind.as_str() {
            "filter" if accepts => ChainKind::Filter,
            "route" if accepts => ChainKind::Route,
            "nat" if accepts => ChainKind::Nat,
            _ => ChainKind::Other(kind),
        },
        hook: match number {
            Some(NF_INET_PRE_ROUTING) => Hook::Prerouting,
            Some(NF_INET_LOCAL_OUT) => Hook::Output,
            other => Hook::Other(other.unwrap_or(u32::MAX)),
        },
        priority: i32::from_be_bytes(priority.to_be_bytes()),
        rules: Vec::new(),
    }
}

fn read_rule(attributes: &[u8]) -> Rule {
    let expressions = find(attributes, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let data = find(attributes, NFTA_RULE_USERDATA).unwrap_or_default();
    Rule {
        statements: raise(&Expression::read_list(expressions)),
        comment: read_comment(data),
    }
}
