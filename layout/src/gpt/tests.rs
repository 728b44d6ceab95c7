//! Tests of the table as a whole: round trips, damage, and cuts at every point of a writing.

use std::io::Cursor;

use uuid::Uuid;

use super::*;

const SECTOR: u64 = 512;
const MIB: u64 = 1024 * 1024;
const DISK: u64 = 16 * MIB;

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
fn table() -> Table {
    let mut table = Table::new(DISK, SECTOR, Uuid::from_u128(7)).unwrap();
    table.add(&partition(2, MIB, MIB)).unwrap();
    table.add(&partition(4, 2 * MIB, MIB)).unwrap();
    table.add(&partition(1, 3 * MIB, 4 * MIB)).unwrap();
    table
}

fn apply(disk: &mut [u8], write: &Write) {
    let start = usize::try_from(write.offset_bytes).unwrap();
    disk[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
}

fn disk_with(table: &Table) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(table.disk_bytes()).unwrap()];
    for write in table.writes().unwrap() {
        apply(&mut disk, &write);
    }
    disk
}

fn read(disk: &[u8]) -> Result<Table, ReadTable> {
    Table::read(&mut Cursor::new(disk), SECTOR)
}

#[test]
fn what_is_written_is_read() {
    let table = table();
    let found = read(&disk_with(&table)).unwrap();
    assert!(found.same_content(&table));
    assert_eq!(found.source(), Source::Primary);
    assert!(!found.needs_repair());
    assert_eq!(found.partition(4), Some(partition(4, 2 * MIB, MIB)));
    table.check_written(&mut Cursor::new(disk_with(&table))).unwrap();
}
