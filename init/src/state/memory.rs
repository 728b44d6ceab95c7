//! What a node remembers of itself across boots: its ID and some randomness; its clock is [`super::clock`].

use std::fs;
use std::io;
use std::path::Path;

use ferrite_files::durable;
use ferrite_schema::names;
use rustix::rand::{GetRandomFlags, getrandom};

/// Randomness for the next boot.
const SEED_FILE: &str = "/var/lib/ferrite/random-seed";
/// As much as the kernel's pool holds, twice.
const SEED_BYTES: usize = 512;

/// Makes the machine's ID on the first boot; `true` when it was new.
///
/// # Errors
/// There is no randomness or STATE does not take it.
pub fn ensure_machine_id() -> io::Result<bool> {
    let path = Path::new(names::MACHINE_ID_FILE);
    if fs::read_to_string(path).is_ok_and(|text| is_machine_id(text.trim())) {
        return Ok(false);
    }
    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty())?;
    keep(path, format!("{}\n", hex::encode(id)).as_bytes())?;
    Ok(true)
}

/// Stirs the last boot's seed into the kernel's pool and writes another: a seed is used once. It is not
/// credited as entropy, since somebody may have copied the disk.
///
/// # Errors
/// STATE does not take the new seed.
pub fn refresh_seed() -> io::Result<()> {
    if let Ok(seed) = fs::read(SEED_FILE) {
        fs::write("/dev/urandom", seed)?;
    }
    let mut seed = vec![0; SEED_BYTES];
    getrandom(&mut seed, GetRandomFlags::empty())?;
    keep(Path::new(SEED_FILE), &seed)
}

/// Keeps a file in the folder of what the OS itself remembers, which a new STATE lacks.
fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    durable::write(path, content).map_err(|error| error.source)
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_machine_id_is_none() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        assert!(!is_machine_id("0123456789abcdef0123456789abcde"));
        assert!(!is_machine_id("0123456789ABCDEF0123456789ABCDEF"));
        assert!(!is_machine_id(""));
    }
}
