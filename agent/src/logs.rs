//! Units' logs as files: names that writer (shim) and reader (API) share, and which lines a reader asks for.

pub mod backwards;
mod filter;

use std::path::Path;

use ferrite_files::small::{open_file, read_small};
use ferrite_schema::shim::{LOG_RUNS, LogRuns};

pub use self::filter::Filter;
pub use ferrite_schema::shim::{LOG_CURRENT as CURRENT, LOG_PREVIOUS as PREVIOUS};

/// More than two numbers take.
const RUNS_MAX_BYTES: u64 = 4096;

/// The run before the latest one. Where the runs were not noted yet, it is one of those that wrote something.
#[must_use]
pub fn previous_run(folder: &Path) -> Option<u64> {
    let noted = read_small(&folder.join(LOG_RUNS), RUNS_MAX_BYTES).ok().flatten();
    let noted: Option<LogRuns> = noted.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(before) = noted.and_then(|noted| noted.before) {
        return Some(before);
    }
    let last_of = |filter: Filter| {
        [CURRENT, PREVIOUS].into_iter().find_map(|name| {
            let file = open_file(&folder.join(name)).ok()??;
            backwards::last_line(&file, &filter).ok()?.map(|line| line.run)
        })
    };
    let latest = match noted {
        Some(noted) => noted.latest,
        None => last_of(Filter::default())?,
    };
    last_of(Filter { not_run: Some(latest), ..Filter::default() })
}

#[cfg(test)]
mod tests {
    use ferrite_schema::api::{LogLine, Stream};

    use super::*;

    #[test]
    fn the_run_before_the_latest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let write = |name: &str, runs: &[u64]| {
            let line = |run: &u64| {
                let line = LogLine {
                    time_us: *run,
                    stream: Stream::Stdout,
                    run: *run,
                    line: String::new(),
                    partial: false,
                };
                serde_json::to_string(&line).unwrap() + "\n"
            };
            std::fs::write(path.join(name), runs.iter().map(line).collect::<String>()).unwrap();
        };
        assert_eq!(previous_run(path), None);
        write(CURRENT, &[7]);
        assert_eq!(previous_run(path), None);
        write(CURRENT, &[5, 7, 7]);
        assert_eq!(previous_run(path), Some(5));
        write(PREVIOUS, &[3, 4]);
        write(CURRENT, &[7]);
        assert_eq!(previous_run(path), Some(4));
        // Noted since: the latest one wrote nothing, and a command before it did.
        let note = |latest, before| {
            let runs = serde_json::to_vec(&LogRuns { latest, before }).unwrap();
            std::fs::write(path.join(LOG_RUNS), runs).unwrap();
        };
        note(9, None);
        assert_eq!(previous_run(path), Some(7));
        // The one before wrote nothing either: that is what there is of it.
        note(11, Some(9));
        assert_eq!(previous_run(path), Some(9));
        std::fs::write(path.join(LOG_RUNS), "torn").unwrap();
        assert_eq!(previous_run(path), Some(4));
    }

    #[test]
    fn all_conditions_must_hold() {
        let line = LogLine {
            time_us: 5,
            stream: Stream::Stderr,
            run: 2,
            line: "x".to_owned(),
            partial: false,
        };
        let check =
            |filter: Filter, expected| assert_eq!(filter.takes(&line), expected, "{filter:?}");
        let all = Filter::default();
        check(all, true);
        check(Filter { since_us: Some(5), until_us: Some(6), ..all }, true);
        check(Filter { since_us: Some(6), ..all }, false);
        check(Filter { until_us: Some(5), ..all }, false);
        check(Filter { stream: Some(Stream::Stdout), ..all }, false);
        check(Filter { run: Some(2), ..all }, true);
        check(Filter { run: Some(1), ..all }, false);
        check(Filter { not_run: Some(2), ..all }, false);
        let torn: &[u8] = b"{\"time_us\":5,\"str";
        assert!(!all.takes_bytes(torn));
    }
}
