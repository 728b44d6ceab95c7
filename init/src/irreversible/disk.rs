//! Which disk is the system disk: the one that the machine was started from, and no other by a guess.
//!
//! | what is known | the disk |
//! |---|---|
//! | `ferrite.disk=` (a person's, or the kernel's before this one) | that one, or none |
//! | the loader says which partition or file system it came from | the disk that has it, or none where that is not ours |
//! | nothing (PXE, QEMU's `-kernel`), or the loader came from what is no disk of ours | the only one that is trusted here, of those that are there a second after drivers of all were loaded; none where there are several |
//!
//! A disk is ours where a key that is trusted here vouches for a slot of it. Everything else is not even written to.

use uuid::Uuid;

/// A disk, as far as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Kernel name: `vda`. Which disk gets which depends on whose driver is faster.
    pub name: String,
    /// Path of the device behind it, which says where it is plugged in.
    pub place: String,
    /// Its GPT identity.
    pub guid: Option<Uuid>,
    /// Identities of its partitions.
    pub partitions: Vec<Uuid>,
    /// Serial number of the FAT file system that loaders come from.
    pub fat_serial: Option<u32>,
    /// Whose it is.
    pub kind: Kind,
}

/// Whose a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No Ferrite system disk, or none that can be read so far; says why.
    NotOurs(String),
    /// A Ferrite system disk, but no key here vouches for one of its slots; says why.
    NotTrusted(String),
    /// A slot of it is signed by a key that is trusted here.
    Trusted,
}

/// What is known about the disk that this kernel came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `ferrite.disk=` names a device, or the place where it is plugged in (`0000:00:05.0`).
    Device(String),
    /// `ferrite.disk=` is a disk's GPT identity.
    Disk(Uuid),
    /// The loader came from this partition.
    Partition(Uuid),
    /// The loader came from the FAT file system with this serial number.
    Fat(u32),
    /// Nothing.
    Unknown,
}

/// How long the machine has waited for disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// Disks may still be announced at any moment.
    Fresh,
    /// Drivers of all disks were loaded, and no disk was announced for a while.
    Quiet,
    /// A disk that is not there by now is hardly late.
    Late,
    /// No more waiting.
    Over,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one. `others` are Ferrite disks as well.
    Use {
        /// Kernel name.
        name: String,
        /// Kernel names of the others.
        others: Vec<String>,
    },
    /// Wait for more; says for what.
    Wait(String),
    /// None, and waiting does not help; says why and what a person can do.
    Refuse(String),
}

/// Reads what `ferrite.disk=` says.
#[must_use]
pub fn named(value: &str) -> Origin {
    match value.parse() {
        Ok(guid) => Origin::Disk(guid),
        Err(_) => Origin::Device(value.strip_prefix("/dev/").unwrap_or(value).to_owned()),
    }
}

/// Chooses the system disk.
#[must_use]
pub fn choose(candidates: &[Candidate], origin: &Origin, patience: Patience) -> Choice {
    let is_it = |candidate: &&Candidate| match origin {
        Origin::Device(name) => {
            candidate.name == *name || candidate.place.split('/').any(|part| part == name)
        }
        Origin::Disk(guid) => candidate.guid == Some(*guid),
        Origin::Partition(guid) => candidate.partitions.contains(guid),
        Origin::Fat(serial) => candidate.fat_serial == Some(*serial),
        Origin::Unknown => false,
    };
    let found: Vec<&Candidate> = candidates.iter().filter(is_it).collect();
    match origin {
        Origin::Unknown => only_trusted(candidates, patience),
        Origin::Device(_) | Origin::Disk(_) => match found.as_slice() {
            [] => wait_for_named(candidates, origin, patience),
            found => among(found, candidates, origin).unwrap_or_else(|reason| match patience {
                Patience::Over => Choice::Refuse(reason),
                Patience::Fresh | Patience::Quiet | Patience::Late => Choice::Wait(reason),
            }),
        },
        Origin::Partition(_) | Origin::Fat(_) => match found.as_slice() {
            [] if patience < Patience::Late => {
                Choice::Wait(format!("{} is not there yet", describe(origin)))
            }
            [] => only_trusted(candidates, patience),
            // A loader may come from a stick or a disc that holds no system: that says nothing about the disk.
            found => among(found, candidates, origin)
                .unwrap_or_else(|_not_ours| only_trusted(candidates, patience)),
        },
    }
}

