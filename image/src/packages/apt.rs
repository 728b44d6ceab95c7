//! Apt with a configuration of its own: private lists, an empty status file, Debian's keyring.
//!
//! The host's apt configuration still counts for how to reach the network (proxies, credentials), not for
//! what is fetched or run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::mirror::Mirrors;
use super::package::{Package, Resolved, SUITE, Wanted};

/// Keys that the archive's signature is checked against.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Name that a kernel package begins with, and a metapackage's dependency on it.
const KERNEL_PREFIX: &str = "linux-image-";

/// How `apt-cache show` says that the archive has none of the packages.
const NOTHING_FOUND: &str = "No packages found";

/// What apt could not do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AptError {
    #[error("find {KEYRING}: install the package debian-archive-keyring")]
    NoKeyring,
    #[error("run {program}: building an image needs apt, as Debian has it")]
    NoApt { program: &'static str, source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{act}: {program} {status}: {stderr}")]
    Refused { act: String, program: &'static str, status: ExitStatus, stderr: String },
    #[error("read the record of {package}: {field} is missing")]
    Record { package: String, field: &'static str },
    #[error("resolve package {package}: the archive does not have it in {SUITE}")]
    Unknown { package: String },
    #[error("resolve metapackage {package}: it depends on no {KERNEL_PREFIX}…")]
    NoKernel { package: String },
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// A private apt.
#[derive(Debug)]
pub struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// Writes the configuration into `directory`.
    ///
    /// # Errors
    /// The keyring is absent or the directory cannot be written.
    pub fn new(directory: &Path, mirrors: &Mirrors) -> Result<Self, AptError> {
        if !Path::new(KEYRING).is_file() {
            return Err(AptError::NoKeyring);
        }
        for part in ["lists/partial", "cache/archives/partial", "log"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(|source| AptError::Write { path, source })?;
        }
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|source| AptError::Write { path, source })
        };
        write("status", "")?;
        write("sources.list", &sources(mirrors))?;
        write("apt.conf", &configuration(directory))?;
        Ok(Self { configuration: directory.join("apt.conf") })
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// The mirror cannot be reached, or its signature is not good.
    pub fn update(&self) -> Result<(), AptError> {
        self.run("apt-get", "read package lists", ["update", "--error-on=any"]).map(|_| ())
    }

    /// Resolves `wanted` against the package lists.
    ///
    /// # Errors
    /// A package is not in the archive, or cannot be installed.
    pub fn resolve(&self, wanted: &Wanted) -> Result<Resolved, AptError> {
        let mut names: Vec<String> = wanted.exact.iter().cloned().collect();
        let mut kernels = Vec::new();
        for package in &wanted.kernels {
            let record = self.run("apt-cache", package, ["show", "--no-all-versions", package])?;
            let kernel = kernel_of(&record)
                .ok_or_else(|| AptError::NoKernel { package: package.clone() })?;
            kernels.push(kernel.clone());
            names.push(kernel);
        }
        if !wanted.with_dependencies.is_empty() {
            let act = "resolve dependencies";
            let mut arguments = vec!["install", "--print-uris", "-qq", "--yes"];
            arguments.extend(wanted.with_dependencies.iter().map(String::as_str));
            names.extend(names_in_uris(&self.run("apt-get", act, arguments)?));
        }
        names.sort();
        names.dedup();
        let packages = self.records(&names)?;
        Ok(Resolved { packages, kernels })
    }

    /// Fetches the packages into `directory`, which must be empty, and returns the files' paths in any order.
    ///
    /// # Errors
    /// One cannot be fetched, or is not what the lists say.
    pub fn download(
        &self,
        packages: &[&Package],
        directory: &Path,
    ) -> Result<Vec<PathBuf>, AptError> {
        let wanted: Vec<String> = packages
            .iter()
            .map(|package| format!("{}={}", package.name, package.version))
            .collect();
        let arguments = ["download", "-qq"].into_iter().chain(wanted.iter().map(String::as_str));
        let mut command = self.command("apt-get", arguments);
        command.current_dir(directory);
        run("apt-get", "fetch", command)?;
        let entries = fs::read_dir(directory)
            .map_err(|source| AptError::Read { path: directory.to_owned(), source })?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }

    fn records(&self, names: &[String]) -> Result<Vec<Package>, AptError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments = vec!["show", "--no-all-versions"];
        arguments.extend(names.iter().map(String::as_str));
        let text = match self.run("apt-cache", "read package records", arguments) {
            // It names none of them; below, the first is.
            Err(AptError::Refused { stderr, .. }) if stderr.contains(NOTHING_FOUND) => {
                String::new()
            }
            result => result?,
        };
        let mut packages = text
            .split("\n\n")
            .filter(|record| !record.trim().is_empty())
            .map(package_of)
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort();
        packages.dedup();
        match names.iter().find(|name| !packages.iter().any(|package| package.name == **name)) {
            Some(name) => Err(AptError::Unknown { package: name.clone() }),
            None => Ok(packages),
        }
    }

    fn run<'word>(
        &self,
        program: &'static str,
        act: &str,
        arguments: impl IntoIterator<Item = &'word str>,
    ) -> Result<String, AptError> {
        run(program, act, self.command(program, arguments))
    }

    fn command<'word>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'word str>,
    ) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration).args(arguments).env("LC_ALL", "C");
        command
    }
}

