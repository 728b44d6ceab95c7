//! `ferrite boot`.

use ferrite_schema::timeline::{Phase, Span, Timeline};

use crate::cli::BootArguments;
use crate::failure::Failure;
use crate::output::columns;
use crate::session::Session;
use crate::timeline_svg;

pub(super) fn run(arguments: &BootArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let timeline = session.wait_for(async { Ok(client.boot().await?) })?;
    let Some(path) = &arguments.svg else {
        return session.show(&timeline, table);
    };
    std::fs::write(path, timeline_svg::render(&timeline))
        .map_err(|source| Failure::Write { path: path.clone(), source })?;
    session.say(&format!("wrote {}", path.display()))
}

fn table(timeline: &Timeline) -> String {
    let rows: Vec<[String; 5]> = timeline.spans.iter().map(row).collect();
    let table = columns(["START", "TOOK", "PHASE", "STEP", ""], &rows);
    match timeline.ready_us {
        Some(ready_us) => format!("{table}\n\nready after {}", milliseconds(ready_us)),
        None => format!("{table}\n\nnot ready yet"),
    }
}

fn row(span: &Span) -> [String; 5] {
    [
        milliseconds(span.start_us),
        milliseconds(span.end_us.saturating_sub(span.start_us)),
        phase(span.phase).to_owned(),
        span.name.clone(),
        span.detail.clone().unwrap_or_default(),
    ]
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Firmware => "firmware",
        Phase::Kernel => "kernel",
        Phase::Initramfs => "initramfs",
        Phase::Init => "init",
        Phase::Agent => "agent",
    }
}

/// `1234.5 ms`, right-aligned so that columns of times can be compared.
fn milliseconds(count_us: i64) -> String {
    let tenths = count_us / 100;
    let sign = if count_us < 0 { "-" } else { "" };
    let value = format!("{sign}{}.{}", (tenths / 10).abs(), (tenths % 10).abs());
    format!("{value:>8} ms")
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, table};
    use ferrite_schema::timeline::{Phase, Span, Timeline};

    #[test]
    fn times_line_up() {
        for (count_us, expected) in [
            (0, "     0.0 ms"),
            (99, "     0.0 ms"),
            (1_234_567, "  1234.5 ms"),
            (-2_500, "    -2.5 ms"),
            (-250, "    -0.2 ms"),
        ] {
            assert_eq!(milliseconds(count_us), expected);
        }
    }

    #[test]
    fn a_boot() {
        let span = |phase, name: &str, start_us, end_us| Span {
            phase,
            name: name.to_owned(),
            start_us,
            end_us,
            detail: None,
        };
        let timeline = Timeline {
            spans: vec![
                span(Phase::Kernel, "kernel", 0, 4_000_000),
                span(Phase::Initramfs, "choose slot", 4_000_000, 4_012_300),
            ],
            ready_us: Some(5_000_000),
            ..Timeline::default()
        };
        let expected = "\
START        TOOK         PHASE      STEP
     0.0 ms    4000.0 ms  kernel     kernel
  4000.0 ms      12.3 ms  initramfs  choose slot

ready after   5000.0 ms";
        assert_eq!(table(&timeline), expected);
    }
}