/// The one of those that fit. `Err`: none of them is a Ferrite disk.
fn among(found: &[&Candidate], all: &[Candidate], origin: &Origin) -> Result<Choice, String> {
    let trusted: Vec<&Candidate> =
        found.iter().copied().filter(|candidate| candidate.kind == Kind::Trusted).collect();
    match trusted.as_slice() {
        [one] => return Ok(used(one, all)),
        [] => {}
        several => return Ok(Choice::Refuse(ambiguous(several))),
    }
    for candidate in found {
        if let Kind::NotTrusted(why) = &candidate.kind {
            return Ok(Choice::Refuse(format!(
                "{} is {}, and nothing on it may be run here: {why}. Nothing was written to it",
                describe(origin),
                candidate.name
            )));
        }
    }
    Err(explain(found.iter().copied(), &describe(origin)))
}

fn only_trusted(candidates: &[Candidate], patience: Patience) -> Choice {
    let trusted: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.kind == Kind::Trusted).collect();
    match (trusted.as_slice(), patience) {
        ([one], Patience::Quiet | Patience::Late | Patience::Over) => used(one, candidates),
        ([_], Patience::Fresh) => Choice::Wait("further disks may be coming".to_owned()),
        ([], Patience::Over) => {
            Choice::Refuse(explain(candidates.iter(), "a Ferrite system disk that is trusted here"))
        }
        ([], Patience::Fresh | Patience::Quiet | Patience::Late) => {
            Choice::Wait(explain(candidates.iter(), "a Ferrite system disk that is trusted here"))
        }
        (several, _) => Choice::Refuse(ambiguous(several)),
    }
}

fn wait_for_named(candidates: &[Candidate], origin: &Origin, patience: Patience) -> Choice {
    let sentence = explain(candidates.iter(), &describe(origin));
    match patience {
        Patience::Over => Choice::Refuse(sentence),
        Patience::Fresh | Patience::Quiet | Patience::Late => Choice::Wait(sentence),
    }
}

fn used(one: &Candidate, all: &[Candidate]) -> Choice {
    let is_other = |candidate: &&Candidate| {
        candidate.name != one.name && !matches!(candidate.kind, Kind::NotOurs(_))
    };
    let others = all.iter().filter(is_other).map(|candidate| candidate.name.clone()).collect();
    Choice::Use { name: one.name.clone(), others }
}

fn ambiguous(several: &[&Candidate]) -> String {
    let mut text =
        "several disks could be the system disk, and nothing says from which of them this machine \
                    was started: "
            .to_owned();
    for (index, candidate) in several.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        text.push_str(&format!("{separator}{}", candidate.name));
        if let Some(guid) = candidate.guid {
            text.push_str(&format!(" ({guid}, at {})", slot_of(&candidate.place)));
        }
    }
    if several.windows(2).all(|pair| matches!(pair, [one, other] if one.guid == other.guid)) {
        text.push_str(
            ". They are copies of one image or of one disk, alike to the last bit, so that no loader can tell them apart. One that \
             was started while the others were out has an identity of its own",
        );
    }
    text.push_str(
        ". Nothing was written to any of them. Start with ferrite.disk= and one of these identities, or places where they are \
         alike, or take the others out",
    );
    text
}

/// The last part of a device's path that is a PCI address; all of it where there is none.
fn slot_of(place: &str) -> &str {
    let is_address = |part: &&str| part.contains(':') && part.contains('.');
    place.rsplit('/').find(is_address).unwrap_or(place)
}

fn describe(origin: &Origin) -> String {
    match origin {
        Origin::Device(name) => format!("the disk {name}, asked for by ferrite.disk=,"),
        Origin::Disk(guid) => {
            format!("the disk with the identity {guid}, asked for by ferrite.disk=,")
        }
        Origin::Partition(guid) => {
            format!("the disk that this machine was started from (partition {guid})")
        }
        Origin::Fat(serial) => format!(
            "the disk that this machine was started from (file system {:04X}-{:04X})",
            serial >> 16,
            serial & 0xffff
        ),
        Origin::Unknown => "the system disk".to_owned(),
    }
}

fn explain<'disks>(candidates: impl Iterator<Item = &'disks Candidate>, what: &str) -> String {
    let reasons: Vec<String> = candidates
        .map(|candidate| match &candidate.kind {
            Kind::NotOurs(why) | Kind::NotTrusted(why) => format!("{}: {why}", candidate.name),
            Kind::Trusted => format!("{}: a Ferrite system disk, but not that one", candidate.name),
        })
        .collect();
    if reasons.is_empty() {
        format!("{what} is not there; the kernel sees no disk at all (is the driver missing?)")
    } else {
        format!("{what} is not there. {}", reasons.join("; "))
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
