//! Tests of the table as a whole: round trips, damage, hostile numbers, cuts at every point of a writing.

use std::io::Cursor;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const SECTOR: u64 = 512;
pub(super) const SECTOR_LENGTH: usize = 512;
pub(super) const MIB: u64 = 1024 * 1024;
pub(super) const DISK: u64 = 8 * MIB;

fn partition(number: u32, offset_bytes: u64, size_bytes: u64) -> Partition {
    Partition {
        number,
        label: format!("part-{number}"),
        type_guid: types::KERNEL,
        guid: Uuid::from_u128(u128::from(number) + 1),
        offset_bytes,
        size_bytes,
        attributes: 0,
    }
}

/// KERN-A, KERN-B and STATE behind them.
pub(super) fn table() -> Table {
    let mut table = Table::new(DISK, SECTOR, Uuid::from_u128(7)).unwrap();
    table.add(&partition(2, MIB, MIB)).unwrap();
    table.add(&partition(4, 2 * MIB, MIB)).unwrap();
    table.add(&partition(1, 3 * MIB, 4 * MIB)).unwrap();
    table
}

pub(super) fn apply(disk: &mut [u8], write: &Write) {
    let start = usize::try_from(write.offset_bytes).unwrap();
    disk[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
}

pub(super) fn disk_with(table: &Table) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(table.disk_bytes()).unwrap()];
    for write in table.writes().unwrap() {
        apply(&mut disk, &write);
    }
    disk
}

pub(super) fn read(disk: &[u8]) -> Result<Table, ReadTable> {
    Table::read(&mut Cursor::new(disk), SECTOR)
}

pub(super) fn trial(priority: u8, tries: u8) -> SlotAttributes {
    SlotAttributes { priority, tries, successful: false }
}

#[test]
fn what_is_written_is_read() {
    let table = table();
    let found = read(&disk_with(&table)).unwrap();
    assert!(found.same_content(&table));
    assert_eq!(found.source(), Source::Primary);
    assert!(!found.needs_repair());
    assert_eq!(found.partition(4), Some(partition(4, 2 * MIB, MIB)));
    assert_eq!((found.disk_bytes(), found.disk_guid()), (DISK, Uuid::from_u128(7)));
    table.check_written(&mut Cursor::new(disk_with(&table))).unwrap();
}

#[test]
fn attributes_change_and_nothing_else_does() {
    let mut table = read(&disk_with(&table())).unwrap();
    let before: Vec<_> = table.partitions().collect();
    table.set_slot(Slot::B, trial(9, 3)).unwrap();
    assert_eq!(table.slot(Slot::B), Some(trial(9, 3)));
    assert_eq!(table.slot(Slot::A), Some(SlotAttributes::default()));
    for (before, after) in before.into_iter().zip(table.partitions()) {
        let attributes = if after.number == 4 { 0x0039 << 48 } else { 0 };
        assert_eq!(after, Partition { attributes, ..before });
    }
    let mut empty = Table::new(DISK, SECTOR, Uuid::nil()).unwrap();
    assert_eq!(empty.set_slot(Slot::A, trial(1, 1)), Err(EditTable::Absent { number: 2 }));
}

#[test]
fn the_backup_stands_in_and_the_primary_is_mended() {
    let mut disk = disk_with(&table());
    disk[..34 * SECTOR_LENGTH].fill(0);
    let found = read(&disk).unwrap();
    assert_eq!(found.source(), Source::Backup);
    assert!(matches!(found.other_copy(), OtherCopy::Bad(CopyProblem::NoHeader)));
    assert!(found.same_content(&table()));
    let writes = found.writes().unwrap();
    assert_eq!(writes[0].offset_bytes, SECTOR, "the primary must be mended first");
    for write in writes {
        apply(&mut disk, &write);
    }
    assert!(!read(&disk).unwrap().needs_repair());
}

#[test]
fn without_a_copy_both_problems_are_told() {
    let mut disk = disk_with(&table());
    disk[SECTOR_LENGTH] = b'X';
    let last = disk.len() - SECTOR_LENGTH;
    disk[last + 20] ^= 1;
    let error = read(&disk).unwrap_err().to_string();
    assert!(error.contains("primary: there is no header"), "{error}");
    assert!(error.contains("backup: its header is damaged"), "{error}");
}

