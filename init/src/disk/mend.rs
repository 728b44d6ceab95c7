//! What is put right on the system disk before a slot of it is used: a bad or stale copy of its table, its end after it
//! has grown, the protective MBR, an identity that it shares with every other disk of the same image.
//!
//! Call it only for a disk that is known to be ours. What cannot be mended is said and used as it is.

use std::os::unix::fs::FileExt as _;

use ferrite_layout::gpt::{OtherCopy, Source, Table, mbr};
use ferrite_schema::chain;

use super::device::{DiskError, STATE_PARTITION, SystemDisk};
use super::identity;
use crate::log;

/// Partitions end at a multiple of this, as in `configs/disk-layout.toml`.
const ALIGN_BYTES: u64 = 1024 * 1024;

impl SystemDisk {
    /// Mends the disk, whose table is `table`, and makes the kernel know its partitions. `is_double`: another disk
    /// says that it is the same. Returns the table as it is on the disk then.
    ///
    /// # Errors
    /// The table cannot be read any more.
    pub fn settle(&self, mut table: Table, is_double: bool) -> Result<Table, DiskError> {
        let mut wrong = self.fit(&mut table);
        if is_double || identity::is_images(table.disk_guid()) {
            match identity::renew(self, &mut table) {
                Ok(sentence) => wrong.push(sentence),
                Err(error) => log::error(format_args!(
                    "{} keeps an identity that other disks have too: {}",
                    self.name(),
                    chain(&error)
                )),
            }
        }
        for sentence in &wrong {
            log::warn(format_args!("{sentence}"));
        }
        if let Err(error) = self.mend(&table, !wrong.is_empty()) {
            log::error(format_args!(
                "cannot mend the partition table, going on with it as it is: {}",
                chain(&error)
            ));
        }
        // Read anew, so that later writes keep to the order that fits.
        let table = self.read_table()?;
        self.announce(&table);
        Ok(table)
    }

    /// Fits the table to the disk, in memory; says what is to be written for what reason.
    fn fit(&self, table: &mut Table) -> Vec<String> {
        let name = self.name();
        let disk_bytes = match self.size_bytes() {
            Ok(disk_bytes) => disk_bytes,
            Err(error) => {
                log::warn(format_args!("{}", chain(&error)));
                return Vec::new();
            }
        };
        let mut wrong: Vec<String> = self.describe_copies(table).into_iter().collect();
        if table.disk_bytes() == disk_bytes {
            return wrong;
        }
        match table.extend(disk_bytes) {
            Ok(_) => {
                let state = match table.grow(STATE_PARTITION, ALIGN_BYTES) {
                    Ok(_) => "STATE gets the rest".to_owned(),
                    Err(error) => format!("STATE cannot have the rest: {error}"),
                };
                wrong.push(format!(
                    "{name} has {disk_bytes} bytes, more than its partition table says; {state}"
                ));
            }
            Err(error) => log::warn(format_args!("{name}: {error}")),
        }
        wrong
    }

    fn describe_copies(&self, table: &Table) -> Option<String> {
        let name = self.name();
        match (table.source(), table.other_copy()) {
            (_, OtherCopy::Same) => None,
            (Source::Backup, OtherCopy::Bad(problem)) => Some(format!(
                "the primary partition table of {name} is bad ({problem}); using the backup"
            )),
            (Source::Primary, OtherCopy::Bad(problem)) => {
                Some(format!("the backup partition table of {name} is bad ({problem})"))
            }
            (_, OtherCopy::Different) => Some(format!(
                "the two partition tables of {name} differ: the writing of one was cut short"
            )),
        }
    }

    fn mend(&self, table: &Table, rewrite: bool) -> Result<(), DiskError> {
        self.mend_mbr(table)?;
        if rewrite {
            self.write_table(table)?;
            log::warn(format_args!(
                "both partition tables of {} are written anew and good",
                self.name()
            ));
        }
        Ok(())
    }

    /// Without its protective MBR a GPT is invisible to kernels and firmware.
    fn mend_mbr(&self, table: &Table) -> Result<(), DiskError> {
        let mut sector = [0; mbr::MBR_BYTES];
        let disk = self.open(false)?;
        disk.read_exact_at(&mut sector, 0)
            .map_err(|source| DiskError::Write { path: self.path(), source })?;
        if mbr::is_protective(&sector) {
            return Ok(());
        }
        log::warn(format_args!(
            "the protective MBR of {} is bad; writing it anew (a BIOS loader's code may be lost)",
            self.name()
        ));
        let sectors = table.disk_bytes() / table.sector_bytes();
        let Some(bytes) = mbr::protective(sectors, mbr::boot_code(&sector)) else { return Ok(()) };
        self.write_checked(&self.open(true)?, 0, &bytes)
    }
}
