//! The folders of the layer that is being unpacked: found through links and over what lies below, made where they lack.
//!
//! A way to a folder is walked name by name in what is seen: a name that the layer has counts, one that it has not is looked up
//! below. A folder that is only below is made in the layer like it, so that an entry may go into it and it stays as it was. Links are
//! followed within the root, as everybody does who unpacks one layer over another; `..` is a step of ours, on a way without links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ferrite_files::walk::{Next, Step, walk};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Uid, XattrFlags};
use rustix::io::Errno;

use super::below::{Below, Lies, Parts, xattrs};
use super::meta::{self, Meta};
use super::names::{OPAQUE, PATH_MAX_BYTES};
use super::open::{self, Is, joined};
use super::problem::Problem;

/// Most folders that are kept open: entries come folder by folder, so few are enough.
const OPEN_MAX: usize = 256;
/// Bytes of all folders' paths, which are kept to the end: a hundred times an honest layer's. A small blob can hold
/// gigabytes of them.
const PATHS_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most links on a way, as the kernel has it.
const LINKS_MAX: usize = 40;
/// Most steps on a way: twice as many as a path can have names. Links make long ones of short ones.
const STEPS_MAX: usize = 4096;

const FAR: &str = "the ways of the layer's entries lead through too many folders in all";

/// What is done where a folder on the way is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

/// A folder of the layer, opened for use as a parent.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) fd: OwnedFd,
    /// Its way from the root, without links.
    pub(super) path: Vec<u8>,
    /// What lies below it and is seen through it.
    pub(super) below: Parts,
}

/// What is known of a folder of the layer until the end.
#[derive(Debug, Default)]
struct Known {
    /// Set when nothing changes in it any more.
    mtime: Option<Timespec>,
    /// Mode of a folder that hands its group on: set earlier, it would do so to the layer's own files.
    mode: Option<Mode>,
    /// It is named, or something in it is. Others are there only because the way led through them.
    is_own: bool,
}

/// Where a name on the way leads.
enum Way {
    Folder(Rc<Folder>),
    Link(Vec<u8>),
}

/// All folders of the layer.
pub(super) struct Folders<'a> {
    root: BorrowedFd<'a>,
    pub(super) below: &'a Below,
    /// Folders that are open, by their ways without links. What is seen there changes only where a folder is removed
    /// or made opaque; then all are forgotten.
    open: HashMap<Vec<u8>, Rc<Folder>>,
    known: BTreeMap<Vec<u8>, Known>,
    /// Bytes of the paths in it.
    known_bytes: usize,
    root_is_opaque: bool,
    /// Steps that the ways of all entries may still take.
    steps_left: u64,
}

impl<'a> Folders<'a> {
    /// The folder `root`, which is empty, over the layers below; it gets what their root is like.
    pub(super) fn new(
        root: BorrowedFd<'a>,
        below: &'a Below,
        steps_max: u64,
    ) -> Result<Self, Problem> {
        let mut folders = Self {
            root,
            below,
            open: HashMap::new(),
            known: BTreeMap::new(),
            known_bytes: 0,
            root_is_opaque: false,
            steps_left: steps_max,
        };
        folders.note(b"", Known { is_own: true, ..Known::default() })?;
        let parts = below.root();
        if !parts.is_empty() {
            let fd = open::folder(root, b".")?;
            let like = below.attributes(&parts)?;
            folders.begin(&fd, b"", &Meta::like(&like))?;
        }
        Ok(folders)
    }

    pub(super) fn root(&mut self) -> Result<Rc<Folder>, Problem> {
        if let Some(root) = self.open.get(&b""[..]) {
            return Ok(Rc::clone(root));
        }
        let fd = open::parent(self.root, b".")?;
        Ok(self.keep_open(Folder { fd, path: Vec::new(), below: self.below.root() }))
    }

