//! Whether STATE is mounted, checked, made anew, or left as it is.
//!
//! ```text
//!            ┌────────── zeros, or an order ────────▶ Recreate ──made──▶ Mount ──▶ Use
//!  content ──┤                                                             ▲
//!            ├── ext4 ──▶ Mount ──refused, or marked as damaged──▶ Check ──┘ sound
//!            └── anything else, or a step that failed ──▶ Rescue: the bytes stay as they are
//! ```
//!
//! [`next`] is asked after every step; whoever asks adds what came of the step to the evidence. STATE is made anew for two
//! reasons only: there are nothing but zeros in its partition, or somebody has ordered it. e2fsck is let loose
//! only on what is an ext4 file system beyond doubt: with its own superblock, or with a backup of it and nothing of
//! another file system before it, and with a top directory, since a repair without one makes an empty one.
//!
//! Terminal: `Use`, `Rescue`. Pure; the steps are carried out by [`crate::state::volume`].

use std::fmt;

use ferrite_layout::state_marks::StateOrder;

/// Checks in a row that have not helped for long; after them the next damage ends in the rescue state. Each costs a
/// restart of all units, so that more of them would be an outage that looks like a repair.
pub const CHECKS_IN_A_ROW: u8 = 3;
/// Runs of e2fsck in one boot: what the first leaves, a second often mends.
const RUNS_MAX: u8 = 2;

/// Who gave an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// `ferrite.state=` on the kernel's command line.
    CommandLine,
    /// The node's API, before the restart.
    Api,
}

/// An order about STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub what: StateOrder,
    /// Who says so.
    pub by: Giver,
}

/// What STATE's partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: every byte was read and is zero; or beside zeros there is the beginning of the empty file system that STATE is
    /// made of, where making it was cut short.
    Zeros,
    /// Zeros as far as there was time to read, and at samples of the rest.
    NotAllSeen {
        /// So many were read.
        seen_bytes: u64,
        /// So many there are.
        of_bytes: u64,
    },
    /// An ext4 file system.
    Ext4(Ext4),
    /// Something of another kind.
    Foreign {
        /// Its name.
        name: &'static str,
    },
    /// Something that nobody here knows.
    Unknown,
    /// It could not be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// An ext4 file system that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ext4 {
    /// Its own superblock is gone, this backup is whole.
    pub backup: Option<Backup>,
    /// The kernel found errors in it before.
    pub flagged: bool,
    /// Its top directory is there.
    pub top: bool,
}

/// Place of a backup superblock, in the words of e2fsck's `-b` and `-B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Number of the block.
    pub block: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

/// What came of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// It is mounted and can be written.
    Done,
    /// The file system is to blame, perhaps.
    Refused {
        /// What the kernel said.
        why: String,
    },
    /// Something else is: no driver, no memory.
    Impossible {
        /// What the kernel said.
        why: String,
    },
}

/// What came of a run of e2fsck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The file system is sound now.
    Sound,
    /// Errors are left in it.
    ErrorsLeft,
    /// The disk does not give all of its bytes; nothing was written.
    Unreadable {
        /// What e2fsck says.
        why: String,
    },
    /// It could not work: an unknown feature, no memory.
    Failed {
        /// Exit status, or what went wrong.
        why: String,
    },
}

/// What came of making STATE anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It is there, empty.
    Done,
    /// It could not be made.
    Failed {
        /// Why.
        why: String,
    },
}

/// All that is known, with the latest result of each kind of step. Running a check makes an earlier mount's result void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What somebody wants.
    pub order: Option<Order>,
    /// Damage was seen while the node ran, or a check did not come to its end.
    pub damaged: bool,
    /// Checks begun before this boot since STATE was last sound for long.
    pub checks_before: u8,
    /// What the partition holds.
    pub content: Content,
    /// What came of the last mount.
    pub mounted: Option<Mounted>,
    /// What came of the last check in this boot.
    pub checked: Option<Checked>,
    /// Checks in this boot.
    pub runs: u8,
    /// What came of making it anew.
    pub made: Option<Made>,
}

impl Evidence {
    /// What is known before the first step.
    #[must_use]
    pub const fn new(content: Content) -> Self {
        Self {
            order: None,
            damaged: false,
            checks_before: 0,
            content,
            mounted: None,
            checked: None,
            runs: 0,
            made: None,
        }
    }

    fn is_ordered(&self, what: StateOrder) -> Option<Giver> {
        self.order.filter(|order| order.what == what).map(|order| order.by)
    }
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Write an empty file system over it. The only act that ends what the partition held.
    Recreate(Cause),
    /// Run e2fsck, from this backup where one is named.
    Check {
        /// Instead of the first superblock.
        from: Option<Backup>,
    },
    /// Mount it.
    Mount,
    /// It is mounted: go on.
    Use,
    /// Touch it no more; the node runs without.
    Rescue(Problem),
}

/// Why STATE is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There was nothing in it.
    Zeros,
    /// Somebody ordered it.
    Ordered(Giver),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zeros => "its partition held nothing but zeros",
            Self::Ordered(Giver::CommandLine) => {
                "ferrite.state=recreate on the kernel's command line orders it; take the parameter \
                 away, or the next boot does it again"
            }
            Self::Ordered(Giver::Api) => "it was ordered through the API before the restart",
        })
    }
}

/// Why STATE cannot be used. Says what is wrong, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    Unreadable { why: String },
    Foreign { name: &'static str },
    Unknown,
    NotAllSeen { seen_bytes: u64, of_bytes: u64 },
    TopGone,
    StillDamaged,
    CannotMount { why: String },
    CheckedButRefused { why: String },
    ErrorsLeft,
    CheckFailed { why: String },
    NotMade { why: String },
}

