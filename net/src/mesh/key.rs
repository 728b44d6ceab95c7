//! The private key of a node's end of the mesh.

use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable::{self, WriteFile};
use ferrite_files::small::{ReadSmall, read_small};
use ring::rand::{SecureRandom, SystemRandom};

use crate::wireguard::{KEY_BYTES, Key};

/// There is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyProblem {
    #[error("read the mesh's key {}", path.display())]
    Read { path: PathBuf, source: ReadSmall },
    #[error("make the folder of the mesh's key {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("keep the mesh's key")]
    Keep(#[from] WriteFile),
    #[error("draw the mesh's key: the kernel gives no random bytes")]
    Draw,
}

/// The key of this node: the one that is kept, or a new one, which is kept before it is used. What is kept and is no key is
/// replaced: others hear of the new one when the node joins.
pub(crate) fn private(path: &Path) -> Result<Key, KeyProblem> {
    let limit = u64::try_from(KEY_BYTES).unwrap_or(u64::MAX);
    match read_small(path, limit) {
        Ok(Some(bytes)) => match Key::try_from(bytes.as_slice()) {
            Ok(key) => return Ok(key),
            Err(_shorter) => tracing::warn!(path = %path.display(), "mesh-key-made-anew"),
        },
        Err(ReadSmall::TooLarge { .. }) => {
            tracing::warn!(path = %path.display(), "mesh-key-made-anew");
        }
        Ok(None) => {}
        Err(source) => return Err(KeyProblem::Read { path: path.to_owned(), source }),
    }
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_unspecified| KeyProblem::Draw)?;
    // As X25519 has them (RFC 7748 section 5).
    let [first, .., last] = &mut key;
    *first &= 248;
    *last = (*last & 127) | 64;
    let folder = path.parent().unwrap_or(Path::new("/"));
    durable::private_folder(folder)
        .map_err(|source| KeyProblem::Folder { path: folder.to_owned(), source })?;
    durable::write(path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_kept_and_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("cluster/mesh.key");
        let key = private(&path).unwrap();
        assert_eq!(private(&path).unwrap(), key);
        assert_eq!((key[0] & 7, key[31] & 192), (0, 64));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for damage in [&[1; 7][..], &[1; 700]] {
            std::fs::write(&path, damage).unwrap();
            let other = private(&path).unwrap();
            assert_ne!(other, key);
            assert_eq!(private(&path).unwrap(), other);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(private(&path).is_err(), "what cannot be read is not absent");
    }
}