#[test]
fn check_written_sees_what_is_missing() {
    let (old, mut new) = (table(), table());
    new.set_slot(Slot::A, trial(1, 1)).unwrap();
    let mut disk = disk_with(&old);
    let check = |disk: &[u8]| new.check_written(&mut Cursor::new(disk));
    assert!(matches!(check(&disk), Err(CheckWritten::Different)));
    let [backup, primary] = new.writes().unwrap();
    apply(&mut disk, &primary);
    assert!(matches!(check(&disk), Err(CheckWritten::OtherCopy)));
    apply(&mut disk, &backup);
    check(&disk).unwrap();
}

#[test]
fn state_takes_what_a_bigger_disk_has() {
    let mut disk = disk_with(&table());
    disk.resize(disk.len() * 2 + 700, 0);
    let disk_bytes = disk.len() as u64;
    let mut table = read(&disk).unwrap();
    assert!(table.disk_bytes() < disk_bytes, "the backup is not at the end");
    assert_eq!((table.extend(disk_bytes), table.grow(1, MIB)), (Ok(true), Ok(true)));
    let state = table.partition(1).unwrap();
    assert_eq!((state.offset_bytes, state.end_bytes()), (3 * MIB, 15 * MIB));
    for write in table.writes().unwrap() {
        apply(&mut disk, &write);
    }
    let mut again = read(&disk).unwrap();
    assert!(again.same_content(&table) && !again.needs_repair());
    assert_eq!((again.extend(disk_bytes), again.grow(1, MIB)), (Ok(false), Ok(false)));
}

/// The kind: whatever keeps STATE from growing keeps nobody from writing the table.
#[test]
fn a_table_whose_last_partition_cannot_grow_can_still_be_written() {
    let behind = |table: &mut Table| table.add(&partition(20, 7 * MIB, MIB / 2)).unwrap();
    let without = |table: &mut Table| *table.entry_mut(1).unwrap() = GPTPartitionEntry::empty();
    for change in [behind as fn(&mut Table), without] {
        for extend in [true, false] {
            let mut made = table();
            change(&mut made);
            let mut disk = disk_with(&made);
            disk.resize(disk.len() * 2, 0);
            let mut found = read(&disk).unwrap();
            if extend {
                assert_eq!(found.extend(disk.len() as u64), Ok(true));
            }
            assert!(found.grow(1, MIB).is_err());
            found.set_slot(Slot::A, trial(1, 2)).unwrap();
            for write in found.writes().unwrap() {
                apply(&mut disk, &write);
            }
            found.check_written(&mut Cursor::new(&disk)).unwrap();
        }
    }
}

#[test]
fn a_table_for_other_sectors_is_called_that() {
    let disk = disk_with(&table());
    let error = Table::read(&mut Cursor::new(&disk), 4096).unwrap_err();
    assert!(matches!(error, ReadTable::OtherSectors { made_for: 512, found: 4096 }), "{error}");
    let mut large = Table::new(64 * MIB, 4096, Uuid::from_u128(7)).unwrap();
    large.add(&partition(2, MIB, MIB)).unwrap();
    let error = read(&disk_with(&large)).unwrap_err();
    assert!(matches!(error, ReadTable::OtherSectors { made_for: 4096, found: 512 }), "{error}");
}

#[test]
fn other_identities_are_all_that_changes() {
    let before = table();
    let mut after = table();
    let mut next = 100;
    after.renew_identities(|| {
        next += 1;
        Uuid::from_u128(next)
    });
    assert_eq!(after.disk_guid(), Uuid::from_u128(101));
    let guids: Vec<Uuid> = after.partitions().map(|partition| partition.guid).collect();
    assert_eq!(guids, [102, 103, 104].map(Uuid::from_u128));
    for (one, other) in before.partitions().zip(after.partitions()) {
        assert_eq!(Partition { guid: one.guid, ..other }, one);
    }
}

#[test]
fn growing_what_cannot_grow_is_refused() {
    let mut table = table();
    assert_eq!(table.grow(9, MIB), Err(EditTable::Absent { number: 9 }));
    assert_eq!(table.grow(2, MIB), Err(EditTable::NotLast { number: 2, after: 1 }));
    for disk_bytes in [0, 1000, 7 * MIB] {
        assert_eq!(table.extend(disk_bytes), Err(EditTable::DiskTooSmall { disk_bytes }));
    }
    assert!(table.same_content(&self::table()), "a refused change changed something");
}

