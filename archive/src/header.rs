//! One header block.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 100 | name |
//! | 100 | 8 | mode |
//! | 108, 116 | 8 | uid, gid |
//! | 124 | 12 | size |
//! | 136 | 12 | mtime |
//! | 148 | 8 | checksum |
//! | 156 | 1 | type |
//! | 157 | 100 | link name |
//! | 257 | 8 | magic and version |
//! | 329, 337 | 8 | major and minor number of a device |
//! | 345 | 155 | prefix of the name (ustar) |
//! | 386 | 96 | extents of a sparse file (GNU) |
//! | 482 | 1 | more extents follow (GNU) |
//! | 483 | 12 | size with holes (GNU) |
//!
//! Source: POSIX pax, GNU tar's manual.

use super::problem::{TarProblem, refused};

/// Bytes of a block, the unit of everything.
pub const BLOCK_BYTES: usize = 512;

/// Magic and version of ustar.
const USTAR: &[u8] = b"ustar\x0000";
/// Magic and version of GNU tar.
const GNU: &[u8] = b"ustar  \0";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Hard link.
    Link,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Folder.
    Folder,
    /// FIFO.
    Fifo,
    /// Regular file with holes, GNU's old way.
    GnuSparse,
    /// Name of the next entry.
    GnuLongName,
    /// Link target of the next entry.
    GnuLongLink,
    /// PAX header of the next entry.
    Pax,
    /// PAX header of all following entries.
    PaxGlobal,
}

/// A block that is a header.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    block: &'a [u8; BLOCK_BYTES],
}

impl<'a> Header<'a> {
    /// Reads a block; `None` where it is all zeros.
    ///
    /// # Errors
    /// Its checksum is wrong.
    pub fn read(block: &'a [u8; BLOCK_BYTES]) -> Result<Option<Self>, TarProblem> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Self { block };
        let own = octal(header.field(148, 8)).ok_or(refused("a checksum is not a number"))?;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if own == sum { Ok(Some(header)) } else { Err(refused("a header's checksum is wrong")) }
    }

    fn field(&self, at: usize, length: usize) -> &'a [u8] {
        self.block.get(at..at + length).unwrap_or_default()
    }

    fn text(&self, at: usize, length: usize) -> &'a [u8] {
        until_nul(self.field(at, length))
    }

    /// What the entry is.
    ///
    /// # Errors
    /// Nothing that is known.
    pub fn kind(&self) -> Result<Kind, TarProblem> {
        Ok(match self.block.get(156).copied().unwrap_or_default() {
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::Link,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            b'S' => Kind::GnuSparse,
            b'L' => Kind::GnuLongName,
            b'K' => Kind::GnuLongLink,
            b'x' => Kind::Pax,
            b'g' => Kind::PaxGlobal,
            _ => return Err(refused("an entry is of an unknown type")),
        })
    }

    /// Name, with its prefix.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = self.text(345, 155);
        if self.field(257, 8) == USTAR && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    /// Target of a link.
    #[must_use]
    pub fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    /// Mode.
    ///
    /// # Errors
    /// Not a number.
    pub fn mode(&self) -> Result<u32, TarProblem> {
        let mode = number(self.field(100, 8)).ok_or(refused("a mode is not a number"))?;
        Ok(u32::try_from(mode & 0o7777).unwrap_or(0))
    }

    /// Owner and group.
    ///
    /// # Errors
    /// Not numbers.
    pub fn owner(&self) -> Result<(u64, u64), TarProblem> {
        let wrong = || refused("an owner is not a number");
        let uid = number(self.field(108, 8)).ok_or_else(wrong)?;
        Ok((uid, number(self.field(116, 8)).ok_or_else(wrong)?))
    }

    /// Major and minor number of a device.
    ///
    /// # Errors
    /// Not numbers, or larger than a device's can be.
    pub fn device(&self) -> Result<(u32, u32), TarProblem> {
        let read = |at| number(self.field(at, 8)).and_then(|number| u32::try_from(number).ok());
        let wrong = || refused("a device's number is not a number");
        Ok((read(329).ok_or_else(wrong)?, read(337).ok_or_else(wrong)?))
    }

    /// Bytes of data behind the header.
    ///
    /// # Errors
    /// Not a number.
    pub fn size(&self) -> Result<u64, TarProblem> {
        number(self.field(124, 12)).ok_or(refused("a size is not a number"))
    }

    /// Time of the last change.
    ///
    /// # Errors
    /// Not a number.
    pub fn mtime(&self) -> Result<i64, TarProblem> {
        let field = self.field(136, 12);
        // GNU tar writes times before the epoch as negative base-256 numbers.
        if field.first() == Some(&0xff) {
            let low = field.get(4..).unwrap_or_default();
            return Ok(i64::from_be_bytes(low.try_into().unwrap_or_default()));
        }
        let seconds = number(field).ok_or(refused("a time is not a number"))?;
        i64::try_from(seconds).map_err(|_large| refused("a time is not a number"))
    }

    /// Whether the block is GNU tar's own.
    #[must_use]
    pub fn is_gnu(&self) -> bool {
        self.field(257, 8) == GNU
    }

    /// Extents of a sparse file in this block, whether more follow, and the size with holes.
    #[must_use]
    pub fn sparse(&self) -> (&'a [u8], bool, Option<u64>) {
        let more = self.block.get(482).is_some_and(|byte| *byte != 0);
        (self.field(386, 96), more, number(self.field(483, 12)))
    }
}

/// What stands before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An octal number, or a positive one in base 256, whose first bit is set.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            rest.iter().try_fold(u64::from(first & 0x7f), |sum, byte| {
                sum.checked_mul(256)?.checked_add(u64::from(*byte))
            })
        }
        Some(_) | None => octal(field),
    }
}

/// Digits between spaces and NULs; an empty field is 0, as everybody has it.
fn octal(field: &[u8]) -> Option<u64> {
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
