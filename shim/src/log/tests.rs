//! Lines, files of bounded size, and what a disk may leave of them.

use std::fs;

use super::*;

fn lines(path: &Path) -> Vec<LogLine> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_of_both_streams_are_framed_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), LIMITS).unwrap();
    log.take(Stream::Stdout, b"one\ntw");
    log.take(Stream::Stderr, b"bad \xff\n");
    log.take(Stream::Stdout, b"o\n\nend");
    log.finish();
    let found: Vec<_> = lines(&folder.path().join(CURRENT))
        .into_iter()
        .map(|line| (line.stream, line.line))
        .collect();
    let expected = [
        (Stream::Stdout, "one"),
        (Stream::Stderr, "bad \u{fffd}"),
        (Stream::Stdout, "two"),
        (Stream::Stdout, ""),
        (Stream::Stdout, "end"),
    ];
    assert_eq!(found, expected.map(|(stream, line)| (stream, line.to_owned())));
}

#[test]
fn long_lines_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { line_max_bytes: 4, ..LIMITS };
    let mut log = Log::open(folder.path(), limits).unwrap();
    log.take(Stream::Stdout, b"12345678\n9\n");
    let found: Vec<_> = lines(&folder.path().join(CURRENT))
        .into_iter()
        .map(|line| (line.line, line.partial))
        .collect();
    let expected = [("1234", true), ("5678", false), ("9", false)];
    assert_eq!(found, expected.map(|(line, partial)| (line.to_owned(), partial)));
    let text = fs::read_to_string(folder.path().join(CURRENT)).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("partial")).count(), 1);
}

#[test]
fn long_lines_are_cut_between_characters() {
    for before in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { line_max_bytes: 4, ..LIMITS };
        let mut log = Log::open(folder.path(), limits).unwrap();
        let text = format!("{}a\u{e4}\u{20ac}\u{1f600}\u{1f600}", "x".repeat(before));
        // However it is cut on its way here.
        let (first, rest) = text.as_bytes().split_at(before.min(5));
        log.take(Stream::Stdout, first);
        log.take(Stream::Stdout, rest);
        log.take(Stream::Stdout, b"\n");
        let found = lines(&folder.path().join(CURRENT));
        let whole: String = found.iter().map(|line| line.line.as_str()).collect();
        assert_eq!(whole, text);
        let (last, pieces) = found.split_last().unwrap();
        assert!(!last.partial && pieces.iter().all(|piece| piece.partial), "{found:?}");
    }
}

#[test]
fn bytes_that_are_no_characters_are_cut_all_the_same() {
    for bytes in [&[0xff; 9][..], &[0x80; 9], &[0xf0; 9], &[0xf0, 0x80, 0x80, 0xf0, 0xf0]] {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { line_max_bytes: 4, ..LIMITS };
        let mut log = Log::open(folder.path(), limits).unwrap();
        log.take(Stream::Stdout, bytes);
        log.finish();
        let found = lines(&folder.path().join(CURRENT));
        assert!(found.iter().all(|line| !line.line.is_empty()), "{found:?}");
        assert!(log.begun.iter().all(|begun| begun.held.len() <= 4));
    }
}

#[test]
fn the_last_two_runs_are_known_whatever_they_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let known = || -> LogRuns {
        serde_json::from_slice(&fs::read(folder.path().join(LOG_RUNS)).unwrap()).unwrap()
    };
    let first = Log::open(folder.path(), LIMITS).unwrap();
    first.note_run();
    assert_eq!(known(), LogRuns { latest: first.run, before: None });
    let second = Log { run: first.run + 1, ..Log::open(folder.path(), LIMITS).unwrap() };
    second.note_run();
    assert_eq!(known(), LogRuns { latest: second.run, before: Some(first.run) });
    fs::write(folder.path().join(LOG_RUNS), "torn").unwrap();
    second.note_run();
    assert_eq!(known(), LogRuns { latest: second.run, before: None });
}

