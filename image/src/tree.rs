//! A directory tree in memory, on its way into an archive: sorted, owned by root, without time stamps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Directory, mode 755.
    Directory,
    /// File, mode 644, or 755 where it may be run.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Whether it may be run.
        executable: bool,
    },
    /// Symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
}

impl Node {
    /// Permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        match self {
            Self::Directory | Self::File { executable: true, .. } => 0o755,
            Self::File { executable: false, .. } => 0o644,
            Self::Symlink { .. } => 0o777,
        }
    }
}

/// Why something cannot be put into a tree.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TreeError {
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("put /{path} into the tree: it is there already")]
    Twice { path: String },
    #[error("put {path:?} into the tree: its path must be plain, without . and ..")]
    Path { path: String },
}

/// The tree. Paths have no leading slash; parents come before what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Every path and what it holds, in byte order of the paths.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Puts `node` at `path`, making its parents.
    ///
    /// # Errors
    /// Something else is there.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(TreeError::Path { path: path.to_owned() });
        }
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            let there = self.nodes.entry(parent.to_owned()).or_insert(Node::Directory);
            if *there != Node::Directory {
                return Err(TreeError::Twice { path: parent.to_owned() });
            }
        }
        match self.nodes.get(path) {
            Some(there) if *there == node => Ok(()),
            Some(_) => Err(TreeError::Twice { path: path.to_owned() }),
            None => {
                self.nodes.insert(path.to_owned(), node);
                Ok(())
            }
        }
    }

    /// Makes the empty directory `path`.
    ///
    /// # Errors
    /// Something else is there.
    pub fn directory(&mut self, path: &str) -> Result<(), TreeError> {
        self.insert(path, Node::Directory)
    }

    /// Makes a file that is not run.
    ///
    /// # Errors
    /// Something else is there.
    pub fn file(&mut self, path: &str, content: Vec<u8>) -> Result<(), TreeError> {
        self.insert(path, Node::File { content, executable: false })
    }

    /// Makes a file that may be run.
    ///
    /// # Errors
    /// Something else is there.
    pub fn program(&mut self, path: &str, content: Vec<u8>) -> Result<(), TreeError> {
        self.insert(path, Node::File { content, executable: true })
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// Something else is there.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        self.insert(path, Node::Symlink { target: target.to_owned() })
    }

    /// SHA-256 over everything in the tree.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(bytes.len().to_string().as_bytes());
            hasher.update(b":");
            hasher.update(bytes);
        };
        for (path, node) in self.nodes() {
            add(path.as_bytes());
            match node {
                Node::Directory => add(b"directory"),
                Node::File { content, executable } => {
                    add(if *executable { b"program" } else { b"file" });
                    add(content);
                }
                Node::Symlink { target } => {
                    add(b"symlink");
                    add(target.as_bytes());
                }
            }
        }
        hex::encode(hasher.finalize())
    }
}

/// Reads a whole file for a tree.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, TreeError> {
    std::fs::read(path).map_err(|source| TreeError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_appear_before_what_they_hold() {
        let mut tree = Tree::default();
        tree.file("/a/b/c", vec![1]).unwrap();
        let paths: Vec<&str> = tree.nodes().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn nothing_is_overwritten_and_no_path_leaves_the_tree() {
        let mut tree = Tree::default();
        tree.file("a", vec![1]).unwrap();
        assert!(matches!(tree.file("a", vec![2]), Err(TreeError::Twice { .. })));
        assert!(matches!(tree.file("a/b", vec![2]), Err(TreeError::Twice { .. })));
        assert!(matches!(tree.file("b/../c", vec![2]), Err(TreeError::Path { .. })));
        assert!(matches!(tree.file("", vec![2]), Err(TreeError::Path { .. })));
    }

    #[test]
    fn every_property_counts_in_the_sum() {
        let sum = |make: fn(&mut Tree)| {
            let mut tree = Tree::default();
            make(&mut tree);
            tree.sha256()
        };
        let sums = [
            sum(|tree| tree.file("a", vec![1]).unwrap()),
            sum(|tree| tree.program("a", vec![1]).unwrap()),
            sum(|tree| tree.file("a", vec![2]).unwrap()),
            sum(|tree| tree.file("b", vec![1]).unwrap()),
            sum(|tree| tree.directory("a").unwrap()),
            sum(|tree| tree.symlink("a", "\u{1}").unwrap()),
        ];
        for (index, one) in sums.iter().enumerate() {
            assert!(!sums[index + 1..].contains(one), "{index}");
        }
    }
}