fn run(program: &'static str, act: &str, mut command: Command) -> Result<String, AptError> {
    let output = command.output().map_err(|source| AptError::NoApt { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("E: ")).collect();
    let stderr = if lines.is_empty() { stderr.trim().to_owned() } else { lines.join("; ") };
    Err(AptError::Refused { act: act.to_owned(), program, status: output.status, stderr })
}

/// `target=Packages` keeps out the indexes that a desktop's configuration adds.
fn sources(mirrors: &Mirrors) -> String {
    let line = |uri: &str, suite: &str| {
        format!("deb [arch=amd64 target=Packages signed-by={KEYRING}] {uri} {suite} main\n")
    };
    let mut text = line(&mirrors.main, SUITE);
    if let Some(security) = &mirrors.security {
        text.push_str(&line(security, &format!("{SUITE}-security")));
    }
    text
}

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Default-Release;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "{directory}";
Dir::State::lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::State::extended_states "{directory}/extended_states";
Dir::Cache "{directory}/cache";
Dir::Log "{directory}/log";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "true";
"#
    )
}

/// Names in `'URI' NAME_VERSION_ARCH.deb SIZE HASH` lines.
fn names_in_uris(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(1))
        .filter_map(|file| file.split_once('_'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn kernel_of(record: &str) -> Option<String> {
    let depends = value(record, "Depends")?;
    depends
        .split([',', '|'])
        .filter_map(|word| word.split_ascii_whitespace().next())
        .find(|name| name.starts_with(KERNEL_PREFIX))
        .map(str::to_owned)
}

fn package_of(record: &str) -> Result<Package, AptError> {
    let name = value(record, "Package").unwrap_or_default().to_owned();
    let need = |field: &'static str| {
        value(record, field)
            .ok_or_else(|| AptError::Record { package: name.clone(), field })
            .map(str::to_owned)
    };
    Ok(Package {
        version: need("Version")?,
        architecture: need("Architecture")?,
        sha256: need("SHA256")?,
        size_bytes: need("Size")?
            .parse()
            .map_err(|_source| AptError::Record { package: name.clone(), field: "Size" })?,
        name,
    })
}

fn value<'text>(record: &'text str, field: &str) -> Option<&'text str> {
    record.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "Package: linux-image-cloud-amd64\nSource: linux-signed-amd64 (1)\nVersion: 6.12-1\n\
        Architecture: amd64\nDepends: linux-base (>= 4), linux-image-6.12+deb13-cloud-amd64 (= 6.12-1)\n\
        Size: 1496\nSHA256: ab\n";

    #[test]
    fn a_record_is_read() {
        let package = package_of(RECORD).unwrap();
        assert_eq!(package.version, "6.12-1");
        assert_eq!(package.size_bytes, 1496);
        assert_eq!(kernel_of(RECORD).as_deref(), Some("linux-image-6.12+deb13-cloud-amd64"));
    }

    #[test]
    fn a_record_without_sum_is_refused() {
        let record = RECORD.replace("SHA256", "MD5Sum");
        assert!(matches!(package_of(&record), Err(AptError::Record { field: "SHA256", .. })));
    }

    #[test]
    fn names_come_from_file_names() {
        let text = "'http://m.test/x_1%3a2_amd64.deb' zlib1g_1%3a1.3_amd64.deb 88 MD5Sum:0\n";
        assert_eq!(names_in_uris(text), ["zlib1g"]);
    }
}
