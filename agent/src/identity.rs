//! Who this machine is: its ID, made once; its name; the OS that it runs.

use std::io;
use std::path::Path;

use ferrite_files::durable;
use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::{ReadSmall, read_small};

/// Longest file that is read for it.
const FILE_MAX_BYTES: u64 = 4096;
/// Bytes of a machine ID; 32 hexadecimal digits.
const ID_BYTES: usize = 16;

/// The machine's identity could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Identity {
    /// There is no randomness.
    #[error("draw a machine ID")]
    DrawId(#[source] io::Error),
    /// The kernel refused the hostname.
    #[error("set the hostname to {name}")]
    SetHostname {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// The machine's ID, made on its first boot, and what people should know about it. One that cannot be understood is
/// set aside and another one made. Where the disk does not give it or takes none, the ID is this boot's only: the next
/// boot may find it again.
///
/// # Errors
/// There is none and none can be drawn.
pub fn machine_id(path: &Path) -> Result<(String, Option<String>), Identity> {
    let why = match read_small(path, FILE_MAX_BYTES) {
        Ok(Some(bytes)) => match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(id) if is_id(id) => return Ok((id.to_owned(), None)),
            Ok(_) | Err(_) => Some("it is no machine ID".to_owned()),
        },
        Ok(None) => None,
        Err(ReadSmall::Read(error)) => {
            let said = format!(
                "the machine's ID is another in this boot: read {}: {error}",
                path.display()
            );
            return Ok((draw()?, Some(said)));
        }
        Err(other) => Some(other.to_string()),
    };
    let quarantine = Quarantine::beside(path);
    let mut said = path.parent().and_then(|folder| quarantine.make_folder(folder));
    if let Some(why) = why {
        said = Some(match quarantine.keep(path, &why) {
            Ok(said) => said,
            Err(error) => ferrite_schema::chain(&error),
        });
    }
    let id = draw()?;
    if let Err(error) = durable::write(path, format!("{id}\n").as_bytes()) {
        said = Some(format!(
            "the machine's ID is this boot's only: {}",
            ferrite_schema::chain(&error)
        ));
    }
    Ok((id, said))
}

fn draw() -> Result<String, Identity> {
    let mut bytes = [0; ID_BYTES];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if drawn.map_err(|errno| Identity::DrawId(errno.into()))? != ID_BYTES {
        return Err(Identity::DrawId(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(hex::encode(bytes))
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
    use std::fs;

    use super::*;

    #[test]
    fn an_id_is_made_once_and_a_damaged_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/machine-id");
        let (id, said) = machine_id(&path).unwrap();
        assert!(is_id(&id) && said.is_none(), "{said:?}");
        assert_eq!(machine_id(&path).unwrap(), (id.clone(), None));
        for damaged in [&b""[..], b"\xff\xfe", b"0123"] {
            fs::write(&path, damaged).unwrap();
            let (other, said) = machine_id(&path).unwrap();
            assert_ne!(other, id);
            assert!(said.unwrap().contains("set aside"));
            assert_eq!(machine_id(&path).unwrap(), (other, None));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(machine_id(&path).unwrap().1.is_some());
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(machine_id(&path).unwrap().1.unwrap().contains("FIFO"));
        assert_eq!(Quarantine::beside(&path).names().len(), 5);
        // Nothing can be kept at all.
        let (id, said) = machine_id(Path::new("/proc/none/machine-id")).unwrap();
        assert!(is_id(&id) && said.unwrap().contains("this boot's only"));
    }

    #[test]
    fn values_of_os_release_are_found() {
        let text = "NAME=\"Ferrite\"\nVERSION_ID=1.2\nVERSION=\"1.2 x\"\n";
        assert_eq!(os_release(text, "VERSION").as_deref(), Some("1.2 x"));
        assert_eq!(os_release(text, "VERSION_ID").as_deref(), Some("1.2"));
        assert_eq!(os_release(text, "VARIANT"), None);
    }
}
