//! Looks at the machine's disks. Reads only; which of them is the system disk decides [`crate::irreversible::disk`].

use std::fs::{self, File};
use std::path::Path;

use ferrite_layout::gpt::{ReadTable, Table, types};
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};
use ferrite_schema::chain;

use crate::boot::header::{self, LoadHeader};
use crate::disk::{DiskError, SystemDisk, identity};
use crate::irreversible::disk::{Candidate, Kind};

const BLOCK_DIR: &str = "/sys/block";
/// Block devices that are never a system disk: they are made of others, or of nothing.
const NOT_DISKS: [&str; 8] = ["dm-", "fd", "loop", "md", "nbd", "ram", "sr", "zram"];

/// A disk that was looked at.
#[derive(Debug)]
pub struct Looked {
    /// What the choice needs of it.
    pub candidate: Candidate,
    /// Its partition table, where it has one.
    pub table: Option<Table>,
    /// What is in its slots, of those that it has.
    pub slots: Vec<(Slot, Result<SlotDocument, LoadHeader>)>,
}

/// Looks at all disks that the kernel knows now. A slot counts that one of `keys` signed.
#[must_use]
pub fn look(keys: &[TrustedKey]) -> Vec<Looked> {
    let Ok(entries) = fs::read_dir(BLOCK_DIR) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    names.into_iter().map(|name| look_at(SystemDisk::new(name), keys)).collect()
}

fn look_at(disk: SystemDisk, keys: &[TrustedKey]) -> Looked {
    let name = disk.name().to_owned();
    let place = fs::canonicalize(Path::new(BLOCK_DIR).join(&name)).unwrap_or_default();
    let place = place.display().to_string();
    let table = match disk.read_table() {
        Ok(table) => table,
        Err(error) => {
            let kind = match &error {
                // Nothing that is still to come makes another disk of it.
                DiskError::Read { source: ReadTable::OtherSectors { .. }, .. } => {
                    Kind::NotTrusted(chain(&error))
                }
                _ => Kind::NotOurs(chain(&error)),
            };
            let (guid, partitions, fat_serial) = (None, Vec::new(), None);
            let candidate = Candidate { name, place, guid, partitions, fat_serial, kind };
            return Looked { candidate, table: None, slots: Vec::new() };
        }
    };
    let slots: Vec<_> = slots_of(&table)
        .map(|(slot, offset_bytes)| (slot, header::load(&disk.path(), offset_bytes, keys)))
        .collect();
    let fat_serial =
        File::open(disk.path()).ok().and_then(|file| identity::fat_serial(&file, &table));
    let candidate = Candidate {
        name,
        place,
        guid: Some(table.disk_guid()),
        partitions: table.partitions().map(|partition| partition.guid).collect(),
        fat_serial,
        kind: kind(&slots),
    };
    Looked { candidate, table: Some(table), slots }
}

/// The slots that a table has, and where their headers are.
fn slots_of(table: &Table) -> impl Iterator<Item = (Slot, u64)> + '_ {
    let typed = |number, type_guid| {
        table.partition(number).filter(|partition| partition.type_guid == type_guid)
    };
    Slot::ALL.into_iter().filter_map(move |slot| {
        typed(slot.root_partition(), types::ROOT)?;
        let kern = typed(slot.kern_partition(), types::KERNEL)?;
        Some((slot, kern.offset_bytes))
    })
}

