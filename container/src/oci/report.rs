//! Where an error is written, with what libcontainer said of it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use tracing::level_filters::LevelFilter;

use super::globals::Globals;

/// What is written at the end, and where.
#[derive(Default)]
pub(super) struct Report {
    log: Option<String>,
    json: bool,
    heard: Option<Arc<File>>,
}

impl Report {
    /// Listens to libcontainer: what a container's first process meets comes back without its cause. It is not written
    /// at once, because a container that goes on alone shares this program's standard error. The file is in memory,
    /// and processes that are forked write to it, too.
    pub(super) fn begin(globals: &Globals) -> io::Result<Self> {
        let form = tracing_subscriber::fmt().with_ansi(false).without_time();
        let heard = if globals.debug {
            form.with_max_level(LevelFilter::DEBUG).with_writer(io::stderr).init();
            None
        } else {
            let file = rustix::fs::memfd_create(c"libcontainer", MemfdFlags::CLOEXEC)?;
            let file = Arc::new(File::from(file));
            let form = form.with_level(false).with_target(false);
            form.with_max_level(LevelFilter::ERROR).with_writer(Arc::clone(&file)).init();
            Some(file)
        };
        Ok(Self { log: globals.log.clone(), json: globals.json, heard })
    }

    /// To standard error, and to the caller's log, which is where podman and containerd look: one line, one object.
    pub(super) fn fail(&self, text: &str) -> ExitCode {
        // The first is nearest to the cause; what follows is said by its callers, and `--debug` shows it.
        let heard = self.heard();
        let cause = heard.lines().find(|line| !line.is_empty());
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

    fn heard(&self) -> String {
        let mut said = Vec::new();
        if let Some(mut file) = self.heard.as_deref() {
            // What cannot be read back is only missing from the message.
            drop(file.rewind().and_then(|()| file.read_to_end(&mut said)));
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}
