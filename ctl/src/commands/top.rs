//! `ferrite top`.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ferrite_schema::api::{Stats, UnitStats};
use serde::Serialize;

use crate::cli::{SortBy, TopArguments};
use crate::failure::Failure;
use crate::output::{self, Format, OutputError, bytes, columns, of, printable};
use crate::session::Session;

/// Time between the two samples of `--once`.
const ONCE: Duration = Duration::from_secs(1);

/// What was used between two samples, and what is held at the second.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Figures {
    /// When the second was taken, microseconds since the epoch.
    time_us: u64,
    /// Processors of the node.
    cpus: u32,
    /// Share of all processors that was busy, percent.
    cpu_percent: f64,
    /// Memory of the node that is in use, and all of it.
    memory_used_bytes: u64,
    memory_bytes: u64,
    /// Space on STATE that is in use, and all of it.
    state_used_bytes: u64,
    state_bytes: u64,
    /// Files and folders on STATE, and how many it can hold.
    state_used_inodes: u64,
    state_inodes: u64,
    units: Vec<UnitFigures>,
}

/// The same for a unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct UnitFigures {
    /// Share of one processor, percent: two busy threads are 200.
    cpu_percent: f64,
    read_bytes_per_s: u64,
    written_bytes_per_s: u64,
    #[serde(flatten)]
    stats: UnitStats,
}

pub(super) fn run(arguments: &TopArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let once = arguments.once || session.globals.output != Format::Table;
    let live = !once && io::stdout().is_terminal();
    let interval = if arguments.once { ONCE } else { arguments.interval };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async {
        let mut samples = client.stats(interval).await?;
        let mut before = samples.next().await?;
        while let Some(now) = samples.next().await? {
            let figures = before.replace(now.clone()).map(|then| between(&then, &now));
            let Some(mut figures) = figures else { continue };
            sort(&mut figures.units, arguments.sort);
            if session.globals.output == Format::Table {
                frame(session.out, live, &table(&figures))?;
            } else if arguments.once {
                session.show(&figures, table)?;
            } else {
                line(session.out, session.globals.output, &figures)?;
            }
            if arguments.once {
                break;
            }
        }
        Ok(())
    })
}

/// A picture over the one before, where there is a terminal; otherwise one below the other.
fn frame(out: &mut dyn Write, live: bool, text: &str) -> Result<(), OutputError> {
    if !live {
        return output::write_line(out, text);
    }
    // Home, every line cleared to its end, then what is below: nothing flickers.
    let body = text.replace('\n', "\u{1b}[K\r\n");
    output::write_line(out, &format!("\u{1b}[H{body}\u{1b}[K\u{1b}[J"))
}

/// One document per sample.
fn line(out: &mut dyn Write, format: Format, figures: &Figures) -> Result<(), OutputError> {
    let text = match format {
        Format::Json | Format::Table => {
            serde_json::to_string(figures).map_err(|source| OutputError::Json { source })?
        }
        Format::Yaml => {
            let text =
                serde_saphyr::to_string(figures).map_err(|source| OutputError::Yaml { source })?;
            format!("---\n{text}")
        }
    };
    output::write_line(out, &text)
}

fn between(then: &Stats, now: &Stats) -> Figures {
    let span_us = now.time_us.saturating_sub(then.time_us).max(1);
    let units = now.units.iter().map(|unit| {
        let before = then.units.iter().find(|before| before.unit == unit.unit);
        // A container that was started since began at 0.
        let grown = |value: fn(&UnitStats) -> u64| {
            let (new, old) = (value(unit), before.map_or(0, value));
            if new >= old { new - old } else { new }
        };
        let per_s = |grown: u64| grown.saturating_mul(1_000_000) / span_us;
        UnitFigures {
            cpu_percent: percent(grown(|unit| unit.cpu_us), span_us),
            read_bytes_per_s: per_s(grown(|unit| unit.read_bytes.unwrap_or(0))),
            written_bytes_per_s: per_s(grown(|unit| unit.written_bytes.unwrap_or(0))),
            stats: unit.clone(),
        }
    });
    let busy_us = now.node.cpu_us.saturating_sub(then.node.cpu_us);
    Figures {
        time_us: now.time_us,
        cpus: now.node.cpus,
        cpu_percent: percent(busy_us, span_us.saturating_mul(now.node.cpus.max(1).into()))
            .min(100.0),
        memory_used_bytes: now.node.memory_bytes.saturating_sub(now.node.memory_available_bytes),
        memory_bytes: now.node.memory_bytes,
        state_used_bytes: now.node.state_bytes.saturating_sub(now.node.state_available_bytes),
        state_bytes: now.node.state_bytes,
        state_used_inodes: now.node.state_inodes.saturating_sub(now.node.state_available_inodes),
        state_inodes: now.node.state_inodes,
        units: units.collect(),
    }
}

