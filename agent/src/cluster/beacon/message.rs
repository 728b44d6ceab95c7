//! What nodes call to one another on a link. Whoever is on it reads this and can forge it: it has nothing that is a secret, and
//! nothing that it says is believed.
//!
//! | bytes | content |
//! |---|---|
//! | 0–3 | `FRRT` |
//! | 4 | version, 1 |
//! | 5 | what the machine wants and is, a bit each |
//! | 6–21 | the cluster: the beginning of a hash of its ID |
//! | 22–37 | the machine's ID |
//!
//! What follows is of later versions that this one still understands, and is passed over.

use ferrite_schema::cluster::{ClusterId, MachineId};
use ring::digest::{SHA256, digest};

const MAGIC: [u8; 4] = *b"FRRT";
const VERSION: u8 = 1;
const SEEKS: u8 = 1;
const SERVES: u8 = 2;
const ELIGIBLE: u8 = 4;
/// Goes before the ID, so that this hash is of use for nothing else.
const HASHED: &str = "ferrite-beacon/1 ";

/// What a cluster is called here: its name is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose([u8; 16]);

impl Whose {
    pub(super) fn of(cluster: &ClusterId) -> Self {
        let hash = digest(&SHA256, format!("{HASHED}{cluster}").as_bytes());
        // A SHA-256 is longer.
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// What one machine calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beacon {
    pub(super) whose: Whose,
    pub(super) machine: MachineId,
    /// It looks for the others.
    pub(super) seeks: bool,
    /// Its etcd answers: it can be a relay.
    pub(super) serves: bool,
    /// It may run etcd.
    pub(super) eligible: bool,
}

impl Beacon {
    pub(super) fn encode(&self) -> Vec<u8> {
        let bits = [(self.seeks, SEEKS), (self.serves, SERVES), (self.eligible, ELIGIBLE)];
        let bits = bits.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, bit)| all | bit);
        // A machine's ID is hexadecimal, as its type sees to.
        let machine = hex::decode(self.machine.as_str()).unwrap_or_default();
        [&MAGIC[..], &[VERSION, bits], &self.whose.0, &machine].concat()
    }

    /// Nothing where these bytes are no such message, or one of a version that is not understood.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<6>()?;
        let [magic @ .., version, bits] = head;
        if *magic != MAGIC || *version != VERSION {
            return None;
        }
        let (whose, rest) = rest.split_first_chunk::<16>()?;
        let machine = hex::encode(rest.first_chunk::<16>()?).parse().ok()?;
        let has = |bit: u8| bits & bit != 0;
        let (seeks, serves, eligible) = (has(SEEKS), has(SERVES), has(ELIGIBLE));
        Some(Self { whose: Whose(*whose), machine, seeks, serves, eligible })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH_BYTES: usize = 38;
    /// As `sha256sum` has it.
    const HASH: &str = "dbeb07894c0d28ca9d3663ee975de632";

    fn beacon(bits: u8) -> Beacon {
        Beacon {
            whose: Whose::of(&"c".repeat(32).parse().unwrap()),
            machine: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            seeks: bits & 1 != 0,
            serves: bits & 2 != 0,
            eligible: bits & 4 != 0,
        }
    }

    #[test]
    fn what_is_called_is_heard() {
        for bits in 0..8 {
            let called = beacon(bits);
            let mut bytes = called.encode();
            assert_eq!(bytes.len(), LENGTH_BYTES);
            assert_eq!(Beacon::decode(&bytes), Some(called.clone()));
            bytes.extend(b"of a later version");
            assert_eq!(Beacon::decode(&bytes), Some(called));
        }
    }

    /// Nodes of other builds read it: it stays as it is.
    #[test]
    fn the_bytes_stay_what_they_are() {
        let expected = format!("465252540103{}{}", HASH, beacon(3).machine);
        assert_eq!(hex::encode(beacon(3).encode()), expected);
    }

    #[test]
    fn a_cluster_is_called_by_no_name_of_its_own() {
        let id = "c".repeat(32);
        let bytes = hex::encode(beacon(0).encode());
        assert!(!bytes.contains(&id) && !bytes.contains(&hex::encode(&id)), "{bytes}");
        let other = Whose::of(&"d".repeat(32).parse().unwrap());
        assert_ne!(other, beacon(0).whose);
    }

    proptest! {
        #[test]
        fn no_bytes_are_more_than_misunderstood(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            drop(Beacon::decode(&bytes));
        }

        #[test]
        fn what_is_cut_off_or_of_another_version_is_nothing(length in 0..LENGTH_BYTES, version in 2..=u8::MAX) {
            let mut bytes = beacon(7).encode();
            prop_assert_eq!(Beacon::decode(&bytes[..length]), None);
            bytes[4] = version;
            prop_assert_eq!(Beacon::decode(&bytes), None);
        }
    }
}
