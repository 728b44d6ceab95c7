//! A file system image of which only the blocks that are not zero are kept: the STATE template in the root.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 8 | magic `FERRSPRS` |
//! | 8 | 8 | size of the image in bytes, a multiple of 4096 |
//! | 16 | 4 | number of blocks that follow |
//! | 20 | 12 | zero |
//! | 32 | n × 4104 | 8 bytes: offset in the image; 4096 bytes: the block's content |
//!
//! Numbers are little endian; offsets rise and are multiples of 4096. Whatever is not listed is zero, and whoever
//! writes the image onto a used disk must make it so: file systems rely on it (unused inode tables, journal).

use std::io::{self, BufReader, Read};

/// Bytes of a block.
pub const BLOCK_BYTES: u64 = 4096;

const BLOCK: usize = 4096;
const MAGIC: &[u8; 8] = b"FERRSPRS";
const HEADER_BYTES: usize = 32;
const OFFSET_BYTES: usize = 8;
const RECORD_BYTES: usize = OFFSET_BYTES + BLOCK;
/// Bytes read at a time: large enough that system calls do not count.
const READ_BYTES: usize = 1024 * 1024;

/// An image that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EncodeSparse {
    #[error("read the image at byte {offset_bytes}")]
    Read { offset_bytes: u64, source: io::Error },
    #[error("encode sparse image: {found} bytes are not whole blocks of {BLOCK_BYTES}")]
    Size { found: u64 },
    #[error("encode sparse image: it has too many blocks that are not zero")]
    TooManyBlocks,
}

/// Bytes that are not a sparse image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DecodeSparse {
    #[error("decode sparse image: {found} bytes are too few")]
    Truncated { found: usize },
    #[error("decode sparse image: it has no magic")]
    Magic,
    #[error("decode sparse image: a size of {found} bytes is not made of whole blocks")]
    Size { found: u64 },
    #[error("decode sparse image: {found} bytes follow the last block")]
    Trailing { found: usize },
    #[error("decode sparse image: block at byte {offset_bytes} is out of order or outside")]
    Offset { offset_bytes: u64 },
}

/// A decoded image. It borrows the bytes that it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseImage<'bytes> {
    /// Size of the whole image.
    pub size_bytes: u64,
    /// What is not zero.
    pub blocks: Vec<Block<'bytes>>,
}

/// A block of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'bytes> {
    /// From the start of the image.
    pub offset_bytes: u64,
    /// [`BLOCK_BYTES`] bytes.
    pub bytes: &'bytes [u8],
}

/// Encodes an image of `size_bytes`.
///
/// # Errors
/// The image cannot be read or is not made of whole blocks.
pub fn encode(image: &mut impl Read, size_bytes: u64) -> Result<Vec<u8>, EncodeSparse> {
    if !size_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(EncodeSparse::Size { found: size_bytes });
    }
    let mut reader = BufReader::with_capacity(READ_BYTES, image);
    let mut records = Vec::new();
    let mut count: u32 = 0;
    for block in 0..size_bytes / BLOCK_BYTES {
        let offset_bytes = block * BLOCK_BYTES;
        let mut bytes = [0; BLOCK];
        reader
            .read_exact(&mut bytes)
            .map_err(|source| EncodeSparse::Read { offset_bytes, source })?;
        if bytes != [0; BLOCK] {
            records.extend_from_slice(&offset_bytes.to_le_bytes());
            records.extend_from_slice(&bytes);
            count = count.checked_add(1).ok_or(EncodeSparse::TooManyBlocks)?;
        }
    }
    let mut encoded = Vec::with_capacity(HEADER_BYTES + records.len());
    encoded.extend_from_slice(MAGIC);
    encoded.extend_from_slice(&size_bytes.to_le_bytes());
    encoded.extend_from_slice(&count.to_le_bytes());
    encoded.resize(HEADER_BYTES, 0);
    encoded.extend_from_slice(&records);
    Ok(encoded)
}