fn kind(slots: &[(Slot, Result<SlotDocument, LoadHeader>)]) -> Kind {
    if slots.is_empty() {
        return Kind::NotOurs("it has no KERN and ROOT partitions of Ferrite's types".to_owned());
    }
    if slots.iter().any(|(_, header)| header.is_ok()) {
        return Kind::Trusted;
    }
    let reasons: Vec<String> = slots
        .iter()
        .filter_map(|(slot, header)| {
            let error = header.as_ref().err()?;
            Some(format!("slot {slot}: {}", chain(error)))
        })
        .collect();
    Kind::NotTrusted(reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irreversible::disk::{Choice, Origin, Patience, choose};
    use ferrite_layout::gpt::Partition;
    use ferrite_layout::slot_header::{self, Blob, ReadHeader, Root};
    use uuid::Uuid;

    fn table(partitions: &[(u32, Uuid)]) -> Table {
        const MIB: u64 = 1 << 20;
        let mut table = Table::new(64 * MIB, 512, Uuid::from_u128(1)).unwrap();
        for (place, (number, type_guid)) in (1u64..).zip(partitions) {
            let partition = Partition {
                number: *number,
                label: String::new(),
                type_guid: *type_guid,
                guid: Uuid::from_u128(u128::from(place) + 1),
                offset_bytes: place * MIB,
                size_bytes: MIB,
                attributes: 0,
            };
            table.add(&partition).unwrap();
        }
        table
    }

    #[test]
    fn a_slot_is_a_kern_and_a_root_of_the_right_types() {
        let slots = |partitions: &[_]| {
            slots_of(&table(partitions)).map(|(slot, _)| slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(&[(2, types::KERNEL), (3, types::ROOT)]), [Slot::A]);
        assert_eq!(slots(&[(4, types::KERNEL), (5, types::ROOT)]), [Slot::B]);
        assert_eq!(slots(&[(2, types::KERNEL), (5, types::ROOT)]), []);
        assert_eq!(slots(&[(2, types::ROOT), (3, types::ROOT)]), []);
    }

    fn signed(secret: &ed25519_dalek::SigningKey) -> Vec<u8> {
        let blob = Blob { offset_bytes: 16_384, size_bytes: 1, sha256: "00".repeat(32) };
        let document = SlotDocument {
            version: "1".to_owned(),
            variant: "cloud".to_owned(),
            boot_id: "b007".to_owned(),
            kernel: blob.clone(),
            initramfs: Blob { offset_bytes: 24_576, ..blob },
            cmdline: String::new(),
            root: Root {
                data_bytes: 4096,
                hash_offset_bytes: 4096,
                root_hash: "11".repeat(32),
                salt: String::new(),
            },
            key: "release".to_owned(),
            development: false,
        };
        slot_header::encode(&document, secret).unwrap()
    }

    /// An image that was built without keys trusts nobody, and not everybody.
    #[test]
    fn without_keys_no_disk_is_ours_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let kern = folder.path().join("kern");
        fs::write(&kern, signed(&secret)).unwrap();
        let (empty, filled) = (folder.path().join("empty"), folder.path().join("filled"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&filled).unwrap();
        let public = hex::encode(secret.verifying_key().to_bytes());
        fs::write(filled.join("release.pub"), public).unwrap();
        let kind_by =
            |keys: &Path| kind(&[(Slot::A, header::load(&kern, 0, &header::trusted_keys(keys)))]);
        assert_eq!(kind_by(&filled), Kind::Trusted);
        for keys in [&empty, &folder.path().join("none")] {
            let kind = kind_by(keys);
            let Kind::NotTrusted(why) = &kind else { panic!("{kind:?}") };
            assert!(why.contains("release"), "{why}");
            let guid = Uuid::from_u128(1);
            let name = "vda".to_owned();
            let disk = Candidate {
                name: name.clone(),
                place: String::new(),
                guid: Some(guid),
                partitions: Vec::new(),
                fat_serial: None,
                kind,
            };
            for origin in [Origin::Unknown, Origin::Device(name), Origin::Disk(guid)] {
                let choice = choose(std::slice::from_ref(&disk), &origin, Patience::Over);
                assert!(matches!(choice, Choice::Refuse(_)), "{origin:?}: {choice:?}");
            }
        }
    }

    #[test]
    fn a_disk_is_ours_where_a_trusted_key_says_so_and_not_where_it_only_looks_like_it() {
        let empty =
            || Err(LoadHeader::Check { path: "/dev/vda".into(), source: ReadHeader::Empty });
        assert!(matches!(kind(&[]), Kind::NotOurs(_)));
        let Kind::NotTrusted(why) = kind(&[(Slot::A, empty()), (Slot::B, empty())]) else {
            panic!("a disk without a slot is taken")
        };
        assert!(why.contains("slot A:") && why.contains("slot B:"), "{why}");
    }
}
