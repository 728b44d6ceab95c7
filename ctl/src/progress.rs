//! Shows long work: a bar or a turning spinner on a terminal, elsewhere a line now and then; a line per finished step everywhere.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ferrite_image::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);
/// A step that was quicker than this was not worth a person's attention: it is not timed.
const WORTH_TIMING: Duration = Duration::from_millis(200);
/// How often something is said of a step that goes on, to who has no terminal.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// The steps of one piece of work, on standard error.
#[derive(Debug)]
pub struct Steps {
    draws: bool,
    step: Option<Step>,
}

#[derive(Debug)]
struct Step {
    what: String,
    started: Instant,
    /// When something was said of it last.
    said: Instant,
    bar: ProgressBar,
}

impl Steps {
    /// Shows nothing yet; `draws` says whether standard error is a terminal.
    #[must_use]
    pub const fn new(draws: bool) -> Self {
        Self { draws, step: None }
    }

    fn bar(&self, what: &str) -> ProgressBar {
        if !self.draws {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(spinner());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        bar
    }
}

impl Progress for Steps {
    fn say(&mut self, what: &str) {
        // Nobody is left to hear that standard error is gone.
        drop(writeln!(io::stderr(), "{what}"));
    }

    fn begin(&mut self, what: &str) {
        let bar = self.bar(what);
        let now = Instant::now();
        self.step = Some(Step { what: what.to_owned(), started: now, said: now, bar });
    }

    fn advance(&mut self, done: u64, total: u64) {
        let Some(step) = &mut self.step else { return };
        if !self.draws && step.said.elapsed() >= SAID_EVERY {
            step.said = Instant::now();
            let line = going_on(&step.what, (done, total), step.started.elapsed());
            // Nobody is left to hear that standard error is gone.
            drop(writeln!(io::stderr(), "{line}"));
        }
        if step.bar.length() != Some(total) {
            step.bar.set_length(total);
            step.bar.set_style(counted());
        }
        step.bar.set_position(done);
    }

    fn end(&mut self, note: &str) {
        let Some(step) = self.step.take() else { return };
        step.bar.finish_and_clear();
        let line = finished(&step.what, note, step.started.elapsed());
        // Nobody is left to hear that standard error is gone.
        drop(writeln!(io::stderr(), "{line}"));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(step) = &self.step {
            step.bar.finish_and_clear();
        }
    }
}

fn finished(what: &str, note: &str, took: Duration) -> String {
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    if took < WORTH_TIMING {
        return format!("{what}{note}");
    }
    format!("{what}{note} ({:.1} s)", took.as_secs_f64())
}

/// How far a step is, and how long it will go on if it goes on like that.
fn going_on(what: &str, (done, total): (u64, u64), took: Duration) -> String {
    let percent = done.saturating_mul(100) / total.max(1);
    let left_s = took.as_secs().saturating_mul(total.saturating_sub(done)) / done.max(1);
    format!("  {what}: {percent} %, about {} min left", left_s.div_ceil(60))
}

// The templates are constant: were one wrong, the plain style would do.

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed:>3} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn counted() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed:>3} {msg} [{bar:32}] {percent}% {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::{finished, going_on};
    use std::time::Duration;

    #[test]
    fn a_step_that_goes_on_says_how_far_it_is_and_what_is_left() {
        let took = Duration::from_secs(200);
        let line = going_on("compile the kernel", (1_200, 3_000), took);
        assert_eq!(line, "  compile the kernel: 40 %, about 5 min left");
        assert_eq!(going_on("x", (3_000, 3_000), took), "  x: 100 %, about 0 min left");
        assert_eq!(going_on("x", (0, 0), took), "  x: 0 %, about 0 min left");
    }

    #[test]
    fn finished_steps() {
        let quick = Duration::from_millis(50);
        assert_eq!(finished("check slot B", "empty", quick), "check slot B: empty");
        assert_eq!(finished("sign", "", quick), "sign");
        let slow = Duration::from_millis(3_250);
        assert_eq!(finished("fetch", "12 packages", slow), "fetch: 12 packages (3.2 s)");
    }
}
