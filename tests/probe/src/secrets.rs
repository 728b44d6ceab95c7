//! Looks for words in everything that can be read below a folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Serialize;

/// Most that is read of a file; documents with secrets are small.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Deepest nesting that is looked at.
const DEPTH_MAX: usize = 24;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Secrets {
    /// Files that could be read.
    read: usize,
    /// Files and folders that could not.
    closed: usize,
    /// Those that hold one of the words.
    found: Vec<PathBuf>,
}

/// Looks below `folder` for `words`, which are given backwards: what asks must not find its own question.
pub(crate) fn look(folder: &Path, words: &[String]) -> Secrets {
    let words: Vec<Vec<u8>> =
        words.iter().map(|word| word.chars().rev().collect::<String>().into_bytes()).collect();
    let mut secrets = Secrets { read: 0, closed: 0, found: Vec::new() };
    below(folder, 0, &words, &mut secrets);
    secrets
}

fn below(folder: &Path, depth: usize, words: &[Vec<u8>], secrets: &mut Secrets) {
    let Ok(entries) = fs::read_dir(folder) else {
        secrets.closed += 1;
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && depth < DEPTH_MAX && !is_processes_own(&path) {
            below(&path, depth + 1, words, secrets);
        } else if metadata.is_file() {
            match begin(&path) {
                Ok(bytes) => {
                    secrets.read += 1;
                    let holds = |word: &Vec<u8>| {
                        bytes.windows(word.len()).any(|window| window == word.as_slice())
                    };
                    if words.iter().any(holds) {
                        secrets.found.push(path);
                    }
                }
                Err(_) => secrets.closed += 1,
            }
        }
    }
}

/// Below a process there are all its threads, its files and the root again.
fn is_processes_own(path: &Path) -> bool {
    ["task", "root", "cwd", "fd", "fdinfo", "map_files", "net"]
        .iter()
        .any(|name| path.ends_with(name))
        && path.components().any(|part| part.as_os_str() == "proc")
}

fn begin(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    // Some files of the kernel have no end; some fail halfway.
    match file.take(FILE_MAX_BYTES).read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => Err(error),
        Ok(_) | Err(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_what_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "my secret\n").unwrap();
        fs::write(folder.path().join("c"), "terces\n").unwrap();
        let secrets = look(folder.path(), &["terces".to_owned()]);
        assert_eq!(secrets.found, [folder.path().join("a/b")]);
        assert_eq!(secrets.read, 2);
    }
}
