//! The first bytes of a KERN partition: what the slot holds and who vouches for it.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 8 | magic `FERRSLOT` |
//! | 8 | 4 | format version, little endian: 1 |
//! | 12 | 4 | document length in bytes, little endian |
//! | 16 | 64 | ed25519 signature over [`SIGNING_CONTEXT`] followed by the document |
//! | 80 | n | document: [`SlotDocument`] as JSON |
//!
//! Zeros fill up to [`HEADER_BYTES`]. Kernel and initramfs follow, each at an offset that the document names.

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::verity;

pub use crate::verity::Root;

/// Bytes reserved for the header at the start of a KERN partition.
pub const HEADER_BYTES: usize = 16 * 1024;
/// Kernel and initramfs start at multiples of this, so that they can be read past the page cache.
pub const BLOB_ALIGN_BYTES: u64 = 4096;
/// Bytes that a signature covers before the document, so that no other signed thing passes as a header.
pub const SIGNING_CONTEXT: &[u8] = b"ferrite slot header v1\0";

const MAGIC: &[u8; 8] = b"FERRSLOT";
const FORMAT_VERSION: u32 = 1;
const VERSION_OFFSET: usize = 8;
const LENGTH_OFFSET: usize = 12;
const SIGNATURE_OFFSET: usize = 16;
const DOCUMENT_OFFSET: usize = 80;
const DOCUMENT_MAX_BYTES: usize = HEADER_BYTES - DOCUMENT_OFFSET;

/// A blob inside the KERN partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// From the start of the partition; a multiple of 4096.
    pub offset_bytes: u64,
    /// Exact length, without padding.
    pub size_bytes: u64,
    /// SHA-256 of the blob, lower-case hexadecimal.
    pub sha256: String,
}

impl Blob {
    /// First place after the blob where another one may start.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        let end = self.offset_bytes.saturating_add(self.size_bytes);
        end.checked_next_multiple_of(BLOB_ALIGN_BYTES).unwrap_or(u64::MAX)
    }
}

/// What a slot holds. Signed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotDocument {
    /// Version of the OS in the slot.
    pub version: String,
    /// Image variant that it was built from.
    pub variant: String,
    /// Identifies kernel, initramfs and command line together. The initramfs carries the same text in
    /// `/boot-id`: a node whose running boot ID differs from the slot's must kexec.
    pub boot_id: String,
    /// Kernel (bzImage).
    pub kernel: Blob,
    /// Initramfs.
    pub initramfs: Blob,
    /// Kernel command line of the slot.
    pub cmdline: String,
    /// Root file system.
    pub root: Root,
    /// Name of the signing key.
    pub key: String,
    /// The key is a development key: anyone could have made this slot.
    pub development: bool,
}

impl SlotDocument {
    /// Bytes of the KERN partition that the slot uses.
    #[must_use]
    pub fn kern_bytes(&self) -> u64 {
        self.kernel.end_bytes().max(self.initramfs.end_bytes())
    }

    /// Bytes of the ROOT partition that the slot uses.
    #[must_use]
    pub fn root_bytes(&self) -> u64 {
        self.root.hash_offset_bytes.saturating_add(verity::tree_bytes(self.root.data_bytes))
    }
}

/// A public key that may sign slots.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Name, as in [`SlotDocument::key`].
    pub name: String,
    /// The key itself.
    pub key: VerifyingKey,
}

/// Why a header is not accepted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadHeader {
    #[error("read slot header: {found} bytes are too few")]
    Truncated { found: usize },
    #[error("read slot header: the slot is empty")]
    Empty,
    #[error("read slot header: format version {found} is not known, this version reads 1")]
    Version { found: u32 },
    #[error("read slot header: document length {found} is impossible")]
    Length { found: usize },
    #[error("read slot header: document is not valid")]
    Document { source: serde_json::Error },
    #[error("check slot signature: signed by key {key:?}, which is not trusted here")]
    UnknownKey { key: String },
    #[error("check slot signature: it does not match the document (key {key:?})")]
    BadSignature { key: String },
}

/// A document that does not fit into the header.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WriteHeader {
    #[error("encode slot document")]
    Encode { source: serde_json::Error },
    #[error("write slot header: the document has {found} bytes, {DOCUMENT_MAX_BYTES} fit")]
    TooLong { found: usize },
}

/// Encodes and signs a header of [`HEADER_BYTES`] bytes.
///
/// # Errors
/// The document is too long or cannot be encoded.
pub fn encode(document: &SlotDocument, key: &SigningKey) -> Result<Vec<u8>, WriteHeader> {
    let body = serde_json::to_vec(document).map_err(|source| WriteHeader::Encode { source })?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= DOCUMENT_MAX_BYTES)
        .ok_or(WriteHeader::TooLong { found: body.len() })?;
    let signature = key.sign(&signed_bytes(&body));
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(&signature.to_bytes());
    header.extend_from_slice(&body);
    header.resize(HEADER_BYTES, 0);
    Ok(header)
}

/// Decodes a header and checks its signature against `trusted`.
///
/// # Errors
/// Says which of the checks failed; nothing of an unsigned document is returned.
pub fn decode(bytes: &[u8], trusted: &[TrustedKey]) -> Result<SlotDocument, ReadHeader> {
    let (document, body, signature) = split(bytes)?;
    let key = trusted
        .iter()
        .find(|key| key.name == document.key)
        .ok_or_else(|| ReadHeader::UnknownKey { key: document.key.clone() })?;
    match key.key.verify(&signed_bytes(body), &signature) {
        Ok(()) => Ok(document),
        Err(_) => Err(ReadHeader::BadSignature { key: document.key }),
    }
}

