//! Numbered records that are on disk before they are acknowledged, to be counted again after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

/// Digits of a record: with its line end it has a fixed length.
const DIGITS: usize = 12;
const RECORD_BYTES: u64 = 13;
const FILE: &str = "records";

/// What is on disk.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Records {
    /// Whole records, numbered from 1 without a gap.
    last: u64,
    /// Bytes after the last whole record: a write that was cut off and never acknowledged.
    torn_bytes: u64,
    /// First record that is not what it should be.
    damaged: Option<u64>,
}

/// Appends records for ever, from where an earlier run ended, and prints each number once it is on disk.
pub(crate) fn write_forever(folder: &Path) -> io::Result<ExitCode> {
    fs::create_dir_all(folder)?;
    let found = check(folder)?;
    if let Some(damaged) = found.damaged {
        return Err(io::Error::other(format!("record {damaged} is damaged")));
    }
    let path = folder.join(FILE);
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.set_len(found.last * RECORD_BYTES)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    let mut out = io::stdout().lock();
    writeln!(out, "resume {}", found.last)?;
    for number in found.last + 1.. {
        append(&file, number)?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts the records in `folder`; none where it has no file.
pub(crate) fn check(folder: &Path) -> io::Result<Records> {
    let bytes = match fs::read(folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut records = Records { last: 0, torn_bytes: 0, damaged: None };
    for piece in bytes.chunks(DIGITS + 1) {
        let number = records.last + 1;
        if piece.len() <= DIGITS {
            records.torn_bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        } else if piece == record(number).as_bytes() {
            records.last = number;
        } else {
            records.damaged = Some(number);
            break;
        }
    }
    Ok(records)
}

fn append(mut file: &File, number: u64) -> io::Result<()> {
    file.write_all(record(number).as_bytes())?;
    file.sync_data()
}

fn record(number: u64) -> String {
    format!("{number:0DIGITS$}\n")
}

#[cfg(test)]
mod tests {
    use super::{FILE, RECORD_BYTES, Records, check, record};

    fn found(bytes: &str) -> Records {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), bytes).unwrap();
        check(folder.path()).unwrap()
    }

    #[test]
    fn whole_torn_and_damaged() {
        let whole = format!("{}{}", record(1), record(2));
        assert_eq!(found(&whole), Records { last: 2, torn_bytes: 0, damaged: None });
        assert_eq!(found(&whole[..20]), Records { last: 1, torn_bytes: 7, damaged: None });
        let damaged = format!("{}{}", record(1), record(3));
        assert_eq!(found(&damaged), Records { last: 1, torn_bytes: 0, damaged: Some(2) });
        assert_eq!(found(""), Records { last: 0, torn_bytes: 0, damaged: None });
    }

    #[test]
    fn a_record_has_its_length() {
        assert_eq!(u64::try_from(record(1).len()).unwrap(), RECORD_BYTES);
    }
}
