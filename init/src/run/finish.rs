//! The last thing before the power goes: everything in memory to disk, every file system unmounted.
//!
//! `sync(2)` and `umount(2)` wait for the disk for as long as it takes and have no deadline, so they run on a
//! thread of their own. It ends with the machine.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::state::clock::Clock;
use crate::state::grow::Growth;

/// Mounts that stay: the root, which is read-only, and what the kernel and PID 1 themselves need.
const KEPT: [&str; 4] = ["/", "/run", "/etc", "/tmp"];
/// Mounts that stay with everything below them.
const KEPT_TREES: [&str; 3] = ["/proc", "/sys", "/dev"];
/// A mount may be busy only because of one below it or stacked on it; each pass frees a layer.
const PASSES_MAX: usize = 8;

/// Starts the thread; it first waits until `growth`, which holds STATE, has stopped. The pipe gives the text of what is not clean, nothing if all is, and then ends.
///
/// # Errors
/// There is no room for a pipe or a thread.
pub fn start(clock: Clock, growth: Option<Growth>) -> std::io::Result<OwnedFd> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    std::thread::Builder::new().name("finish".to_owned()).spawn(move || {
        if let Some(growth) = growth {
            growth.stop();
        }
        // A floor for the next boot's clock; without it a node only trusts its hardware's. Here, since STATE may hang.
        clock.remember().ok();
        if let Some(problem) = finish() {
            fs::File::from(write).write_all(problem.as_bytes()).ok();
        }
    })?;
    Ok(read)
}

/// Reads the pipe: `None` while the thread works, then whether all is clean.
pub fn take_result(pipe: &OwnedFd, text: &mut Vec<u8>) -> Option<Result<(), String>> {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Some(if text.is_empty() { Ok(()) } else { Err(text) });
            }
            Ok(length) => text.extend(buffer.iter().take(length)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return None,
            Err(error) => return Some(Err(format!("the result of unmounting is lost: {error}"))),
        }
    }
}

/// Does the work; says what is not clean.
fn finish() -> Option<String> {
    rustix::fs::sync();
    for _ in 0..PASSES_MAX {
        let mut progress = false;
        for path in to_unmount() {
            progress |= unmount(&path, UnmountFlags::NOFOLLOW).is_ok();
        }
        if !progress {
            break;
        }
    }
    let mut problems = Vec::new();
    for path in to_unmount() {
        if let Err(error) = mount_remount(&path, MountFlags::RDONLY, c"") {
            problems.push(format!(
                "{} can neither be unmounted nor made read-only: {error}",
                path.display()
            ));
        }
    }
    rustix::fs::sync();
    (!problems.is_empty()).then(|| problems.join("; "))
}

fn to_unmount() -> Vec<PathBuf> {
    unmount_order(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Mount points to unmount, the latest first.
fn unmount_order(mountinfo: &str) -> Vec<PathBuf> {
    let kept = |path: &Path| {
        KEPT.iter().any(|kept| path == Path::new(kept))
            || KEPT_TREES.iter().any(|tree| path.starts_with(tree))
    };
    mountinfo
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| !kept(path))
        .collect()
}

/// Undoes the kernel's `\NNN` for characters that would break its table.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_mount_goes_first_and_the_kernels_stay() {
        let mountinfo = "\
22 1 253:0 / / ro,relatime - erofs /dev/mapper/root ro
23 22 0:5 / /dev rw - devtmpfs devtmpfs rw
24 22 0:21 / /proc rw - proc proc rw
25 22 0:22 / /sys rw - sysfs sysfs rw
26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
27 22 0:24 / /run rw - tmpfs tmpfs rw
28 22 0:25 / /etc rw - tmpfs tmpfs rw
29 22 254:1 / /var rw,nosuid - ext4 /dev/vda1 rw
30 22 254:8 / /oem ro - ext4 /dev/vda8 ro
31 29 0:30 / /var/lib/ferrite/units/a\\040b rw - overlay overlay rw
32 27 0:4 net:[4026532] /run/ferrite/netns/web rw - nsfs nsfs rw
";
        let order: Vec<String> =
            unmount_order(mountinfo).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(order, ["/run/ferrite/netns/web", "/var/lib/ferrite/units/a b", "/oem", "/var"]);
    }

    #[test]
    fn the_result_comes_through_the_pipe() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut text = Vec::new();
        assert_eq!(take_result(&read, &mut text), None);
        rustix::io::write(&write, b"busy").unwrap();
        assert_eq!(take_result(&read, &mut text), None);
        drop(write);
        assert_eq!(take_result(&read, &mut text), Some(Err("busy".to_owned())));
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        drop(write);
        assert_eq!(take_result(&read, &mut Vec::new()), Some(Ok(())));
    }
}
