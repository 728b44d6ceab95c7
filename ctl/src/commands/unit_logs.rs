//! `ferrite unit logs`.

mod unended;

use std::io::{self, IsTerminal, Write};

use ferrite_schema::api::{LogLine, Stream};
use futures_util::StreamExt;
use serde::Serialize;

use crate::cli::LogsArguments;
use crate::client::{ClientError, Lines, LogOptions};
use crate::failure::Failure;
use crate::moment::timestamp;
use crate::output::{Format, OutputError};
use crate::screen;
use crate::session::Session;

use self::unended::{Placed, Unended};

/// Colours of prefixes, one unit after the other: those that can be read on black and on white.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// A line and the unit that wrote it.
#[derive(Debug, Serialize)]
struct Named<'a> {
    unit: &'a str,
    #[serde(flatten)]
    line: &'a LogLine,
}

/// How lines are shown.
struct Style {
    format: Format,
    timestamps: bool,
    /// Whether standard output and standard error are terminals, which must not obey a container.
    visible: (bool, bool),
    /// What stands before each unit's lines, in the order of the units.
    prefixes: Vec<String>,
}

/// Most that is put together of a line that was too long for one: what never ends must be seen all the same.
const JOINED_MAX_BYTES: usize = 1 << 20;

/// Lines of which only the beginning came, by unit and stream.
#[derive(Default)]
struct Joining(Vec<(usize, LogLine)>);

impl Joining {
    /// Takes a line or a piece of one; gives back what is whole now, with the time of its first piece.
    fn take(&mut self, index: usize, line: LogLine) -> Vec<(usize, LogLine)> {
        let mut whole = Vec::new();
        let begun =
            self.0.iter().position(|(of, begun)| (*of, begun.stream) == (index, line.stream));
        let line = match begun.map(|at| self.0.remove(at).1) {
            Some(mut begun) if begun.run == line.run => {
                begun.line.push_str(&line.line);
                LogLine { partial: line.partial, ..begun }
            }
            // The run ended in the middle of it.
            Some(begun) => {
                whole.push((index, begun));
                line
            }
            None => line,
        };
        if line.partial && line.line.len() < JOINED_MAX_BYTES {
            self.0.push((index, line));
        } else {
            whole.push((index, line));
        }
        whole
    }
}

/// Shows what units wrote. For people the two streams go to ours; programs get one JSON document per line.
pub(super) fn run(arguments: &LogsArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let written = session.clients_of_units(&arguments.names)?;
    let names: Vec<String> = written.iter().map(|(_, name)| name.clone()).collect();
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = Style {
        format: session.globals.output,
        timestamps: arguments.timestamps,
        visible: match arguments.raw {
            true => (false, false),
            false => (io::stdout().is_terminal(), io::stderr().is_terminal()),
        },
        prefixes: prefixes(&names, colours),
    };
    let options = options(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async {
        let mut sources = Vec::new();
        for (client, name) in &written {
            sources.push(client.unit_logs(name, &options).await?);
        }
        let table = style.format == Format::Table;
        let mut show = |index: usize, line: &LogLine, placed: &Placed| {
            let name = names.get(index).map_or("", String::as_str);
            if let Some((_, stream)) = placed.end_first {
                end_line(sink(session, table, stream))?;
            }
            let out = sink(session, table, line.stream);
            write(out, &style, (index, placed), &Named { unit: name, line })
        };
        if !table {
            // Programs get the pieces, which are marked.
            let mut each = |index: usize, line: LogLine| show(index, &line, &Placed::WHOLE);
            return lines_of(sources, arguments.follow, &mut each).await;
        }
        if arguments.follow {
            let mut unended = Unended::default();
            let mut each = |index: usize, line: LogLine| {
                unended.place(index, &line).map_or(Ok(()), |placed| show(index, &line, &placed))
            };
            as_they_come(sources, &mut each).await?;
            if let Some((_, stream)) = unended.end() {
                end_line(sink(session, table, stream))?;
            }
            return Ok(());
        }
        let mut joining = Joining::default();
        let mut each = |index: usize, line: LogLine| {
            let whole = joining.take(index, line);
            whole.iter().try_for_each(|(index, line)| show(*index, line, &Placed::WHOLE))
        };
        by_time(sources, &mut each).await?;
        let mut rest = joining.0.iter();
        Ok(rest.try_for_each(|(index, line)| show(*index, line, &Placed::WHOLE))?)
    })
}

