//! Shows where a boot is while it is waited for: a line that changes on a terminal, a line per phase
//! elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::printable;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Part of a boot, as its console shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Firmware and boot loader.
    Firmware,
    /// The kernel.
    Kernel,
    /// PID 1.
    Init,
    /// The agent.
    Agent,
}

impl Phase {
    const fn words(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Kernel => "kernel starts",
            Self::Init => "PID 1 works",
            Self::Agent => "the agent starts",
        }
    }
}

/// What a console line tells about where the boot is: the phase and, where the line is meant for people,
/// what is being done. `None` for a line that tells nothing of it.
#[must_use]
pub fn step_of(line: &str) -> Option<(Phase, Option<&str>)> {
    let said_by = |program: &str| {
        let (_, words) = line.split_once(program)?;
        Some(words.trim()).filter(|words| !words.is_empty() && !words.contains("tsc="))
    };
    if let Some(words) = said_by("ferrite-agent: ") {
        return Some((Phase::Agent, Some(words)));
    }
    if let Some(words) = said_by("ferrite-init: ") {
        return Some((Phase::Init, Some(words)));
    }
    if line.contains("ferrite-init: pid1") {
        return Some((Phase::Init, None));
    }
    if line.contains("Linux version ") {
        return Some((Phase::Kernel, None));
    }
    None
}

/// A progress display.
#[derive(Debug)]
pub struct Progress {
    name: String,
    started: Instant,
    phase: Phase,
    /// What was said last of what is being done.
    words: String,
    /// Set on a terminal.
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Starts to show the boot of `name`, which begins with `phase`: as a line of `screen`, where standard error is a
    /// terminal.
    #[must_use]
    pub fn start(name: &str, phase: Phase, screen: Option<&MultiProgress>) -> Self {
        let spinner = screen.map(|screen| {
            let spinner = screen.add(ProgressBar::new_spinner());
            // The template is constant: were it wrong, the plain style would do.
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed:>3}  {wide_msg}")
            {
                spinner.set_style(style);
            }
            spinner.set_prefix(format!("starting {name}"));
            spinner.set_message(phase.words());
            spinner.enable_steady_tick(TICK);
            spinner
        });
        let (name, words) = (name.to_owned(), phase.words().to_owned());
        Self { name, started: Instant::now(), phase, words, spinner }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes a line of the console.
    ///
    /// # Errors
    /// `plain`, which is written to where there is no terminal, cannot be written.
    pub fn line(&mut self, line: &str, plain: &mut dyn Write) -> std::io::Result<()> {
        let Some((phase, words)) = step_of(line) else { return Ok(()) };
        self.words = printable(words.unwrap_or(phase.words()));
        if let Some(spinner) = &self.spinner {
            spinner.set_message(self.words.clone());
        } else if phase > self.phase {
            let seconds = self.elapsed().as_secs_f32();
            writeln!(plain, "starting {}: {} ({seconds:.1} s)", self.name, phase.words())?;
        }
        self.phase = self.phase.max(phase);
        Ok(())
    }

    /// What was being done when it was heard of last.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// It is ready, while others are not yet.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn ready(&self, plain: &mut dyn Write) -> std::io::Result<()> {
        match &self.spinner {
            Some(spinner) => {
                spinner.finish_with_message("ready");
                Ok(())
            }
            None => {
                let seconds = self.elapsed().as_secs_f32();
                writeln!(plain, "starting {}: ready ({seconds:.1} s)", self.name)
            }
        }
    }

    /// Takes the display away.
    pub fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(Phase, Option<&str>)>) {
        assert_eq!(step_of(line), expected, "{line:?}");
    }

    #[test]
    fn console_lines_tell_the_step() {
        check("[    0.000000] Linux version 6.12.107 (debian)", Some((Phase::Kernel, None)));
        check("[    1.512] ferrite-init: pid1 tsc=123456", Some((Phase::Init, None)));
        check("[    1.9] ferrite-init: mounts STATE", Some((Phase::Init, Some("mounts STATE"))));
        check("ferrite-agent: API on port 7443", Some((Phase::Agent, Some("API on port 7443"))));
        check("[    0.4] pci 0000:00:00.0: [8086:29c0] type 00", None);
        check("", None);
    }

    #[test]
    fn without_a_terminal_every_phase_is_one_line() {
        let mut progress = Progress::start("dev", Phase::Firmware, None);
        let mut written = Vec::new();
        for line in ["Linux version 6", "ferrite-init: a", "ferrite-init: b", "Linux version 6"] {
            progress.line(line, &mut written).unwrap();
        }
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written.lines().count(), 2, "{written}");
        assert!(written.starts_with("starting dev: kernel starts ("), "{written}");
    }
}
