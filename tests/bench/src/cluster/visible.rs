//! A change of readiness, until another node answers otherwise.

use anyhow::{Context, Result};

use super::Setting;
use super::asking::{Listening, answering};
use crate::report::Report;

/// From a change of readiness to another machine's answers, in seconds.
const VISIBLE_MAX_S: f64 = 1.0;

/// From a node's own word that an instance is not well to another node's answers without it.
pub(super) fn measure(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let computer = setting.serving()?;
    let all = answering(computer)?;
    let on = |instance: &str| {
        let found = all.iter().find(|(name, _)| name == instance);
        found.map(|(_, machine)| machine.clone()).context("its machine")
    };
    let (here, there) = (on("web@2")?, on("web@1")?);
    let events = ["events", "--follow", "--unit", "web@2", "--machine", &here, "-o", "json"];
    let events = Listening::to(computer, &events)?;
    let answers = ["service", "watch", "web", "--machine", &there, "-o", "json"];
    let answers = Listening::to(computer, &answers)?;
    answers.wait_for(|line| line.contains("web@2"))?;
    let away = "mv /srv/index.html /srv/away";
    computer.ferrite(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", away])?;
    let said = events.wait_for(|line| line.contains("unhealthy"))?;
    let seen = answers.wait_for(|line| !line.contains("web@2"))?;
    let seconds = seen.saturating_duration_since(said).as_secs_f64();
    report.target(
        "not ready: from its node to another node's answers",
        seconds,
        "s",
        VISIBLE_MAX_S,
    );
    let back = "mv /srv/away /srv/index.html";
    computer.ferrite(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", back])?;
    answers.wait_for(|line| line.contains("web@2"))?;
    Ok(())
}