/// What is asked of the nodes.
fn options(arguments: &LogsArguments) -> LogOptions {
    LogOptions {
        follow: arguments.follow,
        since: arguments.since,
        until: arguments.until,
        tail: arguments.tail,
        stream: match (arguments.stdout, arguments.stderr) {
            (true, false) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (true, true) | (false, false) => None,
        },
        previous: arguments.previous,
    }
}

async fn lines_of(
    sources: Vec<Lines<LogLine>>,
    follow: bool,
    show: &mut Show<'_>,
) -> Result<(), Failure> {
    if follow { as_they_come(sources, show).await } else { by_time(sources, show).await }
}

/// Where a line goes: people get the two streams apart.
fn sink<'a>(session: &'a mut Session<'_>, table: bool, stream: Stream) -> &'a mut dyn Write {
    match (table, stream) {
        (true, Stream::Stderr) => &mut *session.err,
        (true, Stream::Stdout) | (false, _) => &mut *session.out,
    }
}

fn end_line(sink: &mut dyn Write) -> Result<(), OutputError> {
    sink.write_all(b"\n").map_err(|source| OutputError::Write { source })
}

type Show<'a> = dyn FnMut(usize, LogLine) -> Result<(), OutputError> + 'a;

/// Shows lines as soon as they arrive, until all units are at rest.
async fn as_they_come(sources: Vec<Lines<LogLine>>, show: &mut Show<'_>) -> Result<(), Failure> {
    let streams = sources.into_iter().enumerate().map(|(index, lines)| {
        Box::pin(futures_util::stream::try_unfold(lines, move |mut lines| async move {
            let line = lines.next().await?;
            Ok::<_, ClientError>(line.map(|line| ((index, line), lines)))
        }))
    });
    let mut all = futures_util::stream::select_all(streams);
    while let Some(next) = all.next().await {
        let (index, line) = next?;
        show(index, line)?;
    }
    Ok(())
}

/// Shows the oldest line of all units first.
async fn by_time(mut sources: Vec<Lines<LogLine>>, show: &mut Show<'_>) -> Result<(), Failure> {
    let mut heads = Vec::new();
    for source in &mut sources {
        heads.push(source.next().await?);
    }
    loop {
        let oldest = heads
            .iter()
            .enumerate()
            .filter_map(|(index, head)| head.as_ref().map(|line| (line.time_us, index)))
            .min();
        let Some((_, index)) = oldest else { return Ok(()) };
        let (Some(head), Some(source)) = (heads.get_mut(index), sources.get_mut(index)) else {
            return Ok(());
        };
        if let Some(line) = std::mem::replace(head, source.next().await?) {
            show(index, line)?;
        }
    }
}

/// Nothing for a single unit; names of one width otherwise.
fn prefixes(names: &[String], colours: bool) -> Vec<String> {
    if names.len() < 2 {
        return vec![String::new(); names.len()];
    }
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let prefix = |(name, colour): (&String, u8)| match colours {
        true => format!("\u{1b}[{colour}m{name:width$} |\u{1b}[0m "),
        false => format!("{name:width$} | "),
    };
    names.iter().zip(COLOURS.into_iter().cycle()).map(prefix).collect()
}

fn write(
    sink: &mut dyn Write,
    style: &Style,
    (index, placed): (usize, &Placed),
    named: &Named<'_>,
) -> Result<(), OutputError> {
    let prefix = style.prefixes.get(index).map_or("", String::as_str);
    let line = named.line;
    let visible = match line.stream {
        Stream::Stdout => style.visible.0,
        Stream::Stderr => style.visible.1,
    };
    let words = if visible { screen::visible(&line.line) } else { line.line.as_str().into() };
    let text = match style.format {
        Format::Table if placed.goes_on => words.into_owned(),
        Format::Table if style.timestamps => {
            format!("{prefix}{} {words}", timestamp(line.time_us))
        }
        Format::Table => format!("{prefix}{words}"),
        Format::Json => {
            serde_json::to_string(named).map_err(|source| OutputError::Json { source })?
        }
        Format::Yaml => {
            let text =
                serde_saphyr::to_string(named).map_err(|source| OutputError::Yaml { source })?;
            format!("---\n{}", text.trim_end())
        }
    };
    let attempt = |sink: &mut dyn Write| -> io::Result<()> {
        sink.write_all(text.as_bytes())?;
        if !placed.stays_open {
            sink.write_all(b"\n")?;
        }
        sink.flush()
    };
    attempt(sink).map_err(|source| OutputError::Write { source })
}

