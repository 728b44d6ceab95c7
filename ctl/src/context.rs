//! Which node `ferrite` talks to: contexts, one file each, and which of them is current.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ferrite_schema::cluster::{ClusterId, ClusterName};
use serde::{Deserialize, Serialize};

/// A node or cluster and the credentials for it.
///
/// # Shape
/// `contexts/NAME.toml` in the configuration folder, readable by its owner only: it holds a private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// API address, `https://HOST:PORT`.
    pub endpoint: String,
    /// Addresses of further nodes of the cluster, which are asked where that one does not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<String>,
    /// Certificate authority that the node's certificate must come from. PEM.
    pub ca: String,
    /// Client certificate. PEM.
    pub certificate: String,
    /// Client's private key. PEM.
    pub key: String,
    /// The cluster whose nodes are meant, by the names in their certificates. Where it is absent the node's certificate must
    /// name the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ContextCluster>,
}

/// A cluster that a context is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextCluster {
    /// ID.
    pub id: ClusterId,
    /// Name.
    pub name: ClusterName,
}

/// Why a context cannot be read, written or chosen.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ContextError {
    #[error("find the home folder: neither HOME nor the XDG variable is set")]
    NoFolder,
    #[error("read contexts in {path}")]
    List { path: PathBuf, source: io::Error },
    #[error("read context {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("read context {path}: {problem}")]
    Invalid { path: PathBuf, problem: ferrite_schema::document::Problem },
    #[error("write context {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("write context {name:?}")]
    Encode { name: String, source: toml::ser::Error },
    #[error("write context {name:?}: there is one already")]
    Exists { name: String },
    #[error("use context {name:?}: there is no such context")]
    Unknown { name: String, known: Vec<String> },
    #[error("name a context {name:?}: use letters, digits, `-`, `_` and `.`, at most 64")]
    BadName { name: String },
    #[error("choose a node: no context is current")]
    NoneCurrent { known: Vec<String> },
}

/// The folder that contexts are kept in.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

const NAME_MAX_BYTES: usize = 64;
const CURRENT: &str = "current";
const CONTEXTS: &str = "contexts";
const OWNER_ONLY_FILE: u32 = 0o600;
const OWNER_ONLY_FOLDER: u32 = 0o700;

impl Store {
    /// The user's own: `$XDG_CONFIG_HOME/ferrite`, or `~/.config/ferrite`. Nothing is created yet.
    ///
    /// # Errors
    /// Neither variable is set.
    pub fn of_user() -> Result<Self, ContextError> {
        xdg_directory("XDG_CONFIG_HOME", ".config").map(Self::at)
    }

    /// A store in `folder`, which need not exist.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes `context`, replacing one of the same name, all or nothing.
    ///
    /// # Errors
    /// The name is not allowed or the file cannot be written.
    pub fn save(&self, context: &Context) -> Result<(), ContextError> {
        let path = self.file_of(&context.name)?;
        let text = toml::to_string(context)
            .map_err(|source| ContextError::Encode { name: context.name.clone(), source })?;
        self.write(&path, &text)
    }

    /// Writes `context`, whose name no other may have yet.
    ///
    /// # Errors
    /// There is one of that name, the name is not allowed, or the file cannot be written.
    pub fn save_new(&self, context: &Context) -> Result<(), ContextError> {
        self.check_new(&context.name)?;
        self.save(context)
    }

    /// Whether a context could get this name.
    ///
    /// # Errors
    /// There is one of that name, or the name is not allowed.
    pub fn check_new(&self, name: &str) -> Result<(), ContextError> {
        match fs::symlink_metadata(self.file_of(name)?) {
            Ok(_) => Err(ContextError::Exists { name: name.to_owned() }),
            Err(_) => Ok(()),
        }
    }

    /// Makes `name` the context that is used where none is named.
    ///
    /// # Errors
    /// There is no such context, or the choice cannot be written.
    pub fn make_current(&self, name: &str) -> Result<(), ContextError> {
        self.load(name)?;
        self.write(&self.folder.join(CURRENT), &format!("{name}\n"))
    }

    /// Removes a context; one that is not there is fine. It is no longer current.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), ContextError> {
        remove_file(&self.file_of(name)?)?;
        if self.current()?.as_deref() == Some(name) {
            remove_file(&self.folder.join(CURRENT))?;
        }
        Ok(())
    }

    /// Name of the current context.
    ///
    /// # Errors
    /// The choice cannot be read.
    pub fn current(&self) -> Result<Option<String>, ContextError> {
        let path = self.folder.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ContextError::Read { path, source }),
        }
    }

    /// Names of all contexts, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, ContextError> {
        let path = self.folder.join(CONTEXTS);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(ContextError::List { path, source }),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry =
                entry.map_err(|source| ContextError::List { path: path.clone(), source })?;
            let file = entry.path();
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            let is_toml = file.extension().is_some_and(|extension| extension == "toml");
            names.extend(stem.filter(|stem| is_toml && is_name(stem)).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Reads a context.
    ///
    /// # Errors
    /// There is none of this name, or its file is not valid.
    pub fn load(&self, name: &str) -> Result<Context, ContextError> {
        let path = self.file_of(name)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ContextError::Unknown { name: name.to_owned(), known: self.names()? });
            }
            Err(source) => return Err(ContextError::Read { path, source }),
        };
        ferrite_schema::document::parse(&text)
            .map_err(|problem| ContextError::Invalid { path, problem })
    }

    /// The context that was asked for, or else the current one.
    ///
    /// # Errors
    /// It does not exist, or nothing was asked for and nothing is current.
    pub fn choose(&self, asked: Option<&str>) -> Result<Context, ContextError> {
        if let Some(name) = asked {
            return self.load(name);
        }
        match self.current()? {
            Some(name) => self.load(&name),
            None => Err(ContextError::NoneCurrent { known: self.names()? }),
        }
    }

    fn file_of(&self, name: &str) -> Result<PathBuf, ContextError> {
        if !is_name(name) {
            return Err(ContextError::BadName { name: name.to_owned() });
        }
        Ok(self.folder.join(CONTEXTS).join(format!("{name}.toml")))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), ContextError> {
        let attempt = || {
            let folder = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(OWNER_ONLY_FOLDER))?;
            let mut file = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(OWNER_ONLY_FILE))
                .tempfile_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error).map(drop)
        };
        attempt().map_err(|source| ContextError::Write { path: path.to_owned(), source })
    }
}

