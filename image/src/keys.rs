//! Keys that sign slots: ed25519, one pair of files each.
//!
//! `NAME.key` (mode 0600) holds the secret, `NAME.pub` the public key, both as 64 hexadecimal digits and a line
//! end. The development key is made on first use. Everything signed with it says so: anyone who has the
//! checkout could have made it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use ferrite_layout::slot_header::TrustedKey;

/// Name of the development key; no other key may have it.
pub const DEVELOPMENT: &str = "development";
/// Longest name of a key.
const NAME_MAX_CHARACTERS: usize = 64;
const KEY_BYTES: usize = 32;
/// Mode bits that let anyone but the owner at a file.
const OTHERS: u32 = 0o077;

/// A key that signs slots.
#[derive(Debug, Clone)]
pub struct SlotKey {
    name: String,
    secret: SigningKey,
}

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KeyError {
    #[error("name a key {name:?}: use up to 64 letters, digits, '-' and '_'")]
    Name { name: String },
    #[error("name a key {DEVELOPMENT:?}: that name is kept for the key that is made on first use")]
    Reserved,
    #[error("make key {name}: {path} exists already")]
    Exists { name: String, path: PathBuf },
    #[error("draw random bytes")]
    Random { source: io::Error },
    #[error("read key {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("write key {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("read key {path}: it does not hold 64 hexadecimal digits")]
    Digits { path: PathBuf },
    #[error("read key {path}: it is not a public key of ed25519")]
    Point { path: PathBuf },
    #[error("read key {path}: others than its owner may read it; chmod 600 it")]
    TooOpen { path: PathBuf },
    #[error("read key {path}: its name must end in {expected:?}")]
    Extension { path: PathBuf, expected: &'static str },
}

impl SlotKey {
    /// Makes a new key and writes both its files into `directory`. No existing file is touched.
    ///
    /// # Errors
    /// The name is not a plain one or taken; the files cannot be written.
    pub fn create(directory: &Path, name: &str) -> Result<Self, KeyError> {
        if name == DEVELOPMENT {
            return Err(KeyError::Reserved);
        }
        Self::write_new(directory, name)
    }

    /// The development key in `directory`, made where it does not exist yet.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn development(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(format!("{DEVELOPMENT}.key"));
        if path.exists() {
            return Self::load(&path);
        }
        match Self::write_new(directory, DEVELOPMENT) {
            // Another build was faster.
            Err(KeyError::Exists { .. }) => Self::load(&path),
            made => made,
        }
    }

    /// Reads a `NAME.key` file.
    ///
    /// # Errors
    /// It is not there, not a key, or others may read it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let name = stem(path, "key")?;
        let reading = |source| KeyError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(reading)?.mode() & OTHERS != 0 {
            return Err(KeyError::TooOpen { path: path.to_owned() });
        }
        Ok(Self { name, secret: SigningKey::from_bytes(&read_digits(path)?) })
    }

    /// Name that slots carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Anyone could have made it.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.name == DEVELOPMENT
    }

    /// The secret half.
    #[must_use]
    pub const fn signing_key(&self) -> &SigningKey {
        &self.secret
    }

    /// The half that machines trust.
    #[must_use]
    pub fn trusted(&self) -> TrustedKey {
        TrustedKey { name: self.name.clone(), key: self.secret.verifying_key() }
    }

    /// Content of the `NAME.pub` file.
    #[must_use]
    pub fn public_text(&self) -> String {
        format!("{}\n", hex::encode(self.secret.verifying_key().as_bytes()))
    }

    fn write_new(directory: &Path, name: &str) -> Result<Self, KeyError> {
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if name.is_empty() || name.len() > NAME_MAX_CHARACTERS || !name.chars().all(plain) {
            return Err(KeyError::Name { name: name.to_owned() });
        }
        let mut secret = [0; KEY_BYTES];
        random(&mut secret).map_err(|source| KeyError::Random { source })?;
        let key = Self { name: name.to_owned(), secret: SigningKey::from_bytes(&secret) };
        fs::create_dir_all(directory)
            .map_err(|source| KeyError::Write { path: directory.to_owned(), source })?;
        let path = |extension| directory.join(format!("{name}.{extension}"));
        // The public half first, and gone again where the secret cannot be written: no secret without its
        // public half, and no name that is taken by half a key.
        write_once(name, &path("pub"), &key.public_text(), 0o644)?;
        let secret_text = format!("{}\n", hex::encode(secret));
        write_once(name, &path("key"), &secret_text, 0o600).inspect_err(|_| {
            drop(fs::remove_file(path("pub")));
        })?;
        Ok(key)
    }
}

/// Reads a `NAME.pub` file.
///
/// # Errors
/// It is not there or not a public key.
pub fn load_trusted(path: &Path) -> Result<TrustedKey, KeyError> {
    let name = stem(path, "pub")?;
    let key = VerifyingKey::from_bytes(&read_digits(path)?)
        .ok()
        .ok_or_else(|| KeyError::Point { path: path.to_owned() })?;
    Ok(TrustedKey { name, key })
}

/// Reads every `NAME.pub` in a directory, sorted by name. A directory that is not there holds none.
///
/// # Errors
/// One of them cannot be read.
pub fn load_trusted_directory(directory: &Path) -> Result<Vec<TrustedKey>, KeyError> {
    let reading = |source| KeyError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(reading)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    paths.iter().map(|path| load_trusted(path)).collect()
}

fn stem(path: &Path, extension: &'static str) -> Result<String, KeyError> {
    let matches = path.extension().is_some_and(|found| found == extension);
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|_| matches)
        .map(str::to_owned)
        .ok_or_else(|| KeyError::Extension { path: path.to_owned(), expected: extension })
}

fn read_digits(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let text = fs::read_to_string(path)
        .map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    hex::decode(text.trim_ascii_end())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError::Digits { path: path.to_owned() })
}

fn write_once(name: &str, path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let writing = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            KeyError::Exists { name: name.to_owned(), path: path.to_owned() }
        }
        _ => KeyError::Write { path: path.to_owned(), source },
    };
    let mut file =
        File::options().write(true).create_new(true).mode(mode).open(path).map_err(writing)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(writing)
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty())?;
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
