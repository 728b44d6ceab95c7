//! Where the data of a file with holes go.

use super::entry::Extent;
use super::header::{BLOCK_BYTES, Header, number};
use super::pax::decimal;
use super::problem::{TarProblem, refused};

/// Most stretches of one file.
pub(super) const EXTENTS_MAX: usize = 100_000;
/// Most digits of a number in a map: those of the largest one, and some zeros.
const DIGITS_MAX: usize = 32;
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

/// The map of version 1.0, as far as it was read: decimal numbers, each on a line, the count first. Fed block by block, so
/// that a long one costs its length once.
#[derive(Debug, Default)]
pub(super) struct TextMap {
    line: Vec<u8>,
    /// Extents that the map will have.
    count: Option<u64>,
    offset: Option<u64>,
    extents: Vec<Extent>,
}

impl TextMap {
    /// Takes a block; says whether the map ends in it. What stands behind its end there is padding.
    pub(super) fn feed(&mut self, block: &[u8]) -> Result<bool, TarProblem> {
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(end) => self.line.extend_from_slice(end),
                None => self.line.extend_from_slice(line),
            }
            if self.line.len() > DIGITS_MAX {
                return Err(refused("a sparse file's map is none"));
            }
            if line.ends_with(b"\n") && self.number()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn number(&mut self) -> Result<bool, TarProblem> {
        let number = decimal(&self.line).ok_or(refused("a sparse file's map is none"))?;
        self.line.clear();
        match (self.count, self.offset.take()) {
            (None, _) if number > EXTENTS_MAX as u64 => {
                return Err(refused("a sparse file is in too many pieces"));
            }
            (None, _) => self.count = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(_), Some(offset)) => self.extents.push(Extent { offset, bytes: number }),
        }
        Ok(self.count == Some(self.extents.len() as u64))
    }

    /// What was read.
    pub(super) fn into_extents(self) -> Vec<Extent> {
        self.extents
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_however_it_is_cut() {
        let text = b"2\n0\n5\n100\n7\n\0\0\0";
        let expected = [Extent { offset: 0, bytes: 5 }, Extent { offset: 100, bytes: 7 }];
        for cut in 1..text.len() {
            let mut map = TextMap::default();
            let ended = text.chunks(cut).any(|piece| map.feed(piece).unwrap());
            assert!(ended, "cut at {cut}");
            assert_eq!(map.into_extents(), expected, "cut at {cut}");
        }
        let mut none = TextMap::default();
        assert!(none.feed(b"0\n").unwrap());
    }

    #[test]
    fn a_map_that_is_none_is_refused_early() {
        for text in [&b"x\n"[..], b"\n", b"-1\n", b"100001\n", &[b'0'; 33]] {
            assert!(TextMap::default().feed(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