/// Ferrite's folder under the XDG base directory that `variable` names, or under `fallback` in the home
/// directory.
///
/// # Errors
/// Neither variable is set.
pub fn xdg_directory(variable: &str, fallback: &str) -> Result<PathBuf, ContextError> {
    // The XDG specification: a relative path is to be ignored.
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| absolute("HOME").map(|home| home.join(fallback)))
        .map(|base| base.join("ferrite"))
        .ok_or(ContextError::NoFolder)
}

/// Reads a context from a file that somebody was given.
///
/// # Errors
/// The file cannot be read, or is not valid.
pub fn read(path: &Path) -> Result<Context, ContextError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ContextError::Read { path: path.to_owned(), source })?;
    ferrite_schema::document::parse(&text)
        .map_err(|problem| ContextError::Invalid { path: path.to_owned(), problem })
}

/// Writes `context` into a file of its own for its owner alone, which must not exist; nothing is left where that fails.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_new(path: &Path, context: &Context) -> io::Result<()> {
    let text = toml::to_string(context).map_err(io::Error::other)?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(OWNER_ONLY_FILE))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// Saves `context` in the user's store and makes it the current one.
///
/// # Errors
/// A file cannot be written; the old files are then still whole.
pub fn save_as_current(context: &Context) -> Result<(), ContextError> {
    let store = Store::of_user()?;
    store.save(context)?;
    store.make_current(&context.name)
}

/// Removes the context `name` from the user's store. Absent is fine.
///
/// # Errors
/// A file cannot be removed.
pub fn remove(name: &str) -> Result<(), ContextError> {
    Store::of_user()?.remove(name)
}

/// Whether `name` can be a context's name, and thus a file's: no separators, no leading dot.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

fn remove_file(path: &Path) -> Result<(), ContextError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ContextError::Write { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, ContextError, Store};
    use std::os::unix::fs::PermissionsExt;

    fn context(name: &str) -> Context {
        Context {
            name: name.to_owned(),
            endpoint: "https://127.0.0.1:7443".to_owned(),
            further: Vec::new(),
            ca: "ca\n".to_owned(),
            certificate: "certificate\n".to_owned(),
            key: "key\n".to_owned(),
            cluster: None,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("ferrite"));
        (folder, store)
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_reads_it() {
        let (folder, store) = store();
        store.save(&context("dev")).unwrap();
        assert_eq!(store.load("dev").unwrap(), context("dev"));
        let file = folder.path().join("ferrite/contexts/dev.toml");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_named_context_wins_over_the_current_one() {
        let (_folder, store) = store();
        store.save(&context("one")).unwrap();
        store.save(&context("two")).unwrap();
        store.make_current("one").unwrap();
        assert_eq!(store.choose(None).unwrap().name, "one");
        assert_eq!(store.choose(Some("two")).unwrap().name, "two");
        assert_eq!(store.names().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_removed_context_is_no_longer_current() {
        let (_folder, store) = store();
        store.save(&context("one")).unwrap();
        store.make_current("one").unwrap();
        store.remove("one").unwrap();
        store.remove("one").unwrap();
        assert_eq!(store.current().unwrap(), None);
        assert!(matches!(store.choose(None), Err(ContextError::NoneCurrent { .. })));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let (_folder, store) = store();
        for name in ["", "..", ".hidden", "a/b", "a b", &"x".repeat(65)] {
            let error = store.save(&context(name)).unwrap_err();
            assert!(matches!(error, ContextError::BadName { .. }), "{name:?} gave {error}");
        }
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        let (_folder, store) = store();
        store.save(&context("dev")).unwrap();
        match store.load("prod").unwrap_err() {
            ContextError::Unknown { name, known } => {
                assert_eq!((name.as_str(), known), ("prod", vec!["dev".to_owned()]));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_context_is_handed_over_in_a_file_of_its_owner_that_replaces_nothing() {
        let (folder, store) = store();
        let path = folder.path().join("ann.toml");
        super::write_new(&path, &context("dev")).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let again = super::write_new(&path, &context("other")).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let read = super::read(&path).unwrap();
        store.save_new(&read).unwrap();
        assert_eq!(store.load("dev").unwrap(), read);
        assert!(matches!(store.save_new(&read), Err(ContextError::Exists { .. })));
    }

    #[test]
    fn a_damaged_file_names_its_line() {
        let (folder, store) = store();
        store.save(&context("dev")).unwrap();
        let file = folder.path().join("ferrite/contexts/dev.toml");
        std::fs::write(&file, "name = \"dev\"\nendpint = 1\n").unwrap();
        let error = store.load("dev").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1"), "{error}");
    }
}