/// What helps where the data are of no use any more.
const RECREATE: &str =
    "`ferrite machine state recreate` or ferrite.state=recreate makes it anew, EMPTY";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(
                f,
                "it cannot be read ({why}); look after the disk and its cable, then restart"
            ),
            Self::Foreign { name } => write!(
                f,
                "its partition holds something else ({name}), which is left as it is; save what you \
                 need of it, then {RECREATE}"
            ),
            Self::Unknown => write!(
                f,
                "its partition holds something that is no ext4 file system, which is left as it is; \
                 save what you need of it, then {RECREATE}"
            ),
            Self::NotAllSeen { seen_bytes, of_bytes } => write!(
                f,
                "it seems to hold nothing, but of its {} GiB there was time to read {}, and the rest may hold \
                 something; if you know that it does not, {RECREATE}",
                of_bytes >> 30,
                seen_bytes >> 30
            ),
            Self::TopGone => write!(
                f,
                "the top directory of its file system is gone, and a repair would make an empty one; \
                 save what you need, then let `ferrite machine state check` do it, or {RECREATE}"
            ),
            Self::StillDamaged => write!(
                f,
                "it was damaged again, or not repaired to the end, after {CHECKS_IN_A_ROW} checks in a \
                 row; look after the disk, then `ferrite machine state check` tries again, and {RECREATE}"
            ),
            Self::CannotMount { why } => write!(
                f,
                "mount: {why}, which is no fault of its content; restart, or boot the other slot"
            ),
            Self::CheckedButRefused { why } => write!(
                f,
                "e2fsck finds it sound, and still mount says: {why}; boot the other slot, or {RECREATE}"
            ),
            Self::ErrorsLeft => write!(
                f,
                "e2fsck could not repair everything; save what you need of it, then {RECREATE}"
            ),
            Self::CheckFailed { why } => write!(
                f,
                "e2fsck could not work ({why}), for instance since a newer system has used it; boot the \
                 slot that used it last, or {RECREATE}"
            ),
            Self::NotMade { why } => {
                write!(f, "it cannot be made anew: {why}; look after the disk, then restart")
            }
        }
    }
}

/// What to do about STATE.
#[must_use]
pub fn next(evidence: &Evidence) -> Act {
    match &evidence.made {
        Some(Made::Failed { why }) => return Act::Rescue(Problem::NotMade { why: why.clone() }),
        Some(Made::Done) => {
            return match &evidence.mounted {
                None => Act::Mount,
                Some(Mounted::Done) => Act::Use,
                Some(Mounted::Refused { why } | Mounted::Impossible { why }) => {
                    Act::Rescue(Problem::CannotMount { why: why.clone() })
                }
            };
        }
        None => {}
    }
    if let Some(giver) = evidence.is_ordered(StateOrder::Recreate) {
        return Act::Recreate(Cause::Ordered(giver));
    }
    match &evidence.content {
        Content::Zeros => Act::Recreate(Cause::Zeros),
        Content::Ext4(ext4) => next_of_ext4(*ext4, evidence),
        Content::Foreign { name } => Act::Rescue(Problem::Foreign { name }),
        Content::Unknown => Act::Rescue(Problem::Unknown),
        Content::NotAllSeen { seen_bytes, of_bytes } => {
            Act::Rescue(Problem::NotAllSeen { seen_bytes: *seen_bytes, of_bytes: *of_bytes })
        }
        Content::Unreadable { why } => Act::Rescue(Problem::Unreadable { why: why.clone() }),
    }
}

fn next_of_ext4(ext4: Ext4, evidence: &Evidence) -> Act {
    match (&evidence.checked, &evidence.mounted) {
        (None | Some(Checked::Sound), Some(Mounted::Done)) => Act::Use,
        (None | Some(Checked::Sound), Some(Mounted::Impossible { why })) => {
            Act::Rescue(Problem::CannotMount { why: why.clone() })
        }
        (None, Some(Mounted::Refused { .. })) => check(ext4, evidence),
        (None, None) => {
            let wanted = ext4.backup.is_some()
                || ext4.flagged
                || evidence.damaged
                || evidence.is_ordered(StateOrder::Check).is_some();
            if wanted { check(ext4, evidence) } else { Act::Mount }
        }
        (Some(Checked::Sound), None) => Act::Mount,
        (Some(Checked::Sound), Some(Mounted::Refused { why })) => {
            Act::Rescue(Problem::CheckedButRefused { why: why.clone() })
        }
        // The first run has put the first superblock back, or has left it alone for a reason of its own.
        (Some(Checked::ErrorsLeft), _) if evidence.runs < RUNS_MAX => Act::Check { from: None },
        (Some(Checked::ErrorsLeft), _) => Act::Rescue(Problem::ErrorsLeft),
        (Some(Checked::Unreadable { why }), _) => {
            Act::Rescue(Problem::Unreadable { why: why.clone() })
        }
        (Some(Checked::Failed { why }), _) => {
            Act::Rescue(Problem::CheckFailed { why: why.clone() })
        }
    }
}

fn check(ext4: Ext4, evidence: &Evidence) -> Act {
    if evidence.is_ordered(StateOrder::Check).is_none() {
        if !ext4.top {
            return Act::Rescue(Problem::TopGone);
        }
        if evidence.checks_before >= CHECKS_IN_A_ROW {
            return Act::Rescue(Problem::StillDamaged);
        }
    }
    Act::Check { from: ext4.backup }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
