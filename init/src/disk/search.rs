//! Which of the machine's disks is the system disk.

use std::fs;
use std::path::Path;

use ferrite_layout::gpt::{Table, types};
use ferrite_layout::slot::Slot;

use crate::disk::SystemDisk;

const BLOCK_DIR: &str = "/sys/block";
/// Block devices that are never a system disk: they are made of others, or of nothing.
const NOT_DISKS: [&str; 8] = ["dm-", "fd", "loop", "md", "nbd", "ram", "sr", "zram"];

/// A disk as far as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Kernel name: `vda`.
    pub name: String,
    /// Path of the device behind it, which says where it is plugged in.
    pub place: String,
    /// A stick or card.
    pub removable: bool,
    /// Why it is not a system disk; `None` where it is one.
    pub problem: Option<String>,
}

/// What to do about the disks that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one. `others` are system disks as well.
    Found {
        /// Kernel name.
        name: String,
        /// Kernel names of those that were not taken.
        others: Vec<String>,
    },
    /// None yet; says what each disk lacks.
    NoneOf(Vec<String>),
}

/// Chooses the system disk. `wanted` is what `ferrite.disk=` says, with or without `/dev/`.
///
/// Fixed disks come before removable ones; among equals the first by the place where it is plugged in wins, since
/// kernel names depend on which driver was faster.
#[must_use]
pub fn choose(candidates: &[Candidate], wanted: Option<&str>) -> Choice {
    let wanted = wanted.map(|device| device.strip_prefix("/dev/").unwrap_or(device));
    let mut usable: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.problem.is_none())
        .filter(|candidate| wanted.is_none_or(|wanted| wanted == candidate.name))
        .collect();
    usable.sort_by_key(|candidate| (candidate.removable, &candidate.place, &candidate.name));
    let mut names = usable.into_iter().map(|candidate| candidate.name.clone());
    match names.next() {
        Some(name) => Choice::Found { name, others: names.collect() },
        None => {
            Choice::NoneOf(candidates.iter().map(|candidate| describe(candidate, wanted)).collect())
        }
    }
}

/// What keeps a table from being a Ferrite system disk's.
#[must_use]
pub fn problem(table: &Table) -> Option<String> {
    let has = |number, type_guid| {
        table.partition(number).is_some_and(|partition| partition.type_guid == type_guid)
    };
    let complete = |slot: Slot| {
        has(slot.kern_partition(), types::KERNEL) && has(slot.root_partition(), types::ROOT)
    };
    if Slot::ALL.into_iter().any(complete) {
        None
    } else {
        Some("it has no KERN and ROOT partitions of Ferrite's types".to_owned())
    }
}

/// Looks at all disks that the kernel knows now.
#[must_use]
pub fn candidates() -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir(BLOCK_DIR) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    names.into_iter().map(|name| look_at(Path::new(BLOCK_DIR), name)).collect()
}

fn look_at(block: &Path, name: String) -> Candidate {
    let directory = block.join(&name);
    let place = fs::canonicalize(&directory).unwrap_or_else(|_| directory.clone());
    let removable =
        fs::read_to_string(directory.join("removable")).is_ok_and(|text| text.trim() == "1");
    let problem = match SystemDisk::new(name.clone()).read_table() {
        Ok(table) => problem(&table),
        Err(error) => Some(crate::fatal::chain(&error)),
    };
    Candidate { name, place: place.display().to_string(), removable, problem }
}

fn describe(candidate: &Candidate, wanted: Option<&str>) -> String {
    let Candidate { name, problem, .. } = candidate;
    match problem {
        Some(problem) => format!("{name}: {problem}"),
        None => format!(
            "{name}: not the disk that ferrite.disk={} asks for",
            wanted.unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, place: &str, removable: bool, usable: bool) -> Candidate {
        Candidate {
            name: name.to_owned(),
            place: place.to_owned(),
            removable,
            problem: (!usable).then(|| "no partition table".to_owned()),
        }
    }

    fn found(name: &str, others: &[&str]) -> Choice {
        Choice::Found {
            name: name.to_owned(),
            others: others.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn the_place_decides_and_not_the_order_of_discovery() {
        let disks = [
            disk("sda", "/sys/devices/usb1/sda", true, true),
            disk("vda", "/sys/devices/pci/05/vda", false, true),
            disk("vdb", "/sys/devices/pci/04/vdb", false, true),
            disk("vdc", "/sys/devices/pci/03/vdc", false, false),
        ];
        assert_eq!(choose(&disks, None), found("vdb", &["vda", "sda"]));
        let reversed: Vec<Candidate> = disks.iter().rev().cloned().collect();
        assert_eq!(choose(&reversed, None), found("vdb", &["vda", "sda"]));
    }

    #[test]
    fn the_command_line_overrides() {
        let disks = [
            disk("vda", "/a", false, true),
            disk("vdb", "/b", false, true),
            disk("vdc", "/c", false, false),
        ];
        assert_eq!(choose(&disks, Some("vdb")), found("vdb", &[]));
        assert_eq!(choose(&disks, Some("/dev/vdb")), found("vdb", &[]));
        let Choice::NoneOf(reasons) = choose(&disks, Some("vdc")) else {
            panic!("an unusable disk was chosen")
        };
        assert_eq!(reasons.len(), 3);
        assert!(reasons[2].contains("no partition table"), "{reasons:?}");
    }

    #[test]
    fn no_disk_at_all_gives_no_reason() {
        assert_eq!(choose(&[], None), Choice::NoneOf(Vec::new()));
    }
}
