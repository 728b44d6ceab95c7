//! Waits until all nodes that were started are ready, and shows how far each is.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use ferrite_vm::console::{ConsoleError, Until};
use ferrite_vm::deadline::Deadline;
use indicatif::MultiProgress;

use super::problem::ClusterError;
use super::progress::Progress;
use super::start::{Interrupt, Starting};

/// What PID 1 says when the node is ready.
const READY: &str = "ferrite-init: ready";
/// What is said when it never will be.
const GIVEN_UP: [&str; 2] = ["ferrite-init: FATAL", "Kernel panic"];
/// Lines of the console that are shown when it never will be.
const TAIL_LINES: usize = 20;
/// How long one console is listened to while others may have something.
const LISTEN: Duration = Duration::from_millis(50);

/// What waiting needs to know.
#[derive(Debug)]
pub(super) struct Wait<'wait> {
    /// The cluster's name.
    pub(super) cluster: &'wait str,
    /// Longest wait.
    pub(super) timeout: Duration,
    /// Standard error is a terminal.
    pub(super) draws: bool,
    /// Ends the wait.
    pub(super) interrupt: &'wait Interrupt,
}

/// A node that is waited for.
struct Awaited {
    starting: Starting,
    progress: Progress,
    is_ready: bool,
}

/// What a console said.
enum Said {
    Ready,
    GivenUp,
    /// Nothing more for now.
    Nothing,
}

/// Waits until all are ready; returns how long the last one took since it was started. A machine that gives up is ended; after
/// an interrupt all are. Those that are only not ready in time run on, so that they can be asked why.
pub(super) fn wait(
    starting: Vec<Starting>,
    wait: &Wait<'_>,
    err: &mut dyn Write,
) -> Result<Duration, ClusterError> {
    let screen = wait.draws.then(MultiProgress::new);
    let awaited = |starting: Starting| {
        let progress = Progress::start(&starting.node, starting.first_phase, screen.as_ref());
        Awaited { starting, progress, is_ready: false }
    };
    let mut all: Vec<Awaited> = starting.into_iter().map(awaited).collect();
    let outcome = wait_for(&mut all, wait, err);
    for one in &all {
        one.progress.finish();
    }
    if let Err(ClusterError::Interrupted { .. }) = &outcome {
        for mut one in all {
            one.starting.running.cut()?;
        }
    }
    outcome
}

fn wait_for(
    all: &mut [Awaited],
    wait: &Wait<'_>,
    err: &mut dyn Write,
) -> Result<Duration, ClusterError> {
    let deadline = Deadline::after(wait.timeout);
    let is_alone = all.len() == 1;
    let mut longest = Duration::ZERO;
    while all.iter().any(|one| !one.is_ready) {
        for one in all.iter_mut().filter(|one| !one.is_ready) {
            match one.listen(wait, err)? {
                Said::Ready => {
                    one.is_ready = true;
                    longest = longest.max(one.starting.since.elapsed());
                    if !is_alone {
                        let shown = one.progress.ready(err);
                        shown.map_err(|source| ClusterError::Signals { source })?;
                    }
                }
                Said::GivenUp => {
                    let (name, tail) = (one.starting.node.clone(), one.tail()?);
                    one.starting.running.cut()?;
                    return Err(ClusterError::GaveUp { name, tail });
                }
                Said::Nothing => {}
            }
        }
        if deadline.passed() && all.iter().any(|one| !one.is_ready) {
            return Err(not_ready(all, wait.timeout)?);
        }
    }
    Ok(longest)
}

impl Awaited {
    /// Takes what its console says now.
    fn listen(&mut self, wait: &Wait<'_>, err: &mut dyn Write) -> Result<Said, ClusterError> {
        loop {
            let until = Until {
                deadline: Deadline::after(LISTEN.min(wait.timeout)),
                machine: Some(self.starting.running.process().as_fd()),
                interrupt: Some(wait.interrupt.as_fd()),
            };
            let line = match self.starting.console.next_line(until) {
                Ok(line) => line,
                Err(ConsoleError::Deadline { .. }) => return Ok(Said::Nothing),
                Err(ConsoleError::Interrupted) => {
                    return Err(ClusterError::Interrupted { name: wait.cluster.to_owned() });
                }
                Err(ConsoleError::Ended { .. }) => {
                    let (name, tail) = (self.starting.node.clone(), self.tail()?);
                    return Err(ClusterError::Ended { name, tail });
                }
                Err(error) => return Err(error.into()),
            };
            if line.contains(READY) {
                return Ok(Said::Ready);
            }
            if GIVEN_UP.iter().any(|words| line.contains(words)) {
                return Ok(Said::GivenUp);
            }
            let shown = self.progress.line(&line, err);
            shown.map_err(|source| ClusterError::Signals { source })?;
        }
    }

    fn tail(&mut self) -> Result<String, ClusterError> {
        Ok(self.starting.console.tail(TAIL_LINES)?)
    }
}

/// Who is not ready, what each was doing, and what their consoles said last.
fn not_ready(all: &mut [Awaited], within: Duration) -> Result<ClusterError, ClusterError> {
    let is_alone = all.len() == 1;
    let (mut names, mut tails) = (Vec::new(), Vec::new());
    for one in all.iter_mut().filter(|one| !one.is_ready) {
        let (node, tail) = (one.starting.node.clone(), one.tail()?);
        names.push(if is_alone {
            node.clone()
        } else {
            format!("{node} ({})", one.progress.words())
        });
        tails.push(if is_alone { tail } else { format!("--- {node}\n{tail}") });
    }
    Ok(ClusterError::NotReady { name: names.join(", "), within, tail: tails.join("\n") })
}
