//! dm-verity: the hash tree that lies behind a read-only file system, in veritysetup's format 1.
//!
//! SHA-256, data and hash blocks of 4096 bytes, salt before the data. Layout from the tree's offset on:
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 8 | magic `verity\0\0` |
//! | 8 | 4 | superblock version: 1 |
//! | 12 | 4 | hash type: 1 (salt comes first, digests are padded to a power of two) |
//! | 16 | 16 | UUID |
//! | 32 | 32 | algorithm name, zero-padded |
//! | 64 | 4 | data block size in bytes |
//! | 68 | 4 | hash block size in bytes |
//! | 72 | 8 | number of data blocks |
//! | 80 | 2 | salt size in bytes |
//! | 88 | 256 | salt, zero-padded |
//! | 4096 | n × 4096 | hash blocks: the topmost level first, the one over the data last |
//!
//! Numbers are little endian. Source: cryptsetup, "DMVerity on-disk format"; the kernel's
//! `Documentation/admin-guide/device-mapper/verity.rst`.

use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a data block and of a hash block: the page size, so that a block is one page of the cache.
pub const BLOCK_BYTES: u64 = 4096;
/// Salt that the format has room for.
pub const SALT_MAX_BYTES: usize = 256;

const BLOCK: usize = 4096;
const BLOCK_SIZE: u32 = 4096;
const DIGEST_BYTES: usize = 32;
const HASHES_PER_BLOCK: u64 = 128;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES && BLOCK_SIZE as u64 == BLOCK_BYTES);
const _: () = assert!(HASHES_PER_BLOCK * DIGEST_BYTES as u64 == BLOCK_BYTES);

const MAGIC: &[u8; 8] = b"verity\0\0";
const SUPERBLOCK_VERSION: u32 = 1;
const HASH_TYPE: u32 = 1;
const UUID_OFFSET: usize = 16;
const ALGORITHM: &[u8; 32] = b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Bytes read at a time: large enough that system calls do not count.
const READ_BYTES: usize = 1024 * 1024;

/// SHA-256 digest.
pub type Hash = [u8; DIGEST_BYTES];

/// The root file system in the slot's ROOT partition and its dm-verity tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// File system bytes that verity covers, from the start of the partition; a multiple of 4096.
    pub data_bytes: u64,
    /// Where the tree's superblock (veritysetup format 1) starts; the tree follows it.
    pub hash_offset_bytes: u64,
    /// Root hash, lower-case hexadecimal (SHA-256).
    pub root_hash: String,
    /// Salt, lower-case hexadecimal.
    pub salt: String,
}

/// A tree over some data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Vouches for everything.
    pub root_hash: Hash,
    /// Superblock and hash blocks, as they lie on disk.
    pub bytes: Vec<u8>,
}

/// Data that no tree can be built over.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildTree {
    #[error("read block {block} of the data")]
    Read { block: u64, source: io::Error },
    #[error("build verity tree: {found} bytes are not whole blocks of {BLOCK_BYTES}, or none")]
    Size { found: u64 },
    #[error("build verity tree: a salt of {found} bytes is longer than {SALT_MAX_BYTES}")]
    Salt { found: usize },
}

/// Data and tree that do not belong together.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum VerifyTree {
    #[error("rebuild the verity tree")]
    Build {
        #[from]
        source: BuildTree,
    },
    #[error("read the verity tree")]
    Read { source: io::Error },
    #[error("check verity tree: {field} {text:?} is not hexadecimal of the right length")]
    Field { field: &'static str, text: String },
    #[error("check verity data: block {block} (byte {}) differs from its hash", block * BLOCK_BYTES)]
    Data { block: u64 },
    #[error("check verity tree: its superblock differs from what the slot header says")]
    Superblock,
    #[error("check verity tree: hash block {block} is damaged")]
    HashBlock { block: u64 },
    #[error("check verity tree: the root hash is {found}, the slot header says {expected}")]
    RootHash { expected: String, found: String },
}

