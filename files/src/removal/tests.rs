//! What goes, what stays, and what is told of it.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::FileType;

use super::*;

#[test]
fn everything_goes_and_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    fs::write(tree.join("a/file"), "").unwrap();
    symlink(&outside, tree.join("a/link")).unwrap();
    symlink("nowhere", tree.join("a/b/dangling")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    remove(&tree).unwrap();
    assert!(!tree.exists());
    assert!(outside.join("kept").exists());
    // Nothing, a link, and a file.
    remove(&tree).unwrap();
    remove(Path::new("/nonexistent-folder/a")).unwrap();
    symlink(&outside, &tree).unwrap();
    remove(&tree).unwrap();
    assert!(outside.join("kept").exists());
    remove(&outside.join("kept")).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn wide_and_deep_ones_with_hostile_names_go() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let deep = tree.join("d/".repeat(OPEN_MAX + 3));
    fs::create_dir_all(&deep).unwrap();
    for number in 0..50 {
        fs::create_dir_all(deep.join(format!("{number}/x/y"))).unwrap();
        fs::create_dir_all(tree.join(format!(".removed-{number}/z"))).unwrap();
        let far = tree.join(format!("far-{number}/{}", "d/".repeat(OPEN_MAX)));
        fs::create_dir_all(far.join(format!(".removed-{}/z", 2 * number))).unwrap();
        fs::create_dir_all(tree.join(format!("near/.removed-{}/z", 2 * number))).unwrap();
        fs::write(tree.join(format!(".removed-{}", 50 + number)), "").unwrap();
    }
    remove(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn what_is_taken_away_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a".repeat(NAME_MAX_BYTES));
    assert_eq!(take_away(&path).unwrap(), None);
    for _ in 0..2 {
        fs::create_dir(&path).unwrap();
        assert!(take_away(&path).unwrap().unwrap().exists());
    }
    assert!(!path.exists());
    assert_eq!(taken_away(folder.path()).len(), 2);
}

#[test]
fn what_cannot_go_is_named() {
    let error = remove(Path::new("/proc/self/fd")).unwrap_err();
    assert!(error.to_string().starts_with("remove /proc/self/fd: "), "{error}");
}

/// Nobody else enters what its owner may not enter.
mod as_root {
    use super::*;

    #[test]
    fn folders_whose_owner_may_not_enter_them_go() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        for mode in [0o000, 0o500, 0o300, 0o600] {
            fs::create_dir_all(tree.join("a/b/c")).unwrap();
            fs::write(tree.join("a/b/file"), "").unwrap();
            for place in ["a/b/c", "a/b", "a", ""] {
                let rights = fs::Permissions::from_mode(mode);
                fs::set_permissions(tree.join(place), rights).unwrap();
            }
            remove(&tree).unwrap_or_else(|error| panic!("{mode:o}: {error:?}"));
            assert!(!tree.exists());
        }
    }
}
