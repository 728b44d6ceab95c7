//! What hostile programs in containers try.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{CWD, RenameFlags};
use serde::Serialize;

/// Handles of others' programs that are kept for a last try.
const HANDLES_MAX: usize = 100;

/// What came of looking for programs to overwrite.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hunt {
    /// Processes whose program was hidden from us, each counted as often as it was seen.
    hidden: usize,
    /// Programs that were found, to the errors of opening them for writing; 0 where that worked.
    programs: BTreeMap<String, BTreeSet<i32>>,
}

/// Tries to open the program of every process for writing, until the file `enough` is there. Makes the file `seen`
/// as soon as there was one named `wanted`.
pub(crate) fn hunt(enough: &Path, wanted: &str, seen: &Path) -> io::Result<Hunt> {
    let mut hunt = Hunt::default();
    let mut handles: Vec<(String, File)> = Vec::new();
    while !enough.exists() {
        for entry in fs::read_dir("/proc")? {
            let link = entry?.path().join("exe");
            if !link.parent().and_then(Path::file_name).is_some_and(is_number) {
                continue;
            }
            let Ok(program) = fs::read_link(&link) else {
                hunt.hidden += 1;
                continue;
            };
            let program = program.to_string_lossy().into_owned();
            let outcomes = hunt.programs.entry(program.clone()).or_default();
            outcomes.insert(write_error(&link));
            // Run from a mount that has no place, a program has no other name.
            let found = program.ends_with(wanted) || program == "/";
            // A handle outlives the process, and with it what kept the program from being written.
            if handles.len() < HANDLES_MAX
                && found
                && let Ok(handle) = File::open(&link)
            {
                handles.push((program.clone(), handle));
            }
            if found && !seen.exists() {
                fs::write(seen, "")?;
            }
        }
    }
    for (program, handle) in handles {
        let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
        hunt.programs.entry(program).or_default().insert(write_error(Path::new(&link)));
    }
    Ok(hunt)
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn write_error(path: &Path) -> i32 {
    let opened = OpenOptions::new().write(true).open(path);
    opened.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

/// Makes of `folder/place` again and again what it was not: a folder, and links to each of `targets`. For ever.
pub(crate) fn swap(folder: &Path, targets: &[String]) -> io::Result<ExitCode> {
    let place = folder.join("place");
    fs::create_dir_all(&place)?;
    let mut others = Vec::new();
    for (number, target) in targets.iter().enumerate() {
        let other = folder.join(format!("other-{number}"));
        symlink(target, &other)?;
        others.push(other);
    }
    io::stdout().write_all(b"swapping\n")?;
    loop {
        for other in &others {
            // There is a moment for each: the link is there, and the folder is again.
            for _ in 0..2 {
                rustix::fs::renameat_with(CWD, other, CWD, &place, RenameFlags::EXCHANGE)?;
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{hunt, write_error};

    #[test]
    fn a_running_program_is_found_and_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let (enough, seen) = (folder.path().join("enough"), folder.path().join("seen"));
        let own = std::env::current_exe().unwrap().display().to_string();
        let watcher = {
            let (enough, seen) = (enough.clone(), seen.clone());
            std::thread::spawn(move || {
                while !seen.exists() {
                    std::thread::yield_now();
                }
                std::fs::write(enough, "").unwrap();
            })
        };
        let found = hunt(&enough, &own, &seen).unwrap();
        watcher.join().unwrap();
        assert!(!found.programs[&own].contains(&0));
        assert_eq!(write_error(&enough), 0);
    }
}
