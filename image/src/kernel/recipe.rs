//! How a kernel is built: commands, their environment, and where things are meanwhile.
//!
//! Nothing here depends on who builds, where, when, or with how many processors.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Changes whenever anything here does that may change a kernel's bytes.
pub const VERSION: u32 = 1;
/// The source, as the build sees it.
const SOURCE: &str = "/build/source";
/// What is made of it.
const OUTPUT: &str = "/build/output";
/// What is asked for.
const FRAGMENT: &str = "/build/fragment.config";
/// Folder of the source package that has the archive.
const ARCHIVES: &str = "/usr/src";

/// Where the build has its source, seen from the tools' root.
pub const SOURCE_IN_ROOT: &str = "build/source";
/// Where it leaves what it makes.
pub const OUTPUT_IN_ROOT: &str = "build/output";
/// Where it looks for the fragment.
pub const FRAGMENT_IN_ROOT: &str = "build/fragment.config";

/// What is kept of a build: its name in the cache, and where the build leaves it, below [`OUTPUT_IN_ROOT`].
pub const PRODUCTS: [(&str, &str); 5] = [
    ("bzImage", "arch/x86/boot/bzImage"),
    ("vmlinux", "vmlinux"),
    ("System.map", "System.map"),
    ("config", ".config"),
    ("release", "include/config/kernel.release"),
];

/// Lines that make prints for a whole build of the variant `slim`, about: what progress is measured by.
pub const LINES: u64 = 3_080;
/// Processor seconds that it takes.
pub const PROCESSOR_S: u64 = 1_000;
/// Bytes that it takes in the cache while it goes on.
pub const SPACE_BYTES: u64 = 2_800 << 20;
/// Bytes of the packages with source and tools, about: for who has none of them yet, and does not know their versions.
pub const DOWNLOAD_BYTES: u64 = 240 * 1_000_000;

/// Something that is run in the tools' root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Program and arguments.
    pub words: Vec<String>,
}

impl Step {
    fn new(words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect() }
    }
}

/// Takes the source of the package `source` (`linux-source-6.12`) out of its archive.
#[must_use]
pub fn unpack(source: &str) -> [Step; 2] {
    let archive = format!("{ARCHIVES}/{source}.tar.xz");
    [
        Step::new(&["mkdir", SOURCE, OUTPUT]),
        Step::new(&[
            "tar",
            "--extract",
            "--no-same-owner",
            "--strip-components=1",
            "--directory",
            SOURCE,
            "--file",
            &archive,
        ]),
    ]
}

/// Makes the configuration.
#[must_use]
pub fn configure() -> Step {
    make(&[&format!("KCONFIG_ALLCONFIG={FRAGMENT}"), "alldefconfig"])
}

/// Compiles and links; `jobs` at a time.
#[must_use]
pub fn compile(jobs: usize) -> Step {
    make(&[&format!("-j{jobs}"), "bzImage"])
}

fn make(more: &[&str]) -> Step {
    let output = format!("O={OUTPUT}");
    let mut words = vec!["make", "--no-print-directory", "--directory", SOURCE, &output];
    words.extend(more);
    Step::new(&words)
}

/// The environment of every step, and there is nothing else in it. `date_s` is the source's, seconds since the epoch.
#[must_use]
pub fn environment(date_s: u64) -> Vec<(&'static str, String)> {
    let fixed = [
        ("PATH", "/usr/bin:/usr/sbin"),
        ("HOME", "/build"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("KBUILD_BUILD_USER", "ferrite"),
        ("KBUILD_BUILD_HOST", "ferrite"),
        ("KBUILD_BUILD_VERSION", "1"),
    ];
    let mut environment: Vec<_> =
        fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    environment.push(("SOURCE_DATE_EPOCH", date_s.to_string()));
    environment.push(("KBUILD_BUILD_TIMESTAMP", utc(date_s)));
    environment
}

/// A date as `date --utc` takes and people read it: `2026-11-20 16:06:36 UTC`.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for days since 1970.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01: years that begin in March have their leap day at the end.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Processors that this computer lets us use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Minutes that a build takes on `processors`, about.
#[must_use]
pub fn minutes(processors: usize) -> u64 {
    let processors = u64::try_from(processors).unwrap_or(1).max(1);
    PROCESSOR_S.div_ceil(60 * processors)
}

/// Where a product is in the root.
#[must_use]
pub fn product(root: &Path, below_output: &str) -> PathBuf {
    root.join(OUTPUT_IN_ROOT).join(below_output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_763_654_796), "2025-11-20 16:06:36 UTC");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn nothing_of_the_builder_gets_in() {
        let environment = environment(1_763_654_796);
        assert!(
            environment.contains(&("KBUILD_BUILD_TIMESTAMP", "2025-11-20 16:06:36 UTC".to_owned()))
        );
        assert!(environment.iter().all(|(name, _)| *name != "USER" && *name != "PWD"));
        let words = compile(3).words.join(" ");
        assert_eq!(
            words,
            "make --no-print-directory --directory /build/source O=/build/output -j3 bzImage"
        );
    }

    #[test]
    fn more_processors_take_less_time() {
        assert_eq!(minutes(1), 17);
        assert_eq!(minutes(2), 9);
        assert_eq!(minutes(0), 17);
    }
}
