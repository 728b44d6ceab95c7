//! Identifiers that are derived and not drawn: two builds of the same image must not differ in them.

use ferrite_layout::slot_header::SlotDocument;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Keeps these digests apart from every other use of SHA-256 in Ferrite.
const CONTEXT: &[u8] = b"ferrite disk identity v1\0";

/// Identity of something that is the same in every image: a file system that says nothing about the build.
pub(super) fn constant(what: &str) -> Uuid {
    uuid(&digest(&[what]))
}

/// Identity of something in one particular image. Another slot content gives another one.
pub(super) fn of_image(document: &SlotDocument, what: &str) -> Uuid {
    uuid(&digest(&[&document.version, &document.variant, &document.root.root_hash, what]))
}

/// Salt of the verity tree: a digest of what identifies the rest of the slot.
pub(super) fn salt(version: &str, variant: &str, boot_id: &str) -> [u8; 32] {
    digest(&[version, variant, boot_id, "verity salt"])
}

fn digest(words: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(CONTEXT);
    for word in words {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(u64::try_from(word.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(word);
    }
    hash.finalize().into()
}

/// The first half of a digest as a UUID of version 8, "anything goes".
fn uuid(digest: &[u8; 32]) -> Uuid {
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    Builder::from_custom_bytes(bytes).into_uuid()
}
