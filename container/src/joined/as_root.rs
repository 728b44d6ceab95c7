//! Networks of processes that stand for containers.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ferrite_schema::shim::{Notice, SOCKET};
use nix::sched::CloneFlags;

use super::*;

/// A process in a network of its own, and the socket of a shim that says so; both end with this.
struct Other {
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}

impl Other {
    fn new() -> Self {
        let begin = || {
            // This thread's, and of what it starts.
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
        };
        let process = std::thread::scope(|scope| scope.spawn(begin).join()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        let line = format!("{}\n", serde_json::to_string(&Notice::Started { pid }).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Who asks may be gone by then.
                drop(stream.and_then(|mut stream| stream.write_all(line.as_bytes())));
            }
        });
        Self { process, folder }
    }

    fn shared(&self, cgroup: String) -> SharedNetwork {
        let folder = self.folder.path().to_string_lossy().into_owned();
        SharedNetwork { unit: "web".to_owned(), run: 1, folder, cgroup, attachment: None }
    }

    /// The cgroup that it is in.
    fn cgroup(&self) -> String {
        let path = format!("/proc/{}/cgroup", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
    }

    fn namespace(&self, kind: &str) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/ns/{kind}", self.process.id())).unwrap()
    }
}

/// Joins in a thread of its own; answers with the network that this one has then, and the user namespace.
fn joined(shared: &SharedNetwork) -> Result<(PathBuf, PathBuf), String> {
    let join = || {
        let users = join(shared).map_err(|problem| ferrite_schema::chain(&problem))?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&users);
        let users = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        Ok((std::fs::read_link("/proc/thread-self/ns/net").unwrap(), users))
    };
    std::thread::scope(|scope| scope.spawn(join).join()).unwrap()
}

#[test]
fn the_network_of_a_container_that_runs_is_entered() {
    let other = Other::new();
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let (network, users) = joined(&other.shared(other.cgroup())).unwrap();
    assert_eq!(network, other.namespace("net"));
    assert_ne!(network, own);
    assert_eq!(users, other.namespace("user"));
}

#[test]
fn one_that_is_gone_or_no_container_is_not_entered() {
    let mut other = Other::new();
    // Its number was given to somebody else.
    let refused = joined(&other.shared("/units/web".to_owned())).unwrap_err();
    assert!(refused.starts_with("share the network of web: find its container: it does not run"));
    let shared = other.shared(other.cgroup());
    other.process.kill().unwrap();
    other.process.wait().unwrap();
    let refused = joined(&shared).unwrap_err();
    assert!(refused.contains("it does not run"), "{refused}");
    std::fs::remove_file(other.folder.path().join(SOCKET)).unwrap();
    let refused = joined(&shared).unwrap_err();
    assert!(refused.contains("it does not run"), "{refused}");
}