/// Decodes an image.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<SparseImage<'_>, DecodeSparse> {
    let truncated = DecodeSparse::Truncated { found: bytes.len() };
    let (header, records) = bytes.split_at_checked(HEADER_BYTES).ok_or(truncated.clone())?;
    let (magic, numbers) = header.split_first_chunk().ok_or(truncated.clone())?;
    let (size, numbers) = numbers.split_first_chunk().ok_or(truncated.clone())?;
    let count = numbers.first_chunk().ok_or(truncated.clone())?;
    if magic != MAGIC {
        return Err(DecodeSparse::Magic);
    }
    let size_bytes = u64::from_le_bytes(*size);
    if !size_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(DecodeSparse::Size { found: size_bytes });
    }
    let count = usize::try_from(u32::from_le_bytes(*count)).unwrap_or(usize::MAX);
    let expected = count.saturating_mul(RECORD_BYTES);
    if records.len() < expected {
        return Err(truncated);
    }
    if records.len() > expected {
        return Err(DecodeSparse::Trailing { found: records.len() - expected });
    }
    let blocks = records
        .as_chunks::<RECORD_BYTES>()
        .0
        .iter()
        .filter_map(|record| record.split_first_chunk())
        .map(|(offset, bytes)| Block { offset_bytes: u64::from_le_bytes(*offset), bytes })
        .collect::<Vec<_>>();
    check_order(&blocks, size_bytes)?;
    Ok(SparseImage { size_bytes, blocks })
}

fn check_order(blocks: &[Block<'_>], size_bytes: u64) -> Result<(), DecodeSparse> {
    let mut next_offset = 0;
    for &Block { offset_bytes, .. } in blocks {
        let fits = offset_bytes >= next_offset
            && offset_bytes < size_bytes
            && offset_bytes.is_multiple_of(BLOCK_BYTES);
        if !fits {
            return Err(DecodeSparse::Offset { offset_bytes });
        }
        next_offset = offset_bytes + BLOCK_BYTES;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(image: &SparseImage<'_>) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(image.size_bytes).unwrap()];
        for block in &image.blocks {
            let start = usize::try_from(block.offset_bytes).unwrap();
            bytes[start..start + block.bytes.len()].copy_from_slice(block.bytes);
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(fill in prop::collection::vec(0u8..3, 0..40)) {
            let image: Vec<u8> = fill.iter().flat_map(|byte| [*byte; BLOCK]).collect();
            let encoded = encode(&mut image.as_slice(), image.len() as u64).unwrap();
            let decoded = decode(&encoded).unwrap();
            prop_assert_eq!(expand(&decoded), image);
            prop_assert_eq!(decoded.blocks.len(), fill.iter().filter(|byte| **byte > 0).count());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..3 * RECORD_BYTES),
            magic in any::<bool>(),
        ) {
            if let Some(start) = bytes.first_chunk_mut().filter(|_| magic) {
                *start = *MAGIC;
            }
            drop(decode(&bytes));
        }
    }

    #[test]
    fn each_failure_has_its_name() {
        let image = [[1; BLOCK], [2; BLOCK]].concat();
        let encoded = encode(&mut image.as_slice(), 8192).unwrap();
        let check = |change: &dyn Fn(&mut Vec<u8>), expected| {
            let mut bytes = encoded.clone();
            change(&mut bytes);
            assert_eq!(decode(&bytes), Err(expected));
        };
        check(&|bytes| bytes.truncate(9), DecodeSparse::Truncated { found: 9 });
        let one_less = encoded.len() - 1;
        check(&|bytes| bytes.truncate(one_less), DecodeSparse::Truncated { found: one_less });
        check(&|bytes| bytes.push(0), DecodeSparse::Trailing { found: 1 });
        check(&|bytes| bytes[0] = b'f', DecodeSparse::Magic);
        check(&|bytes| bytes[8] = 1, DecodeSparse::Size { found: 8193 });
        check(&|bytes| bytes[9] = 0x10, DecodeSparse::Offset { offset_bytes: 4096 });
        check(&|bytes| bytes[HEADER_BYTES] = 1, DecodeSparse::Offset { offset_bytes: 1 });
        let second = HEADER_BYTES + RECORD_BYTES + 1;
        check(&|bytes| bytes[second] = 0, DecodeSparse::Offset { offset_bytes: 0 });
        check(&|bytes| bytes[19] = 255, DecodeSparse::Truncated { found: encoded.len() });
    }

    #[test]
    fn an_image_of_odd_size_or_too_short_is_refused() {
        let encode = |bytes: &[u8], size_bytes| encode(&mut { bytes }, size_bytes).unwrap_err();
        assert!(matches!(encode(&[0; 5000], 5000), EncodeSparse::Size { found: 5000 }));
        let short = encode(&[0; 5000], 8192);
        assert!(matches!(short, EncodeSparse::Read { offset_bytes: 4096, .. }), "{short}");
    }
}
