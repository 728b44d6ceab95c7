//! A tester's hand inside a guest: carries out what a test asks for over TCP, one JSON request and one JSON answer per line.
//!
//! Only test images contain it. It is started beside the agent by [`beside`], outlives it, and sits in a
//! cgroup of its own, so that killing what it is told to kill never kills it.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Port that the tester's hand listens on in a test image.
const PORT: u16 = 7444;
const OWN_CGROUP: &str = "/sys/fs/cgroup/probe";
/// Longest file that a `read` returns.
const READ_MAX_BYTES: usize = 4 << 20;

/// What a test may ask for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Request {
    /// Every process: pid, parent, state, name, executable, cgroup.
    Processes,
    /// Sends a signal.
    Kill { pid: i32, signal: i32 },
    /// Stops PID 1's loop without PID 1's consent, through the cgroup freezer.
    FreezeInit,
    /// Panics the kernel.
    Panic,
    /// Leaves this many orphans to PID 1, all exiting at once.
    Orphans { count: u32 },
    /// A file's content.
    Read { path: PathBuf },
    /// Writes a file; answers with the error's name where that fails.
    Write { path: PathBuf, text: String },
    /// Every executable regular file of the root file system.
    Executables,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: i32,
    parent: i32,
    state: String,
    name: String,
    executable: Option<PathBuf>,
    cgroup: String,
}

/// Starts the server and becomes `program`, in the same process.
pub(crate) fn beside(program: &str, arguments: &[String]) -> io::Error {
    let started = std::env::current_exe()
        .and_then(|own| Command::new(own).arg("serve").process_group(0).spawn());
    match started {
        Ok(_child) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// Serves requests until the guest ends. Returns at once where a server is there already.
pub(crate) fn serve() -> io::Result<()> {
    let listener = match TcpListener::bind(("0.0.0.0", PORT)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(()),
        other => other?,
    };
    fs::create_dir_all(OWN_CGROUP)?;
    fs::write(Path::new(OWN_CGROUP).join("cgroup.procs"), "0")?;
    loop {
        let (stream, _) = listener.accept()?;
        // A tester that hangs up early is no reason to end.
        drop(answer_all(&stream));
    }
}

fn answer_all(stream: &TcpStream) -> io::Result<()> {
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(request) => carry_out(request).unwrap_or_else(|error| failure(&error)),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(writer, "{answer}")?;
    }
    Ok(())
}

fn failure(error: &io::Error) -> Value {
    json!({ "error": error.to_string(), "errno": error.raw_os_error() })
}

fn carry_out(request: Request) -> io::Result<Value> {
    match request {
        Request::Processes => Ok(json!({ "processes": processes()? })),
        Request::Kill { pid, signal } => {
            let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
            let pid = Pid::from_raw(pid).ok_or_else(invalid)?;
            let signal = Signal::from_named_raw(signal).ok_or_else(invalid)?;
            kill_process(pid, signal)?;
            Ok(json!({}))
        }
        Request::FreezeInit => {
            let cgroup = cgroup_of(1)?;
            fs::write(format!("/sys/fs/cgroup{cgroup}/cgroup.freeze"), "1").map(|()| json!({}))
        }
        Request::Panic => fs::write("/proc/sysrq-trigger", "c").map(|()| json!({})),
        Request::Orphans { count } => crate::orphans(count).map(|()| json!({})),
        Request::Read { path } => read(&path),
        Request::Write { path, text } => fs::write(path, text).map(|()| json!({})),
        Request::Executables => {
            let mut found = Vec::new();
            executables(Path::new("/"), &mut found)?;
            found.sort();
            Ok(json!({ "executables": found }))
        }
    }
}

fn read(path: &Path) -> io::Result<Value> {
    let mut bytes = fs::read(path)?;
    bytes.truncate(READ_MAX_BYTES);
    Ok(json!({ "text": String::from_utf8_lossy(&bytes) }))
}

fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ended while it was looked at is left out.
        if let Ok(process) = process(pid) {
            found.push(process);
        }
    }
    Ok(found)
}

fn process(pid: i32) -> io::Result<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    // The name stands in parentheses and may contain anything, parentheses included.
    let (head, tail) = stat.rsplit_once(')').ok_or_else(invalid)?;
    let name = head.split_once('(').ok_or_else(invalid)?.1.to_owned();
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next().ok_or_else(invalid)?.to_owned();
    let parent = fields.next().and_then(|parent| parent.parse().ok()).ok_or_else(invalid)?;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    Ok(Process { pid, parent, state, name, executable, cgroup: cgroup_of(pid)? })
}

fn cgroup_of(pid: i32) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    Ok(text.trim_end().strip_prefix("0::").unwrap_or_default().to_owned())
}

/// Walks one file system: mounts below `folder` are left out.
fn executables(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::symlink_metadata(folder)?.dev();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            executables(&path, found)?;
        } else if metadata.is_file() && metadata.mode() & 0o111 != 0 {
            found.push(path);
        }
    }
    Ok(())
}
