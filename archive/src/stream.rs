//! Entries of a stream, one after the other, their data straight from the reader's buffer.

use std::io::BufRead;

use super::entry::Entry;
use super::header::{BLOCK_BYTES, Header, Kind, until_nul};
use super::pax::{self, Pax};
use super::problem::{TarProblem, refused};
use super::sparse::{self, TextMap};

/// Largest extension: a name, or all attributes of one entry.
const EXTENSION_MAX_BYTES: u64 = 1 << 20;
/// Most extensions of one entry.
const EXTENSIONS_MAX: usize = 16;

/// A tar being read.
#[derive(Debug)]
pub struct Tar<R> {
    reader: R,
    /// Bytes of the current entry's data that were not read yet.
    data_left: u64,
    /// Zeros behind them.
    padding: u64,
    ended: bool,
}

/// Names that stand before the entry that they are for.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> Tar<R> {
    /// Reads `reader`.
    pub const fn new(reader: R) -> Self {
        Self { reader, data_left: 0, padding: 0, ended: false }
    }

    /// The next entry; what was not read of the last one is skipped. `None` at the end.
    ///
    /// # Errors
    /// The stream is no tar.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarProblem> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS_MAX {
            let Some(block) = self.header_block()? else {
                let pending = extensions.name.is_some()
                    || extensions.link.is_some()
                    || extensions.pax.is_some();
                return if pending { Err(TarProblem::Truncated) } else { Ok(None) };
            };
            let Some(header) = Header::read(&block)? else {
                return Err(refused("a block of zeros stands between entries"));
            };
            match header.kind()? {
                Kind::GnuLongName => {
                    let bytes = self.extension(&header)?;
                    extensions.name = Some(until_nul(&bytes).to_vec());
                }
                Kind::GnuLongLink => {
                    let bytes = self.extension(&header)?;
                    extensions.link = Some(until_nul(&bytes).to_vec());
                }
                Kind::Pax => extensions.pax = Some(pax::read(&self.extension(&header)?)?),
                Kind::PaxGlobal => pax::check_global(&self.extension(&header)?)?,
                kind => return self.entry(&header, kind, extensions).map(Some),
            }
        }
        Err(refused("an entry has too many extensions"))
    }

    /// Gives the current entry's data to `take`, in pieces as they come.
    ///
    /// # Errors
    /// The stream ends early, or `take` fails.
    pub fn data<E: From<TarProblem>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.data_left > 0 {
            let buffer = self.reader.fill_buf().map_err(TarProblem::Read)?;
            let room = usize::try_from(self.data_left).unwrap_or(usize::MAX);
            let piece = buffer.get(..room.min(buffer.len())).unwrap_or_default();
            if piece.is_empty() {
                return Err(TarProblem::Truncated.into());
            }
            take(piece)?;
            let count = piece.len();
            self.reader.consume(count);
            self.data_left = self.data_left.saturating_sub(count as u64);
        }
        Ok(())
    }

    /// Bytes of the current entry's data that were not read yet.
    #[must_use]
    pub const fn data_left(&self) -> u64 {
        self.data_left
    }

    /// Reads what stands behind the end, which says nothing but counts for the digest.
    ///
    /// # Errors
    /// The reader's.
    pub fn drain(&mut self) -> Result<(), TarProblem> {
        loop {
            let count = self.reader.fill_buf().map_err(TarProblem::Read)?.len();
            if count == 0 {
                return Ok(());
            }
            self.reader.consume(count);
        }
    }

    fn skip_data(&mut self) -> Result<(), TarProblem> {
        self.data(|_| Ok::<(), TarProblem>(()))?;
        // `umoci insert` and others end a layer right after its last file's data.
        while self.padding > 0 {
            let count = self.reader.fill_buf().map_err(TarProblem::Read)?.len();
            if count == 0 {
                self.ended = true;
                self.padding = 0;
            }
            let count = count.min(usize::try_from(self.padding).unwrap_or(usize::MAX));
            self.reader.consume(count);
            self.padding = self.padding.saturating_sub(count as u64);
        }
        Ok(())
    }

    /// The next block that is not the end's.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, TarProblem> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        self.ended = true;
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(refused("a block of zeros stands between entries"))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// A whole block; `None` where nothing is left.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, TarProblem> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let buffer = self.reader.fill_buf().map_err(TarProblem::Read)?;
            let count = buffer.len().min(BLOCK_BYTES - filled);
            if count == 0 {
                return if filled == 0 { Ok(None) } else { Err(TarProblem::Truncated) };
            }
            if let (Some(to), Some(from)) =
                (block.get_mut(filled..filled + count), buffer.get(..count))
            {
                to.copy_from_slice(from);
            }
            self.reader.consume(count);
            filled += count;
        }
        Ok(Some(block))
    }

    /// The data of an extension: its own header alone says how long it is.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarProblem> {
        let size = header.size()?;
        if size > EXTENSION_MAX_BYTES {
            return Err(refused("an entry's extension is too large"));
        }
        self.begin_data(size);
        let mut bytes = Vec::new();
        self.data(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), TarProblem>(())
        })?;
        self.skip_data()?;
        Ok(bytes)
    }

    const fn begin_data(&mut self, size: u64) {
        self.data_left = size;
        let over = size % BLOCK_BYTES as u64;
        self.padding = if over == 0 { 0 } else { BLOCK_BYTES as u64 - over };
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        kind: Kind,
        extensions: Extensions,
    ) -> Result<Entry, TarProblem> {
        let pax = extensions.pax.unwrap_or_default();
        // A PAX header's size counts, for the data as for everything: readers that disagree about it can be shown
        // different archives.
        let data_bytes = pax.size.map_or_else(|| header.size(), Ok)?;
        let (uid, gid) = header.owner()?;
        let mtime = pax.mtime.map_or_else(|| Ok((header.mtime()?, 0)), Ok)?;
        let mut entry = Entry {
            path: pax.path.or(extensions.name).unwrap_or_else(|| header.path()),
            link: pax.link.or(extensions.link).unwrap_or_else(|| header.link()),
            kind,
            mode: header.mode()?,
            uid: pax.uid.unwrap_or(uid),
            gid: pax.gid.unwrap_or(gid),
            mtime_s: mtime.0,
            mtime_ns: mtime.1,
            size: data_bytes,
            // Old archives have anything in these fields of what is no device.
            device: match kind {
                Kind::Char | Kind::Block => header.device()?,
                _ => (0, 0),
            },
            extents: None,
            xattrs: pax.xattrs,
        };
        if entry.path.ends_with(b"/") {
            match kind {
                // Before ustar, a folder was a file whose name ends with a slash.
                Kind::File if data_bytes == 0 => entry.kind = Kind::Folder,
                Kind::Folder => {}
                _ => {
                    return Err(refused(
                        "the name of an entry that is no folder ends with a slash",
                    ));
                }
            }
        }
        match kind {
            Kind::GnuSparse => self.gnu_sparse(header, &mut entry, data_bytes)?,
            Kind::File => {
                self.begin_data(data_bytes);
                self.pax_sparse(&mut entry, pax.sparse, data_bytes)?;
            }
            _ if data_bytes != 0 => {
                return Err(refused("an entry that is no file has data"));
            }
            _ => {}
        }
        Ok(entry)
    }

    fn gnu_sparse(
        &mut self,
        header: &Header<'_>,
        entry: &mut Entry,
        data_bytes: u64,
    ) -> Result<(), TarProblem> {
        let (mut extents, mut more, size) = sparse::gnu_header(header)?;
        while more {
            let block = self.block()?.ok_or(TarProblem::Truncated)?;
            more = sparse::gnu_block(&block, &mut extents)?;
        }
        sparse::check(&extents, size, data_bytes)?;
        self.begin_data(data_bytes);
        entry.kind = Kind::File;
        entry.size = size;
        entry.extents = Some(extents);
        Ok(())
    }

    fn pax_sparse(
        &mut self,
        entry: &mut Entry,
        pax: pax::PaxSparse,
        data_bytes: u64,
    ) -> Result<(), TarProblem> {
        let Some(size) = pax.size else { return Ok(()) };
        if let Some(name) = pax.name {
            entry.path = name;
        }
        let mut extents = pax.extents;
        if pax.major == Some(1) {
            let mut map = TextMap::default();
            loop {
                if self.data_left < BLOCK_BYTES as u64 {
                    return Err(refused("a sparse file's map is none"));
                }
                let block = self.block()?.ok_or(TarProblem::Truncated)?;
                self.data_left = self.data_left.saturating_sub(BLOCK_BYTES as u64);
                if map.feed(&block)? {
                    break;
                }
            }
            extents = map.into_extents();
        }
        if extents.len() > sparse::EXTENTS_MAX {
            return Err(refused("a sparse file is in too many pieces"));
        }
        let left = if pax.major == Some(1) { self.data_left } else { data_bytes };
        sparse::check(&extents, size, left)?;
        entry.size = size;
        entry.extents = Some(extents);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::*;

    /// A header that says 64 GiB, and bytes without an end; it counts what is read of it.
    struct Endless<'a> {
        header: io::Cursor<[u8; BLOCK_BYTES]>,
        read: &'a mut u64,
    }

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut count = self.header.read(buffer)?;
            if count == 0 {
                buffer.fill(b'a');
                count = buffer.len();
            }
            *self.read += count as u64;
            Ok(count)
        }
    }

    #[test]
    fn a_header_block_of_64_gib_is_not_read() {
        for kind in [b'L', b'K', b'x', b'g'] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(64 << 30);
            header.set_cksum();
            let mut read = 0;
            let header = io::Cursor::new(*header.as_bytes());
            let mut tar = Tar::new(BufReader::new(Endless { header, read: &mut read }));
            let error = tar.next_entry().unwrap_err().to_string();
            assert!(error.contains("too large"), "{error}");
            drop(tar);
            assert!(read < EXTENSION_MAX_BYTES, "{read} bytes were read");
        }
    }
}