#[test]
fn partitions_that_do_not_fit_are_refused() {
    let mut table = table();
    let place = |table: &mut Table, offset_bytes, size_bytes| {
        let refused = table.add(&partition(9, offset_bytes, size_bytes));
        assert!(matches!(refused, Err(EditTable::Place { .. })), "{offset_bytes}, {size_bytes}");
    };
    place(&mut table, 0, MIB);
    place(&mut table, 33 * SECTOR, SECTOR);
    place(&mut table, MIB - SECTOR, MIB);
    place(&mut table, MIB + 4096, SECTOR);
    place(&mut table, 7 * MIB, MIB);
    place(&mut table, 7 * MIB + 1, SECTOR);
    place(&mut table, 7 * MIB, 0);
    place(&mut table, 7 * MIB, u64::MAX);
    place(&mut table, u64::MAX - 511, SECTOR);
    for number in [0, 2, 129, u32::MAX] {
        let refused = table.add(&partition(number, 7 * MIB, SECTOR));
        assert_eq!(refused, Err(EditTable::Number { number, max: 128 }));
    }
    let label = "x".repeat(37);
    let long = Partition { label: label.clone(), ..partition(9, 7 * MIB, SECTOR) };
    assert_eq!(table.add(&long), Err(EditTable::Label { number: 9, label }));
    table.add(&partition(9, 7 * MIB, MIB - 33 * SECTOR)).unwrap();
}

#[test]
fn disks_of_odd_shape_are_refused() {
    for sector_bytes in [0, 1, 520, 8192] {
        let refused = Table::new(DISK, sector_bytes, Uuid::nil());
        assert!(matches!(refused, Err(ReadTable::SectorSize { .. })), "{sector_bytes}");
    }
    for disk_bytes in [0, 511, 34 * SECTOR, 67 * SECTOR] {
        let refused = Table::new(disk_bytes, SECTOR, Uuid::nil());
        assert!(matches!(refused, Err(ReadTable::TooSmall { .. })), "{disk_bytes}");
    }
    let large = Table::new(DISK, 4096, Uuid::nil()).unwrap();
    assert_eq!(large.writes().unwrap()[1].offset_bytes, 4096);
}

/// Sets fields of a copy's header to anything and makes the checksums right again.
fn forge(disk: &mut [u8], copy_lba: u64, fields: [u64; 7]) {
    let start = usize::try_from(copy_lba * SECTOR).unwrap();
    let mut header = GPTHeader::read_from(&mut Cursor::new(&disk[start..])).unwrap();
    let narrow = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap();
    header.backup_lba = fields[0];
    header.first_usable_lba = fields[1];
    header.last_usable_lba = fields[2];
    header.partition_entry_lba = fields[3];
    header.number_of_partition_entries = narrow(fields[4]);
    header.size_of_partition_entry = narrow(fields[5]);
    header.partition_entry_array_crc32 = narrow(fields[6]);
    header.update_crc32_checksum();
    let mut window = Cursor::new(&mut disk[start..start + SECTOR_LENGTH]);
    let image = [
        &header.signature[..],
        &header.revision,
        &header.header_size.to_le_bytes(),
        &header.crc32_checksum.to_le_bytes(),
        &header.reserved,
        &header.primary_lba.to_le_bytes(),
        &header.backup_lba.to_le_bytes(),
        &header.first_usable_lba.to_le_bytes(),
        &header.last_usable_lba.to_le_bytes(),
        &header.disk_guid,
        &header.partition_entry_lba.to_le_bytes(),
        &header.number_of_partition_entries.to_le_bytes(),
        &header.size_of_partition_entry.to_le_bytes(),
        &header.partition_entry_array_crc32.to_le_bytes(),
    ]
    .concat();
    std::io::Write::write_all(&mut window, &image).unwrap();
}

