//! Entries as they are written: GNU's headers, which every reader knows. See [`crate::header`] for the fields.

use std::io::{self, Write};

use super::entry::Extent;
use super::header::BLOCK_BYTES;

/// Room for a name, or for a link's target, in a header.
const NAME_BYTES: usize = 100;
/// Extents in the header itself.
const OWN_EXTENTS: usize = 4;
/// Extents of a block that only holds extents.
const BLOCK_EXTENTS: usize = 21;
/// Where a header's extents are, and where those of a block that only holds extents say that more follow.
const EXTENTS_AT: usize = 386;
const MORE_AT: usize = 504;
/// Bytes of a number in an extent.
const NUMBER_BYTES: usize = 12;
/// What an entry that is only a name for the next one is called.
const LONG_NAME: &[u8] = b"././@LongLink";

/// An entry.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) path: &'a [u8],
    /// Target of a link.
    pub(super) link: &'a [u8],
    /// The type's byte.
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_s: i64,
    /// Bytes that follow.
    pub(super) data_bytes: u64,
    /// Of a file with holes: where its data go, and its size with holes.
    pub(super) holes: Option<(&'a [Extent], u64)>,
}

impl Record<'_> {
    /// Writes all that stands before the data.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (text, kind) in [(self.path, b'L'), (self.link, b'K')] {
            if text.len() >= NAME_BYTES {
                long(text, kind, out)?;
            }
        }
        let mut block = self.block();
        let mut rest: &[Extent] = &[];
        if let Some((extents, size)) = self.holes {
            let own;
            (own, rest) = extents.split_at_checked(OWN_EXTENTS).unwrap_or((extents, &[]));
            put_extents(&mut block, EXTENTS_AT, own);
            put(&mut block, 482, &[u8::from(!rest.is_empty())]);
            put(&mut block, 483, &number(size));
        }
        out.write_all(&summed(block))?;
        while !rest.is_empty() {
            let now;
            (now, rest) = rest.split_at_checked(BLOCK_EXTENTS).unwrap_or((rest, &[]));
            let mut block = [0; BLOCK_BYTES];
            put_extents(&mut block, 0, now);
            put(&mut block, MORE_AT, &[u8::from(!rest.is_empty())]);
            out.write_all(&block)?;
        }
        Ok(())
    }

    fn block(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, 0, self.path.get(..NAME_BYTES).unwrap_or(self.path));
        put(&mut block, 100, &octal(self.mode));
        put(&mut block, 108, &owner(self.uid));
        put(&mut block, 116, &owner(self.gid));
        put(&mut block, 124, &number(self.data_bytes));
        put(&mut block, 136, &time(self.mtime_s));
        put(&mut block, 156, &[self.kind]);
        put(&mut block, 157, self.link.get(..NAME_BYTES).unwrap_or(self.link));
        put(&mut block, 257, b"ustar  \0");
        block
    }
}

/// Fills up the last block of so many bytes of data.
pub(super) fn pad(out: &mut impl Write, data_bytes: u64) -> io::Result<()> {
    let over = usize::try_from(data_bytes % BLOCK_BYTES as u64).unwrap_or_default();
    let zeros = [0; BLOCK_BYTES];
    out.write_all(if over == 0 { &[] } else { zeros.get(over..).unwrap_or_default() })
}

/// The end of an archive.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])?;
    out.flush()
}

/// An entry whose data is the name of the next one, or the target of its link.
fn long(text: &[u8], kind: u8, out: &mut impl Write) -> io::Result<()> {
    let data_bytes = text.len() as u64 + 1;
    let record = Record {
        path: LONG_NAME,
        link: b"",
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime_s: 0,
        data_bytes,
        holes: None,
    };
    out.write_all(&summed(record.block()))?;
    out.write_all(text)?;
    out.write_all(&[0])?;
    pad(out, data_bytes)
}

fn put(block: &mut [u8; BLOCK_BYTES], at: usize, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn put_extents(block: &mut [u8; BLOCK_BYTES], at: usize, extents: &[Extent]) {
    for (index, extent) in extents.iter().enumerate() {
        let at = at + index * 2 * NUMBER_BYTES;
        put(block, at, &number(extent.offset));
        put(block, at + NUMBER_BYTES, &number(extent.bytes));
    }
}

/// The block with its checksum, for which its own field is blanks.
fn summed(mut block: [u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
    put(&mut block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// What fits into seven digits, and no more: a mode.
fn octal(value: u32) -> [u8; 8] {
    let mut field = [0; 8];
    field.iter_mut().zip(format!("{:07o}", value & 0o7_777_777).bytes()).for_each(set);
    field
}

/// In digits where they suffice, and else in base 256.
fn owner(value: u32) -> [u8; 8] {
    if value <= 0o7_777_777 {
        return octal(value);
    }
    let [a, b, c, d] = value.to_be_bytes();
    [0x80, 0, 0, 0, a, b, c, d]
}

/// In digits where they suffice, and else in base 256.
fn number(value: u64) -> [u8; NUMBER_BYTES] {
    let mut field = [0; NUMBER_BYTES];
    if value < 1 << 33 {
        field.iter_mut().zip(format!("{value:011o}").bytes()).for_each(set);
    } else {
        field.iter_mut().zip([0x80, 0, 0, 0].into_iter().chain(value.to_be_bytes())).for_each(set);
    }
    field
}

fn set((to, from): (&mut u8, u8)) {
    *to = from;
}

/// As [`number`]; before the epoch in base 256, in two's complement.
fn time(seconds: i64) -> [u8; NUMBER_BYTES] {
    u64::try_from(seconds).map_or_else(
        |_before| {
            let mut field = [0xff; NUMBER_BYTES];
            field.iter_mut().skip(4).zip(seconds.to_be_bytes()).for_each(set);
            field
        },
        number,
    )
}
