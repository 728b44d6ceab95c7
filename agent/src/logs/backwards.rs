//! Reads a log from its end: the last lines, without what is before them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ferrite_schema::api::LogLine;

use super::filter::Filter;

/// Read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Where the last `wanted` lines of `file` begin that `filter` takes, and how many there are if there are fewer. The pieces of
/// a line that came in several are one line, unless a line of the other stream came between them. Pieces at the end of the file
/// are the beginning of a line that is counted where it ends, or has no end yet.
///
/// # Errors
/// The file cannot be read.
pub fn last_lines(file: &File, filter: &Filter, wanted: u64) -> io::Result<(u64, u64)> {
    let (mut first, mut found) = (file.metadata()?.len(), 0);
    visit(file, |offset, line| {
        if !line.partial && found == wanted {
            return false;
        }
        if filter.takes(&line) {
            first = offset;
            found += u64::from(!line.partial);
        }
        true
    })?;
    Ok((first, found))
}

/// The last line of `file` that `filter` takes, or the last piece of one.
///
/// # Errors
/// The file cannot be read.
pub fn last_line(file: &File, filter: &Filter) -> io::Result<Option<LogLine>> {
    let mut last = None;
    visit(file, |_, line| {
        last = Some(line).filter(|line| filter.takes(line));
        last.is_none()
    })?;
    Ok(last)
}

/// Shows the lines of `file` with their places, the last one first, for as long as that is asked for. What cannot be understood
/// is left out.
fn visit(file: &File, mut see: impl FnMut(u64, LogLine) -> bool) -> io::Result<()> {
    let mut see = |offset: u64, line: &[u8]| {
        serde_json::from_slice(line).map_or(true, |line| see(offset, line))
    };
    // The beginning of the line that the block before ends with.
    let mut rest: Vec<u8> = Vec::new();
    let mut offset = file.metadata()?.len();
    while offset > 0 {
        let start = offset.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(offset - start).unwrap_or(0)];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut rest);
        let mut until = block.len();
        while let Some(newline) = block.get(..until).and_then(memrchr) {
            let line = block.get(newline + 1..until).unwrap_or_default();
            if !see(start + newline as u64 + 1, line) {
                return Ok(());
            }
            until = newline;
        }
        block.truncate(until);
        rest = block;
        offset = start;
    }
    see(0, &rest);
    Ok(())
}

fn memrchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ferrite_schema::api::Stream;

    use super::*;

    fn log(lines: u64, width: usize) -> (File, String) {
        let mut file = tempfile::tempfile().unwrap();
        let mut text = String::new();
        for number in 0..lines {
            let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            let line = "x".repeat(width);
            let line = LogLine { time_us: number, stream, run: number / 10, line, partial: false };
            text.push_str(&serde_json::to_string(&line).unwrap());
            text.push('\n');
        }
        file.write_all(text.as_bytes()).unwrap();
        (file, text)
    }

    fn check(lines: u64, width: usize, filter: Filter, wanted: u64, expected: &[u64]) {
        let (file, text) = log(lines, width);
        let (offset, found) = last_lines(&file, &filter, wanted).unwrap();
        let from = &text[usize::try_from(offset).unwrap()..];
        let times: Vec<u64> = from
            .lines()
            .filter(|line| filter.takes_bytes(line.as_bytes()))
            .map(|line| serde_json::from_str::<LogLine>(line).unwrap().time_us)
            .collect();
        assert_eq!(times, expected);
        assert_eq!(found, expected.len() as u64);
    }

    #[test]
    fn the_last_lines() {
        let all = Filter::default();
        check(0, 1, all, 3, &[]);
        check(2, 1, all, 3, &[0, 1]);
        check(10, 1, all, 3, &[7, 8, 9]);
        check(10, 1, all, 0, &[]);
        // Lines longer than a block, and blocks with many lines.
        check(4, 200_000, all, 3, &[1, 2, 3]);
        check(20_000, 1, all, 2, &[19_998, 19_999]);
        let errors = Filter { stream: Some(Stream::Stderr), ..all };
        check(10, 1, errors, 2, &[7, 9]);
        check(30, 40_000, Filter { run: Some(1), ..errors }, 3, &[15, 17, 19]);
        check(10, 1, Filter { since_us: Some(9), ..all }, 5, &[9]);
    }

    #[test]
    fn pieces_of_a_line_are_one_line() {
        let mut file = tempfile::tempfile().unwrap();
        let mut pieces = vec![];
        // Whole, three pieces, whole, two pieces of one that has no end yet.
        for (time_us, partial) in (0..).zip([false, true, true, false, false, true, true]) {
            let line = String::new();
            let line = LogLine { time_us, stream: Stream::Stdout, run: time_us, line, partial };
            pieces.push(serde_json::to_string(&line).unwrap() + "\n");
        }
        file.write_all(pieces.concat().as_bytes()).unwrap();
        let from = |piece: usize| pieces[..piece].concat().len() as u64;
        let last = |wanted| last_lines(&file, &Filter::default(), wanted).unwrap();
        assert_eq!(last(1), (from(4), 1));
        assert_eq!(last(2), (from(1), 2));
        assert_eq!(last(9), (0, 3));
        assert_eq!(last_line(&file, &Filter::default()).unwrap().unwrap().run, 6);
        let whole = Filter { not_run: Some(6), ..Filter::default() };
        assert_eq!(last_line(&file, &whole).unwrap().unwrap().run, 5);
    }
}
