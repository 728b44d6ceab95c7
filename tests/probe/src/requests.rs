//! What the probe can be asked to do.

use std::io;
use std::path::{Path, PathBuf};

/// Orphans that exist at the same time: each costs some hundred kilobytes of a small machine's memory.
const ORPHANS_AT_ONCE: usize = 500;

/// Something to look at or to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Identity,
    Confinement,
    Open { path: PathBuf },
    Hunt { enough: PathBuf, wanted: String, seen: PathBuf },
    Ambush { path: String },
    Swap { folder: PathBuf, targets: Vec<String> },
    Kernel,
    Leaks,
    Processes,
    Ports,
    WriteRoot { path: PathBuf },
    Executables { folder: PathBuf },
    Orphans { count: usize, batch: usize },
    OrphanParent { count: usize },
    Orphan,
    SyncWriter { folder: PathBuf },
    SyncCheck { folder: PathBuf },
    Listen { port: u16 },
    Greet { port: u16 },
    Reach { targets: Vec<String> },
    Take { targets: Vec<String> },
    Traces,
    Spew { count: u64 },
    IgnoreTerm,
    AwaitTerm { folder: Option<PathBuf> },
    Hang,
    Exit { code: u8 },
    Stamp { event: String },
    Beside { program: String },
    Secrets { folder: PathBuf, words: Vec<String> },
    Serve,
    Kill { pid: i32, signal: i32 },
    FreezeInit,
    PanicKernel,
    SetClock { epoch_s: i64 },
    List { folder: PathBuf },
    Read { path: PathBuf },
    Write { path: PathBuf, text: String },
}

/// What the probe does in the place of the agent, as the test says through fw_cfg.
const AGENT_WORDS: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.ferrite.probe/words/raw";
/// Where a test image has the real agent, which the probe becomes where nothing else is said.
const AGENT_BESIDE: &str = "/usr/libexec/ferrite-agent";

/// The words after the program's name. In the place of the agent nobody passes any. As the kernel's first
/// program the probe is the bare init that boot times are compared with.
pub(crate) fn arguments() -> Vec<String> {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let is_agent = Path::new(&name).file_name().is_some_and(|name| name == "ferrite-agent");
    // It runs itself with words, and then the name is still the agent's.
    if std::process::id() == 1 && name == "/init" {
        return vec!["stamp".to_owned(), "bare-init".to_owned()];
    }
    if is_agent && words.len() == 0 {
        return of_agent(std::fs::read_to_string(AGENT_WORDS).ok());
    }
    words.collect()
}

fn of_agent(words: Option<String>) -> Vec<String> {
    words.map_or_else(
        || vec!["beside".to_owned(), AGENT_BESIDE.to_owned()],
        |words| words.split_whitespace().map(str::to_owned).collect(),
    )
}

/// Understands `arguments`.
pub(crate) fn parse(arguments: &[String]) -> io::Result<Request> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["identity"] => Request::Identity,
        ["confinement"] => Request::Confinement,
        ["open", path] => Request::Open { path: path.into() },
        ["hunt", enough, wanted, seen] => {
            Request::Hunt { enough: enough.into(), wanted: (*wanted).to_owned(), seen: seen.into() }
        }
        ["ambush", path] => Request::Ambush { path: (*path).to_owned() },
        ["swap", folder, targets @ ..] => {
            Request::Swap { folder: folder.into(), targets: owned(targets) }
        }
        ["leaks"] => Request::Leaks,
        ["processes"] => Request::Processes,
        ["kernel"] => Request::Kernel,
        ["ports"] => Request::Ports,
        ["write-root", path] => Request::WriteRoot { path: path.into() },
        ["executables", folder] => Request::Executables { folder: folder.into() },
        ["orphans", count] => Request::Orphans { count: number(count)?, batch: ORPHANS_AT_ONCE },
        ["orphans", count, batch] => {
            Request::Orphans { count: number(count)?, batch: number(batch)? }
        }
        ["orphan-parent", count] => Request::OrphanParent { count: number(count)? },
        ["orphan"] => Request::Orphan,
        ["sync-writer", folder] => Request::SyncWriter { folder: folder.into() },
        ["sync-check", folder] => Request::SyncCheck { folder: folder.into() },
        ["listen", port] => Request::Listen { port: number(port)? },
        ["greet", port] => Request::Greet { port: number(port)? },
        ["reach", targets @ ..] => Request::Reach { targets: owned(targets) },
        ["take", targets @ ..] => Request::Take { targets: owned(targets) },
        ["network-traces"] => Request::Traces,
        ["spew"] => Request::Spew { count: 1000 },
        ["spew", count] => Request::Spew { count: number(count)? },
        ["ignore-term"] => Request::IgnoreTerm,
        ["await-term"] => Request::AwaitTerm { folder: None },
        ["await-term", folder] => Request::AwaitTerm { folder: Some(folder.into()) },
        ["hang"] => Request::Hang,
        ["exit", code] => Request::Exit { code: number(code)? },
        ["stamp", event] => Request::Stamp { event: (*event).to_owned() },
        ["beside", program] => Request::Beside { program: (*program).to_owned() },
        ["secrets", folder, words @ ..] => {
            Request::Secrets { folder: folder.into(), words: owned(words) }
        }
        ["serve"] => Request::Serve,
        ["kill", pid, signal] => Request::Kill { pid: number(pid)?, signal: number(signal)? },
        ["freeze-init"] => Request::FreezeInit,
        ["panic-kernel"] => Request::PanicKernel,
        ["set-clock", epoch_s] => Request::SetClock { epoch_s: number(epoch_s)? },
        ["list", folder] => Request::List { folder: folder.into() },
        ["read", path] => Request::Read { path: path.into() },
        ["write", path, text] => Request::Write { path: path.into(), text: (*text).to_owned() },
        _ => return Err(io::Error::other(USAGE)),
    })
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const USAGE: &str = "usage: identity | leaks | hunt ENOUGH NAME SEEN | ambush PATH | swap DIR TARGET… | confinement | open PATH | processes | ports | write-root PATH | executables DIR | orphans N [AT-ONCE] | \
     sync-writer DIR | sync-check DIR | listen PORT | greet PORT | reach PROTOCOL/HOST/PORT… | take PROTOCOL/PORT… | network-traces | spew [N, 0: for ever] | ignore-term | await-term [DIR] | \
     hang | exit CODE | stamp EVENT | beside PROGRAM | secrets DIR DROW… | serve | kill PID SIGNAL | freeze-init | panic-kernel | set-clock SECONDS | list DIR | read PATH | write PATH TEXT";

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_not_a_number| io::Error::other(format!("{word:?} is not a number here")))
}

#[cfg(test)]
mod tests {
    use super::{Request, of_agent, parse};

    fn check(line: &str, expected: Option<Request>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(parse(&words).ok(), expected, "{line:?}");
    }

    #[test]
    fn requests() {
        check("identity", Some(Request::Identity));
        check("orphans 10", Some(Request::Orphans { count: 10, batch: 500 }));
        check("orphans 10 5", Some(Request::Orphans { count: 10, batch: 5 }));
        check("exit 7", Some(Request::Exit { code: 7 }));
        check("exit 256", None);
        check("write-root /", Some(Request::WriteRoot { path: "/".into() }));
        check("identity please", None);
        check("", None);
    }

    #[test]
    fn in_the_place_of_the_agent_it_becomes_the_agent_unless_told_otherwise() {
        assert_eq!(of_agent(None), ["beside", "/usr/libexec/ferrite-agent"]);
        assert_eq!(of_agent(Some("exit 3\n".to_owned())), ["exit", "3"]);
    }
}
