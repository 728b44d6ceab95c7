//! What is kept of units, whatever else is on the disk.

use super::*;

#[test]
fn units_and_wishes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = UnitStore::at(folder.path());
    let unit = unit::parse("name = \"web\"\nimage = \"a:1\"\ncommand = [\"x\"]\n").unwrap();
    store.put(&unit).unwrap();
    store.want("web", true).unwrap();
    fs::write(folder.path().join("bad.toml"), "nonsense").unwrap();
    assert_eq!(UnitStore::at(&folder.path().join("none")).unknown(|_| false), None);
    let why = store.unknown(|name| name == "web").unwrap();
    assert!(why.ends_with("here: bad"), "{why}");
    let file = UnitStore::at(&folder.path().join("web.toml"));
    assert!(file.unknown(|_| true).is_some(), "no folder");
    let (units, warnings) = store.load();
    let stored = Stored {
        unit,
        wanted: true,
        made: false,
        assigned: false,
        ran: false,
        fired: None,
        stopped: None,
    };
    assert_eq!(units, [stored]);
    assert_eq!(warnings.len(), 1);
    store.want("web", false).unwrap();
    assert!(!store.load().0[0].wanted);
    store.set_fired("web", 7).unwrap();
    store.note_ran("web");
    assert_eq!(store.load().0[0].fired, Some(7));
    store.remove("web").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only bad.toml is left");
    assert_eq!(store.load().0, []);
}

#[test]
fn what_the_cluster_wants_is_marked_before_it_is_kept_and_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = UnitStore::at(folder.path());
    let unit = unit::parse("name = \"web@1\"\nimage = \"a:1\"\n").unwrap();
    store.put_assigned(&unit).unwrap();
    assert!(store.load().0[0].assigned);
    // The power went after the document was removed, and before the mark was.
    fs::remove_file(folder.path().join("web@1.toml")).unwrap();
    assert_eq!(store.load().0, []);
    store.put(&unit).unwrap();
    assert!(!store.load().0[0].assigned, "a mark without a document was taken for another's");
    store.put_assigned(&unit).unwrap();
    store.remove("web@1").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn each_document_is_taken_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (root, aside) = (folder.path().join("units"), folder.path().join("quarantine"));
    let store = UnitStore::at(&root);
    assert_eq!(store.load(), (vec![], vec![]));
    let document = |name: &str| format!("name = \"{name}\"\nimage = \"a:1\"\ncommand = [\"x\"]\n");
    let put = |file: &str, bytes: &[u8]| fs::write(root.join(file), bytes).unwrap();
    put("web.toml", document("web").as_bytes());
    put("bytes.toml", b"name = \"\xff\xfe\"");
    put("other.toml", document("web").as_bytes());
    put("newer.toml", b"name = \"newer\"\nfrom_the_future = true\n");
    put("empty.toml", b"");
    fs::create_dir(root.join("folder.toml")).unwrap();
    // What would keep a reader for ever.
    let made = std::process::Command::new("mkfifo").arg(root.join("fifo.toml")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink(root.join("fifo.toml"), root.join("link.toml")).unwrap();
    fs::File::create(root.join("endless.toml")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::symlink(root.join("fifo.toml"), root.join("web.made")).unwrap();
    // Marks that are no numbers, or no files.
    put("web.fired", b"\xff");
    fs::create_dir(root.join("web.stopped")).unwrap();
    let (units, warnings) = store.load();
    assert_eq!(units.len(), 1);
    assert_eq!((units[0].fired, units[0].stopped), (None, None));
    assert_eq!(warnings.len(), 8, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("bytes.toml")), "{warnings:?}");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 6);
    assert!(root.join("newer.toml").exists());
    store.remove("web").unwrap();
    // A file where the folder should be.
    fs::remove_file(root.join("newer.toml")).unwrap();
    fs::remove_file(root.join("empty.toml")).unwrap();
    fs::remove_dir(&root).unwrap();
    fs::write(&root, "x").unwrap();
    assert_eq!(store.load().1.len(), 1);
    assert!(root.is_dir());
}

/// A folder, a FIFO, a link: whatever somebody with all rights, or a damaged disk, may have put under a name.
fn in_the_way(folder: &Path, name: &str, kind: usize) -> PathBuf {
    let (path, elsewhere) = (folder.join(name), folder.join("elsewhere"));
    fs::write(&elsewhere, "another's").unwrap();
    match kind {
        0 => fs::create_dir_all(path.join("deep")).unwrap(),
        1 => {
            let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
        }
        _ => std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
    }
    path
}

#[test]
fn nothing_that_has_the_name_of_a_mark_keeps_it_from_being_written_or_removed() {
    for kind in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let store = UnitStore::at(folder.path());
        let unit = unit::parse("name = \"web\"\nimage = \"a:1\"\n").unwrap();
        for name in ["web.toml.new", "web.wanted", "web.wanted.new", "web.ran", "web.stopped"] {
            in_the_way(folder.path(), name, kind);
        }
        store.put(&unit).unwrap();
        store.want("web", true).unwrap();
        store.note_ran("web");
        store.note_stopped("web", 7);
        store.set_fired("web", 8).unwrap();
        let stored = store.load().0.pop().unwrap();
        assert!(stored.wanted && stored.ran, "{kind}");
        assert_eq!((stored.stopped, stored.fired), (Some(7), Some(8)), "{kind}");
        for mark in ["web.wanted", "web.ran", "web.stopped"] {
            assert!(fs::symlink_metadata(folder.path().join(mark)).unwrap().is_file(), "{mark}");
        }
        fs::remove_file(folder.path().join("web.wanted")).unwrap();
        let mark = in_the_way(folder.path(), "web.wanted", kind);
        store.want("web", false).unwrap();
        assert!(fs::symlink_metadata(mark).is_err(), "{kind}");
        let elsewhere = fs::read_to_string(folder.path().join("elsewhere")).unwrap();
        assert_eq!(elsewhere, "another's", "{kind}");
    }
}

mod as_root {
    use super::*;

    fn run(command: &str, arguments: &[&str], path: &Path) {
        let ran = std::process::Command::new(command).args(arguments).arg(path).status();
        assert!(ran.unwrap().success(), "{command}");
    }

    #[test]
    fn where_a_document_cannot_be_written_no_mark_is_left_for_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = UnitStore::at(folder.path());
        let unit = unit::parse("name = \"web@1\"\nimage = \"a:1\"\n").unwrap();
        // Nobody removes what something is mounted on.
        let beside = folder.path().join("web@1.toml.new");
        fs::create_dir(&beside).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs"], &beside);
        let put = store.put_assigned(&unit);
        run("umount", &[], &beside);
        put.unwrap_err();
        store.put(&unit).unwrap();
        assert!(!store.load().0[0].assigned);
    }
}
