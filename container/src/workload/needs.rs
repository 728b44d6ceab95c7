//! What else a file needs to be executed, where the kernel's reason leaves that open: "no such file" is said of a script
//! whose interpreter is missing, too.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// How much of a file is read: the kernel reads 256 bytes of a script, and a program's headers stand at its beginning.
const HEAD_BYTES: u64 = 4096;
/// How much of a script's first line the kernel looks at.
const LINE_BYTES: usize = 255;
/// `PT_INTERP`: the part of a program that names its loader.
const INTERPRETER: u32 = 3;
/// Where a program's headers name its machine (`e_machine`).
const MACHINE: usize = 18;
/// Machines that images are built for.
const MACHINES: [(u16, &str); 8] = [
    (3, "386"),
    (8, "mips"),
    (21, "ppc64le"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
];

/// What a person should know of the file that the kernel does not execute for this reason; empty where there is nothing.
pub(super) fn of(path: &Path, errno: Errno) -> String {
    if !matches!(errno, Errno::NOENT | Errno::NOEXEC) {
        return String::new();
    }
    head(path).and_then(|head| said(&head, errno)).unwrap_or_default()
}

fn head(path: &Path) -> Option<Vec<u8>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    // A device or a pipe has no head, and opening one may do something.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let file =
        File::options().read(true).custom_flags(i32::try_from(flags).ok()?).open(path).ok()?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

fn said(head: &[u8], errno: Errno) -> Option<String> {
    let elf = head.starts_with(b"\x7fELF");
    if errno == Errno::NOEXEC && elf {
        return Some(match machine(head) {
            Some((_, Some(name))) => format!(", a program for {name}"),
            Some((number, None)) => format!(", a program for machine {number}"),
            None => ", a program that was cut off".to_owned(),
        });
    }
    if errno == Errno::NOEXEC {
        let line = head.starts_with(b"#!");
        let why =
            if head.is_empty() { "is empty" } else { "has no first line such as `#!/bin/sh`" };
        return (!line).then(|| format!(", which {why} and is no program"));
    }
    let interpreter = if elf { loader(head) } else { script(head) }?;
    // Quoted, since what is wrong with it may be a character that is not to be seen, as of a line from Windows.
    Some(format!(", whose interpreter {interpreter:?} is missing"))
}

/// The word after a script's `#!`, as the kernel reads it: up to a blank or the end of the line.
fn script(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.get(..LINE_BYTES).unwrap_or(line).split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.next().map(|word| String::from_utf8_lossy(word).into_owned())
}

fn machine(head: &[u8]) -> Option<(u16, Option<&'static str>)> {
    let bytes: [u8; 2] = head.get(MACHINE..MACHINE + 2)?.try_into().ok()?;
    // `EI_DATA`: 2 is the greater half first.
    let big = head.get(5) == Some(&2);
    let number = if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    Some((number, MACHINES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)))
}

/// The loader that a program of this machine names, of 64 or 32 bits.
fn loader(head: &[u8]) -> Option<String> {
    let wide = head.get(4) == Some(&2);
    let short =
        |at: usize| Some(usize::from(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)));
    let word =
        |at: usize| Some(u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let long = |at: usize| {
        let number = u64::from_le_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?);
        usize::try_from(number).ok()
    };
    let size = |at: usize| if wide { long(at) } else { usize::try_from(word(at)?).ok() };
    // `e_phoff`, `e_phentsize`, `e_phnum`; `p_offset`, `p_filesz`.
    let (table, entry, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
    let (place, length) = if wide { (8, 32) } else { (4, 16) };
    let (table, entry, count) = (size(table)?, short(entry)?, short(count)?);
    let parts = (0..count).map_while(|index| table.checked_add(index.checked_mul(entry)?));
    let found =
        parts.take_while(|at| *at < head.len()).find(|at| word(*at) == Some(INTERPRETER))?;
    let start = size(found.checked_add(place)?)?;
    let end = start.checked_add(size(found.checked_add(length)?)?)?;
    let name = head.get(start..end)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of this machine that names a loader, in 64 or 32 bits.
    fn program(wide: bool, machine: u16, loader: &str) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1]);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        let (table, entry, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        (bytes[table], bytes[entry], bytes[count]) = (64, if wide { 56 } else { 32 }, 2);
        // The first is another part.
        let at = 64 + usize::from(bytes[entry]);
        (bytes[64], bytes[at]) = (6, 3);
        let (place, length) = if wide { (8, 32) } else { (4, 16) };
        (bytes[at + place], bytes[at + length]) = (200, u8::try_from(loader.len()).unwrap() + 1);
        bytes[200..200 + loader.len()].copy_from_slice(loader.as_bytes());
        bytes
    }

    #[test]
    fn what_is_missing_is_named() {
        for (bytes, errno, expected) in [
            (&b"#!/bin/bash\nx"[..], Errno::NOENT, ", whose interpreter \"/bin/bash\" is missing"),
            (b"#! \t/bin/sh -e\n", Errno::NOENT, ", whose interpreter \"/bin/sh\" is missing"),
            (b"#!/bin/sh\r\n", Errno::NOENT, ", whose interpreter \"/bin/sh\\r\" is missing"),
            (b"no program", Errno::NOENT, ""),
            (b"#!\n/x", Errno::NOENT, ""),
            (
                b"echo x\n",
                Errno::NOEXEC,
                ", which has no first line such as `#!/bin/sh` and is no program",
            ),
            (b"", Errno::NOEXEC, ", which is empty and is no program"),
            (b"#!/x", Errno::NOEXEC, ""),
            (b"\x7fELF", Errno::NOEXEC, ", a program that was cut off"),
            (&program(true, 183, "/l"), Errno::NOEXEC, ", a program for arm64"),
            (&program(true, 9999, "/l"), Errno::NOEXEC, ", a program for machine 9999"),
            (
                &program(true, 62, "/lib/ld.so"),
                Errno::NOENT,
                ", whose interpreter \"/lib/ld.so\" is missing",
            ),
            (
                &program(false, 3, "/lib/ld.so"),
                Errno::NOENT,
                ", whose interpreter \"/lib/ld.so\" is missing",
            ),
            (&program(true, 62, "/lib/ld.so")[..150], Errno::NOENT, ""),
        ] {
            assert_eq!(said(bytes, errno).unwrap_or_default(), expected, "{errno}");
        }
    }

    #[test]
    fn headers_that_lie_are_left_alone() {
        for at in 0..256 {
            for value in [0xff, 0x7f, 0] {
                for wide in [true, false] {
                    let mut bytes = program(wide, 62, "/lib/ld.so");
                    bytes[at] = value;
                    bytes[at..].iter_mut().take(8).for_each(|byte| *byte = value);
                    said(&bytes, Errno::NOENT);
                }
            }
        }
    }

    #[test]
    fn only_files_are_read() {
        assert_eq!(of(Path::new("/dev/zero"), Errno::NOEXEC), "");
        assert_eq!(of(Path::new("/"), Errno::NOEXEC), "");
        assert_eq!(of(Path::new("/no/such/file"), Errno::NOENT), "");
    }
}
