//! Where an error is written, with what libcontainer said of it.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use super::globals::Globals;
use crate::heard::Heard;

/// What is written at the end, and where.
#[derive(Default)]
pub(super) struct Report {
    log: Option<String>,
    json: bool,
    heard: Option<Heard>,
}

impl Report {
    /// Listens to libcontainer: what a container's first process meets comes back without its cause. It is not written
    /// at once, because a container that goes on alone shares this program's standard error.
    pub(super) fn begin(globals: &Globals) -> io::Result<Self> {
        let heard = if globals.debug {
            let form = tracing_subscriber::fmt().with_ansi(false).without_time();
            form.with_max_level(LevelFilter::DEBUG).with_writer(io::stderr).init();
            None
        } else {
            Some(Heard::begin()?)
        };
        Ok(Self { log: globals.log.clone(), json: globals.json, heard })
    }

    /// To standard error, and to the caller's log, which is where podman and containerd look: one line, one object.
    pub(super) fn fail(&self, text: &str) -> ExitCode {
        // What else was said, `--debug` shows.
        let cause = self.heard.as_ref().and_then(Heard::cause);
        let cause = cause.filter(|cause| !text.contains(cause.as_str()));
        let text = cause.map_or(text.to_owned(), |cause| format!("{text}; libcontainer: {cause}"));
        drop(writeln!(io::stderr(), "ferrite-oci: error: {text}"));
        if let Some(path) = &self.log {
            let line = if self.json {
                serde_json::json!({ "level": "error", "msg": text }).to_string()
            } else {
                format!("level=error msg={text:?}")
            };
            let log = File::options().create(true).append(true).open(path);
            // Where it cannot be written, standard error has it.
            drop(log.and_then(|mut log| writeln!(log, "{line}")));
        }
        ExitCode::FAILURE
    }
}
