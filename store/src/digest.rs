//! Names of content: `sha256:` and 64 lower-case hexadecimal digits, nothing else.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use ring::digest::{Context, SHA256};

/// A SHA-256 digest. Its text can be a file name: it holds no separator, whatever a document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text is not a digest that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read digest {text:?}: only sha256 with 64 lower-case hexadecimal digits is accepted")]
pub struct NotADigest {
    /// The text, cut.
    pub text: String,
}

impl Digest {
    /// Digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::finished(&ring::digest::digest(&SHA256, bytes))
    }

    fn finished(digest: &ring::digest::Digest) -> Self {
        let mut bytes = [0; 32];
        // SHA-256 gives as many bytes as there is room for.
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    /// The digits alone.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads the digits alone.
    ///
    /// # Errors
    /// Not 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, NotADigest> {
        let refused = || NotADigest { text: text.chars().take(80).collect() };
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            Ok(()) | Err(_) => Err(refused()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text
            .strip_prefix("sha256:")
            .ok_or_else(|| NotADigest { text: text.chars().take(80).collect() })?;
        Self::from_hex(digits)
    }
}

/// Passes bytes through and hashes them.
pub struct Hashing<T> {
    inner: T,
    hasher: Context,
    bytes: u64,
}

impl<T> fmt::Debug for Hashing<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hashing").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<T> Hashing<T> {
    /// Hashes what goes through `inner` from now on.
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Context::new(&SHA256), bytes: 0 }
    }

    /// The digest and count of what went through, and the inner reader or writer.
    pub fn finish(self) -> (Digest, u64, T) {
        (Digest::finished(&self.hasher.finish()), self.bytes, self.inner)
    }

    fn note(&mut self, part: &[u8]) {
        self.hasher.update(part);
        self.bytes += part.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.note(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.note(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_read_back() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn other_texts_are_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        for text in
            ["", "sha256:", "sha256:../../etc/passwd", "sha512:00", &EMPTY[..70], upper.as_str()]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!(format!("{EMPTY}0").parse::<Digest>().is_err());
    }

    #[test]
    fn what_goes_through_is_hashed() {
        let mut reader = Hashing::new(&b"abc"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (digest, bytes, _) = reader.finish();
        assert_eq!((digest, bytes), (Digest::of(b"abc"), 3));
    }
}
