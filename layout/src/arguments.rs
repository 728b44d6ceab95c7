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
/// PID 1's parameters that a platform may set for good, with their least and greatest value: nothing there takes a file on OEM
/// back but another image, so that none of them may empty STATE, name a slot, or keep the node from being left alone.
/// A slot needs a minute to become ready, and a day is no time to wait for one.
const BOUNDED: [(&str, u32, u32); 2] =
    [(boot_params::FATAL_DELAY_S, 0, 600), (boot_params::READY_TIMEOUT_S, 60, 86_400)];
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
    #[error(
        "line {line} sets {name}, which cannot be set for good: an order for one boot belongs on the command line of the \
         loader"
    )]
    Reserved { line: usize, name: String },
    #[error("line {line} sets {name} to {value:?}, and it can be {least} to {most} here")]
    OutOfBounds { line: usize, name: &'static str, value: String, least: u32, most: u32 },
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
        let mut words = Vec::new();
        let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().starts_with('#'));
        for (line, text) in lines {
            if text.chars().any(|character| character.is_control() && character != '\t')
                || !text.is_ascii()
            {
                return Err(ReadArguments::Character { line });
            }
            for word in boot_params::words(text) {
                may_be_set(word, line)?;
                words.push(word.to_owned());
            }
        }
        Ok(Self { words })
    }
}

/// Whether a file on OEM may say `word`, in that line.
fn may_be_set(word: &str, line: usize) -> Result<(), ReadArguments> {
    let name = boot_params::name(word);
    if let Some((name, least, most)) = BOUNDED.into_iter().find(|(bounded, ..)| *bounded == name) {
        let value = boot_params::value(word, name).unwrap_or_default();
        let is_within =
            |number: &u32| (least..=most).contains(number) && value == number.to_string();
        return if value.parse().as_ref().is_ok_and(is_within) {
            Ok(())
        } else {
            Err(ReadArguments::OutOfBounds { line, name, value: value.to_owned(), least, most })
        };
    }
    // PID 1 goes by blanks alone: within quotes too there may be a word for it.
    let parts = || word.split_ascii_whitespace().map(|part| part.trim_matches('"'));
    match parts().find(|part| *part == "--" || part.starts_with(boot_params::PREFIX)) {
        Some(part) => {
            Err(ReadArguments::Reserved { line, name: boot_params::name(part).to_owned() })
        }
        None => Ok(()),
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
    fn nothing_that_cannot_be_taken_back_is_set_for_good() {
        let read = |text: &str| text.parse::<Arguments>();
        for name in [
            boot_params::SLOT,
            boot_params::STAY,
            boot_params::DISK,
            boot_params::STATE,
            boot_params::HOLD,
            boot_params::KEXEC_TSC,
            boot_params::ARGUMENTS,
            "ferrite.of_a_later_version",
        ] {
            for word in [name.to_owned(), format!("{name}=recreate"), format!("\"{name}=A\"")] {
                let refused = read(&format!("quiet\nnomodeset {word}")).unwrap_err();
                assert!(matches!(refused, ReadArguments::Reserved { line: 2, .. }), "{word}");
                assert!(refused.to_string().contains(name), "{refused}");
            }
        }
        // PID 1 looks for blanks only, and so sees what the kernel takes for a value.
        assert!(read("dyndbg=\"x ferrite.state=recreate y\"").is_err());
        for word in
            ["ferrite.ready_timeout_s=60", "ferrite.ready_timeout_s=900", "ferrite.fatal_delay_s=0"]
        {
            assert_eq!(read(word).unwrap().words(), [word]);
            assert!(read(&format!("\"{word}\"")).is_err());
        }
        for word in [
            "ferrite.ready_timeout_s=0",
            "ferrite.ready_timeout_s=59",
            "ferrite.ready_timeout_s=86401",
            "ferrite.ready_timeout_s=soon",
            "ferrite.ready_timeout_s=+90",
            "ferrite.ready_timeout_s",
            "ferrite.fatal_delay_s=601",
            "ferrite.fatal_delay_s=-1",
        ] {
            let refused = read(word).unwrap_err();
            assert!(matches!(refused, ReadArguments::OutOfBounds { .. }), "{word}: {refused}");
        }
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
