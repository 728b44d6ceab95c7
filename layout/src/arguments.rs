//! Kernel arguments of the platform: a file on the OEM partition, and how often they were tried.
//!
//! The kernel that a loader starts does not have them; PID 1 jumps once more into the slot's kernel, with them. What is
//! wrong with them may keep that kernel from coming up, so each try is counted first, in the OEM partition's GPT entry:
//!
//! | bits | meaning |
//! |---|---|
//! | 48–56 | fingerprint of the arguments that were tried |
//! | 57–58 | starts with them since the node was ready with them last |
//!
//! After [`STARTS_MAX`] they are left out until the file says something else.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::boot_params;

/// Starts with the arguments that did not end in a ready node. Fewer than a slot on trial has tries, so that bad arguments
/// do not cost a good slot its trial.
pub const STARTS_MAX: u8 = 2;
const _: () = assert!(STARTS_MAX < crate::slot::FRESH_TRIES && STARTS_MAX <= 3);

/// Longest file, in bytes: the kernel takes 2047 for everything.
const FILE_MAX_BYTES: usize = 1024;
const FINGERPRINT_SHIFT: u32 = 48;
const FINGERPRINT_MASK: u64 = 0x1ff;
const STARTS_SHIFT: u32 = 57;
const STARTS_MASK: u64 = 0b11;

/// Arguments, word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    words: Vec<String>,
}

/// Why a file of arguments is not used. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadArguments {
    #[error("it has {found} bytes, at most {FILE_MAX_BYTES} are possible")]
    TooLong { found: usize },
    #[error("line {line} has a character that no kernel argument has")]
    Character { line: usize },
    #[error("line {line} sets {name}, which is PID 1's own")]
    Reserved { line: usize, name: String },
}

/// How often which arguments were tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// See [`Arguments::fingerprint`].
    pub fingerprint: u16,
    /// Starts since the node was ready with them last.
    pub starts: u8,
}

/// What to do about the arguments now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The running kernel has them.
    InEffect,
    /// Write this, flushed, and jump into the slot's kernel with them.
    Jump(Tried),
    /// They were tried often enough: go on without.
    LeaveOut,
}

impl Arguments {
    /// The words.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// Nothing is asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Tells these arguments from others; nine bits.
    #[must_use]
    pub fn fingerprint(&self) -> u16 {
        let digest: [u8; 32] = Sha256::digest(self.words.join(" ").as_bytes()).into();
        let [high, low, ..] = digest;
        u16::from_be_bytes([high, low]) & 0x1ff
    }

    /// The fingerprint as [`boot_params::ARGUMENTS`] has it.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("{:03x}", self.fingerprint())
    }

    /// What to do, where the running kernel's command line has the mark `running`.
    #[must_use]
    pub fn step(&self, tried: Tried, running: Option<&str>) -> Step {
        if running == Some(&self.mark()) {
            return Step::InEffect;
        }
        let fingerprint = self.fingerprint();
        let starts = if tried.fingerprint == fingerprint { tried.starts } else { 0 };
        if starts >= STARTS_MAX {
            Step::LeaveOut
        } else {
            Step::Jump(Tried { fingerprint, starts: starts + 1 })
        }
    }
}

impl FromStr for Arguments {
    type Err = ReadArguments;

    /// Words apart by blanks and line ends; lines that begin with `#` are comments.
    fn from_str(text: &str) -> Result<Self, ReadArguments> {
        if text.len() > FILE_MAX_BYTES {
            return Err(ReadArguments::TooLong { found: text.len() });
        }
        let reserved =
            [boot_params::SLOT, boot_params::DISK, boot_params::KEXEC_TSC, boot_params::ARGUMENTS];
        let mut words = Vec::new();
        let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().starts_with('#'));
        for (line, text) in lines {
            if text.chars().any(|character| character.is_control() && character != '\t')
                || !text.is_ascii()
            {
                return Err(ReadArguments::Character { line });
            }
            for word in boot_params::words(text) {
                let name = boot_params::name(word);
                if reserved.contains(&name) || name == "--" {
                    return Err(ReadArguments::Reserved { line, name: name.to_owned() });
                }
                words.push(word.to_owned());
            }
        }
        Ok(Self { words })
    }
}

impl Tried {
    /// Reads the OEM partition's attribute word.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self {
            fingerprint: u16::try_from(bits >> FINGERPRINT_SHIFT & FINGERPRINT_MASK).unwrap_or(0),
            starts: u8::try_from(bits >> STARTS_SHIFT & STARTS_MASK).unwrap_or(0),
        }
    }

    /// Puts itself into `bits`; the others stay.
    #[must_use]
    pub fn apply_to(self, bits: u64) -> u64 {
        let cleared = bits & !(FINGERPRINT_MASK << FINGERPRINT_SHIFT | STARTS_MASK << STARTS_SHIFT);
        cleared
            | (u64::from(self.fingerprint) & FINGERPRINT_MASK) << FINGERPRINT_SHIFT
            | (u64::from(self.starts) & STARTS_MASK) << STARTS_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Tried = Tried { fingerprint: 0, starts: 0 };

    #[test]
    fn words_comments_and_what_is_refused() {
        let read: Arguments =
            "# for this board\nnomodeset  console=ttyS1,9600\n\ndyndbg=\"file x +p\"\n"
                .parse()
                .unwrap();
        assert_eq!(read.words(), ["nomodeset", "console=ttyS1,9600", "dyndbg=\"file x +p\""]);
        assert!("\n# none\n".parse::<Arguments>().unwrap().is_empty());
        let refused = |text: &str| text.parse::<Arguments>().unwrap_err().to_string();
        assert!(refused("quiet\nferrite.slot=A").contains("line 2 sets ferrite.slot"));
        assert!(refused("ferrite.disk=vda").contains("ferrite.disk"));
        assert!(refused("a\0b").contains("line 1"));
        assert!(refused("naïve").contains("line 1"));
        assert!(refused(&"x".repeat(1025)).contains("1025 bytes"));
    }

    #[test]
    fn bad_arguments_are_tried_twice_and_other_ones_anew() {
        let bad: Arguments = "mem=1M".parse().unwrap();
        let mut tried = NEVER;
        for starts in 1..=STARTS_MAX {
            let Step::Jump(next) = bad.step(tried, None) else { panic!("start {starts}") };
            assert_eq!((next.starts, next.fingerprint), (starts, bad.fingerprint()));
            tried = Tried::from_bits(next.apply_to(u64::MAX));
            assert_eq!(tried, next);
        }
        assert_eq!(bad.step(tried, None), Step::LeaveOut);
        assert_eq!(bad.step(tried, Some(&bad.mark())), Step::InEffect);
        let mended: Arguments = "mem=1G".parse().unwrap();
        assert!(matches!(mended.step(tried, None), Step::Jump(Tried { starts: 1, .. })));
        assert!(matches!(mended.step(tried, Some(&bad.mark())), Step::Jump(_)));
    }

    #[test]
    fn the_other_bits_stay() {
        let ours = 0x07ff_u64 << 48;
        let tried = Tried { fingerprint: 0x1ff, starts: 3 };
        assert_eq!(tried.apply_to(0), ours);
        assert_eq!(NEVER.apply_to(u64::MAX), !ours);
    }
}