/// Bytes that superblock and tree over `data_bytes` take.
#[must_use]
pub fn tree_bytes(data_bytes: u64) -> u64 {
    let hash_blocks: u64 = level_blocks(data_bytes.div_ceil(BLOCK_BYTES)).iter().sum();
    (1 + hash_blocks) * BLOCK_BYTES
}

/// Builds the tree over `data_bytes` bytes of `data`.
///
/// # Errors
/// The data cannot be read, or is not made of whole blocks; the salt is too long.
pub fn build(
    data: &mut impl Read,
    data_bytes: u64,
    salt: &[u8],
    uuid: [u8; 16],
) -> Result<Tree, BuildTree> {
    if data_bytes == 0 || !data_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(BuildTree::Size { found: data_bytes });
    }
    let data_blocks = data_bytes / BLOCK_BYTES;
    let mut bytes = superblock(data_blocks, salt, uuid)?;
    let mut reader = BufReader::with_capacity(READ_BYTES, data);
    let mut digests = Vec::new();
    for block in 0..data_blocks {
        let bytes = read_block(&mut reader).map_err(|source| BuildTree::Read { block, source })?;
        digests.push(hash(salt, &bytes));
    }
    let mut levels = Vec::new();
    while digests.len() > 1 {
        let level = padded(digests.concat());
        digests = level.chunks(BLOCK).map(|block| hash(salt, block)).collect();
        levels.push(level);
    }
    bytes.extend(levels.into_iter().rev().flatten());
    Ok(Tree { root_hash: digests.first().copied().unwrap_or_default(), bytes })
}

/// Checks `data` (from the start of the file system) and `tree` (from its superblock) against what a slot
/// header says of them: every block, from the root hash down.
///
/// # Errors
/// Names the first block that does not match.
pub fn verify(data: &mut impl Read, tree: &mut impl Read, root: &Root) -> Result<(), VerifyTree> {
    let salt = decode_hex("salt", &root.salt)?;
    let root_hash = Hash::try_from(decode_hex("root hash", &root.root_hash)?)
        .ok()
        .ok_or_else(|| VerifyTree::Field { field: "root hash", text: root.root_hash.clone() })?;
    if root.data_bytes == 0 || !root.data_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(BuildTree::Size { found: root.data_bytes }.into());
    }
    let data_blocks = root.data_bytes / BLOCK_BYTES;
    check_superblock(tree, data_blocks, &salt)?;

    let mut tree = BufReader::with_capacity(READ_BYTES, tree);
    let mut expected = vec![root_hash];
    let mut hash_block = 0;
    for blocks in level_blocks(data_blocks).into_iter().rev() {
        let mut below = Vec::new();
        for parent in expected.iter().take(usize::try_from(blocks).unwrap_or(usize::MAX)) {
            let block = read_block(&mut tree).map_err(|source| VerifyTree::Read { source })?;
            let found = hash(&salt, &block);
            if found != *parent && hash_block == 0 {
                let (expected, found) = (root.root_hash.clone(), hex::encode(found));
                return Err(VerifyTree::RootHash { expected, found });
            }
            if found != *parent {
                return Err(VerifyTree::HashBlock { block: hash_block });
            }
            below.extend(block.as_chunks::<DIGEST_BYTES>().0.iter().copied());
            hash_block += 1;
        }
        expected = below;
    }
    let mut data = BufReader::with_capacity(READ_BYTES, data);
    for (block, expected) in (0..data_blocks).zip(expected) {
        let bytes = read_block(&mut data).map_err(|source| BuildTree::Read { block, source })?;
        if hash(&salt, &bytes) != expected {
            return Err(VerifyTree::Data { block });
        }
    }
    Ok(())
}

/// The kernel's table line for a target over a partition that holds data and tree, as PID 1 loads it.
///
/// `device` is the partition, as a path or `major:minor`.
#[must_use]
pub fn table_line(device: &str, root: &Root) -> String {
    format!(
        "1 {device} {device} {BLOCK_BYTES} {BLOCK_BYTES} {} {} sha256 {} {}",
        root.data_bytes / BLOCK_BYTES,
        root.hash_offset_bytes / BLOCK_BYTES + 1,
        root.root_hash,
        if root.salt.is_empty() { "-" } else { &root.salt },
    )
}

