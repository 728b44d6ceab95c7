//! Whether a copy of etcd is whole.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | n × 512, n > 0 | etcd's database (bbolt; its pages are multiples of a disk's sectors) |
//! | n × 512 | 32 | SHA-256 of that |
//!
//! Source: etcd 3.5, `server/etcdserver/api/v3rpc/maintenance.go` (`Snapshot`) and `etcdutl/snapshot/v3_snapshot.go`, which knows by
//! the length that there is a digest.

use sha2::{Digest, Sha256};

/// Length of the digest.
const DIGEST_BYTES: usize = 32;
/// The database is a multiple of this.
const SECTOR_BYTES: u64 = 512;

/// Why it is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotWhole {
    #[error("{length} bytes are no database with a SHA-256 behind it")]
    Length { length: u64 },
    #[error("its SHA-256 is {found}, and etcd says {expected}")]
    Digest { found: String, expected: String },
}

/// A copy that comes piece by piece. In memory only.
#[derive(Debug, Default)]
pub(crate) struct Check {
    hash: Sha256,
    /// The last bytes, which may be the digest.
    tail: Vec<u8>,
    length: u64,
}

/// A whole copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// All of it.
    pub(crate) bytes: u64,
    /// SHA-256 of its database, as hexadecimal digits.
    pub(crate) sha256: String,
}

impl Check {
    /// Takes the next piece.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        self.length = self.length.saturating_add(piece.len() as u64);
        self.tail.extend_from_slice(piece);
        let data = self.tail.len().saturating_sub(DIGEST_BYTES);
        self.hash.update(self.tail.drain(..data).as_slice());
    }

    /// Nothing comes any more.
    ///
    /// # Errors
    /// It is not whole.
    pub(crate) fn finish(self) -> Result<Checked, NotWhole> {
        let Self { hash, tail, length } = self;
        let data = length.checked_sub(DIGEST_BYTES as u64).filter(|data| *data > 0);
        if data.is_none_or(|data| data % SECTOR_BYTES != 0) {
            return Err(NotWhole::Length { length });
        }
        let found = hash.finalize();
        if found.as_slice() != tail {
            let (found, expected) = (digits(&found), digits(&tail));
            return Err(NotWhole::Digest { found, expected });
        }
        Ok(Checked { bytes: length, sha256: digits(&tail) })
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(sectors: usize) -> Vec<u8> {
        let mut all: Vec<u8> = (0..=250).cycle().take(sectors * 512).collect();
        let digest = Sha256::digest(&all);
        all.extend_from_slice(&digest);
        all
    }

    fn check(all: &[u8], piece: usize) -> Result<Checked, NotWhole> {
        let mut check = Check::default();
        for piece in all.chunks(piece) {
            check.take(piece);
        }
        check.finish()
    }

    #[test]
    fn a_whole_copy_is_one_however_it_comes() {
        let all = whole(8);
        for piece in [1, 31, 32, 33, 512, 4096, all.len()] {
            let checked = check(&all, piece).unwrap();
            assert_eq!(checked.bytes, 8 * 512 + 32, "pieces of {piece}");
            assert_eq!(checked.sha256.len(), 64);
        }
    }

    #[test]
    fn what_is_cut_or_changed_anywhere_is_none() {
        let all = whole(2);
        for length in 0..all.len() {
            let cut = check(&all[..length], 100);
            assert!(cut.is_err(), "the first {length} bytes");
        }
        for index in 0..all.len() {
            let mut changed = all.clone();
            changed[index] ^= 1;
            let found = check(&changed, 100);
            assert!(matches!(found, Err(NotWhole::Digest { .. })), "byte {index}: {found:?}");
        }
        let mut longer = all;
        longer.push(0);
        assert_eq!(check(&longer, 100), Err(NotWhole::Length { length: 2 * 512 + 33 }));
        // The digest of nothing is right, and nothing is no copy.
        assert_eq!(check(&whole(0), 100), Err(NotWhole::Length { length: 32 }));
    }
}
