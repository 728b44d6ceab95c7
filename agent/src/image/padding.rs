//! Completes a tar's last block. `umoci insert` and others end a layer right after its last file's data; Go's tar
//! reader, and so every other container tool, reads such layers, hence we do.

use std::io::{self, Read};

const BLOCK_BYTES: u64 = 512;

/// A tar whose length, as read from here, is a whole number of blocks: zeros fill the last one.
#[derive(Debug)]
pub struct Padded<R> {
    inner: R,
    read_bytes: u64,
}

impl<R: Read> Padded<R> {
    /// Completes `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, read_bytes: 0 }
    }
}

impl<R: Read> Read for Padded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = self.inner.read(buffer)?;
        if count == 0 {
            let missing = self.read_bytes.next_multiple_of(BLOCK_BYTES) - self.read_bytes;
            let room = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
            buffer.iter_mut().take(room).for_each(|byte| *byte = 0);
            count = room;
        }
        self.read_bytes += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_block_is_completed() {
        for (length, expected) in [(0, 0), (1, 512), (511, 512), (512, 512), (700, 1024)] {
            let mut padded = Padded::new(io::repeat(7).take(length));
            let mut read = Vec::new();
            padded.read_to_end(&mut read).unwrap();
            assert_eq!(read.len(), expected, "{length} bytes");
            let kept = usize::try_from(length).unwrap();
            assert!(read[..kept].iter().all(|byte| *byte == 7));
            assert!(read[kept..].iter().all(|byte| *byte == 0));
        }
    }
}
