//! The parts of a rule: small machines over registers, run one after the other until one does not match.
//!
//! # Source
//! linux/netfilter/nf_tables.h

use crate::netlink::Attributes;

/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// Registers of four bytes: `NFT_REG32_00` and on.
const FIRST_REGISTER: u32 = 8;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;

/// A register of four bytes, counted from 0; wider values take the next ones too.
pub(super) type Register = u32;

/// Where in a packet something is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What is known about a packet beside its bytes (`NFT_META_*`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    Protocol = 1,
    InName = 6,
    OutName = 7,
    Family = 15,
    Transport = 16,
}

/// What is known about its connection (`NFT_CT_*`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Tracked {
    State = 0,
    Status = 2,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Drop,
    Accept,
    Goto(&'static str),
    /// As `Goto`, and comes back where the other chain says nothing.
    Jump(&'static str),
}

/// One expression.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Meta {
        key: Meta,
        to: Register,
    },
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: Register,
    },
    Tracked {
        key: Tracked,
        to: Register,
    },
    /// Kind of the destination address: `RTN_LOCAL`, …
    DestinationKind {
        to: Register,
    },
    /// Whether a route leads back to the source by the interface that this came by: 0, or 1.
    WayBack {
        to: Register,
    },
    Mask {
        register: Register,
        mask: Vec<u8>,
    },
    Equal {
        register: Register,
        value: Vec<u8>,
    },
    Different {
        register: Register,
        value: Vec<u8>,
    },
    InSet {
        register: Register,
        set: &'static str,
    },
    FromMap {
        register: Register,
        map: &'static str,
        to: Register,
    },
    /// New destination address and port, in these registers.
    Destination {
        family: u32,
        address: Register,
        port: Register,
    },
    Masquerade,
    Verdict(Verdict),
}

const fn number(register: Register) -> u32 {
    FIRST_REGISTER + register
}

impl Expression {
    /// Writes it as an element of a rule's list.
    pub(super) fn write(&self, list: &mut Attributes<'_>) {
        // NFTA_LIST_ELEM { NFTA_EXPR_NAME, NFTA_EXPR_DATA }
        list.nest(1, |element| {
            element.text(1, self.name());
            element.nest(2, |data| self.fill(data));
        });
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Tracked { .. } => "ct",
            Self::DestinationKind { .. } | Self::WayBack { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Equal { .. } | Self::Different { .. } => "cmp",
            Self::InSet { .. } | Self::FromMap { .. } => "lookup",
            Self::Destination { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Verdict(_) => "immediate",
        }
    }

    fn fill(&self, data: &mut Attributes<'_>) {
        match self {
            Self::Meta { key, to } => {
                data.net_number(1, number(*to)).net_number(2, *key as u32);
            }
            Self::Payload { base, offset, length, to } => {
                data.net_number(1, number(*to)).net_number(2, *base as u32);
                data.net_number(3, *offset).net_number(4, *length);
            }
            Self::Tracked { key, to } => {
                data.net_number(1, number(*to)).net_number(2, *key as u32);
            }
            // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR.
            Self::DestinationKind { to } => {
                data.net_number(1, number(*to)).net_number(2, 3).net_number(3, 2);
            }
            // NFT_FIB_RESULT_OIF of NFTA_FIB_F_SADDR, NFTA_FIB_F_IIF, and whether there is any: NFTA_FIB_F_PRESENT.
            Self::WayBack { to } => {
                data.net_number(1, number(*to)).net_number(2, 1).net_number(3, 1 | 8 | 32);
            }
            Self::Mask { register, mask } => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                data.net_number(1, number(*register)).net_number(2, number(*register));
                data.net_number(3, length);
                data.nest(4, |value| {
                    value.put(DATA_VALUE, mask);
                });
                data.nest(5, |value| {
                    value.put(DATA_VALUE, &vec![0; mask.len()]);
                });
            }
            Self::Equal { register, value } => compare(data, *register, 0, value),
            Self::Different { register, value } => compare(data, *register, 1, value),
            Self::InSet { register, set } => {
                data.text(1, set).net_number(2, number(*register));
            }
            Self::FromMap { register, map, to } => {
                data.text(1, map).net_number(2, number(*register)).net_number(3, number(*to));
            }
            Self::Destination { family, address, port } => {
                // NFT_NAT_DNAT
                data.net_number(1, 1).net_number(2, *family);
                data.net_number(3, number(*address)).net_number(5, number(*port));
            }
            Self::Masquerade => {}
            Self::Verdict(verdict) => {
                data.net_number(1, VERDICT_REGISTER);
                data.nest(2, |value| {
                    value.nest(DATA_VERDICT, |inner| verdict.fill(inner));
                });
            }
        }
    }
}

/// `NFTA_CMP_*`
fn compare(data: &mut Attributes<'_>, register: Register, operation: u32, value: &[u8]) {
    data.net_number(1, number(register)).net_number(2, operation);
    data.nest(3, |inner| {
        inner.put(DATA_VALUE, value);
    });
}

impl Verdict {
    fn fill(self, data: &mut Attributes<'_>) {
        // NF_DROP, NF_ACCEPT, NFT_GOTO (-4).
        let (code, chain) = match self {
            Self::Drop => (0_u32, None),
            Self::Accept => (1, None),
            Self::Goto(chain) => (4_u32.wrapping_neg(), Some(chain)),
            Self::Jump(chain) => (3_u32.wrapping_neg(), Some(chain)),
        };
        data.net_number(1, code);
        if let Some(chain) = chain {
            data.text(2, chain);
        }
    }
}
