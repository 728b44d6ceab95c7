//! Whatever part of a writing reaches the disk, a reader finds the old table or the new one.

use proptest::prelude::*;

use super::tests::{DISK, MIB, SECTOR_LENGTH, apply, disk_with, read, table, trial};
use super::*;

/// A disk, the table that a reader finds on it, and the one that is being written.
struct Rewrite {
    what: &'static str,
    disk: Vec<u8>,
    new: Table,
}

/// Every kind of writing that PID 1 and the image builder do, from every state of a disk.
fn rewrites() -> Vec<Rewrite> {
    let spend_a_try = |mut table: Table| {
        table.set_slot(Slot::A, trial(1, 2)).unwrap();
        table
    };
    let rewrite = |what, disk: Vec<u8>| {
        let new = spend_a_try(read(&disk).unwrap());
        Rewrite { what, disk, new }
    };
    let whole = disk_with(&table());
    let mut no_primary = whole.clone();
    no_primary[..34 * SECTOR_LENGTH].fill(0);
    let mut no_backup = whole.clone();
    let backup = no_backup.len() - 33 * SECTOR_LENGTH;
    no_backup[backup..].fill(0xff);
    let mut stale_backup = whole.clone();
    let mut newer = table();
    newer.set_slot(Slot::A, trial(1, 3)).unwrap();
    apply(&mut stale_backup, &newer.writes().unwrap()[1]);
    let mut grown = rewrite("a bigger disk", [whole.clone(), vec![0; whole.len()]].concat());
    grown.new.extend(2 * DISK).unwrap();
    grown.new.grow(1, MIB).unwrap();
    vec![
        rewrite("a whole disk", whole),
        rewrite("no primary", no_primary),
        rewrite("no backup", no_backup),
        rewrite("a stale backup", stale_backup),
        grown,
    ]
}

/// A reader must find the old table or the new one.
fn check_old_or_new(rewrite: &Rewrite, old: &Table, disk: &[u8], when: &str) {
    let found = read(disk).unwrap_or_else(|error| panic!("{}, {when}: {error}", rewrite.what));
    let whole = found.same_content(old) || found.same_content(&rewrite.new);
    assert!(whole, "{}, {when}: neither the old table nor the new one", rewrite.what);
}

#[test]
fn a_cut_after_any_sector_leaves_the_old_table_or_the_new_one() {
    for rewrite in rewrites() {
        let old = read(&rewrite.disk).unwrap();
        let mut disk = rewrite.disk.clone();
        for write in rewrite.new.writes().unwrap() {
            let start = usize::try_from(write.offset_bytes).unwrap();
            for (index, sector) in write.bytes.chunks(SECTOR_LENGTH).enumerate() {
                let place = start + index * SECTOR_LENGTH;
                disk[place..place + SECTOR_LENGTH].copy_from_slice(sector);
                check_old_or_new(&rewrite, &old, &disk, &format!("after sector {index}"));
            }
        }
        let found = read(&disk).unwrap();
        assert!(found.same_content(&rewrite.new) && !found.needs_repair(), "{}", rewrite.what);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A disk may write the sectors between two flushes in any order.
    #[test]
    fn a_cut_with_any_sectors_written_leaves_the_old_table_or_the_new_one(
        arrived in prop::collection::vec(any::<bool>(), 33),
        in_second_write in any::<bool>(),
    ) {
        for rewrite in rewrites() {
            let old = read(&rewrite.disk).unwrap();
            let mut disk = rewrite.disk.clone();
            let [first, second] = rewrite.new.writes().unwrap();
            let torn = if in_second_write {
                apply(&mut disk, &first);
                second
            } else {
                first
            };
            let start = usize::try_from(torn.offset_bytes).unwrap();
            let sectors = torn.bytes.chunks(SECTOR_LENGTH).zip(&arrived).enumerate();
            for (index, (sector, _)) in sectors.filter(|(_, (_, arrived))| **arrived) {
                let place = start + index * SECTOR_LENGTH;
                disk[place..place + SECTOR_LENGTH].copy_from_slice(sector);
            }
            check_old_or_new(&rewrite, &old, &disk, "with some sectors written");
        }
    }
}
