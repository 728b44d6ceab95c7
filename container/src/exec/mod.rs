//! `ferrite-container exec`: one process per command that somebody runs in a running container; `ferrite-container check`: the
//! same for a health check's command, of which nothing is left in the container when it has ended.
//!
//! *Responsible for*: entering the container's namespaces, the command's rights, its terminal or pipes, its exit
//! status. *Never does*: outlive the one who asked. Its working directory is the unit's run folder; its standard
//! input is a socket to the agent, which carries an [`ExecRequest`] as one line of JSON, then frames of
//! [`ferrite_schema::stream`] in both directions. When the socket closes, the command is killed.

mod bounds;
pub(super) mod enter;
mod relay;
mod terminal;

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ferrite_schema::stream::{End, ExecRequest, Kind, NODE_FAILED};
use ferrite_shim::peer::Peer;

/// Exit status of a command that could not be started, as shells give it.
const NOT_STARTED: u8 = 126;
/// Exit status of a command that does not exist.
const NO_SUCH_COMMAND: u8 = 127;

/// Serves one command.
///
/// # Errors
/// The agent does not speak to us.
pub fn run() -> anyhow::Result<()> {
    serve(Leftovers::Stay)
}

/// Serves a health check's command. What it leaves behind in the container is killed and collected.
///
/// # Errors
/// The agent does not speak to us.
pub fn check() -> anyhow::Result<()> {
    serve(Leftovers::Go)
}

/// What becomes of what a command has started and not waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    Stay,
    Go,
}

fn serve(leftovers: Leftovers) -> anyhow::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut reader = BufReader::new(control.try_clone()?);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let request: ExecRequest = serde_json::from_slice(&line)?;
    let mut peer = Peer::attached(control, reader.buffer())?;
    let end = match enter::start(&request, leftovers) {
        Ok(started) => match relay::relay(started, &mut peer)? {
            Some(exit) => End::Ended { exit },
            // Nobody is left to be told.
            None => return Ok(()),
        },
        Err(problem) => {
            let code = match (problem.is_absent(), problem.is_nodes()) {
                (true, _) => NO_SUCH_COMMAND,
                (_, true) => NODE_FAILED,
                _ => NOT_STARTED,
            };
            End::Refused { code, reason: ferrite_schema::chain(&problem) }
        }
    };
    peer.send(Kind::Exit, &serde_json::to_vec(&end)?);
    drop(peer.finish(None));
    Ok(())
}
