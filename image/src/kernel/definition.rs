//! The folder that says what a kernel of our own is: what is asked for, what came out, and what is expected of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::document::{self, Problem};
use serde::Deserialize;

use super::configuration::{Configuration, LineProblem};

/// What is asked for, on top of upstream's defaults.
pub const FRAGMENT: &str = "fragment.config";
/// The whole configuration that came out, for review.
pub const RESULT: &str = "result.config";
/// Flaws of processors that nothing is done about.
pub const MITIGATIONS: &str = "mitigations.toml";
/// What hardening is expected.
pub const HARDENING: &str = "hardening.toml";
/// What became of the modules of Debian's kernel.
pub const MODULES: &str = "modules.toml";

/// A kernel's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The folder.
    pub folder: PathBuf,
    /// The fragment as it stands.
    pub fragment_text: String,
    /// What the fragment asks for.
    pub fragment: Configuration,
    /// The committed configuration; `None` where there is none yet.
    pub result: Option<Configuration>,
    /// Flaws of processors.
    pub mitigations: Mitigations,
    /// Hardening.
    pub hardening: Hardening,
    /// Modules.
    pub modules: Modules,
}

/// `mitigations.toml`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mitigations {
    /// Options that are off, or not there, and why.
    #[serde(default)]
    pub off: BTreeMap<String, String>,
}

/// `hardening.toml`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardening {
    /// Options and the values that they must have.
    #[serde(default)]
    pub expected: BTreeMap<String, String>,
    /// What others recommend and is not so here.
    #[serde(default)]
    pub not_so: BTreeMap<String, NotSo>,
}

/// A recommendation that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotSo {
    /// The value that is recommended.
    pub recommended: String,
    /// Why it has another.
    pub because: String,
}

/// `modules.toml`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// Modules that are built in, and the option that does it.
    #[serde(default)]
    pub built_in: BTreeMap<String, String>,
    /// Modules that are not there, and why.
    #[serde(default)]
    pub lost: BTreeMap<String, String>,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReadDefinition {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("read {path}")]
    Parse { path: PathBuf, source: Problem },
    #[error("read {path}: {}", lines(.problems))]
    Lines { path: PathBuf, problems: Vec<LineProblem> },
}

fn lines(problems: &[LineProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Definition {
    /// Reads the folder.
    ///
    /// # Errors
    /// A file is absent (but for the result, which a first build makes) or not what it should be.
    pub fn read(folder: &Path) -> Result<Self, ReadDefinition> {
        let fragment_path = folder.join(FRAGMENT);
        let fragment_text = text(&fragment_path)?;
        let fragment = configuration(&fragment_path, &fragment_text)?;
        let result_path = folder.join(RESULT);
        let result = match fs::read_to_string(&result_path) {
            Ok(text) => Some(configuration(&result_path, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ReadDefinition::Read { path: result_path, source }),
        };
        Ok(Self {
            folder: folder.to_owned(),
            fragment_text,
            fragment,
            result,
            mitigations: table(&folder.join(MITIGATIONS))?,
            hardening: table(&folder.join(HARDENING))?,
            modules: table(&folder.join(MODULES))?,
        })
    }

    /// The files that say all this.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let result = self.result.is_some().then_some(RESULT);
        let names = [FRAGMENT, MITIGATIONS, HARDENING, MODULES].into_iter().chain(result);
        names.map(|name| self.folder.join(name)).collect()
    }
}

fn text(path: &Path) -> Result<String, ReadDefinition> {
    fs::read_to_string(path)
        .map_err(|source| ReadDefinition::Read { path: path.to_owned(), source })
}

fn configuration(path: &Path, text: &str) -> Result<Configuration, ReadDefinition> {
    Configuration::parse(text)
        .map_err(|problems| ReadDefinition::Lines { path: path.to_owned(), problems })
}

fn table<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ReadDefinition> {
    document::parse(&text(path)?)
        .map_err(|source| ReadDefinition::Parse { path: path.to_owned(), source })
}