/// With one digit behind the point.
fn percent(part: u64, whole: u64) -> f64 {
    let permille = part.saturating_mul(1000) / whole.max(1);
    f64::from(u32::try_from(permille).unwrap_or(u32::MAX)) / 10.0
}

fn sort(units: &mut [UnitFigures], by: SortBy) {
    let io = |unit: &UnitFigures| unit.read_bytes_per_s + unit.written_bytes_per_s;
    units.sort_by(|a, b| {
        let order = match by {
            SortBy::Cpu => b.cpu_percent.total_cmp(&a.cpu_percent),
            SortBy::Memory => b.stats.memory_bytes.cmp(&a.stats.memory_bytes),
            SortBy::Io => io(b).cmp(&io(a)),
            SortBy::Pids => b.stats.pids.cmp(&a.stats.pids),
            SortBy::Name => std::cmp::Ordering::Equal,
        };
        order.then_with(|| a.stats.unit.cmp(&b.stats.unit))
    });
}

fn table(figures: &Figures) -> String {
    let head = format!(
        "cpu {:.1} % of {}   memory {} of {}   state {} of {}, {} of {} files   units {}",
        figures.cpu_percent,
        figures.cpus,
        bytes(figures.memory_used_bytes),
        bytes(figures.memory_bytes),
        bytes(figures.state_used_bytes),
        bytes(figures.state_bytes),
        figures.state_used_inodes,
        figures.state_inodes,
        figures.units.len(),
    );
    let rows: Vec<[String; 10]> = figures.units.iter().map(row).collect();
    let heading = [
        "UNIT",
        "STATE",
        "CPU %",
        "MEMORY",
        "LIMIT",
        "READ/s",
        "WRITTEN/s",
        "PIDS",
        "DISK",
        "FILES",
    ];
    format!("{head}\n\n{}", columns(heading, &rows))
}

fn row(unit: &UnitFigures) -> [String; 10] {
    let stats = &unit.stats;
    let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), bytes);
    let number: fn(u64) -> String = |number| number.to_string();
    [
        printable(&stats.unit),
        stats.state.word().to_owned(),
        format!("{:.1}", unit.cpu_percent),
        known(stats.memory_bytes),
        known(stats.memory_max_bytes),
        bytes(unit.read_bytes_per_s),
        bytes(unit.written_bytes_per_s),
        of(stats.pids, stats.pids_max, number),
        of(stats.disk_bytes, stats.disk_max_bytes, bytes),
        of(stats.inodes, stats.inodes_max, number),
    ]
}

#[cfg(test)]
mod tests {
    use super::{SortBy, between, sort, table};
    use ferrite_schema::api::{NodeStats, Stats, UnitState, UnitStats};

    fn unit(name: &str, cpu_us: u64, memory: u64) -> UnitStats {
        UnitStats {
            unit: name.to_owned(),
            state: UnitState::Running,
            cpu_us,
            memory_bytes: Some(memory),
            cache_bytes: Some(0),
            memory_max_bytes: None,
            oom_kills: Some(0),
            read_bytes: Some(0),
            written_bytes: None,
            pids: Some(1),
            pids_max: Some(10),
            disk_bytes: Some(4096),
            disk_max_bytes: Some(1 << 20),
            inodes: Some(7),
            inodes_max: Some(64),
        }
    }

    fn stats(time_us: u64, cpu_us: u64, units: Vec<UnitStats>) -> Stats {
        let node = NodeStats {
            cpus: 2,
            cpu_us,
            memory_bytes: 1 << 30,
            memory_available_bytes: 1 << 29,
            state_bytes: 1 << 30,
            state_available_bytes: 1 << 29,
            state_inodes: 1000,
            state_available_inodes: 400,
        };
        Stats { time_us, node, units }
    }

    #[test]
    fn shares_are_differences() {
        let then = stats(0, 0, vec![unit("a", 1_000_000, 5), unit("again", 9_000_000, 1)]);
        let now = vec![unit("a", 2_500_000, 5), unit("again", 100_000, 1), unit("new", 250_000, 9)];
        let mut figures = between(&then, &stats(1_000_000, 1_500_000, now));
        assert_eq!(figures.cpu_percent, 75.0);
        let shares: Vec<f64> = figures.units.iter().map(|unit| unit.cpu_percent).collect();
        assert_eq!(shares, [150.0, 10.0, 25.0]);
        sort(&mut figures.units, SortBy::Memory);
        assert_eq!(figures.units[0].stats.unit, "new");
        sort(&mut figures.units, SortBy::Name);
        assert!(table(&figures).lines().nth(3).unwrap().starts_with("a "), "{}", table(&figures));
        assert!(table(&figures).contains("150.0"), "{}", table(&figures));
        assert!(table(&figures).contains("600 of 1000 files"), "{}", table(&figures));
        assert!(table(&figures).contains("7 of 64"), "{}", table(&figures));
    }
}
