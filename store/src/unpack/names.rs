//! Names in a tar: which are paths within a layer, and which stand for something else.

use super::problem::Problem;

/// Attribute that marks a folder that hides what lower layers have in it.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// Prefix of names that stand for a removal.
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of names that are aufs's own.
const AUFS: &[u8] = b".wh..wh.";
/// Name that stands for a folder that hides everything below.
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Longest path in a layer; `PATH_MAX`.
pub(super) const PATH_MAX_BYTES: usize = 4096;

/// What is done with an entry, by its name.
pub(super) enum Role<'a> {
    Plain,
    Opaque,
    Whiteout(&'a [u8]),
    /// aufs's own bookkeeping.
    Ignored,
}

/// Splits a path of the tar. The root is the empty list.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    if path.len() >= PATH_MAX_BYTES {
        return Err(Problem::Refused("its path is too long"));
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Problem::Refused("its path climbs with `..`")),
            part if part.contains(&0) => return Err(Problem::Refused("its path holds a NUL")),
            part => parts.push(part),
        }
    }
    Ok(parts)
}

pub(super) fn role<'a>(name: &'a [u8], folder: &[&[u8]]) -> Result<Role<'a>, Problem> {
    if folder.iter().any(|part| part.starts_with(AUFS)) {
        return Ok(Role::Ignored);
    }
    if name == WHITEOUT_OPAQUE {
        return Ok(Role::Opaque);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Role::Plain),
        Some(b"" | b"." | b"..") => {
            Err(Problem::Refused("its whiteout removes nothing that can exist"))
        }
        Some(rest) if rest.starts_with(WHITEOUT) => Ok(Role::Ignored),
        Some(rest) => Ok(Role::Whiteout(rest)),
    }
}
