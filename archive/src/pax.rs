//! PAX headers: records of `LENGTH KEY=VALUE\n`.

use super::entry::Extent;
use super::problem::{TarProblem, refused};

/// Prefix of extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What a PAX header says about the next entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pax {
    /// Its path.
    pub path: Option<Vec<u8>>,
    /// Its link target.
    pub link: Option<Vec<u8>>,
    /// Bytes of data behind its header, whatever that says.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u64>,
    /// Group.
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// GNU's sparse files.
    pub sparse: PaxSparse,
}

/// What a PAX header says about holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaxSparse {
    /// Version, `1` where the data begin with the map.
    pub major: Option<u64>,
    /// The file's real name.
    pub name: Option<Vec<u8>>,
    /// Size with holes.
    pub size: Option<u64>,
    /// The map, where the header has it.
    pub extents: Vec<Extent>,
    /// Half an extent, of version 0.0.
    offset: Option<u64>,
}

/// Reads a header.
///
/// # Errors
/// Something in it is not what the format says.
pub fn read(mut bytes: &[u8]) -> Result<Pax, TarProblem> {
    let mut pax = Pax::default();
    while let Some((key, value, rest)) = record(bytes)? {
        pax.take(key, value)?;
        bytes = rest;
    }
    Ok(pax)
}

/// Checks a header about all following entries, which is otherwise not regarded, as container tools do. Others do
/// regard it, so it must not say anything that counts.
///
/// # Errors
/// It does.
pub fn check_global(mut bytes: &[u8]) -> Result<(), TarProblem> {
    while let Some((key, _, rest)) = record(bytes)? {
        if matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
            || key.starts_with(XATTR)
            || key.starts_with(b"GNU.sparse.")
        {
            return Err(refused("a global header would change all entries after it"));
        }
        bytes = rest;
    }
    Ok(())
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(bytes: &[u8]) -> Result<Option<Record<'_>>, TarProblem> {
    let wrong = || refused("a PAX record is not one");
    // Some writers fill the header up with NULs.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let length = decimal(bytes.get(..space).unwrap_or_default()).ok_or_else(wrong)?;
    let length = usize::try_from(length).map_err(|_large| wrong())?;
    let (record, rest) = bytes.split_at_checked(length).ok_or_else(wrong)?;
    let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n"));
    let record = record.ok_or_else(wrong)?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
    let (key, value) = record.split_at_checked(equals).ok_or_else(wrong)?;
    Ok(Some((key, value.get(1..).unwrap_or_default(), rest)))
}

impl Pax {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarProblem> {
        let number = || decimal(value).ok_or(refused("a number in a PAX header is none"));
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = Some(name(value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(number()?),
            b"GNU.sparse.offset" => self.sparse.offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take();
                let offset = offset.ok_or(refused("a sparse file's map has no offset"))?;
                self.sparse.extents.push(Extent { offset, bytes: number()? });
            }
            b"GNU.sparse.map" => self.sparse.extents = map(value)?,
            key => {
                if let Some(attribute) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name(attribute)?, value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A name goes to the kernel, to which a NUL is the end of it.
fn name(value: &[u8]) -> Result<Vec<u8>, TarProblem> {
    if value.contains(&0) {
        return Err(refused("a name in a PAX header holds a NUL"));
    }
    Ok(value.to_vec())
}

fn map(value: &[u8]) -> Result<Vec<Extent>, TarProblem> {
    let wrong = || refused("a sparse file's map is none");
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers.ok_or_else(wrong)?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    Ok(pairs.iter().map(|[offset, bytes]| Extent { offset: *offset, bytes: *bytes }).collect())
}

/// Digits alone.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds with a fraction, also before the epoch.
fn time(value: &[u8]) -> Result<(i64, i64), TarProblem> {
    let wrong = || refused("a time in a PAX header is none");
    let (negative, text) = match value.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, value),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = decimal(parts.next().unwrap_or_default()).ok_or_else(wrong)?;
    let seconds = i64::try_from(seconds).map_err(|_large| wrong())?;
    let mut nanoseconds = 0_i64;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    for at in 0..9 {
        let digit = fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    Ok(match (negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let pax = read(b"12 path=a/b\n15 size=12345\n20 mtime=-1.25\0\0").unwrap_err();
        assert!(pax.to_string().contains("record"), "{pax}");
        let pax = read(b"12 path=a/b\n13 size=1234\n15 mtime=-1.25\n\0\0\0").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!((pax.size, pax.mtime), (Some(1234), Some((-2, 750_000_000))));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &b"999 path=a\n"[..],
            b"3 path=a\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"99999999999999999999999 path=a\n",
            b"11 path=a\n",
            b"9 path=a\n\n",
            b"-9 path=a\n",
        ] {
            assert!(read(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(read(b"10 path=a\0\n").is_err() && read(b"9 size=-1\n").is_err());
        assert!(check_global(b"9 size=10\n").is_err());
        check_global(b"13 comment=a\n").unwrap();
    }
}
