//! Reading a slot's header and checking who signed it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use ferrite_layout::slot_header::{self, HEADER_BYTES, ReadHeader, SlotDocument, TrustedKey};

use crate::log;

/// A header that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LoadHeader {
    #[error("read slot header from {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("check slot header in {path}")]
    Check { path: PathBuf, source: ReadHeader },
}

/// Reads the header at `offset_bytes` of the device `path` and checks it against `trusted`. In a KERN partition it is at 0.
///
/// # Errors
/// The device cannot be read, or no trusted key vouches for what it says. Neither says that the slot is bad: other keys may
/// be trusted elsewhere.
pub fn load(
    path: &Path,
    offset_bytes: u64,
    trusted: &[TrustedKey],
) -> Result<SlotDocument, LoadHeader> {
    let mut bytes = vec![0; HEADER_BYTES];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, offset_bytes))
        .map_err(|source| LoadHeader::Read { path: path.to_owned(), source })?;
    slot_header::decode(&bytes, trusted)
        .map_err(|source| LoadHeader::Check { path: path.to_owned(), source })
}

/// Reads all keys of a directory: `NAME.pub`, 64 hexadecimal digits. A file that is no key is left out, loudly.
#[must_use]
pub fn trusted_keys(directory: &Path) -> Vec<TrustedKey> {
    let mut keys: Vec<TrustedKey> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".pub")?.to_owned();
            let key = fs::read_to_string(&path).ok().as_deref().and_then(parse_key);
            if key.is_none() {
                log::warn(format_args!("{} is not an ed25519 public key", path.display()));
            }
            Some(TrustedKey { name, key: key? })
        })
        .collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    if keys.is_empty() {
        let folder = directory.display();
        log::error(format_args!(
            "there is no key for slot signatures in {folder}: no slot can be started; build the image with one"
        ));
    }
    keys
}

fn parse_key(text: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_is_no_key_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let write =
            |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
        write("release.pub", format!("{}\n", hex::encode(key.to_bytes())));
        write("short.pub", "abcd".to_owned());
        write("README", hex::encode(key.to_bytes()));
        let keys = trusted_keys(directory.path());
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].name.as_str(), keys[0].key), ("release", key));
    }

    #[test]
    fn an_empty_partition_and_an_unreadable_one_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kern");
        fs::write(&path, vec![0; 512 + HEADER_BYTES]).unwrap();
        assert!(matches!(load(&path, 512, &[]), Err(LoadHeader::Check { .. })));
        assert!(matches!(load(&path, 513, &[]), Err(LoadHeader::Read { .. })));
    }
}
