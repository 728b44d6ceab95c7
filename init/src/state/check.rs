//! Running e2fsck.
//!
//! Twice: the first run writes nothing. Asked to repair, e2fsck writes zeros over what it cannot read, so that a loose
//! cable would end a file system; a disk that cannot be read must be found before that.
//!
//! And once more where it stumbles over its own order of work: where a file system has quotas and was not unmounted,
//! e2fsck (1.47.4 still) counts the quotas before it takes orphans away, for which it reads the bitmaps, and ends at the
//! first whose checksum is wrong. Without orphans it comes to the passes that make bitmaps and quotas anew. Nothing is
//! lost by it: those passes find inodes without a name as well, and where the kernel has marked the file system as
//! damaged, e2fsck itself leaves the list of orphans aside.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use ferrite_schema::names;
use ferrite_sys::child::{Apart, set_apart};

use super::superblock;
use crate::irreversible::state::{Backup, Checked};
use crate::log;

/// Exit status: errors were left. Below it are what was corrected (1) and a wish to be rebooted (2).
const ERRORS_LEFT: i32 = 4;
/// Lines of e2fsck that are worth the console; a wrecked file system gives thousands.
const LINES_MAX: usize = 20;
/// Longest line that is looked at: lists of blocks can be longer than memory.
const LINE_MAX_BYTES: u64 = 4096;
/// How a line begins that says of a block that the disk does not give it. Further on in other lines there are names of files,
/// which say what they like.
///
/// Source: e2fsprogs, `e2fsck/ehandler.c`.
const UNREAD_BLOCK: &str = "Error reading block ";
/// What else says so, behind the program's name or in the place of it.
///
/// Source: e2fsprogs, `lib/ext2fs/ext2_err.et.in`; strerror(3).
const UNREAD: [&str; 5] = [
    "Input/output error",
    "Attempt to read block from filesystem resulted in short read",
    "Can't read an inode",
    "Can't read a block bitmap",
    "Can't read group descriptors",
];
/// What e2fsck says where it ends over the quotas, with its exit status.
const QUOTAS_UNREAD: &str = "Error initializing quota context";
const OPERATIONAL_ERROR: i32 = 8;
/// The kernel may end it when memory runs out: better than PID 1.
const OOM_SCORE_ADJ: &str = "0";

/// What a run of e2fsck came to.
#[derive(Debug)]
struct Run {
    status: ExitStatus,
    lines: Vec<String>,
    read_error: Option<String>,
    /// It ended over the quotas, however much it had said before.
    quotas_unread: bool,
}

/// Checks and repairs the file system in `device`, from the backup superblock `from` where one is named.
#[must_use]
pub fn check(device: PathBuf, from: Option<Backup>) -> (Checked, Vec<String>) {
    let attempt = |mode: &str| run(command(mode, &device, from));
    let failed = |error: io::Error| Checked::Failed { why: format!("it cannot be run: {error}") };
    let look = match attempt("-n") {
        Ok(look) => look,
        Err(error) => return (failed(error), Vec::new()),
    };
    if let Some(why) = look.read_error {
        return (Checked::Unreadable { why }, Vec::new());
    }
    match attempt("-y").and_then(|repair| past_quotas(repair, &device, || attempt("-y"))) {
        Ok(repair) => {
            for line in &repair.lines {
                log::warn(format_args!("e2fsck: {line}"));
            }
            (checked(&repair), repair.lines)
        }
        Err(error) => (failed(error), Vec::new()),
    }
}

/// Repairs `again`, without orphans, where `repair` ended over the quotas.
fn past_quotas(
    repair: Run,
    device: &Path,
    again: impl FnOnce() -> io::Result<Run>,
) -> io::Result<Run> {
    let ended = repair.status.code().is_some_and(|code| code & OPERATIONAL_ERROR != 0);
    if !ended || !repair.quotas_unread {
        return Ok(repair);
    }
    // The journal was written back by the run that ended: nothing writes over the superblock after this.
    let file = File::options().read(true).write(true).open(device)?;
    let mut bytes = [0; superblock::SIZE_BYTES];
    file.read_exact_at(&mut bytes, superblock::OFFSET_BYTES)?;
    let Some(changed) = superblock::without_orphans(&bytes) else { return Ok(repair) };
    file.write_all_at(&changed, superblock::OFFSET_BYTES)?;
    file.sync_all()?;
    log::warn(format_args!("e2fsck could not count the quotas; running it again without orphans"));
    again()
}

fn checked(run: &Run) -> Checked {
    match run.status.code() {
        Some(code) if code < ERRORS_LEFT => Checked::Sound,
        Some(ERRORS_LEFT..OPERATIONAL_ERROR) => Checked::ErrorsLeft,
        Some(code) => Checked::Failed {
            why: format!("exit status {code}; {}", run.lines.get(1).map_or("", String::as_str)),
        },
        None => Checked::Failed { why: format!("{}", run.status) },
    }
}

fn command(mode: &str, device: &Path, from: Option<Backup>) -> Command {
    let mut command = Command::new(names::E2FSCK);
    command.args(["-f", mode]);
    if let Some(Backup { block, block_bytes }) = from {
        command.args(["-b", &block.to_string(), "-B", &block_bytes.to_string()]);
    }
    command.arg(device).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    set_apart(&mut command, Apart { cgroup: None, oom_score_adj: OOM_SCORE_ADJ });
    command
}

/// Runs it to its end, keeping little of what it says.
fn run(mut command: Command) -> io::Result<Run> {
    let (reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command holds the pipe's other end.
    drop(command);
    let mut lines = Vec::new();
    let mut read_error = None;
    let mut quotas_unread = false;
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut is_rest = false;
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        if read_error.is_none() && !is_rest && is_read_error(&text) {
            read_error = Some(text.clone());
        }
        quotas_unread |= !is_rest && text.starts_with(QUOTAS_UNREAD);
        // A name may be so long that the next piece of the line begins in it.
        is_rest = line.last() != Some(&b'\n');
        if lines.len() < LINES_MAX && !text.is_empty() {
            lines.push(text);
        }
    }
    Ok(Run { status: child.wait()?, lines, read_error, quotas_unread })
}

/// A whole line of e2fsck says that the disk does not give its bytes.
fn is_read_error(line: &str) -> bool {
    let own = [names::E2FSCK, "e2fsck"]
        .iter()
        .find_map(|program| line.strip_prefix(program)?.strip_prefix(": "))
        .unwrap_or(line);
    line.starts_with(UNREAD_BLOCK) || UNREAD.iter().any(|error| own.starts_with(error))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
