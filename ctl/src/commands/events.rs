//! `ferrite events`.

use std::io::{self, Write};

use ferrite_schema::api::{Event, EventKind};

use crate::cli::EventsArguments;
use crate::failure::Failure;
use crate::moment::timestamp;
use crate::output::{Format, OutputError, printable};
use crate::session::Session;

pub(super) fn run(arguments: &EventsArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let format = session.globals.output;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async {
        let unit = arguments.unit.as_deref();
        let mut events = client.events(arguments.follow, arguments.since, unit).await?;
        while let Some(event) = events.next().await? {
            write(session.out, format, &event)?;
        }
        Ok(())
    })
}

fn write(out: &mut dyn Write, format: Format, event: &Event) -> Result<(), OutputError> {
    let text = match format {
        Format::Table => {
            let unit = printable(event.unit.as_deref().unwrap_or("-"));
            let (time, kind) = (timestamp(event.time_us), word(event.kind));
            format!("{time}  {kind:9}  {unit}  {}", printable(&event.message))
        }
        Format::Json => {
            serde_json::to_string(event).map_err(|source| OutputError::Json { source })?
        }
        Format::Yaml => {
            let text =
                serde_saphyr::to_string(event).map_err(|source| OutputError::Yaml { source })?;
            format!("---\n{}", text.trim_end())
        }
    };
    let attempt = |out: &mut dyn Write| -> io::Result<()> {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    };
    attempt(out).map_err(|source| OutputError::Write { source })
}

const fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Submitted => "submitted",
        EventKind::State => "state",
        EventKind::Oom => "oom",
        EventKind::Health => "health",
        EventKind::Removed => "removed",
        EventKind::Image => "image",
        EventKind::Node => "node",
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::output::Format;
    use ferrite_schema::api::{Event, EventKind};

    #[test]
    fn an_event_is_a_line() {
        let event = Event {
            time_us: 1_000_000_000_000_123,
            unit: Some("web".to_owned()),
            kind: EventKind::State,
            message: "running\nand\u{1b}[2J".to_owned(),
        };
        let mut out = Vec::new();
        write(&mut out, Format::Table, &event).unwrap();
        let expected =
            "2001-09-09T01:46:40.000123Z  state      web  running\u{240a}and\u{241b}[2J\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