#[test]
fn two_files_of_bounded_size_hold_the_newest_lines() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { file_max_bytes: 1000, ..LIMITS };
    let mut log = Log::open(folder.path(), limits).unwrap();
    for number in 0..200 {
        log.take(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    drop(log);
    // A shim that goes on does so in the same file.
    let mut log = Log::open(folder.path(), limits).unwrap();
    log.take(Stream::Stdout, b"200\n");
    let mut all = lines(&folder.path().join(PREVIOUS));
    all.extend(lines(&folder.path().join(CURRENT)));
    let numbers: Vec<u32> = all.iter().map(|line| line.line.parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&200));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    for name in [CURRENT, PREVIOUS] {
        assert!(fs::metadata(folder.path().join(name)).unwrap().len() < 1100);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// What a container that is given the folder, or a damaged disk, may leave.
#[test]
fn nothing_in_the_place_of_a_log_holds_up_or_is_written_through() {
    for kind in ["a folder", "a FIFO", "a link"] {
        let folder = tempfile::tempdir().unwrap();
        let (logs, elsewhere) = (folder.path().join("logs"), folder.path().join("elsewhere"));
        fs::create_dir(&logs).unwrap();
        fs::write(&elsewhere, "another's").unwrap();
        for name in [CURRENT, PREVIOUS, LOG_RUNS, &format!("{LOG_RUNS}.new")] {
            let path = logs.join(name);
            match kind {
                "a folder" => fs::create_dir_all(path.join("deep")).unwrap(),
                "a FIFO" => {
                    let made = std::process::Command::new("mkfifo").arg(&path).status();
                    assert!(made.unwrap().success());
                }
                _ => std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
            }
        }
        let limits = Limits { file_max_bytes: 1, ..LIMITS };
        let mut log = Log::open(&logs, limits).unwrap();
        assert!(!logs.join(PREVIOUS).exists(), "{kind}");
        log.note_run();
        log.take(Stream::Stdout, b"one\n");
        log.take(Stream::Stdout, b"two\n");
        for (name, line) in [(PREVIOUS, "one"), (CURRENT, "two")] {
            let found: Vec<_> = lines(&logs.join(name)).into_iter().map(|line| line.line).collect();
            assert_eq!(found, [line], "{kind}");
        }
        let runs: LogRuns =
            serde_json::from_slice(&fs::read(logs.join(LOG_RUNS)).unwrap()).unwrap();
        assert_eq!(runs.latest, log.run, "{kind}");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "another's", "{kind}");
        // The folder itself.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&logs, &link).unwrap();
        drop(Log::open(&link, limits).unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_dir(), "{kind}");
    }
}

#[test]
fn a_line_that_a_power_cut_tore_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CURRENT);
    for torn in ["{\"time_us\":1,\"str".to_owned(), "\0".repeat(10_000)] {
        let mut log = Log::open(folder.path(), LIMITS).unwrap();
        log.take(Stream::Stdout, b"whole\n");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
        let mut log = Log::open(folder.path(), LIMITS).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        log.take(Stream::Stdout, b"next\n");
        assert_eq!(lines(&path).pop().unwrap().line, "next");
        assert_eq!(log.bytes, fs::metadata(&path).unwrap().len());
    }
    fs::write(&path, "torn from the first byte on").unwrap();
    Log::open(folder.path(), LIMITS).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn what_a_full_disk_cannot_keep_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), LIMITS).unwrap();
    log.file = File::options().write(true).open("/dev/full").unwrap();
    log.take(Stream::Stdout, b"a\nb\n");
    assert_eq!(log.lost, 2);
    log.file = File::options().append(true).open(folder.path().join(CURRENT)).unwrap();
    log.take(Stream::Stdout, b"c\n");
    let found: Vec<_> =
        lines(&folder.path().join(CURRENT)).into_iter().map(|line| line.line).collect();
    assert_eq!(found, ["ferrite: 2 lines before this one could not be kept", "c"]);
}

/// What a file has, with whether a line goes on.
fn pieces(folder: &Path) -> Vec<(String, bool)> {
    let found = lines(&folder.join(CURRENT));
    found.into_iter().map(|line| (line.line, line.partial)).collect()
}

fn piece(line: &str, goes_on: bool) -> (String, bool) {
    (line.to_owned(), goes_on)
}

#[test]
fn a_line_without_an_end_is_not_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), LIMITS).unwrap();
    log.take(Stream::Stdout, b"ready\n");
    assert_eq!(log.due(), None);
    log.take(Stream::Stdout, b"name? \xc3");
    let due = log.due().unwrap();
    // What comes meanwhile does not put it off: a bar of progress is never quiet.
    log.take(Stream::Stderr, b"\r10 %\r20 %");
    assert_eq!(log.due(), Some(due));
    log.let_go(due - Duration::from_nanos(1));
    assert_eq!(pieces(folder.path()), [piece("ready", false)]);
    log.let_go(Instant::now() + HELD_MAX);
    let expected = [piece("ready", false), piece("name? ", true), piece("\r10 %\r20 %", true)];
    assert_eq!(pieces(folder.path()), expected);
    // Half a character is nothing to wake up for.
    assert_eq!(log.due(), None);
    log.take(Stream::Stdout, b"\xa4\n");
    log.take(Stream::Stderr, b"\n");
    let rest = &pieces(folder.path())[3..];
    assert_eq!(rest, [piece("\u{e4}", false), piece("", false)]);
    assert_eq!(log.due(), None);
}

#[test]
fn a_line_that_was_let_go_has_its_end_where_the_program_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), LIMITS).unwrap();
    log.take(Stream::Stdout, b"name? ");
    log.let_go(log.due().unwrap());
    log.take(Stream::Stderr, b"\xc3");
    log.let_go(log.due().unwrap());
    log.finish();
    let expected = [piece("name? ", true), piece("", false), piece("\u{fffd}", false)];
    assert_eq!(pieces(folder.path()), expected);
    log.finish();
    assert_eq!(pieces(folder.path()), expected);
}
