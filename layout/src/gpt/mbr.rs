//! Sector 0 of a disk with a GPT: boot code for a BIOS and one partition that keeps old tools away.

/// Bytes of the sector that matter, whatever the sector size.
pub const MBR_BYTES: usize = 512;
/// Boot code that fits before the partition entries.
pub const BOOT_CODE_MAX_BYTES: usize = 440;

const ENTRY_OFFSET: usize = 446;
const SIGNATURE_OFFSET: usize = 510;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
const TYPE_OFFSET: usize = ENTRY_OFFSET + 4;
/// Type of the one partition: "there is a GPT here".
const PROTECTIVE_TYPE: u8 = 0xee;

/// A protective MBR for a disk of `sectors` sectors; boot code beyond [`BOOT_CODE_MAX_BYTES`] is refused
/// with `None`.
///
/// # Source
/// UEFI specification, "Protective MBR".
#[must_use]
pub fn protective(sectors: u64, boot_code: &[u8]) -> Option<Vec<u8>> {
    if boot_code.len() > BOOT_CODE_MAX_BYTES {
        return None;
    }
    let mut mbr = boot_code.to_vec();
    mbr.resize(ENTRY_OFFSET, 0);
    // Not active; first sector by cylinder, head and sector; type; last sector likewise: "too large to say".
    mbr.extend_from_slice(&[0, 0, 2, 0, PROTECTIVE_TYPE, 0xff, 0xff, 0xff]);
    mbr.extend_from_slice(&1u32.to_le_bytes());
    let covered = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    mbr.extend_from_slice(&covered.to_le_bytes());
    mbr.resize(SIGNATURE_OFFSET, 0);
    mbr.extend_from_slice(&SIGNATURE);
    Some(mbr)
}

/// The sector is a protective MBR: firmware looks for a GPT behind it.
#[must_use]
pub fn is_protective(sector: &[u8]) -> bool {
    sector.get(SIGNATURE_OFFSET..MBR_BYTES) == Some(&SIGNATURE)
        && sector.get(TYPE_OFFSET) == Some(&PROTECTIVE_TYPE)
}

/// Boot code of an existing MBR, to be kept when the rest is made anew.
#[must_use]
pub fn boot_code(sector: &[u8]) -> &[u8] {
    sector.get(..BOOT_CODE_MAX_BYTES).unwrap_or_default()
}
