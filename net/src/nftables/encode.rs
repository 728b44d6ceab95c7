//! Transactions of the packet filter: tables, chains, rules, sets and their elements as netlink messages.
//!
//! # Source
//! linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h

use super::expression::Expression;
use crate::netlink::{Batch, CREATE};

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NLM_F_APPEND`.
const APPEND: u16 = 0x800;
/// `NFT_SET_MAP`.
const MAP: u32 = 8;

/// Elements in one message: an attribute is at most 64 KiB long, and an element some 80 bytes.
const ELEMENTS_AT_ONCE: usize = 256;

/// `NFT_MSG_*`
const NEW_TABLE: u8 = 0;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const NEW_SET: u8 = 9;
const NEW_ELEMENT: u8 = 12;
const DESTROY_TABLE: u8 = 26;
const DESTROY_ELEMENT: u8 = 30;

/// What a table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// Frames between the ports of a bridge.
    Bridge = 7,
}

/// A table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) name: &'static str,
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) number: u32,
    pub(super) priority: i32,
}

/// `NF_INET_PRE_ROUTING` and `NF_BR_PRE_ROUTING`.
pub(super) const PREROUTING: u32 = 0;
/// `NF_IP_PRI_RAW`.
pub(super) const BEFORE_TRACKING: i32 = -300;

/// A set, or a map where it has data. Types are nft's, for those who list it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) id: u32,
    pub(super) key: (u32, u32),
    pub(super) data: Option<(u32, u32)>,
}

/// A transaction: all of it happens at once, or nothing.
#[derive(Debug)]
pub(super) struct Transaction(Batch);

impl Transaction {
    pub(super) fn begin() -> Self {
        let mut batch = Batch::default();
        batch.frame("change the packet filter", BATCH_BEGIN, &header(0, SUBSYSTEM));
        Self(batch)
    }

    pub(super) fn end(mut self) -> Batch {
        self.0.frame("change the packet filter", BATCH_END, &header(0, SUBSYSTEM));
        self.0
    }

    /// An empty table, whatever it held before.
    pub(super) fn table(&mut self, table: Table) {
        let header = header(table.family as u8, 0);
        for (kind, flags) in [(DESTROY_TABLE, 0), (NEW_TABLE, CREATE)] {
            self.0.request(
                "make the packet filter's table",
                message(kind, flags),
                &header,
                |put| {
                    put.text(1, table.name);
                },
            );
        }
    }

    pub(super) fn chain(&mut self, table: Table, name: &str, hook: Option<Hook>) {
        let header = header(table.family as u8, 0);
        self.0.request(
            "make a chain of the packet filter",
            message(NEW_CHAIN, CREATE),
            &header,
            |put| {
                put.text(1, table.name).text(3, name);
                if let Some(hook) = hook {
                    put.nest(4, |inner| {
                        inner.net_number(1, hook.number).put(2, &hook.priority.to_be_bytes());
                    });
                    put.net_number(5, 1).text(7, hook.kind);
                }
            },
        );
    }

    pub(super) fn rule(&mut self, table: Table, chain: &str, expressions: &[Expression]) {
        let header = header(table.family as u8, 0);
        let kind = message(NEW_RULE, CREATE | APPEND);
        self.0.request("make a rule of the packet filter", kind, &header, |put| {
            put.text(1, table.name).text(2, chain);
            put.nest(4, |list| {
                for expression in expressions {
                    expression.write(list);
                }
            });
        });
    }

    pub(super) fn set(&mut self, table: Table, set: Set) {
        let header = header(table.family as u8, 0);
        self.0.request(
            "make a set of the packet filter",
            message(NEW_SET, CREATE),
            &header,
            |put| {
                put.text(1, table.name).text(2, set.name);
                put.net_number(3, set.data.map_or(0, |_| MAP));
                put.net_number(4, set.key.0).net_number(5, set.key.1);
                if let Some((kind, length)) = set.data {
                    put.net_number(6, kind).net_number(7, length);
                }
                put.net_number(10, set.id);
            },
        );
    }

    pub(super) fn add(&mut self, table: Table, set: &str, elements: &[Element]) {
        let kind = message(NEW_ELEMENT, CREATE);
        self.elements("add to a set of the packet filter", kind, (table, set), elements);
    }

    /// Elements that are not there are no error.
    pub(super) fn remove(&mut self, table: Table, set: &str, elements: &[Element]) {
        let kind = message(DESTROY_ELEMENT, 0);
        self.elements("remove from a set of the packet filter", kind, (table, set), elements);
    }

    fn elements(
        &mut self,
        act: &'static str,
        kind: (u16, u16),
        (table, set): (Table, &str),
        elements: &[Element],
    ) {
        for elements in elements.chunks(ELEMENTS_AT_ONCE) {
            self.0.request(act, kind, &header(table.family as u8, 0), |put| {
                put.text(1, table.name).text(2, set);
                put.nest(3, |list| {
                    for element in elements {
                        element.write(list);
                    }
                });
            });
        }
    }
}

/// A member of a set, with its value where the set is a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
}

impl Element {
    fn write(&self, list: &mut crate::netlink::Attributes<'_>) {
        list.nest(1, |element| {
            element.nest(1, |key| {
                key.put(1, &self.key);
            });
            if let Some(data) = &self.data {
                element.nest(2, |value| {
                    value.put(1, data);
                });
            }
        });
    }
}

fn message(kind: u8, flags: u16) -> (u16, u16) {
    (u16::from_be_bytes([SUBSYSTEM, kind]), flags)
}

/// `struct nfgenmsg`: family, version, resource in network order.
fn header(family: u8, resource: u8) -> [u8; 4] {
    [family, 0, 0, resource]
}
