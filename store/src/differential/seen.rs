//! What a tree is like: everything that a program in a container could notice.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags};

use crate::digest::Digest;
use crate::layer::{Layer, Layers};
use crate::stack::Stack;

/// A file, folder or whatever has a name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: FileType,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    /// What a file holds, or where a link leads to.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first name of the same file.
    pub(crate) same_as: Vec<u8>,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} {:04o} {:?} at {:?} device {} content {:?} {:?} same as {:?}",
            self.kind,
            self.mode,
            self.owner,
            self.mtime,
            self.device,
            String::from_utf8_lossy(&self.content),
            self.xattrs,
            String::from_utf8_lossy(&self.same_as)
        )
    }
}

impl Node {
    /// What a folder names and does not have.
    fn absent() -> Self {
        Self {
            kind: FileType::Unknown,
            mode: 0,
            owner: (0, 0),
            mtime: (0, 0),
            device: 0,
            content: Vec::new(),
            xattrs: BTreeMap::new(),
            same_as: Vec::new(),
        }
    }
}

/// All that is below a folder, by its path from there; the folder itself is the empty path.
pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

/// Looks at a tree.
pub(crate) fn tree(root: &Path) -> Tree {
    let (mut found, mut first, mut left) = (BTreeMap::new(), BTreeMap::new(), vec![Vec::new()]);
    while let Some(path) = left.pop() {
        let place = root.join(std::ffi::OsStr::from_bytes(&path));
        let Ok(meta) = fs::symlink_metadata(&place) else {
            // A folder says that it is there, and it is not: a whiteout that hides nothing.
            found.insert(path, (Node::absent(), (0, 0)));
            continue;
        };
        if meta.is_dir() {
            for entry in fs::read_dir(&place).unwrap() {
                let name = entry.unwrap().file_name();
                left.push(join(&path, name.as_bytes()));
            }
        }
        let inode = (meta.dev(), meta.ino());
        if !meta.is_dir() {
            let one = first.entry(inode).or_insert_with(|| path.clone());
            *one = path.clone().min(one.clone());
        }
        found.insert(path, (node(&place, &meta), inode));
    }
    let with_first = |(path, (node, inode)): (Vec<u8>, (Node, (u64, u64)))| {
        let same_as = first.get(&inode).unwrap_or(&path).clone();
        (path, Node { same_as, ..node })
    };
    found.into_iter().map(with_first).collect()
}

pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn node(place: &Path, meta: &fs::Metadata) -> Node {
    let kind = FileType::from_raw_mode(meta.mode());
    let content = match kind {
        FileType::RegularFile => fs::read(place).unwrap(),
        FileType::Symlink => fs::read_link(place).unwrap().as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        device: meta.rdev(),
        content,
        xattrs: xattrs(place),
        same_as: Vec::new(),
    }
}

/// Attributes but for those that only their makers see.
fn xattrs(place: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(place, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty() && !name.starts_with(b"trusted."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(place, name, &mut value[..]).unwrap();
        value.truncate(length);
        (std::ffi::OsStr::from_bytes(name).to_owned(), value)
    };
    names.map(value).collect()
}

/// Unpacks a stack of tars, bottom first, in an empty store in `folder`; the layers' folders.
pub(crate) fn unpacked(tars: &[Vec<u8>], folder: &Path) -> Result<Vec<PathBuf>, Layer> {
    let layers = Layers::open(&folder.join("layers"));
    let stack = Stack::new(tars.iter().map(|tar| Digest::of(tar)).collect());
    for (step, tar) in stack.steps().zip(tars) {
        let blob = folder.join("blob");
        fs::write(&blob, tar).unwrap();
        assert!(!layers.path(step.folder).exists(), "the layer is here and will not be unpacked");
        layers.ensure(&step, &blob)?;
    }
    assert_eq!(layers.here().unwrap().len(), tars.len(), "a layer was not unpacked");
    Ok(stack.folders().iter().map(|folder| layers.path(folder)).collect())
}

/// What a container sees of layers, bottom first: they are mounted, in a mount namespace of its own.
pub(crate) fn mounted(layers: &[PathBuf], folder: &Path) -> Tree {
    let place = |name: &str| {
        let place = folder.join(name);
        fs::create_dir_all(&place).unwrap();
        place
    };
    // Overlayfs wants two at least.
    let (lowest, root) = (place("lowest"), place("root"));
    let look = || {
        use nix::sched::{CloneFlags, unshare};
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for layer in layers.iter().rev().chain([&lowest]) {
            rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", layer).unwrap();
        }
        rustix::mount::fsconfig_create(context.as_fd()).unwrap();
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount =
            rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_NODEV);
        let empty = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let cwd = rustix::fs::CWD;
        rustix::mount::move_mount(mount.unwrap(), "", cwd, &root, empty).unwrap();
        tree(&root)
    };
    std::thread::scope(|scope| scope.spawn(look).join().unwrap())
}
