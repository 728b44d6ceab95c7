//! Shows long work: a bar or a turning spinner on a terminal, a line per finished step everywhere.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ferrite_image::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);
/// A step that was quicker than this was not worth a person's attention: it is not timed.
const WORTH_TIMING: Duration = Duration::from_millis(200);

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
        self.step = Some(Step { what: what.to_owned(), started: Instant::now(), bar });
    }

    fn advance(&mut self, done: u64, total: u64) {
        let Some(step) = &self.step else { return };
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
    use super::finished;
    use std::time::Duration;

    #[test]
    fn finished_steps() {
        let quick = Duration::from_millis(50);
        assert_eq!(finished("check slot B", "empty", quick), "check slot B: empty");
        assert_eq!(finished("sign", "", quick), "sign");
        let slow = Duration::from_millis(3_250);
        assert_eq!(finished("fetch", "12 packages", slow), "fetch: 12 packages (3.2 s)");
    }
}