    /// The folder at a path as the tar writes it.
    pub(super) fn find(&mut self, path: &[&[u8]], missing: Missing) -> Result<Rc<Folder>, Problem> {
        // A way on which every name is an open folder's has no links.
        if let Some(folder) = self.open.get(&path.join(&b'/')) {
            return Ok(Rc::clone(folder));
        }
        let mut left: Vec<Vec<u8>> = path.iter().rev().map(|part| part.to_vec()).collect();
        let mut current = self.root()?;
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = left.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Problem::Refused("its path leads through too many folders"));
            }
            match part.as_slice() {
                b"" | b"." => {}
                b".." => current = self.above(&current)?,
                name => match self.step(&current, name, missing)? {
                    Way::Folder(folder) => current = folder,
                    Way::Link(target) => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Problem::Refused("its path leads through too many links"));
                        }
                        if target.starts_with(b"/") {
                            current = self.root()?;
                        }
                        left.extend(target.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
                    }
                },
            }
        }
        Ok(current)
    }

    fn above(&mut self, folder: &Folder) -> Result<Rc<Folder>, Problem> {
        self.at(above(&folder.path))
    }

    /// The folder of the layer that is at this path, on which there are no links.
    pub(super) fn at(&mut self, path: &[u8]) -> Result<Rc<Folder>, Problem> {
        if let Some(folder) = self.open.get(path) {
            return Ok(Rc::clone(folder));
        }
        let mut current = self.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            current = match self.step(&current, name, Missing::Refuse)? {
                Way::Folder(folder) => folder,
                Way::Link(_) => return Err(Errno::LOOP.into()),
            };
        }
        Ok(current)
    }

    fn step(&mut self, folder: &Folder, name: &[u8], missing: Missing) -> Result<Way, Problem> {
        let path = joined(&folder.path, name);
        let open = self.open.get(&path).map(Rc::clone);
        // Each layer below that has a part of the folder is looked into.
        let looks = if open.is_some() { 1 } else { 1 + folder.below.count() };
        self.steps_left = self.steps_left.checked_sub(looks).ok_or(Problem::Refused(FAR))?;
        if let Some(open) = open {
            return Ok(Way::Folder(open));
        }
        if path.len() >= PATH_MAX_BYTES {
            return Err(Problem::Refused("its path is too long"));
        }
        match open::look(&folder.fd, name)? {
            Some(Is::Folder) => {}
            Some(Is::Link) => return Ok(Way::Link(open::target(&folder.fd, name)?)),
            Some(Is::Other) => return Err(Errno::NOTDIR.into()),
            Some(Is::Whiteout) => {
                refuse(missing)?;
                rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty())?;
                self.make(folder, name, &path)?;
                self.hide_what_is_below(folder, name)?;
            }
            None => match self.below.child(&folder.below, name)? {
                Lies::Folder(parts) => self.make_like(folder, name, &path, &parts)?,
                Lies::Other { is: Is::Link, fd, .. } => {
                    return Ok(Way::Link(open::target(fd, b"")?));
                }
                Lies::Other { .. } => return Err(Errno::NOTDIR.into()),
                Lies::Nothing => {
                    refuse(missing)?;
                    self.make(folder, name, &path)?;
                }
            },
        }
        self.opened(folder, name, path).map(Way::Folder)
    }

    /// Opens a folder that the layer has.
    fn opened(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<Rc<Folder>, Problem> {
        let fd = open::parent(&folder.fd, name)?;
        let below = match self.below.child(&folder.below, name)? {
            Lies::Folder(parts) if !open::is_opaque(&fd)? => parts,
            Lies::Folder(_) | Lies::Other { .. } | Lies::Nothing => Parts::default(),
        };
        Ok(self.keep_open(Folder { fd, path, below }))
    }

    fn keep_open(&mut self, folder: Folder) -> Rc<Folder> {
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let folder = Rc::new(folder);
        self.open.insert(folder.path.clone(), Rc::clone(&folder));
        folder
    }

    /// Makes a folder that nobody describes.
    fn make(&mut self, folder: &Folder, name: &[u8], path: &[u8]) -> Result<(), Problem> {
        rustix::fs::mkdirat(&folder.fd, name, Mode::from_raw_mode(0o755))?;
        self.note(path, Known::default())
    }

    /// Makes a folder like the one below.
    fn make_like(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        parts: &Parts,
    ) -> Result<(), Problem> {
        let like = self.below.attributes(parts)?;
        rustix::fs::mkdirat(&folder.fd, name, Mode::RWXU)?;
        let fd = open::folder(&folder.fd, name)?;
        self.begin(&fd, path, &Meta::like(&like))
    }

    /// Gives a folder what it shall be like, so far as that can be before it is filled.
    pub(super) fn begin(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        // What was taken from below does not mix with what an entry says.
        for (name, _) in xattrs(fd)?.iter().filter(|(name, _)| meta::is_taken(name)) {
            rustix::fs::fremovexattr(fd, name.as_slice())?;
        }
        let hands_on = meta.mode.contains(Mode::SGID);
        // It may be somebody's already: as it was below, or as an earlier entry said.
        let stat = rustix::fs::fstat(fd)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        meta.with_mode(meta.mode.difference(Mode::SGID)).set(fd.as_fd(), owner)?;
        let mode = hands_on.then_some(meta.mode);
        let is_own = self.known.get(path).is_some_and(|known| known.is_own);
        self.note(path, Known { mtime: Some(meta.mtime), mode, is_own })
    }

    fn note(&mut self, path: &[u8], known: Known) -> Result<(), Problem> {
        if self.known.insert(path.to_vec(), known).is_none() {
            self.known_bytes = self.known_bytes.saturating_add(path.len());
        }
        if self.known_bytes > PATHS_MAX_BYTES {
            return Err(Problem::Refused("the paths of the layer's folders fill too much memory"));
        }
        Ok(())
    }

    /// The folder at `path` is the layer's own, and so are those that it is in.
    pub(super) fn own(&mut self, path: &[u8]) {
        let mut path = path;
        loop {
            match self.known.get_mut(path) {
                Some(known) if known.is_own => return,
                Some(known) => known.is_own = true,
                None => {}
            }
            if path.is_empty() {
                return;
            }
            path = above(path);
        }
    }

    /// Whether the layer says something of the folder at `path` or of what is in it, but for what is not there.
    pub(super) fn is_own(&self, path: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.is_own)
    }

    /// Removes what the layer has under this name, a folder with all that is in it.
    pub(super) fn remove(&mut self, folder: &Folder, name: &[u8]) -> Result<(), Problem> {
        match rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // What was opened in it leads nowhere now.
        self.open.clear();
        let path = joined(&folder.path, name);
        let inside = joined(&path, b"");
        let gone = self.known.range(inside.clone()..).map(|(path, _)| path);
        let gone: Vec<_> = gone.take_while(|path| path.starts_with(&inside)).cloned().collect();
        for path in gone.iter().chain([&path]) {
            if self.known.remove(path).is_some() {
                self.known_bytes = self.known_bytes.saturating_sub(path.len());
            }
        }
        let parent = open::folder(&folder.fd, b".")?;
        let name = std::ffi::CString::new(name).map_err(|_nul| Errno::INVAL)?;
        Ok(ferrite_files::removal::remove_at(parent.as_fd(), &name)?)
    }

    /// Marks the layer's folder `name`, which took the place of something else: what lies below it under this name is not to be
    /// seen again.
    pub(super) fn hide_what_is_below(&self, folder: &Folder, name: &[u8]) -> Result<(), Problem> {
        if let Lies::Folder(_) = self.below.child(&folder.below, name)? {
            set_opaque(&folder.fd, name)?;
        }
        Ok(())
    }

    /// Makes everything that lies below a folder invisible in it. What the layer has of its own in it stays.
    pub(super) fn hide_below(&mut self, folder: &Folder) -> Result<(), Problem> {
        let is_root = folder.path.is_empty();
        if folder.below.is_empty() || is_root && self.root_is_opaque {
            return Ok(());
        }
        // Folders that were made only because of what is below go with it, and nothing in them is the layer's own.
        let inside = if is_root { Vec::new() } else { joined(&folder.path, b"") };
        let others = self.known.range(inside.clone()..);
        let others = others.take_while(|(path, _)| path.starts_with(&inside));
        let others: BTreeSet<Vec<u8>> =
            others.filter(|(_, known)| !known.is_own).map(|(path, _)| path.clone()).collect();
        for path in others.iter().filter(|path| !others.contains(above(path))) {
            let parent = above(path);
            let name = path.get(parent.len()..).unwrap_or_default();
            let name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
            let fd = open::itself(self.root, parent)?;
            let parent = Folder { fd, path: parent.to_vec(), below: Parts::default() };
            self.remove(&parent, &name)?;
        }
        if is_root {
            self.root_is_opaque = true;
            self.hide_each(folder)?;
        } else {
            set_opaque(&folder.fd, b".")?;
            take_whiteouts_away(folder.fd.as_fd())?;
        }
        self.open.clear();
        Ok(())
    }

    /// Overlayfs does not look whether a layer's root is opaque: so each name in it is hidden.
    fn hide_each(&self, root: &Folder) -> Result<(), Problem> {
        for name in self.below.names(&root.below)? {
            match open::look(&root.fd, &name)? {
                Some(Is::Folder) => {
                    self.hide_what_is_below(root, &name)?;
                    take_whiteouts_away(open::itself(root.fd.as_fd(), &name)?.as_fd())?;
                }
                Some(_) => {}
                None => self.white_out(root, &name)?,
            }
        }
        Ok(())
    }

    /// Hides what is seen from below under a name that the layer does not have.
    pub(super) fn white_out(&self, folder: &Folder, name: &[u8]) -> Result<(), Problem> {
        if !matches!(self.below.child(&folder.below, name)?, Lies::Nothing) {
            let kind = FileType::CharacterDevice;
            rustix::fs::mknodat(&folder.fd, name, kind, Mode::empty(), 0)?;
        }
        Ok(())
    }

    /// Sets what filling folders would have changed.
    pub(super) fn finish(&self) -> Result<(), (Vec<u8>, io::Error)> {
        for (path, known) in &self.known {
            let set = || -> Result<(), Errno> {
                let fd = open::itself(self.root, path)?;
                if let Some(mode) = known.mode {
                    rustix::fs::fchmod(&open::folder(&fd, b".")?, mode)?;
                }
                match &known.mtime {
                    Some(mtime) => {
                        let times = meta::times(mtime);
                        rustix::fs::utimensat(&fd, c"", &times, AtFlags::EMPTY_PATH)
                    }
                    None => Ok(()),
                }
            };
            set().map_err(|errno| (path.clone(), errno.into()))?;
        }
        Ok(())
    }
}

/// The folder that a path is in; the root's is the root.
fn above(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end).unwrap_or_default()
}

/// Takes away what the layer has hidden in a folder, and in those in it: nothing lies below any more, and overlayfs shows marks that
/// hide nothing.
fn take_whiteouts_away(folder: BorrowedFd<'_>) -> Result<(), Problem> {
    walk(open::folder(folder, b".")?, |step| {
        if let Step::Entry { folder, name, stat } = step
            && Is::of(stat) == Is::Whiteout
        {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
        Ok(Next::Down)
    })?;
    Ok(())
}

fn refuse(missing: Missing) -> Result<(), Problem> {
    match missing {
        Missing::Make => Ok(()),
        Missing::Refuse => Err(Errno::NOENT.into()),
    }
}

fn set_opaque(folder: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(open::folder(folder, name)?, OPAQUE, b"y", XattrFlags::empty())
}
