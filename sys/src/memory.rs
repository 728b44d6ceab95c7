//! Giving memory back.

use std::fs;

/// Unmaps the program's own code; what is still in use comes back from the page cache as it is run.
/// Returns the bytes unmapped.
///
/// Code that only ran at the start otherwise stays mapped, and counts, for as long as the process lives.
pub fn forget_start_up_code() -> usize {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return 0 };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut unmapped = 0;
    for (start, length) in code(&maps, &program.to_string_lossy()) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: the range is a private mapping of our program file that is executable and not writable, so
        // it was never modified and what MADV_DONTNEED drops is read from the file again, unchanged: the file
        // is on a read-only file system, or is kept from writing by being executed.
        let result = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        if result == 0 {
            unmapped += length;
        }
    }
    unmapped
}

/// Start and length of the executable, unwritable, private mappings of `program`.
fn code<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    maps.lines().filter(move |line| line.ends_with(program)).filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        rest.starts_with("r-xp ").then_some((start, end.checked_sub(start)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_taken() {
        let maps = "\
7f0000000000-7f0000001000 r--p 00000000 fd:00 12 /usr/bin/ferrite-init
7f0000001000-7f0000004000 r-xp 00001000 fd:00 12 /usr/bin/ferrite-init
7f0000004000-7f0000005000 rw-p 00004000 fd:00 12 /usr/bin/ferrite-init
7f0000006000-7f0000007000 r-xp 00000000 00:00 0 [vdso]
";
        let found: Vec<_> = code(maps, "/usr/bin/ferrite-init").collect();
        assert_eq!(found, [(0x7f00_0000_1000, 0x3000)]);
    }

    #[test]
    fn the_program_runs_on() {
        assert!(forget_start_up_code() > 0);
        assert_eq!(std::hint::black_box("still").len(), 5);
    }
}
