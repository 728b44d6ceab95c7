//! Random stacks of layers: what builders of images write, and what they hardly ever do.
//!
//! A rough model of what is there makes entries meet one another: names are few, links lead to what exists, whiteouts hide it.
//! Nothing depends on the model being right.

use std::collections::{BTreeMap, BTreeSet};

use tar::EntryType;

use super::seen::join;

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).unwrap()
    }

    fn small(&mut self, end: usize) -> u32 {
        self.below(end).try_into().unwrap()
    }

    fn one<T: Clone>(&mut self, several: &[T]) -> T {
        several[self.below(several.len())].clone()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    File(Vec<u8>),
    Folder,
    Symlink(Vec<u8>),
    /// To this path.
    Link(Vec<u8>),
    Fifo,
    Device(EntryType, (u32, u32)),
    /// Of what the path names.
    Whiteout,
    /// In the folder that the path names.
    Opaque,
}

/// Owner, mode, time and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Like {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: (u64, bool),
    pub(super) xattrs: Vec<(&'static str, Vec<u8>)>,
}

/// An entry of a layer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    pub(super) like: Like,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write!(formatter, "{:?} ", bytes(&self.path))?;
        match &self.what {
            What::File(content) => write!(formatter, "file {:?}", bytes(content))?,
            What::Symlink(target) => write!(formatter, "symlink to {:?}", bytes(target))?,
            What::Link(target) => write!(formatter, "hard link to {:?}", bytes(target))?,
            other => write!(formatter, "{other:?}")?,
        }
        let Like { mode, owner, mtime, xattrs } = &self.like;
        write!(formatter, " {mode:04o} {owner:?} {mtime:?} {xattrs:?}")
    }
}

/// The entries of layers, bottom first, and whose reading of them is not ours, for a reason that `docs/images.md` gives.
#[derive(Debug, Clone, Default)]
pub(super) struct Stack {
    pub(super) layers: Vec<Vec<Item>>,
    pub(super) other_than: BTreeSet<Engine>,
}

/// Somebody who unpacks images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Engine {
    Umoci,
    /// containers-storage, by skopeo.
    Storage,
}

#[derive(Clone)]
enum Is {
    Folder,
    Link(Vec<u8>),
    Other,
}

/// What is there, by paths without links, and which layer had to do with it last.
#[derive(Clone, Default)]
struct Model {
    nodes: BTreeMap<Vec<u8>, (Is, Like, usize)>,
}

impl Model {
    /// The folder that a way leads to; `None` where something is in the way, or a link leads to nothing.
    fn folder(&self, way: &[u8]) -> Option<Vec<u8>> {
        let names =
            |way: &[u8]| way.split(|byte| *byte == b'/').map(<[u8]>::to_vec).rev().collect();
        let mut left: Vec<Vec<u8>> = names(way);
        let (mut current, mut links) = (Vec::new(), 0);
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b"" | b"." => {}
                b".." => {
                    let end = current.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    current.truncate(end);
                }
                name => match self.nodes.get(&join(&current, name)) {
                    Some((Is::Link(target), ..)) => {
                        links += 1;
                        if target.starts_with(b"/") {
                            current.clear();
                        }
                        left.extend(names(target));
                    }
                    Some((Is::Folder, ..)) => current = join(&current, name),
                    None if links == 0 => current = join(&current, name),
                    Some(_) | None => return None,
                },
            }
            if links > 8 {
                return None;
            }
        }
        Some(current)
    }

    /// Nodes in a folder, and itself where that is wanted.
    fn inside(path: &[u8], itself: bool) -> impl Fn(&[u8]) -> bool {
        let (path, inside) = (path.to_vec(), join(path, b""));
        let inside = if path.is_empty() { Vec::new() } else { inside };
        move |one| if one == path { itself } else { one.starts_with(&inside) }
    }

    /// Whether this layer had to do with something there.
    fn is_touched(&self, path: &[u8], itself: bool, layer: usize) -> bool {
        let is_inside = Self::inside(path, itself);
        self.nodes.iter().any(|(one, (_, _, last))| *last >= layer && is_inside(one))
    }

    fn remove(&mut self, path: &[u8], itself: bool, layer: usize) {
        let is_inside = Self::inside(path, itself);
        self.nodes.retain(|one, (_, _, last)| *last >= layer || !is_inside(one));
    }

    fn put(&mut self, path: &[u8], is: Is, like: &Like, layer: usize) {
        if !matches!((&is, self.nodes.get(path)), (Is::Folder, Some((Is::Folder, ..)))) {
            self.remove(path, true, usize::MAX);
        }
        self.nodes.insert(path.to_vec(), (is, like.clone(), layer));
        let mut above = path;
        while let Some(end) = above.iter().rposition(|byte| *byte == b'/') {
            above = &above[..end];
            let node = self.nodes.entry(above.to_vec());
            node.or_insert((Is::Folder, like.clone(), layer)).2 = layer;
        }
    }
}

