//! Applies kernel settings from a file.
//!
//! A line is `key = value`; `#` starts a comment; a `-` before the key means that the kernel may lack it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::log;

/// The settings in the root file system.
pub const FILE: &str = "/usr/share/ferrite/sysctl.conf";

const SETTINGS_DIR: &str = "/proc/sys";

/// The file of settings could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ApplySettings {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read {}: line {line} is not `key = value`", path.display())]
    Line { path: PathBuf, line: usize },
}

#[derive(Debug, PartialEq, Eq)]
struct Setting<'text> {
    key: &'text str,
    value: &'text str,
    may_be_absent: bool,
}

/// Applies every setting of `file` and returns how many. One that the kernel does not take is logged, and
/// the others are applied still.
///
/// # Errors
/// The file cannot be read or has a line that makes no sense; then nothing was applied.
pub fn apply(file: &Path) -> Result<usize, ApplySettings> {
    let path = || file.to_owned();
    let text =
        fs::read_to_string(file).map_err(|source| ApplySettings::Read { path: path(), source })?;
    let settings = parse(&text).map_err(|line| ApplySettings::Line { path: path(), line })?;
    let mut applied = 0;
    for Setting { key, value, may_be_absent } in settings {
        match fs::write(file_of(key), value) {
            Ok(()) => applied += 1,
            Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                log::error(format_args!("hardening: {key}={value} is not set: {error}"));
            }
        }
    }
    Ok(applied)
}

/// The settings in `text`, or the number of the first bad line.
fn parse(text: &str) -> Result<Vec<Setting<'_>>, usize> {
    let mut settings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(number)?;
        let (key, value) = (key.trim(), value.trim());
        let (key, may_be_absent) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if key.is_empty() || !key.chars().all(plain) || key.split('.').any(str::is_empty) {
            return Err(number);
        }
        settings.push(Setting { key, value, may_be_absent });
    }
    Ok(settings)
}

fn file_of(key: &str) -> PathBuf {
    Path::new(SETTINGS_DIR).join(key.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let text = "# why\nkernel.panic = 10 # seconds\n\n-kernel.yama.ptrace_scope=2\n";
        let setting = |key, value, may_be_absent| Setting { key, value, may_be_absent };
        assert_eq!(
            parse(text),
            Ok(vec![
                setting("kernel.panic", "10", false),
                setting("kernel.yama.ptrace_scope", "2", true)
            ])
        );
        assert_eq!(
            file_of("kernel.yama.ptrace_scope"),
            Path::new("/proc/sys/kernel/yama/ptrace_scope")
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(parse("kernel.panic = 10\nkernel.panic\n"), Err(2));
        assert_eq!(parse("= 1"), Err(1));
        assert_eq!(parse("../../etc/passwd = 1"), Err(1));
        assert_eq!(parse("kernel/../x = 1"), Err(1));
        assert_eq!(parse("kernel..x = 1"), Err(1));
    }

    #[test]
    fn the_settings_that_we_ship_make_sense() {
        let settings = parse(include_str!("../../../configs/sysctl.conf")).unwrap();
        let mut keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
        assert!(keys.len() >= 25, "{} settings", keys.len());
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "a key is set twice");
        // What makes a kernel that has lost its way, or its disk, start again; and a packet find another way.
        for (key, value) in [
            ("kernel.panic", "10"),
            ("kernel.panic_on_oops", "1"),
            ("kernel.hung_task_timeout_secs", "600"),
            ("kernel.hung_task_panic", "1"),
            ("net.ipv4.conf.all.ignore_routes_with_linkdown", "1"),
            ("net.ipv4.conf.default.ignore_routes_with_linkdown", "1"),
        ] {
            assert!(settings.iter().any(|it| (it.key, it.value) == (key, value)), "{key}={value}");
        }
    }
}
