//! Reads a log from its end: the last lines, without what is before them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use ferrite_schema::api::LogLine;

use super::filter::Filter;

/// Read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Where the last `wanted` lines of `file` begin that `filter` takes, and how many there are if there are fewer.
///
/// # Errors
/// The file cannot be read.
pub fn last_lines(file: &File, filter: &Filter, wanted: u64) -> io::Result<(u64, u64)> {
    let end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    // The beginning of the line that the block before ends with.
    let mut rest: Vec<u8> = Vec::new();
    let mut first = end;
    let mut offset = end;
    while offset > 0 {
        let start = offset.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(offset - start).unwrap_or(0)];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut rest);
        let mut until = block.len();
        while let Some(newline) = block.get(..until).and_then(memrchr) {
            let line = block.get(newline + 1..until).unwrap_or_default();
            if takes(filter, line) {
                found += 1;
                first = start + newline as u64 + 1;
                if found == wanted {
                    return Ok((first, found));
                }
            }
            until = newline;
        }
        block.truncate(until);
        rest = block;
        offset = start;
    }
    if takes(filter, &rest) {
        found += 1;
        first = 0;
    }
    Ok((first, found))
}

/// The last line of `file` that `filter` takes.
///
/// # Errors
/// The file cannot be read.
pub fn last_line(file: &File, filter: &Filter) -> io::Result<Option<LogLine>> {
    let (offset, found) = last_lines(file, filter, 1)?;
    if found == 0 {
        return Ok(None);
    }
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(offset))?;
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line).ok())
}

fn takes(filter: &Filter, line: &[u8]) -> bool {
    !line.is_empty() && filter.takes_bytes(line)
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
            let line = LogLine { time_us: number, stream, run: number / 10, line };
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
}