const NAMES: [&[u8]; 12] = [
    b"a",
    b"b",
    b"c",
    b"a",
    b"b",
    b"lib",
    b"data",
    "\u{f6}".as_bytes(),
    b"\xff\xfe",
    b" -n\n*",
    b"a\\b",
    b".w",
];
const OWNERS: [(u32, u32); 5] = [(0, 0), (0, 0), (1000, 1001), (65534, 65534), (100_000, 7)];
const FILE_MODES: [u32; 7] = [0o644, 0o755, 0o600, 0o4755, 0o2755, 0o444, 0];
const FOLDER_MODES: [u32; 6] = [0o755, 0o700, 0o750, 0o1777, 0o2775, 0o555];
const TIMES: [(u64, bool); 5] =
    [(0, false), (1, false), (1_000_000_000, false), (1_234_567_890, true), (4_000_000, false)];
/// `cap_net_raw+ep`, as `setcap` writes it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A stack being made.
struct Maker {
    dice: Dice,
    model: Model,
    stack: Stack,
    /// What not everybody takes may be: links that lead to nothing on a way, and a name twice in a layer.
    odd: bool,
    /// Paths of this layer, and whether something is there or hidden.
    named: BTreeSet<(Vec<u8>, bool)>,
}

/// The stack of a seed.
pub(super) fn stack(seed: u64, odd: bool) -> Stack {
    let (model, stack) = (Model::default(), Stack::default());
    let mut maker = Maker { dice: Dice(seed), model, stack, odd, named: BTreeSet::new() };
    let count = 2 + maker.dice.below(4);
    for _ in 0..count {
        let layer = match maker.dice.below(20) {
            0 => Vec::new(),
            // The same once more, which need not mean the same.
            1 if !maker.stack.layers.is_empty() => {
                let again = maker.dice.one(&maker.stack.layers);
                maker.repeated(again)
            }
            _ => maker.layer(),
        };
        maker.stack.layers.push(layer);
        maker.named.clear();
    }
    maker.stack
}

/// A stack of these layers; `None` where there is something in it that not everybody takes.
pub(super) fn stack_of(layers: &[Vec<Item>], odd: bool) -> Option<Stack> {
    let (model, stack) = (Model::default(), Stack::default());
    let mut maker = Maker { dice: Dice(0), model, stack, odd, named: BTreeSet::new() };
    for layer in layers {
        layer.iter().try_for_each(|item| maker.note(item))?;
        maker.stack.layers.push(layer.clone());
        maker.named.clear();
    }
    Some(maker.stack)
}

impl Maker {
    fn layer(&mut self) -> Vec<Item> {
        let count = 1 + self.dice.below(if self.stack.layers.is_empty() { 10 } else { 6 });
        let mut items = Vec::new();
        if self.dice.percent(30) {
            let like = self.like(&FOLDER_MODES);
            self.named.insert((Vec::new(), false));
            items.push(Item { path: Vec::new(), what: What::Folder, like });
        }
        for _ in 0..4 * count {
            if items.len() < count {
                items.extend(self.item());
            }
        }
        items
    }

    /// The same layer, unless not everybody takes it here.
    fn repeated(&mut self, again: Vec<Item>) -> Vec<Item> {
        let (model, others) = (self.model.clone(), self.stack.other_than.clone());
        if again.iter().try_for_each(|item| self.note(item)).is_some() {
            return again;
        }
        (self.model, self.stack.other_than) = (model, others);
        self.named.clear();
        Vec::new()
    }

    fn like(&mut self, modes: &[u32]) -> Like {
        let dice = &mut self.dice;
        let mut xattrs = Vec::new();
        if dice.percent(15) {
            xattrs.push(("user.one", b"1".to_vec()));
        }
        let mtime = dice.one(&TIMES);
        Like { mode: dice.one(modes), owner: dice.one(&OWNERS), mtime, xattrs }
    }

    /// A path, likely one that is there or lies beside or in one that is.
    fn path(&mut self) -> Vec<u8> {
        let there: Vec<_> = self.model.nodes.keys().cloned().collect();
        let mut path = Vec::new();
        if !there.is_empty() && self.dice.percent(65) {
            path = self.dice.one(&there);
            if self.dice.percent(50) {
                return path;
            }
        }
        for _ in 0..=self.dice.below(2) {
            let name = match self.dice.below(60) {
                0 => vec![b'n'; 200],
                _ => self.dice.one(&NAMES).to_vec(),
            };
            path = join(&path, &name);
        }
        path
    }

