//! Where the data of a file with holes go.

use super::header::{Header, number};
use super::pax::decimal;
use super::{BLOCK_BYTES, Extent, TarProblem, refused};

/// Most stretches of one file.
pub(super) const EXTENTS_MAX: usize = 100_000;
/// Bytes of an extent in GNU's old headers: offset and length.
const GNU_EXTENT_BYTES: usize = 24;
/// Extents of a block that only holds extents.
const GNU_BLOCK_BYTES: usize = 21 * GNU_EXTENT_BYTES;

/// Reads extents of GNU's old headers up to the first unused one.
pub(super) fn gnu_extents(bytes: &[u8], extents: &mut Vec<Extent>) -> Result<(), TarProblem> {
    for pair in bytes.chunks_exact(GNU_EXTENT_BYTES) {
        let (offset, length) = pair.split_at_checked(12).unwrap_or_default();
        if length.first().is_none_or(|byte| *byte == 0) {
            break;
        }
        match (number(offset), number(length)) {
            (Some(offset), Some(bytes)) => extents.push(Extent { offset, bytes }),
            _ => return Err(refused("a sparse file's map is none")),
        }
    }
    if extents.len() > EXTENTS_MAX {
        return Err(refused("a sparse file is in too many pieces"));
    }
    Ok(())
}

/// Extents in the header itself, whether more follow, and the size with holes.
pub(super) fn gnu_header(header: &Header<'_>) -> Result<(Vec<Extent>, bool, u64), TarProblem> {
    let (bytes, more, size) = header.sparse();
    let mut extents = Vec::new();
    gnu_extents(bytes, &mut extents)?;
    Ok((extents, more, size.ok_or(refused("a sparse file's size is not a number"))?))
}

/// A block that only holds extents; says whether another follows.
pub(super) fn gnu_block(
    block: &[u8; BLOCK_BYTES],
    extents: &mut Vec<Extent>,
) -> Result<bool, TarProblem> {
    gnu_extents(block.get(..GNU_BLOCK_BYTES).unwrap_or_default(), extents)?;
    Ok(block.get(GNU_BLOCK_BYTES).is_some_and(|byte| *byte != 0))
}

/// The map of version 1.0: decimal numbers, each on a line, the count first. `None` where it goes on.
pub(super) fn text_map(text: &[u8]) -> Result<Option<Vec<Extent>>, TarProblem> {
    let wrong = || refused("a sparse file's map is none");
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let mut next = || -> Result<Option<u64>, TarProblem> {
        match lines.next().and_then(|line| line.strip_suffix(b"\n")) {
            Some(line) => decimal(line).map(Some).ok_or_else(wrong),
            None => Ok(None),
        }
    };
    let Some(count) = next()? else { return Ok(None) };
    if count > EXTENTS_MAX as u64 {
        return Err(refused("a sparse file is in too many pieces"));
    }
    let mut extents = Vec::new();
    for _ in 0..count {
        let Some(offset) = next()? else { return Ok(None) };
        let Some(bytes) = next()? else { return Ok(None) };
        extents.push(Extent { offset, bytes });
    }
    Ok(Some(extents))
}

/// In order, apart, within the file, and as long as the data.
pub(super) fn check(extents: &[Extent], size: u64, data_bytes: u64) -> Result<(), TarProblem> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for extent in extents {
        let extent_end = extent.offset.checked_add(extent.bytes);
        let extent_end = extent_end.ok_or(refused("a sparse file's map is none"))?;
        if extent.offset < end || extent_end > size {
            return Err(refused("a sparse file's pieces overlap or lie behind its end"));
        }
        end = extent_end;
        sum = sum.saturating_add(extent.bytes);
    }
    if sum == data_bytes {
        Ok(())
    } else {
        Err(refused("a sparse file's map does not fit its data"))
    }
}
