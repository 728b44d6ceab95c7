//! A tester's hand inside a guest: answers requests over TCP, each a line with a JSON list of words, by running the probe
//! with these words.
//!
//! Only test images have it. [`beside`] starts it next to the agent; it moves into a cgroup of its own, so that
//! neither the agent's end nor what it is told to break ends it.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

/// Port that it listens on.
const PORT: u16 = 7444;
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const OWN_CGROUP: &str = "/sys/fs/cgroup/probe";

/// Starts the server, unless one runs, and becomes `program` without changing the process ID.
pub(crate) fn beside(program: &str) -> io::Result<ExitCode> {
    // Its handle is dropped, not waited for: this process is about to become another program.
    drop(
        Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?,
    );
    Err(Command::new(program).exec())
}

/// Serves until the guest ends. Ends at once where another one serves.
pub(crate) fn serve() -> io::Result<ExitCode> {
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    fs::create_dir_all(OWN_CGROUP)?;
    fs::write(Path::new(OWN_CGROUP).join("cgroup.procs"), "0")?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A test that hangs up early is no reason to end.
        drop(std::thread::spawn(move || answer_all(&stream)));
    }
    Ok(ExitCode::SUCCESS)
}

fn answer_all(stream: &TcpStream) -> io::Result<()> {
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        let done = serde_json::from_str(&line?)
            .map_err(io::Error::from)
            .and_then(|words: Vec<String>| run(&words, stream));
        if let Err(error) = done {
            writeln!(writer, "{}", json!({ "trouble": error.to_string() }))?;
        }
    }
    Ok(())
}

/// Runs the probe. What it answers goes straight into the connection, line by line.
fn run(words: &[String], stream: &TcpStream) -> io::Result<()> {
    let answers = OwnedFd::from(stream.try_clone()?);
    let output = Command::new(std::env::current_exe()?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::from(answers))
        .stderr(Stdio::piped())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Sends `signal` to `pid`.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<Value> {
    let signal = nix::sys::signal::Signal::try_from(signal)?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?;
    Ok(json!({ "killed": pid }))
}

/// Stops PID 1 through its cgroup's freezer: the kernel shields it from SIGSTOP sent from inside.
pub(crate) fn freeze_init() -> io::Result<Value> {
    let membership = fs::read_to_string("/proc/1/cgroup")?;
    let cgroup = membership.trim_end().trim_start_matches("0::");
    fs::write(format!("{CGROUP_ROOT}{cgroup}/cgroup.freeze"), "1")?;
    Ok(json!({ "frozen": cgroup }))
}

/// Panics the kernel. Does not return where that works.
pub(crate) fn panic_kernel() -> io::Result<Value> {
    fs::write("/proc/sysrq-trigger", "c")?;
    Err(io::Error::other("the kernel goes on"))
}

/// Sets the machine's clock, in seconds since the epoch.
pub(crate) fn set_clock(epoch_s: i64) -> io::Result<Value> {
    use rustix::time::{ClockId, Timespec, clock_settime};
    clock_settime(ClockId::Realtime, Timespec { tv_sec: epoch_s, tv_nsec: 0 })?;
    Ok(json!({ "set": epoch_s }))
}

/// A file's text.
pub(crate) fn read(path: &Path) -> io::Result<Value> {
    Ok(json!({ "text": String::from_utf8_lossy(&fs::read(path)?) }))
}

/// Names in a folder.
pub(crate) fn list(folder: &Path) -> io::Result<Value> {
    let names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<String>>>()?;
    Ok(json!(names))
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<Value> {
    fs::write(path, text)?;
    Ok(json!({ "written": path }))
}
