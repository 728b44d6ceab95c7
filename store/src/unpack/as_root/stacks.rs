//! Layers over layers, as a container sees them.

use std::collections::BTreeMap;

use rustix::fs::FileType;
use tar::EntryType;

use crate::differential::seen::{Node, Tree, mounted, unpacked};
use crate::layer::Layer;
use crate::unpack::tests::Tar;

fn try_stack(tars: impl IntoIterator<Item = Tar>) -> Result<Tree, Layer> {
    let folder = tempfile::tempdir().unwrap();
    let tars: Vec<_> = tars.into_iter().map(Tar::bytes).collect();
    let layers = unpacked(&tars, folder.path())?;
    Ok(mounted(&layers, folder.path()))
}

fn stack(tars: impl IntoIterator<Item = Tar>) -> Tree {
    try_stack(tars).unwrap()
}

fn names(tree: &Tree) -> Vec<String> {
    let names = tree.keys().map(|path| String::from_utf8_lossy(path).into_owned());
    names.filter(|name| !name.is_empty()).collect()
}

fn node<'t>(tree: &'t Tree, path: &str) -> &'t Node {
    tree.get(path.as_bytes()).unwrap_or_else(|| panic!("no {path} in {:?}", names(tree)))
}

/// Owner, mode and time, as `Tar` gives them.
const NAMED: ((u32, u32), u32, i64) = ((1000, 1001), 0o750, 12345);

fn like(node: &Node) -> ((u32, u32), u32, i64) {
    (node.owner, node.mode, node.mtime.0)
}

#[test]
fn the_same_layer_twice_and_empty_ones_are_layers() {
    let two = || Tar::new().file("a", b"1");
    let tree = stack([two(), Tar::new(), Tar::new(), two(), Tar::new()]);
    assert_eq!(names(&tree), ["a"]);
}

#[test]
fn what_a_layer_does_not_name_stays_as_it_is_below() {
    let base = Tar::new()
        .folder("./")
        .folder("tmp/")
        .folder("home/")
        .folder("home/app/")
        .file("usr/lib/libc", b"1")
        .folder("usr/lib/")
        .symlink("lib", "usr/lib")
        .symlink("var", "/nowhere");
    let top = || {
        Tar::new()
            .file("tmp/x", b"")
            .file("home/app/y", b"")
            .file("lib/z", b"")
            .file("var/log/new", b"")
    };
    // A third one over both knows what the first says.
    for tree in [stack([base, top()]), {
        let base = Tar::new().folder("./").folder("tmp").folder("home").folder("home/app");
        let base = base.folder("usr").folder("usr/lib").file("usr/lib/libc", b"1");
        let base = base.symlink("lib", "usr/lib").symlink("var", "nowhere");
        stack([base, Tar::new(), top(), Tar::new().file("tmp/more", b"")])
    }] {
        for folder in ["", "tmp", "home", "home/app", "usr/lib"] {
            assert_eq!(like(node(&tree, folder)), NAMED, "{folder}");
        }
        assert_eq!(node(&tree, "lib").kind, FileType::Symlink);
        assert_eq!(node(&tree, "usr/lib/libc").content, b"1");
        assert_eq!(node(&tree, "usr/lib/z").kind, FileType::RegularFile);
        assert_eq!(node(&tree, "nowhere/log/new").kind, FileType::RegularFile);
    }
}

#[test]
fn a_folder_that_hands_its_group_on_stays_so_and_hands_nothing_to_the_layer() {
    let mut shared = Tar::new();
    for (name, mode) in [("shared/", 0o2775), ("shared/deep/", 0o1777)] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(50);
        header.set_mtime(1);
        header.set_cksum();
        shared.0.append(&header, &b""[..]).unwrap();
    }
    let tree = stack([shared, Tar::new().file("shared/deep/f", b"").file("shared/new/f", b"")]);
    assert_eq!(like(node(&tree, "shared")), ((7, 50), 0o2775, 1));
    assert_eq!(like(node(&tree, "shared/deep")), ((7, 50), 0o1777, 1));
    assert_eq!(node(&tree, "shared/new").owner, (0, 0));
}

