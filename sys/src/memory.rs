//! Giving memory back.

use std::fs;

/// Bytes from which memory is mapped by itself, and given back the moment it is freed; and bytes free at the heap's end from
/// which that is given back. glibc's own defaults, which it raises at run time unless they are set.
const GIVE_BACK_BYTES: libc::c_int = 128 * 1024;

/// Keeps the heap as small as what is in use: one heap for all threads, and large memory given back at once. Call it
/// before there is a second thread. `false` where the allocator does not take it.
///
/// For programs with few threads that allocate little at a time: each further heap of glibc's stays as large as its thread once
/// needed it, for as long as the process lives.
#[must_use]
pub fn keep_heap_small() -> bool {
    let settings = [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, GIVE_BACK_BYTES),
        (libc::M_TRIM_THRESHOLD, GIVE_BACK_BYTES),
    ];
    // SAFETY: mallopt(3) takes two numbers and changes nothing that was handed out before.
    settings.into_iter().all(|(name, value)| unsafe { libc::mallopt(name, value) } == 1)
}

/// Gives the heap's free pages back, wherever in it they lie. What is handed out stays where it is.
pub fn give_back_free_heap() {
    // SAFETY: malloc_trim(3) touches free memory only, and locks the heap meanwhile.
    unsafe { libc::malloc_trim(0) };
}

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

    /// Pages of the heap's free middle are given back, which freeing alone does not do.
    #[test]
    fn free_heap_is_given_back_and_what_is_in_use_stays() {
        assert!(keep_heap_small());
        let resident = || -> usize {
            let text = fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse().unwrap()
        };
        // Too small to be mapped by themselves.
        let mut all: Vec<Vec<u8>> = (0..1024_u32).map(|_| vec![7; 64 * 1024]).collect();
        let top = all.pop().unwrap();
        drop(all);
        let before = resident();
        give_back_free_heap();
        let after = resident();
        assert!(after + 8192 < before, "{before} pages, {after} after");
        assert!(top.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_program_runs_on() {
        assert!(forget_start_up_code() > 0);
        assert_eq!(std::hint::black_box("still").len(), 5);
    }
}
