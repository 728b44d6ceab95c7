//! Copying between sparse files: holes stay holes, blocks of zeros become holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes of a block that is left out when it is zero: a page, and a block of every file system here.
const BLOCK: usize = 4096;
/// Bytes read at a time; a multiple of [`BLOCK`].
const CHUNK: usize = 1024 * 1024;

/// Copies all of `source` into `target` at `offset_bytes`. The target must be zero there: what is zero in
/// the source is not written.
pub(super) fn copy(source: &File, target: &File, offset_bytes: u64) -> io::Result<()> {
    let size_bytes = source.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    let mut position = 0;
    while let Some((start, end)) = next_data(source, position, size_bytes)? {
        position = start;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(CHUNK).min(CHUNK);
            let bytes = chunk.get_mut(..wanted).unwrap_or_default();
            source.read_exact_at(bytes, position)?;
            write_data(target, bytes, offset_bytes + position)?;
            position += u64::try_from(wanted).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// The next stretch of a file that is not a hole, from `position` on.
fn next_data(file: &File, position: u64, size_bytes: u64) -> io::Result<Option<(u64, u64)>> {
    if position >= size_bytes {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((position, size_bytes))),
        Err(errno) => return Err(errno.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(size_bytes))))
}

/// Writes what is not zero, neighbouring blocks in one go.
fn write_data(target: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
    let mut offset_bytes = offset_bytes;
    for run in
        bytes.chunks(BLOCK).collect::<Vec<_>>().chunk_by(|one, next| is_zero(one) == is_zero(next))
    {
        let run = run.concat();
        if !is_zero(&run) {
            target.write_all_at(&run, offset_bytes)?;
        }
        offset_bytes += u64::try_from(run.len()).map_err(io::Error::other)?;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