#[test]
fn what_needs_a_lower_layer_finds_it() {
    let base = || {
        Tar::new()
            .file("data/old", b"old")
            .folder("data/")
            .folder("real/")
            .symlink("pkg", "real")
            .file("folder/in", b"")
            .file("file", b"content")
            .symlink("symlink", "file")
            .add(EntryType::Fifo, "fifo", "", b"")
            .device(EntryType::Char, "dev/null", (1, 3))
    };
    let tree = stack([base(), Tar::new().file(".wh.data", b"").file("data/new", b"")]);
    assert_eq!(
        (node(&tree, "data/new").mode, tree.contains_key(&b"data/old"[..])),
        (0o4755, false)
    );
    assert_eq!(node(&tree, "data").owner, (0, 0), "it is another folder");
    let tree = stack([base(), Tar::new().file("data/new", b"").file(".wh.data", b"")]);
    assert!(tree.contains_key(&b"data/new"[..]) && !tree.contains_key(&b"data/old"[..]));
    let tree = stack([base(), Tar::new().file("pkg/f", b"")]);
    assert!(tree.contains_key(&b"real/f"[..]));
    assert_eq!(node(&tree, "pkg").kind, FileType::Symlink);
    let tree = stack([base(), Tar::new().file("folder/f", b"").symlink("folder", "file")]);
    assert_eq!(node(&tree, "folder").content, b"file");
    // A folder, a link of its name, and a folder again: nothing of the first is left.
    let top = Tar::new().folder("folder").symlink("folder", "file").folder("folder");
    assert!(!stack([base(), top]).contains_key(&b"folder/in"[..]));
    for target in ["file", "symlink", "fifo", "dev/null", "pkg/../file"] {
        let target = target.trim_start_matches("pkg/../");
        let tree = stack([base(), Tar::new(), Tar::new().link("new/link", target)]);
        assert_eq!(node(&tree, "new/link").same_as, node(&tree, target).same_as, "{target}");
        assert_eq!(node(&tree, "new/link").kind, node(&tree, target).kind, "{target}");
    }
    let tree = stack([base().file("real/f", b"1"), Tar::new().link("link", "pkg/f")]);
    assert_eq!(node(&tree, "link").same_as, node(&tree, "real/f").same_as);
    // A file of a lower layer is not written to through its new name.
    let top = Tar::new().link("link", "file").file("link", b"other");
    assert_eq!(node(&stack([base(), top]), "file").content, b"content");
    for refused in ["folder", "nothing", "data/nothing", "file/f"] {
        try_stack([base(), Tar::new().link("link", refused)]).unwrap_err();
    }
    try_stack([base(), Tar::new().file(".wh.file", b"").link("link", "file")]).unwrap_err();
    try_stack([base(), Tar::new().file("file/f", b"")]).unwrap_err();
}

#[test]
fn whiteouts_hide_what_is_there_and_nothing_else() {
    let base = || Tar::new().file("a/one", b"").file("a/two", b"").file("b/c/d", b"");
    let tree = stack([base(), Tar::new().file("a/.wh.one", b"").file("a/.wh.never", b"")]);
    assert_eq!(names(&tree), ["a", "a/two", "b", "b/c", "b/c/d"]);
    // What is hidden already needs no second whiteout, which would be seen if the first one's layer were gone.
    let gone = || Tar::new().file(".wh.a", b"");
    assert_eq!(names(&stack([gone(), base(), gone(), gone()])), ["b", "b/c", "b/c/d"]);
    // A way that a whiteout made is no reason to stay.
    let top = Tar::new().file("b/c/.wh.d", b"").file(".wh.b", b"");
    assert_eq!(names(&stack([base(), top])), ["a", "a/one", "a/two"]);
    let link = Tar::new().symlink("l", "a").file("l/.wh.one", b"");
    assert!(!names(&stack([base(), link])).contains(&"a/one".to_owned()));
    // A whiteout is no name for who comes later.
    let tree = stack([base(), gone(), Tar::new().folder("a").file("a/three", b"")]);
    assert_eq!(names(&tree), ["a", "a/three", "b", "b/c", "b/c/d"]);
}

#[test]
fn an_opaque_mark_hides_everything_below_also_at_the_top() {
    let base = || Tar::new().file("a/one", b"").file("b/c/d", b"").file("e", b"").symlink("l", "b");
    let mark = |tar: Tar, folder: &str| tar.file(&format!("{folder}.wh..wh..opq"), b"");
    let own = |tar: Tar| tar.file("b/new", b"").file("e", b"own");
    let (before, after) = (mark(own(Tar::new()), ""), own(mark(Tar::new(), "")));
    for top in [before, after] {
        let tree = stack([base(), top, Tar::new().file("b/later", b"")]);
        assert_eq!(names(&tree), ["b", "b/later", "b/new", "e"]);
        assert_eq!(node(&tree, "e").content, b"own");
    }
    let tree = stack([base(), mark(Tar::new(), "b/")]);
    assert_eq!(names(&tree), ["a", "a/one", "b", "e", "l"]);
    let tree = stack([base(), mark(Tar::new().file("b/c/new", b""), "l/")]);
    assert_eq!(names(&tree), ["a", "a/one", "b", "b/c", "b/c/new", "e", "l"]);
    // What was made for the way alone goes.
    let tree = stack([base(), mark(Tar::new().file("b/c/.wh.d", b""), "b/")]);
    assert_eq!(names(&tree), ["a", "a/one", "b", "e", "l"]);
    let tree = stack([base(), mark(Tar::new(), ""), mark(Tar::new(), "")]);
    assert!(names(&tree).is_empty());
}

#[test]
fn attributes_of_folders_below_stay_and_marks_of_overlayfs_do_not_spread() {
    let mut base = Tar::new();
    base.0.append_pax_extensions([("SCHILY.xattr.user.kept", &b"1"[..])]).unwrap();
    let base = base.folder("a").file("a/b/one", b"");
    let hidden = || Tar::new().file("a/.wh..wh..opq", b"").file("a/b/two", b"");
    let tree = stack([base, hidden(), Tar::new().file("a/b/three", b"")]);
    assert_eq!(names(&tree), ["a", "a/b", "a/b/three", "a/b/two"]);
    let kept = BTreeMap::from([("user.kept".into(), b"1".to_vec())]);
    assert_eq!(node(&tree, "a").xattrs, kept);
    // Who names it says what it is like.
    let mut base = Tar::new();
    base.0.append_pax_extensions([("SCHILY.xattr.user.kept", &b"1"[..])]).unwrap();
    let tree = stack([base.folder("a"), Tar::new().file("a/x", b"").folder("a")]);
    assert!(node(&tree, "a").xattrs.is_empty());
}
