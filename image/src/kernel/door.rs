//! The way into the tools' root, for anybody: a user namespace in which that root is `/`, without a network.
//!
//! Root in a container that may not make namespaces enters by `chroot` alone.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::recipe::Step;

/// What compilers and scripts open beside files.
const DEVICES: [&str; 3] = ["null", "urandom", "zero"];
/// A new user, file system, network and process space. Who is killed takes everybody in it along.
const NAMESPACES: [&str; 7] =
    ["--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL"];
/// Words: the root, then what is run there. Who is not root often has no folder of administrators' programs in its path.
const BIND_AND_ENTER: &str = "set -e; PATH=$PATH:/usr/sbin:/sbin; root=$1; shift; for device in null urandom zero; do \
     mount --bind /dev/$device \"$root/dev/$device\"; done; exec chroot \"$root\" \"$@\" 2>&1";
const MAKE_AND_ENTER: &str = "set -e; PATH=$PATH:/usr/sbin:/sbin; root=$1; shift; cd \"$root/dev\"; rm -f null urandom zero; mknod -m 666 null c 1 3; \
     mknod -m 666 zero c 1 5; mknod -m 666 urandom c 1 9; exec chroot \"$root\" \"$@\" 2>&1";
/// Lines that are shown of a step that failed.
const TAIL_LINES: usize = 15;

/// How the root is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// By namespaces of one's own.
    Namespaces,
    /// As root, by chroot.
    Chroot,
}

/// There is no way in.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FindDoor {
    #[error("run {program}: building a kernel needs it; install the package util-linux")]
    NoProgram { program: &'static str, source: io::Error },
    #[error(
        "build a kernel without root: this computer lets nobody make a user namespace ({reason}); allow it \
         (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), or build as root"
    )]
    Refused { reason: String },
}

/// A step that did not go well.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunStep {
    #[error("run {program}")]
    Start { program: String, source: io::Error },
    #[error("read what {program} says")]
    Listen { program: String, source: io::Error },
    #[error("write {path}")]
    Log { path: PathBuf, source: io::Error },
    #[error("run {words}: {status}; the last it said:\n{tail}")]
    Failed { words: String, status: ExitStatus, tail: String },
}

impl Door {
    /// Tries which way there is.
    ///
    /// # Errors
    /// None.
    pub fn find() -> Result<Self, FindDoor> {
        let output = Command::new("unshare").args(NAMESPACES).arg("true").output();
        let output = output.map_err(|source| FindDoor::NoProgram { program: "unshare", source })?;
        if output.status.success() {
            return Ok(Self::Namespaces);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Self::Chroot);
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(FindDoor::Refused { reason })
    }

    /// Runs a step in `root`, with nothing but `environment` around it. Everything it says is kept in `log`, and each line
    /// is told. It does not outlive this process.
    ///
    /// # Errors
    /// It cannot be run, or reports failure.
    pub fn run(
        self,
        (root, environment): (&Path, &[(&'static str, String)]),
        step: &Step,
        log: &Path,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), RunStep> {
        let program = || step.words.first().cloned().unwrap_or_default();
        let logging = |source| RunStep::Log { path: log.to_owned(), source };
        for device in DEVICES {
            let path = root.join("dev").join(device);
            fs::File::create(&path).map_err(|source| RunStep::Log { path, source })?;
        }
        let mut kept = fs::File::options().append(true).create(true).open(log).map_err(logging)?;
        let mut child = self
            .command(root, environment, step)
            .spawn()
            .map_err(|source| RunStep::Start { program: program(), source })?;
        let mut tail = VecDeque::new();
        for line in
            child.stdout.take().into_iter().flat_map(|said| BufReader::new(said).split(b'\n'))
        {
            let line = line.map_err(|source| RunStep::Listen { program: program(), source })?;
            let line = String::from_utf8_lossy(&line).into_owned();
            writeln!(kept, "{line}").map_err(logging)?;
            on_line(&line);
            tail.push_back(line);
            if tail.len() > TAIL_LINES {
                tail.pop_front();
            }
        }
        let status =
            child.wait().map_err(|source| RunStep::Start { program: program(), source })?;
        if status.success() {
            return Ok(());
        }
        let tail = Vec::from(tail).join("\n");
        Err(RunStep::Failed { words: step.words.join(" "), status, tail })
    }

    fn command(self, root: &Path, environment: &[(&'static str, String)], step: &Step) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        let script = match self {
            Self::Namespaces => {
                command.arg("unshare").args(NAMESPACES);
                BIND_AND_ENTER
            }
            Self::Chroot => MAKE_AND_ENTER,
        };
        command.args(["sh", "-c", script, "sh"]).arg(root).args(["/usr/bin/env", "-i"]);
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(&step.words).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}