    fn item(&mut self) -> Option<Item> {
        let path = self.path();
        let (way, name) = split(&path);
        let parent = match self.model.folder(way) {
            Some(parent) => parent,
            None if self.odd && self.dice.percent(20) => way.to_vec(),
            None => return None,
        };
        let place = join(&parent, name);
        let depth = place.iter().filter(|byte| **byte == b'/').count();
        let files = self.like(&FILE_MODES);
        let bare = Like { xattrs: Vec::new(), ..files.clone() };
        let (what, like) = match self.dice.below(100) {
            0..25 => {
                let mut like = files;
                if self.dice.percent(10) {
                    like.xattrs.push(("security.capability", CAPABILITY.to_vec()));
                }
                (What::File(format!("{}", self.dice.below(1000)).into_bytes()), like)
            }
            25..43 => (What::Folder, self.like(&FOLDER_MODES)),
            43..58 => (What::Symlink(self.target(depth)), bare),
            58..66 => self.link(&place)?,
            66..69 => (What::Fifo, bare),
            69..73 => {
                let kind = self.dice.one(&[EntryType::Char, EntryType::Block]);
                (What::Device(kind, (1 + self.dice.small(3), self.dice.small(300))), bare)
            }
            73..92 => (What::Whiteout, bare),
            _ => (What::Opaque, bare),
        };
        let folder = if what == What::Opaque { &place } else { &parent };
        let is_nowhere = !folder.is_empty() && !self.model.nodes.contains_key(folder);
        if matches!(what, What::Whiteout | What::Opaque) && is_nowhere && !self.dice.percent(3) {
            return None;
        }
        let item = Item { path, what, like };
        self.note(&item)?;
        Some(item)
    }

    /// Keeps the model at what there is after this entry. `None` where it is nothing that everybody takes.
    fn note(&mut self, item: &Item) -> Option<()> {
        let layer = self.stack.layers.len();
        let (way, name) = split(&item.path);
        let opaque = item.what == What::Opaque;
        let way = if opaque { &item.path[..] } else { way };
        let parent = match self.model.folder(way) {
            Some(parent) => parent,
            None if self.odd && !opaque => way.to_vec(),
            None => return None,
        };
        let place = if opaque { parent.clone() } else { join(&parent, name) };
        let like = &item.like;
        let hides = matches!(item.what, What::Whiteout | What::Opaque);
        let is_nowhere = hides && !parent.is_empty() && !self.model.nodes.contains_key(&parent);
        let is_touched = self.model.is_touched(&place, !opaque, layer);
        let is_folder = item.what == What::Folder;
        if !self.odd {
            // containers-storage takes no name twice, and sets the times of named folders at the end.
            let is_new = self.named.insert((item.path.clone(), hides));
            let through_link = parent != way && (is_folder || opaque);
            if !is_new || through_link || is_nowhere || is_touched && !is_folder {
                return None;
            }
        }
        match &item.what {
            What::Folder => self.model.put(&place, Is::Folder, like, layer),
            What::Symlink(target) => self.model.put(&place, Is::Link(target.clone()), like, layer),
            What::File(_) | What::Link(_) | What::Fifo | What::Device(..) => {
                self.model.put(&place, Is::Other, like, layer);
            }
            What::Whiteout | What::Opaque => {
                if is_nowhere {
                    // It makes no folder for a whiteout; Docker, containerd and podman do.
                    self.stack.other_than.insert(Engine::Umoci);
                }
                if is_touched || opaque && parent != way {
                    // It removes what the layer itself has, too, and finds no opaque marks by links.
                    self.stack.other_than.insert(Engine::Storage);
                }
                self.model.remove(&place, !opaque, layer);
            }
        }
        Some(())
    }

    /// Where a link so deep leads to; never above the stack's own root, which may lie in another's.
    fn target(&mut self, depth: usize) -> Vec<u8> {
        let there: Vec<_> = self.model.nodes.keys().cloned().collect();
        let up = b"../".repeat(self.dice.below(depth + 1));
        let name = self.dice.one(&NAMES);
        match self.dice.below(10) {
            0..4 if !there.is_empty() => [b"/", &self.dice.one(&there)[..]].concat(),
            0..6 if !there.is_empty() && depth == 0 => self.dice.one(&there),
            6 => b".".to_vec(),
            7 => [&up[..], b"."].concat(),
            8 => b"/".to_vec(),
            _ => [&up[..], name].concat(),
        }
    }

    /// A hard link to a file that is there, by the way of it or another.
    fn link(&mut self, place: &[u8]) -> Option<(What, Like)> {
        let is_file = |is: &Is| !matches!(is, Is::Folder);
        let inside = join(place, b"");
        let is_other = |path: &[u8]| path != place && !path.starts_with(&inside);
        let nodes =
            self.model.nodes.iter().filter(|(path, (is, ..))| is_file(is) && is_other(path));
        let files: Vec<_> = nodes.map(|(path, _)| path.clone()).collect();
        if files.is_empty() {
            return None;
        }
        let target = self.dice.one(&files);
        let like = self.model.nodes.get(&target)?.1.clone();
        Some((What::Link(target), like))
    }
}

/// A path as the way to its folder and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => (b"", path),
    }
}
