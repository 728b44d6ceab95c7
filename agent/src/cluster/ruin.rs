//! Whether etcd's data here is of no more use, by what etcd itself said as it ended. A disk that cannot be read, a full one, and
//! a certificate that nobody believes end etcd too: those are mended, and the data is used again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ferrite_files::small::open_file;
use ferrite_schema::api::LogLine;
use ferrite_schema::shim::LOG_CURRENT;

/// How much of the end of its log is read: a panic lists what every part of etcd was doing.
const READ_MAX_BYTES: u64 = 256 << 10;
/// It must have ended like that so often, with nothing else in between: memory errs, too.
const RUNS: usize = 2;

/// What etcd 3.5 says where its own files contradict themselves, one another, or what the other members have of it. Each was
/// seen by damaging the files of one, but for the two about hashes (`server/etcdserver/corrupt.go`) and snapshots.
const WORDS: [&str; 8] = [
    "crc mismatch",
    "cannot use none as id",
    "has already been bootstrapped",
    "Was the raft log corrupted, truncated, or lost?",
    "invalid database",
    "assertion failed: Page expected to be",
    "failed to find database snapshot file",
    // It was given up while it was off, and may be a member again, with another number: then no list says it.
    "data-dir used by this member must be removed",
];

/// Words by which etcd says that its data is of no use, where the latest runs since `since_us` ended by that.
pub(super) fn look(folder: &Path, since_us: u64) -> Option<&'static str> {
    let mut file = open_file(&folder.join(LOG_CURRENT)).ok()??;
    let text = end_of(&mut file).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    verdict(whole(lines.filter(|line| line.run >= since_us)).into_iter())
}

/// Lines that came in pieces, put together. What is begun at the end of a run ends there.
fn whole(pieces: impl Iterator<Item = LogLine>) -> Vec<LogLine> {
    let mut whole: Vec<LogLine> = Vec::new();
    for piece in pieces {
        let of = (piece.stream, piece.run);
        let begun = whole.iter_mut().rev().find(|line| (line.stream, line.run) == of);
        match begun.filter(|begun| begun.partial) {
            Some(begun) => {
                begun.line.push_str(&piece.line);
                begun.partial = piece.partial;
            }
            None => whole.push(piece),
        }
    }
    whole
}

fn end_of(file: &mut File) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Decides by lines of several runs, in order.
fn verdict(lines: impl Iterator<Item = LogLine>) -> Option<&'static str> {
    let mut runs: Vec<(u64, Option<&'static str>)> = Vec::new();
    for line in lines {
        let said = WORDS.into_iter().find(|words| line.line.contains(words));
        match runs.last_mut() {
            Some((run, known)) if *run == line.run => *known = known.or(said),
            Some(_) | None => runs.push((line.run, said)),
        }
    }
    // The last one may not have come so far yet.
    if runs.last().is_some_and(|(_, said)| said.is_none()) {
        runs.pop();
    }
    let latest = runs.get(runs.len().checked_sub(RUNS)?..)?;
    let all = latest.iter().all(|(_, said)| said.is_some());
    latest.last().filter(|_| all)?.1
}

#[cfg(test)]
mod tests {
    use ferrite_schema::api::Stream;

    use super::*;

    const PANIC: &str = "panic: tocommit(40) is out of range [lastIndex(38)]. Was the raft log corrupted, truncated, or lost?";
    const FATAL: &str =
        r#"{"level":"fatal","msg":"discovery failed","error":"walpb: crc mismatch"}"#;
    const READY: &str = r#"{"level":"info","msg":"ready to serve client requests"}"#;
    const GIVEN_UP: &str =
        r#"{"level":"warn","msg":"data-dir used by this member must be removed"}"#;
    const FULL: &str = "panic: write data/member/wal/1.wal: no space left on device";

    fn lines(runs: &[(u64, &str)]) -> Vec<LogLine> {
        let line = |(run, text): &(u64, &str)| LogLine {
            time_us: *run,
            stream: Stream::Stderr,
            run: *run,
            line: (*text).to_owned(),
            partial: false,
        };
        runs.iter().map(line).collect()
    }

    #[test]
    fn only_what_etcd_says_of_its_own_files_and_says_again_counts() {
        for (runs, expected) in [
            (&[][..], None),
            (&[(1, READY), (2, READY)], None),
            (&[(1, PANIC)], None),
            (&[(1, PANIC), (1, "goroutine 1"), (2, PANIC), (2, "goroutine 1")], Some(WORDS[3])),
            (&[(1, PANIC), (2, FATAL)], Some(WORDS[0])),
            // It was well in between.
            (&[(1, PANIC), (2, READY), (3, FATAL)], None),
            // The latest has only begun.
            (&[(1, FATAL), (2, FATAL), (3, "begins")], Some(WORDS[0])),
            (&[(1, GIVEN_UP), (2, GIVEN_UP), (3, "begins")], Some(WORDS[7])),
            (&[(1, FULL), (2, FULL), (3, FULL)], None),
            (&[(1, "read data: input/output error"), (2, "read data: input/output error")], None),
        ] {
            assert_eq!(verdict(lines(runs).into_iter()), expected, "{runs:?}");
        }
    }

    /// A machine that stood still while etcd wrote cuts its lines.
    #[test]
    fn what_comes_in_pieces_is_read_as_one() {
        let pieces = |run, texts: &[&str]| -> Vec<LogLine> {
            let all: Vec<_> = texts.iter().map(|text| (run, *text)).collect();
            let mut all = lines(&all);
            let last = all.len() - 1;
            all[..last].iter_mut().for_each(|line| line.partial = true);
            all
        };
        let cut = |run| pieces(run, &["walpb: crc ", "mis", "match"]);
        let said = |all: Vec<LogLine>| verdict(whole(all.into_iter()).into_iter());
        assert_eq!(said([cut(1), cut(2)].concat()), Some(WORDS[0]));
        // One that was cut off by its run's end is not gone on with by the next one, nor by the other stream.
        let begun = LogLine { partial: true, ..lines(&[(1, "crc ")]).remove(0) };
        let other = LogLine { stream: Stream::Stdout, ..lines(&[(1, "mismatch")]).remove(0) };
        let next = lines(&[(2, "mismatch"), (2, PANIC), (3, PANIC)]);
        let all = [vec![begun, other], next].concat();
        assert_eq!(whole(all.clone().into_iter()).len(), all.len());
        assert_eq!(said(all), Some(WORDS[3]));
    }

    #[test]
    fn what_was_said_before_the_data_was_set_aside_is_not_about_what_is_there_now() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(look(place.path(), 0), None);
        let all = lines(&[(10, PANIC), (20, PANIC), (30, PANIC)]);
        let mut text: String =
            all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        text.push_str("{\"time_us\": 4");
        std::fs::write(place.path().join(LOG_CURRENT), text).unwrap();
        assert_eq!(look(place.path(), 0), Some(WORDS[3]));
        assert_eq!(look(place.path(), 20), Some(WORDS[3]));
        assert_eq!(look(place.path(), 21), None);
    }
}
