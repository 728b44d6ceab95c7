//! The archive format that kernels unpack: cpio, "newc".
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 6 | magic `070701` |
//! | 6 | 13 × 8 | inode, mode, uid, gid, links, time, size, device (major, minor), device named (major, minor), name's length with its zero, checksum (0): hexadecimal digits |
//! | 110 | n | name and a zero, filled up with zeros to a multiple of 4 |
//! | | n | content, filled up in the same way |
//!
//! The entry `TRAILER!!!` ends it. Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

use crate::tree::{Node, Tree};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const ALIGNMENT: usize = 4;

/// A tree that does not fit the format.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ArchiveError {
    #[error("archive {path}: {size} bytes are more than the format can say")]
    TooLarge { path: String, size: usize },
}

/// Archives `tree`. Inode numbers follow the order of paths; times are zero.
///
/// # Errors
/// A file has 4 GiB or more.
pub fn cpio(tree: &Tree) -> Result<Vec<u8>, ArchiveError> {
    let mut archive = Vec::new();
    let mut inode = 0;
    for (path, node) in tree.nodes() {
        inode += 1;
        let (kind, links, content): (u32, u32, &[u8]) = match node {
            Node::Directory => (DIRECTORY, 2, &[]),
            Node::File { content, .. } => (REGULAR, 1, content),
            Node::Symlink { target } => (SYMLINK, 1, target.as_bytes()),
        };
        append(&mut archive, path, [inode, kind | node.mode(), links], content)?;
    }
    append(&mut archive, TRAILER, [0, 0, 1], &[])?;
    Ok(archive)
}

fn append(
    archive: &mut Vec<u8>,
    name: &str,
    [inode, mode, links]: [u32; 3],
    content: &[u8],
) -> Result<(), ArchiveError> {
    let size = |size: usize| {
        u32::try_from(size)
            .map_err(|_out_of_range| ArchiveError::TooLarge { path: name.to_owned(), size })
    };
    let fields =
        [inode, mode, 0, 0, links, 0, size(content.len())?, 0, 0, 0, 0, size(name.len() + 1)?, 0];
    archive.extend_from_slice(MAGIC.as_bytes());
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    align(archive);
    archive.extend_from_slice(content);
    align(archive);
    Ok(())
}

fn align(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_lists_what_was_archived() {
        let mut tree = Tree::default();
        tree.program("init", b"#!".to_vec()).unwrap();
        tree.file("etc/key.pub", b"ab\n".to_vec()).unwrap();
        tree.symlink("lib", "usr/lib").unwrap();
        let archive = cpio(&tree).unwrap();
        assert_eq!(archive.len() % ALIGNMENT, 0);
        let mut list = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        list.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = list.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let columns: Vec<(&str, &str)> = text
            .lines()
            .map(|line| (line.split(' ').next().unwrap(), line.split("1970 ").nth(1).unwrap()))
            .collect();
        assert_eq!(
            columns,
            [
                ("drwxr-xr-x", "etc"),
                ("-rw-r--r--", "etc/key.pub"),
                ("-rwxr-xr-x", "init"),
                ("lrwxrwxrwx", "lib -> usr/lib"),
            ]
        );
    }
}
