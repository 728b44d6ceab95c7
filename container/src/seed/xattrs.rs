//! Extended attributes of a volume's first content: those that belong to the files, and no others.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::owners::Owners;

/// Most bytes of a file's list of names, and of one value, as the kernel has it.
const LIST_MAX_BYTES: usize = 64 * 1024;
const VALUE_MAX_BYTES: usize = 64 * 1024;

const CAPABILITY: &[u8] = b"security.capability";
/// Head of its value: the format is the highest byte of a little-endian number.
const FORMAT_AT: usize = 3;
const WITHOUT_ROOT: u8 = 2;
const WITH_ROOT: u8 = 3;
/// Lengths of the two formats; the second is the first with the ID of the root that they are for.
const WITHOUT_ROOT_BYTES: usize = 20;
const WITH_ROOT_BYTES: usize = 24;

/// Copies users' attributes, and, of a file that is the container's own, its capabilities as the container's.
///
/// Lists of access (`system.posix_acl_*`) hold IDs too. Layers do not have them, so that none is copied.
pub(super) fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    owners: &Owners,
    is_own: bool,
) -> io::Result<()> {
    let mut names = Vec::with_capacity(LIST_MAX_BYTES);
    match rustix::fs::flistxattr(from, spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    for name in names.split(|byte| *byte == 0) {
        let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !of_user && (name != CAPABILITY || !is_own) {
            continue;
        }
        let mut value = Vec::with_capacity(VALUE_MAX_BYTES);
        rustix::fs::fgetxattr(from, name, spare_capacity(&mut value))?;
        if name == CAPABILITY {
            let Some(own) = capability_on_disk(&value, owners) else { continue };
            value = own;
        }
        rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// File capabilities as volumes have them on disk, where the container's root is 0; `None` for those that are not
/// for a root of the container.
fn capability_on_disk(value: &[u8], owners: &Owners) -> Option<Vec<u8>> {
    let mut own = value.to_owned();
    let format = *value.get(FORMAT_AT)?;
    match (format, value.len()) {
        (WITHOUT_ROOT, WITHOUT_ROOT_BYTES) => (owners.root() == 0).then_some(own),
        (WITH_ROOT, WITH_ROOT_BYTES) => {
            let meant = value.get(WITHOUT_ROOT_BYTES..)?.try_into().ok()?;
            let inside = owners.inside(u32::from_le_bytes(meant))?;
            own.truncate(WITHOUT_ROOT_BYTES);
            if inside == 0 {
                *own.get_mut(FORMAT_AT)? = WITHOUT_ROOT;
            } else {
                own.extend(inside.to_le_bytes());
            }
            Some(own)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use ferrite_schema::shim::IdRange;

    use super::*;

    const BITS: [u8; 16] = [7; 16];

    fn value(format: u8, root: &[u8]) -> Vec<u8> {
        [&[1, 0, 0, format][..], &BITS, root].concat()
    }

    #[test]
    fn capabilities_are_those_of_the_containers_root() {
        let (plain, of) = (value(2, &[]), |id: u32| value(3, &id.to_le_bytes()));
        let owners = |first| match first {
            0 => Owners::nodes(),
            first => Owners::without_namespace(IdRange { first, count: 65_536 }, &[]),
        };
        for (seen, root, expected) in [
            (plain.clone(), 0, Some(plain.clone())),
            // Without the container's mapping in it, it would be a right of the node's own root.
            (plain.clone(), 65_536, None),
            (of(65_536), 65_536, Some(plain.clone())),
            (of(66_536), 65_536, Some(of(1000))),
            (of(1000), 65_536, None),
            // The neighbour's root, and the kernel's word for one that nobody has.
            (of(131_072), 65_536, None),
            (of(u32::MAX), 65_536, None),
            (of(65_536)[..23].to_owned(), 65_536, None),
            (value(1, &[]), 0, None),
            (Vec::new(), 0, None),
        ] {
            assert_eq!(capability_on_disk(&seen, &owners(root)), expected, "{seen:?} of {root}");
        }
    }

    #[test]
    fn users_attributes_are_copied_and_overlayfss_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let (from, to) = (File::create(from).unwrap(), File::create(to).unwrap());
        let long = vec![b'x'; 3000];
        for (name, value) in
            [("user.long", &long[..]), ("user.empty", b""), ("user.overlay.opaque", b"y")]
        {
            rustix::fs::fsetxattr(&from, name, value, XattrFlags::empty()).unwrap();
        }
        copy(from.as_fd(), to.as_fd(), &Owners::nodes(), true).unwrap();
        let read = |name| {
            let mut value = Vec::with_capacity(VALUE_MAX_BYTES);
            rustix::fs::fgetxattr(&to, name, spare_capacity(&mut value)).map(|_| value)
        };
        assert_eq!(read("user.long").unwrap(), long);
        assert_eq!(read("user.empty").unwrap(), b"");
        assert_eq!(read("user.overlay.opaque"), Err(Errno::NODATA));
    }
}