#[cfg(test)]
mod tests {
    use super::{JOINED_MAX_BYTES, Joining, Named, Placed, Style, prefixes, write};
    use crate::output::Format;
    use ferrite_schema::api::{LogLine, Stream};

    fn check(format: Format, timestamps: bool, names: &[&str], expected: &str) {
        let line = LogLine {
            time_us: 1_000_000_000_000_123,
            stream: Stream::Stderr,
            run: 2,
            line: "hello: world".to_owned(),
            partial: false,
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let visible = (false, false);
        let style = Style { format, timestamps, visible, prefixes: prefixes(&names, false) };
        let mut sink = Vec::new();
        write(&mut sink, &style, (0, &Placed::WHOLE), &Named { unit: &names[0], line: &line })
            .unwrap();
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }

    fn piece(stream: Stream, run: u64, line: &str, partial: bool) -> LogLine {
        LogLine { time_us: 0, stream, run, line: line.to_owned(), partial }
    }

    #[test]
    fn pieces_of_a_line_become_one_again() {
        use Stream::{Stderr, Stdout};
        let mut joining = Joining::default();
        let mut taken = |index, stream, run, text: &str, partial| -> Vec<String> {
            let whole = joining.take(index, piece(stream, run, text, partial));
            whole.into_iter().map(|(index, line)| format!("{index} {}", line.line)).collect()
        };
        assert_eq!(taken(0, Stdout, 1, "whole", false), ["0 whole"]);
        assert_eq!(taken(0, Stdout, 1, "be", true), [""; 0]);
        assert_eq!(taken(0, Stderr, 1, "between", false), ["0 between"]);
        assert_eq!(taken(1, Stdout, 1, "other", true), [""; 0]);
        assert_eq!(taken(0, Stdout, 1, "g", true), [""; 0]);
        assert_eq!(taken(0, Stdout, 1, "un", false), ["0 begun"]);
        // Another run does not go on with it.
        assert_eq!(taken(1, Stdout, 2, "new", false), ["1 other", "1 new"]);
        assert_eq!(taken(0, Stdout, 1, &"x".repeat(JOINED_MAX_BYTES), true).len(), 1);
        assert_eq!(taken(0, Stdout, 1, "last", true), [""; 0]);
        assert_eq!(joining.0.len(), 1);
    }

    #[test]
    fn forms_of_a_line() {
        check(Format::Table, false, &["web"], "hello: world\n");
        check(Format::Table, true, &["web"], "2001-09-09T01:46:40.000123Z hello: world\n");
        check(Format::Table, false, &["web", "store"], "web   | hello: world\n");
        check(
            Format::Json,
            false,
            &["web", "store"],
            "{\"unit\":\"web\",\"time_us\":1000000000000123,\"stream\":\"stderr\",\"run\":2,\"line\":\"hello: world\"}\n",
        );
        check(
            Format::Yaml,
            false,
            &["web"],
            "---\nunit: web\ntime_us: 1000000000000123\nstream: stderr\nrun: 2\nline: \"hello: world\"\n",
        );
    }

    #[test]
    fn a_terminal_does_not_obey_a_container() {
        let text = "\u{1b}]52;c;eA==\u{7}\r\u{9b}2J";
        let shown = "\u{241b}]52;c;eA==\u{2407}\u{240d}<U+009B>2J";
        for (visible, expected) in
            [((false, true), shown), ((true, false), text), ((false, false), text)]
        {
            let line = piece(Stream::Stderr, 1, text, false);
            let prefixes = vec![String::new()];
            let style = Style { format: Format::Table, timestamps: false, visible, prefixes };
            let mut sink = Vec::new();
            write(&mut sink, &style, (0, &Placed::WHOLE), &Named { unit: "web", line: &line })
                .unwrap();
            assert_eq!(String::from_utf8(sink).unwrap(), format!("{expected}\n"));
        }
    }

    #[test]
    fn prefixes_have_one_width_and_a_colour_each() {
        let names = ["a".to_owned(), "bcd".to_owned()];
        assert_eq!(prefixes(&names, false), ["a   | ", "bcd | "]);
        assert_eq!(prefixes(&names, true)[1], "\u{1b}[33mbcd |\u{1b}[0m ");
        assert_eq!(prefixes(&names[..1], true), [""]);
    }
}
