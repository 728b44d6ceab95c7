//! Answers of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More addresses than this fit into no message, and more of anything else even less.
pub(super) const RECORDS_MAX: usize = 4096;

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Fine = 0,
    /// The question could not be read to its end.
    FormatError = 1,
    ServerFailed = 2,
    NoSuchName = 3,
    /// The question is in a later version of EDNS.
    BadVersion = 16,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr),
    /// Whose address it is.
    Name(String),
    /// Where a service is: all are as good.
    Service {
        port: u16,
        target: String,
    },
    /// How long what is not there may be taken for not there.
    Zone,
    /// There are records, but not for everybody who asks for anything.
    Something,
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: Code,
    /// Records about the name that was asked for.
    pub(super) answers: Vec<Record>,
    /// Records about other names, which spare the client a question.
    pub(super) additional: Vec<(String, Record)>,
    /// The domain that answers. `None` where it is nobody's answer, but a problem.
    pub(super) domain: Option<String>,
}

impl From<IpAddr> for Record {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl Reply {
    /// There is no answer.
    pub(super) const fn problem(code: Code) -> Self {
        Self { code, answers: Vec::new(), additional: Vec::new(), domain: None }
    }

    /// Brings the answers into an order that depends on `seed`: most clients take the first, and a truncated answer has
    /// only the first.
    pub(super) fn shuffle(&mut self, mut seed: u64) {
        for last in (1..self.answers.len()).rev() {
            // SplitMix64: nothing depends on its being hard to guess.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let places = u64::try_from(last + 1).unwrap_or(u64::MAX);
            let other = usize::try_from((mixed ^ (mixed >> 31)) % places).unwrap_or(last);
            self.answers.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Reply {
        let address = |last| Record::from(IpAddr::from([10, 120, 0, last]));
        Reply { answers: (0..5).map(address).collect(), ..Reply::problem(Code::Fine) }
    }

    #[test]
    fn every_record_may_come_first_and_none_is_lost() {
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut shuffled = five();
            shuffled.shuffle(seed);
            let mut sorted = shuffled.answers.clone();
            sorted.sort_by_key(|record| format!("{record:?}"));
            assert_eq!(sorted, five().answers);
            firsts.insert(format!("{:?}", shuffled.answers[0]));
        }
        assert_eq!(firsts.len(), 5);
        Reply::problem(Code::Fine).shuffle(1);
    }
}
