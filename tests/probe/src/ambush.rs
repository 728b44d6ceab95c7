//! Kills the agent at a moment of its work, which files of the node show.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::processes;

/// Between two looks: short beside everything that the agent does between two files.
const LOOK: Duration = Duration::from_micros(200);
/// The best there is.
const FIRST: i32 = -20;
/// The moment does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says that it waits, kills the agent as soon as `path` exists, and says so. A `*` at its end stands for anything
/// that is not there yet.
pub(crate) fn lie(path: &str) -> io::Result<ExitCode> {
    let is_agent =
        |process: &processes::Process| process.name == "ferrite-agent" && process.parent == 1;
    // Of an earlier agent's the server of this probe may be left; it is older than the agent.
    let agent = processes::look()?.into_iter().rfind(is_agent).ok_or(io::ErrorKind::NotFound)?;
    let agent = nix::unistd::Pid::from_raw(agent.pid);
    // When it looks, the agent waits.
    rustix::process::setpriority_process(None, FIRST)?;
    let before = found(path);
    writeln!(io::stdout(), "waiting")?;
    let end = Instant::now() + PATIENCE;
    while found(path).is_subset(&before) {
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::park_timeout(LOOK);
    }
    nix::sys::signal::kill(agent, nix::sys::signal::Signal::SIGKILL)?;
    writeln!(io::stdout(), "killed")?;
    Ok(ExitCode::SUCCESS)
}

/// Names that `path` stands for.
fn found(path: &str) -> BTreeSet<String> {
    let Some(start) = path.strip_suffix('*') else {
        return Path::new(path).exists().then(|| path.to_owned()).into_iter().collect();
    };
    let (folder, prefix) = start.rsplit_once('/').unwrap_or((".", start));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn a_star_stands_for_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        assert!(found(&path("tmp-*")).is_empty() && found(&path("tmp-1")).is_empty());
        std::fs::write(path("tmp-1"), "").unwrap();
        assert_eq!((found(&path("tmp-*")).len(), found(&path("tmp-1")).len()), (1, 1));
        assert!(found(&path("other*")).is_empty());
    }
}
