//! Who this machine is: its ID, made once; its name; the OS that it runs.

use std::io;
use std::path::Path;

use ferrite_files::durable;
use ferrite_schema::names;

/// Bytes of a machine ID; 32 hexadecimal digits.
const ID_BYTES: usize = 16;

/// The machine's identity could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Identity {
    /// The ID could not be read.
    #[error("read {}", names::MACHINE_ID_FILE)]
    ReadId(#[source] io::Error),
    /// There is no randomness.
    #[error("draw a machine ID")]
    DrawId(#[source] io::Error),
    /// The ID could not be kept.
    #[error(transparent)]
    WriteId(#[from] durable::WriteFile),
    /// The kernel refused the hostname.
    #[error("set the hostname to {name}")]
    SetHostname {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// The machine's ID, made on its first boot: whole on disk before anybody hears of it.
///
/// # Errors
/// There is none and none could be kept.
pub fn machine_id(path: &Path) -> Result<String, Identity> {
    let stored = durable::read_optional(path).map_err(Identity::ReadId)?;
    if let Some(id) = stored.as_deref().map(str::trim).filter(|id| is_id(id)) {
        return Ok(id.to_owned());
    }
    let mut bytes = [0; ID_BYTES];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if drawn.map_err(|errno| Identity::DrawId(errno.into()))? != ID_BYTES {
        return Err(Identity::DrawId(io::ErrorKind::UnexpectedEof.into()));
    }
    let id = hex::encode(bytes);
    durable::write(path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Sets the hostname that is configured, or one made from the machine ID.
///
/// # Errors
/// The kernel refused it.
pub fn set_hostname(configured: Option<&str>, id: &str) -> Result<String, Identity> {
    let name = match configured {
        Some(name) => name.to_owned(),
        None => format!("ferrite-{}", id.get(..8).unwrap_or(id)),
    };
    rustix::system::sethostname(name.as_bytes())
        .map_err(|errno| Identity::SetHostname { name: name.clone(), source: errno.into() })?;
    Ok(name)
}

/// A value of an `os-release(5)` text.
#[must_use]
pub fn os_release(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?.trim();
        Some(value.trim_matches(['"', '\'']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_a_damaged_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        let id = machine_id(&path).unwrap();
        assert!(is_id(&id));
        assert_eq!(machine_id(&path).unwrap(), id);
        std::fs::write(&path, "").unwrap();
        assert_ne!(machine_id(&path).unwrap(), id);
    }

    #[test]
    fn values_of_os_release_are_found() {
        let text = "NAME=\"Ferrite\"\nVERSION_ID=1.2\nVERSION=\"1.2 x\"\n";
        assert_eq!(os_release(text, "VERSION").as_deref(), Some("1.2 x"));
        assert_eq!(os_release(text, "VERSION_ID").as_deref(), Some("1.2"));
        assert_eq!(os_release(text, "VARIANT"), None);
    }
}
