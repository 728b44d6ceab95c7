//! `ferrite unit logs`.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use ferrite_schema::api::{LogLine, Stream};

use crate::failure::Failure;
use crate::output::{Format, OutputError};
use crate::session::Session;

/// Shows what a unit wrote. For people its two streams go to ours; programs get one JSON document per line.
pub(super) fn run(
    name: &str,
    follow: bool,
    timestamps: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.client()?;
    let format = session.globals.output;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async {
        let mut logs = client.unit_logs(name, follow).await?;
        while let Some(line) = logs.next().await? {
            let sink = match (format, line.stream) {
                (Format::Table, Stream::Stderr) => &mut *session.err,
                (Format::Table, Stream::Stdout) | (Format::Json | Format::Yaml, _) => {
                    &mut *session.out
                }
            };
            write(sink, format, timestamps, &line)?;
        }
        Ok(())
    })
}

fn write(
    sink: &mut dyn Write,
    format: Format,
    timestamps: bool,
    line: &LogLine,
) -> Result<(), OutputError> {
    let text = match format {
        Format::Table if timestamps => format!("{} {}", timestamp(line.time_us), line.line),
        Format::Table => line.line.clone(),
        Format::Json => {
            serde_json::to_string(line).map_err(|source| OutputError::Json { source })?
        }
        Format::Yaml => {
            let text =
                serde_saphyr::to_string(line).map_err(|source| OutputError::Yaml { source })?;
            format!("---\n{}", text.trim_end())
        }
    };
    let attempt = |sink: &mut dyn Write| -> io::Result<()> {
        sink.write_all(text.as_bytes())?;
        sink.write_all(b"\n")?;
        sink.flush()
    };
    attempt(sink).map_err(|source| OutputError::Write { source })
}

fn timestamp(epoch_us: u64) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_micros(epoch_us))
        .map_or_else(String::new, |time| humantime::format_rfc3339_micros(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::output::Format;
    use ferrite_schema::api::{LogLine, Stream};

    fn check(format: Format, timestamps: bool, expected: &str) {
        let line = LogLine {
            time_us: 1_000_000_000_000_123,
            stream: Stream::Stderr,
            run: 7,
            line: "hello: world".to_owned(),
        };
        let mut sink = Vec::new();
        write(&mut sink, format, timestamps, &line).unwrap();
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }

    #[test]
    fn forms_of_a_line() {
        check(Format::Table, false, "hello: world\n");
        check(Format::Table, true, "2001-09-09T01:46:40.000123Z hello: world\n");
        check(
            Format::Json,
            false,
            "{\"time_us\":1000000000000123,\"stream\":\"stderr\",\"run\":7,\"line\":\"hello: world\"}\n",
        );
        check(
            Format::Yaml,
            false,
            "---\ntime_us: 1000000000000123\nstream: stderr\nrun: 7\nline: \"hello: world\"\n",
        );
    }
}
