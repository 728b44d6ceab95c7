//! Copies of files that take no more of a disk than what is copied: where a file has a hole, its copy has one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use rustix::fs::SeekFrom as Look;
use rustix::io::Errno;

/// Copies what `from` holds into `to`, which is new and empty.
///
/// # Errors
/// `to` then holds a part of it.
pub fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    let mut offset = 0;
    while let Some((data, end)) = next_piece(from, offset, size)? {
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut from.take(end.saturating_sub(data)), &mut to)?;
        offset = end;
    }
    to.set_len(size)
}

/// Where the next data begin and end, from `offset` on.
fn next_piece(file: &File, offset: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let data = match rustix::fs::seek(file, Look::Data(offset)) {
        Ok(data) if data < size => data,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // A file system that does not know is asked for all.
        Err(Errno::INVAL) => return Ok(Some((offset, size))),
        Err(errno) => return Err(errno.into()),
    };
    let end = rustix::fs::seek(file, Look::Hole(data))?.min(size);
    Ok(Some((data, end)).filter(|_| end > data))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_hole_stays_a_hole_wherever_it_is() {
        const MIB: u64 = 1 << 20;
        let data = [7_u8; 4096];
        let cases: [(u64, &[u64]); 6] = [
            (0, &[]),
            (5, &[]),
            (64 * MIB, &[]),
            (64 * MIB, &[0]),
            (64 * MIB + 5, &[8 * MIB, 9 * MIB, 63 * MIB]),
            (64 * MIB, &[64 * MIB - 4096]),
        ];
        for (size, places) in cases {
            let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            from.set_len(size).unwrap();
            for place in places {
                from.write_all_at(&data, *place).unwrap();
            }
            copy(&from, &to).unwrap();
            let copied = to.metadata().unwrap();
            assert_eq!(copied.len(), size);
            assert!(copied.blocks() * 512 < MIB, "{size} {places:?}: {} blocks", copied.blocks());
            for place in places {
                let mut found = [0; 4096];
                to.read_exact_at(&mut found, *place).unwrap();
                assert_eq!(found, data, "{size} at {place}");
            }
        }
    }
}