/// Decodes a header without checking who signed it: for `inspect`, never for booting.
///
/// # Errors
/// The bytes are not a header.
pub fn decode_unverified(bytes: &[u8]) -> Result<SlotDocument, ReadHeader> {
    split(bytes).map(|(document, _, _)| document)
}

fn split(bytes: &[u8]) -> Result<(SlotDocument, &[u8], Signature), ReadHeader> {
    let truncated = || ReadHeader::Truncated { found: bytes.len() };
    let word = |offset: usize| {
        bytes
            .get(offset..offset + 4)
            .and_then(|word| word.try_into().ok())
            .map(u32::from_le_bytes)
            .ok_or_else(truncated)
    };
    if bytes.get(..MAGIC.len()).ok_or_else(truncated)? != MAGIC {
        return Err(ReadHeader::Empty);
    }
    let version = word(VERSION_OFFSET)?;
    if version != FORMAT_VERSION {
        return Err(ReadHeader::Version { found: version });
    }
    let length = usize::try_from(word(LENGTH_OFFSET)?).unwrap_or(usize::MAX);
    if length > DOCUMENT_MAX_BYTES {
        return Err(ReadHeader::Length { found: length });
    }
    let signature: [u8; 64] = bytes
        .get(SIGNATURE_OFFSET..DOCUMENT_OFFSET)
        .and_then(|signature| signature.try_into().ok())
        .ok_or_else(truncated)?;
    let body = bytes.get(DOCUMENT_OFFSET..DOCUMENT_OFFSET + length).ok_or_else(truncated)?;
    let document =
        serde_json::from_slice(body).map_err(|source| ReadHeader::Document { source })?;
    Ok((document, body, Signature::from_bytes(&signature)))
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [SIGNING_CONTEXT, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8, name: &str) -> (SigningKey, TrustedKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let trusted = TrustedKey { name: name.to_owned(), key: secret.verifying_key() };
        (secret, trusted)
    }

    fn document() -> SlotDocument {
        let blob =
            |offset_bytes, size_bytes| Blob { offset_bytes, size_bytes, sha256: "00".repeat(32) };
        SlotDocument {
            version: "1.2.3".to_owned(),
            variant: "cloud".to_owned(),
            boot_id: "b007".to_owned(),
            kernel: blob(16_384, 5000),
            initramfs: blob(24_576, 1),
            cmdline: "console=ttyS0".to_owned(),
            root: Root {
                data_bytes: 8192,
                hash_offset_bytes: 8192,
                root_hash: "11".repeat(32),
                salt: String::new(),
            },
            key: "release".to_owned(),
            development: false,
        }
    }

    #[test]
    fn what_is_signed_is_read() {
        let (secret, trusted) = key(1, "release");
        let header = encode(&document(), &secret).unwrap();
        assert_eq!(header.len(), HEADER_BYTES);
        assert_eq!(decode(&header, &[key(2, "other").1, trusted]).unwrap(), document());
    }

    #[test]
    fn no_changed_byte_passes() {
        let (secret, trusted) = key(1, "release");
        let header = encode(&document(), &secret).unwrap();
        let used = DOCUMENT_OFFSET + serde_json::to_vec(&document()).unwrap().len();
        for offset in 0..used {
            for bit in [0x01, 0x20, 0x80] {
                let mut damaged = header.clone();
                damaged[offset] ^= bit;
                let read = decode(&damaged, std::slice::from_ref(&trusted));
                assert!(read.is_err(), "byte {offset} with bit {bit:#x} flipped is accepted");
            }
        }
    }

    #[test]
    fn each_failure_has_its_name() {
        let (secret, trusted) = key(1, "release");
        let header = encode(&document(), &secret).unwrap();
        let check = |header: &[u8], keys: &[TrustedKey], expected: &str| {
            let error = decode(header, keys).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        };
        let with = |offset: usize, bytes: &[u8]| {
            let mut changed = header.clone();
            changed[offset..offset + bytes.len()].copy_from_slice(bytes);
            changed
        };
        let trusted = std::slice::from_ref(&trusted);
        check(&header[..4], trusted, "4 bytes are too few");
        check(&header[..90], trusted, "90 bytes are too few");
        check(&[0; HEADER_BYTES], trusted, "empty");
        check(&with(8, &[9]), trusted, "format version 9");
        check(&with(12, &[255; 4]), trusted, "document length 4294967295");
        check(&with(80, b"!"), trusted, "document is not valid");
        check(&header, &[], "signed by key \"release\", which is not trusted");
        check(&header, &[key(2, "release").1], "it does not match the document");
    }

    #[test]
    fn a_document_that_does_not_fit_is_refused() {
        let document = SlotDocument { cmdline: "x".repeat(HEADER_BYTES), ..document() };
        let error = encode(&document, &key(1, "release").0).unwrap_err();
        assert!(matches!(error, WriteHeader::TooLong { .. }), "{error}");
    }

    #[test]
    fn sizes_count_whole_blocks_and_the_tree() {
        assert_eq!(document().kern_bytes(), 28_672);
        assert_eq!(document().root_bytes(), 8192 + 2 * 4096);
        let wild = Blob { offset_bytes: u64::MAX, size_bytes: 2, sha256: String::new() };
        assert_eq!(wild.end_bytes(), u64::MAX);
    }
}