#[test]
fn wild_numbers_are_refused_one_by_one() {
    let last = DISK / SECTOR - 1;
    let honest = [last, 34, last - 33, 2, 128, 128, 0];
    for (field, value, expected) in [
        (0, 0, "the other copy is in sector 0"),
        (0, u64::MAX, "the other copy is in sector 18446744073709551615"),
        (0, 1, "the other copy is in sector 1"),
        (1, 33, "sectors 33 to"),
        (1, u64::MAX, "sectors 18446744073709551615 to"),
        (2, u64::MAX, "to 18446744073709551615 are usable"),
        (2, last - 32, "are usable"),
        (2, 0, "to 0 are usable"),
        (3, 3, "its entries start in sector 3"),
        (3, u64::MAX, "its entries start in sector 18446744073709551615"),
        (4, 0, "it claims 0 entries"),
        (4, 257, "it claims 257 entries"),
        (4, u64::from(u32::MAX), "it claims 4294967295 entries"),
        (5, 0, "entries of 0 bytes"),
        (5, 4096, "entries of 4096 bytes"),
        (6, 1, "its entries are damaged"),
    ] {
        let mut disk = disk_with(&table());
        let mut fields = honest;
        fields[field] = value;
        forge(&mut disk, 1, fields);
        let found = read(&disk).unwrap();
        let OtherCopy::Bad(problem) = found.other_copy() else { panic!("{expected} is accepted") };
        assert!(problem.to_string().contains(expected), "{problem} does not say {expected}");
    }
}

#[test]
fn entries_that_overlap_or_lie_outside_are_refused() {
    for (first, last, expected) in [
        (5000, 4000, "partition 2 has the impossible extent 5000 to 4000"),
        (33, 4000, "partition 2 has the impossible extent 33 to 4000"),
        (4000, u64::MAX, "partition 2 has the impossible extent"),
        (4500, 4600, "partitions 4 and 2 overlap"),
        (2048, 4096, "partitions 2 and 4 overlap"),
    ] {
        let mut table = table();
        let entry = table.entry_mut(2).unwrap();
        (entry.starting_lba, entry.ending_lba) = (first, last);
        let error = read(&disk_with(&table)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_table_survives_the_round_trip(
        sizes in prop::collection::vec(1u64..200, 1..20),
        attributes in any::<u64>(),
        label in "\\PC{0,18}",
        large_sectors in any::<bool>(),
    ) {
        let sector_bytes = if large_sectors { 4096 } else { SECTOR };
        let mut table = Table::new(64 * MIB, sector_bytes, Uuid::from_u128(3)).unwrap();
        let mut offset_bytes = MIB;
        for (number, size) in (1u32..).zip(sizes) {
            let partition = Partition {
                label: label.clone(),
                attributes: attributes.rotate_left(number),
                ..partition(number, offset_bytes, size * sector_bytes)
            };
            table.add(&partition).unwrap();
            offset_bytes = partition.end_bytes();
            // An entry's name ends at its first NUL.
            prop_assume!(!label.contains('\0'));
            prop_assert_eq!(table.partition(number), Some(partition));
        }
        let disk = disk_with(&table);
        let found = Table::read(&mut Cursor::new(&disk), sector_bytes).unwrap();
        prop_assert!(found.same_content(&table) && !found.needs_repair());
        prop_assert!(found.partitions().eq(table.partitions()));
        prop_assert!(disk_with(&found) == disk, "writing it again gives other bytes");
    }

    #[test]
    fn forged_headers_are_read_or_refused(
        fields in prop::array::uniform7(prop_oneof![
            0u64..300, DISK / SECTOR - 40..DISK / SECTOR + 3, any::<u64>(),
        ]),
        backup in any::<bool>(),
        other_bad in any::<bool>(),
    ) {
        let mut disk = disk_with(&table());
        let last = DISK / SECTOR - 1;
        let (forged, other) = if backup { (last, 1) } else { (1, last) };
        forge(&mut disk, forged, fields);
        if other_bad {
            disk[usize::try_from(other * SECTOR).unwrap()] = 0;
        }
        if let Ok(mut table) = read(&disk) {
            drop(table.extend(DISK * 2));
            drop(table.grow(1, MIB));
            for write in table.writes().unwrap() {
                prop_assert!(write.offset_bytes < DISK * 2);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        noise in prop::collection::vec(any::<u8>(), 1..64),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let mut disk = disk_with(&table());
        let tables = 34 * SECTOR_LENGTH;
        for (place, byte) in places.iter().zip(&noise) {
            let place = place.index(2 * tables);
            let place = if place < tables { place } else { disk.len() - 1 - (place - tables) };
            disk[place] = *byte;
        }
        drop(read(&disk).map(|table| table.writes()));
        drop(read(&noise.repeat(4096)));
    }
}