/// Number of hash blocks in each level, from the one over the data up to the topmost. A single data block
/// needs none: its hash is the root hash.
fn level_blocks(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(HASHES_PER_BLOCK);
        levels.push(blocks);
    }
    levels
}

fn superblock(data_blocks: u64, salt: &[u8], uuid: [u8; 16]) -> Result<Vec<u8>, BuildTree> {
    let salt_bytes = u16::try_from(salt.len())
        .ok()
        .filter(|_| salt.len() <= SALT_MAX_BYTES)
        .ok_or(BuildTree::Salt { found: salt.len() })?;
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&SUPERBLOCK_VERSION.to_le_bytes());
    bytes.extend_from_slice(&HASH_TYPE.to_le_bytes());
    bytes.extend_from_slice(&uuid);
    bytes.extend_from_slice(ALGORITHM);
    bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    bytes.extend_from_slice(&data_blocks.to_le_bytes());
    bytes.extend_from_slice(&salt_bytes.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(salt);
    bytes.resize(BLOCK, 0);
    Ok(bytes)
}

/// Digests as whole hash blocks, filled up with zeros.
fn padded(mut digests: Vec<u8>) -> Vec<u8> {
    digests.resize(digests.len().next_multiple_of(BLOCK), 0);
    digests
}

/// The superblock on disk is the one that we would write, whatever its UUID.
fn check_superblock(tree: &mut impl Read, data_blocks: u64, salt: &[u8]) -> Result<(), VerifyTree> {
    let found = read_block(tree).map_err(|source| VerifyTree::Read { source })?;
    let uuid = found.get(UUID_OFFSET..).and_then(|bytes| bytes.first_chunk()).copied();
    let expected = superblock(data_blocks, salt, uuid.unwrap_or_default())?;
    if found == *expected { Ok(()) } else { Err(VerifyTree::Superblock) }
}

fn hash(salt: &[u8], block: &[u8]) -> Hash {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

fn read_block(reader: &mut impl Read) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    reader.read_exact(&mut block)?;
    Ok(block)
}

