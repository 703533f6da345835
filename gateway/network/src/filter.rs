//! The packet filter of a bridge: who is behind it speaks to others in the name of the machine, and
//! is answered, but is not spoken to.
//!
//! It is a table of nftables of its own, so that those of others stay as they are.

use std::io;

use crate::netlink::{CREATE, Message, Socket, Topic};
use crate::subnet::Subnet;

/// Adds to what is there.
const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
/// Names of links have this many bytes when they are compared.
const NAME_BYTES: usize = libc::IFNAMSIZ;
/// Where the address of the sender is in a packet.
const SOURCE_OFFSET: u32 = 12;
/// Connections that are answers, or belong to one that is there.
const ANSWERS: u32 = 0b110;

// Numbers of attributes, from the kernel's <linux/netfilter/nf_tables.h>.
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// Puts the filter of a bridge in place of what may be there.
pub(crate) fn install(bridge: &str, subnet: Subnet) -> io::Result<()> {
    let name = table_name(bridge);
    let mut rules = vec![table(libc::NFT_MSG_NEWTABLE, &name)];
    rules.push(table(libc::NFT_MSG_DELTABLE, &name));
    rules.push(table(libc::NFT_MSG_NEWTABLE, &name));
    rules.push(chain(&name, "postrouting", "nat", libc::NF_INET_POST_ROUTING, 100));
    rules.push(rule(&name, "postrouting", |list| masquerade(list, bridge, subnet)));
    rules.push(chain(&name, "forward", "filter", libc::NF_INET_FORWARD, 0));
    rules.push(rule(&name, "forward", |list| refuse_strangers(list, bridge)));
    Socket::open(Topic::Filters)?.transaction(rules)
}

/// Removes the filter of a bridge.
pub(crate) fn remove(bridge: &str) -> io::Result<()> {
    let removed = vec![table(libc::NFT_MSG_DELTABLE, &table_name(bridge))];
    Socket::open(Topic::Filters)?.transaction(removed)
}

fn table_name(bridge: &str) -> String {
    format!("kiln-{bridge}")
}

/// Packets of the subnet that leave by another link than the bridge get the machine's address.
fn masquerade(list: &mut Message, bridge: &str, subnet: Subnet) {
    expression(list, "payload", |data| {
        for (kind, number) in [(1, 1), (2, 1), (3, SOURCE_OFFSET), (4, 4)] {
            data.number(kind, number);
        }
    });
    masked(list, &subnet.mask().to_be_bytes());
    compare(list, true, &subnet.base().octets());
    link_name(list, libc::NFT_META_OIFNAME);
    compare(list, false, &padded(bridge));
    expression(list, "masq", |_| {});
}

/// Packets to the bridge that are no answers are dropped.
fn refuse_strangers(list: &mut Message, bridge: &str) {
    link_name(list, libc::NFT_META_OIFNAME);
    compare(list, true, &padded(bridge));
    expression(list, "ct", |data| {
        data.number(1, 1);
        data.number(2, libc::NFT_CT_STATE as u32);
    });
    masked(list, &ANSWERS.to_ne_bytes());
    compare(list, true, &[0; 4]);
    expression(list, "immediate", |data| {
        data.number(1, libc::NFT_REG_VERDICT as u32);
        data.nested(2, |value| {
            value.nested(DATA_VERDICT, |verdict| verdict.number(VERDICT_CODE, 0));
        });
    });
}

/// Loads the name of a packet's link into the register.
fn link_name(list: &mut Message, key: libc::c_int) {
    expression(list, "meta", |data| {
        data.number(1, 1);
        data.number(2, key as u32);
    });
}

/// Leaves only the bits of `mask` in the register.
fn masked(list: &mut Message, mask: &[u8; 4]) {
    expression(list, "bitwise", |data| {
        for (kind, number) in [(1, 1), (2, 1), (3, 4)] {
            data.number(kind, number);
        }
        data.nested(4, |value| value.attribute(DATA_VALUE, mask));
        data.nested(5, |value| value.attribute(DATA_VALUE, &[0; 4]));
    });
}

/// Goes on with the rule only if the register is `value`, or is not.
fn compare(list: &mut Message, equal: bool, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number(1, 1);
        data.number(2, u32::from(!equal));
        data.nested(3, |data| data.attribute(DATA_VALUE, value));
    });
}

fn padded(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let length = name.len().min(NAME_BYTES - 1);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

fn expression(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nested(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nested(EXPRESSION_DATA, data);
    });
}

fn table(kind: libc::c_int, name: &str) -> Message {
    let mut message = filter_message(kind, if kind == libc::NFT_MSG_NEWTABLE { APPEND } else { 0 });
    message.text(TABLE_NAME, name);
    message
}

fn chain(table: &str, name: &str, kind: &str, hook: libc::c_int, priority: u32) -> Message {
    let mut message = filter_message(libc::NFT_MSG_NEWCHAIN, CREATE);
    message.text(CHAIN_TABLE, table);
    message.text(CHAIN_NAME, name);
    message.nested(CHAIN_HOOK, |place| {
        place.number(HOOK_NUMBER, hook as u32);
        place.number(HOOK_PRIORITY, priority);
    });
    message.text(CHAIN_TYPE, kind);
    message
}

fn rule(table: &str, chain: &str, expressions: impl FnOnce(&mut Message)) -> Message {
    let mut message = filter_message(libc::NFT_MSG_NEWRULE, APPEND);
    message.text(RULE_TABLE, table);
    message.text(RULE_CHAIN, chain);
    message.nested(RULE_EXPRESSIONS, expressions);
    message
}

fn filter_message(kind: libc::c_int, flags: u16) -> Message {
    let kind = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | kind as u16;
    let fixed = [libc::NFPROTO_IPV4 as u8, libc::NFNETLINK_V0 as u8, 0, 0];
    Message::new(kind, flags).body(&fixed)
}