fn decode_hex(field: &'static str, text: &str) -> Result<Vec<u8>, VerifyTree> {
    hex::decode(text).ok().ok_or_else(|| VerifyTree::Field { field, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

    const ROOTS_OF_VERITYSETUP: [(u64, &str); 5] = [
        (1, "04c94e489488c1f6e2ab1fae3283ab07b693fe079b723246e8bccf7851d03e7d"),
        (2, "58f6622bf7d313e7bf96503b14b4ae20b70fb21e22b1b6bbfc28b3d76ca414f2"),
        (128, "5846e84a69bb753d87366c1598a7e1ee089df0a35012c68b8214388306f9ceb8"),
        (129, "fca13bff29b02736c3fd53d95bc3c260c7dedd2412fbf2eaad5d9c9090ee26c3"),
        (16385, "0df54bbc5bf244eb41a8eeebd215e16f46984f9f3c8ca31cc2c1137582dd79d5"),
    ];

    /// Blocks that all differ.
    fn data(blocks: u64) -> Vec<u8> {
        (0..blocks).flat_map(|block| block.to_le_bytes().repeat(BLOCK / 8)).collect()
    }

    fn tree_over(data: &[u8]) -> (Tree, Root) {
        let data_bytes = data.len() as u64;
        let tree = build(&mut { data }, data_bytes, &SALT, [7; 16]).unwrap();
        let root = Root {
            data_bytes,
            hash_offset_bytes: data_bytes,
            root_hash: hex::encode(tree.root_hash),
            salt: hex::encode(SALT),
        };
        (tree, root)
    }

    fn check(data: &[u8], tree: &[u8], root: &Root) -> Result<(), String> {
        verify(&mut { data }, &mut { tree }, root).map_err(|error| error.to_string())
    }

    #[test]
    fn roots_are_those_of_veritysetup() {
        // veritysetup format --salt deadbeef over the same data.
        for (blocks, expected) in ROOTS_OF_VERITYSETUP {
            let (tree, root) = tree_over(&data(blocks));
            assert_eq!(root.root_hash, expected, "{blocks} blocks");
            assert_eq!(tree.bytes.len() as u64, tree_bytes(blocks * BLOCK_BYTES));
        }
    }

    #[test]
    fn every_level_is_checked() {
        let data = data(129 * 128);
        let (tree, root) = tree_over(&data);
        assert_eq!(check(&data, &tree.bytes, &root), Ok(()));
        // Superblock, one topmost block, two in the middle, 129 over the data.
        assert_eq!(tree.bytes.len(), (1 + 1 + 2 + 129) * BLOCK);
        for (block, expected) in [
            (0, "its superblock differs"),
            (1, "the root hash is"),
            (2, "hash block 1 is damaged"),
            (3, "hash block 2 is damaged"),
            (4, "hash block 3 is damaged"),
            (132, "hash block 131 is damaged"),
        ] {
            let mut damaged = tree.bytes.clone();
            damaged[block * BLOCK + 40] ^= 1;
            let problem = check(&data, &damaged, &root).unwrap_err();
            assert!(problem.contains(expected), "block {block}: {problem}");
        }
        for block in [0, 1, 127, 128, 129 * 128 - 1] {
            let mut damaged = data.clone();
            damaged[block * BLOCK + 4095] ^= 0x80;
            let problem = check(&damaged, &tree.bytes, &root).unwrap_err();
            assert!(
                problem.starts_with(&format!("check verity data: block {block} ")),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let data = data(3);
        let (tree, root) = tree_over(&data);
        let other = |change: fn(&mut Root)| {
            let mut root = root.clone();
            change(&mut root);
            check(&data, &tree.bytes, &root).unwrap_err()
        };
        assert!(other(|root| root.salt = "00".to_owned()).contains("its superblock differs"));
        assert!(other(|root| root.salt = "0g".to_owned()).contains("salt \"0g\" is not hex"));
        assert!(other(|root| root.root_hash = "00".to_owned()).contains("root hash \"00\""));
        assert!(other(|root| root.root_hash = "00".repeat(32)).contains("the root hash is"));
        assert!(other(|root| root.data_bytes = 8192).contains("its superblock differs"));
        assert_eq!(other(|root| root.data_bytes = 8193), "rebuild the verity tree");
        assert_eq!(check(&data, &tree.bytes[..BLOCK], &root).unwrap_err(), "read the verity tree");
        let long = build(&mut data.as_slice(), 4096, &[0; 257], [0; 16]).unwrap_err();
        assert!(matches!(long, BuildTree::Salt { found: 257 }), "{long}");
        let empty = build(&mut data.as_slice(), 0, &[], [0; 16]).unwrap_err();
        assert!(matches!(empty, BuildTree::Size { found: 0 }), "{empty}");
    }

    #[test]
    fn the_table_line_points_behind_the_superblock() {
        let (_, root) = tree_over(&data(2));
        let line = table_line("/dev/vda3", &root);
        let hash = &root.root_hash;
        let expected = format!("1 /dev/vda3 /dev/vda3 4096 4096 2 3 sha256 {hash} deadbeef");
        assert_eq!(line, expected);
        let unsalted = Root { salt: String::new(), ..root };
        assert!(table_line("8:3", &unsalted).ends_with(" -"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_flipped_bit_passes(blocks in 1u64..300, at in any::<prop::sample::Index>()) {
            let data = data(blocks);
            let (tree, root) = tree_over(&data);
            prop_assert_eq!(check(&data, &tree.bytes, &root), Ok(()));
            let mut damaged = [data.clone(), tree.bytes].concat();
            let at = at.index(damaged.len());
            damaged[at] ^= 1;
            let uuid = data.len() + UUID_OFFSET..data.len() + UUID_OFFSET + 16;
            let (data, tree) = damaged.split_at(data.len());
            // The UUID means nothing to verity.
            prop_assert_eq!(check(data, tree, &root).is_ok(), uuid.contains(&at));
        }
    }
}
