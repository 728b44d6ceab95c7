//! Secrets that a start takes along: who of the node's has which name, and how they come to the process that makes the container.
//! They are in no request, which is read again by every command that joins the container, but in files beside it, which that
//! process removes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_schema::node_config::Secret;
use ferrite_schema::shim::{self, SecretMount};
use ferrite_schema::unit::Unit;

/// The node does not have a secret that a unit names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node's configuration has no [secrets] {name}: add it there, or drop it from the unit's `secrets`"
)]
pub(crate) struct NoSecret {
    name: String,
}

/// Secrets could not be handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandOver {
    #[error("make {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] durable::WriteFile),
}

/// What a unit's secrets hold, each with where its file is.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<(SecretMount, Secret)>);

/// What a unit's secrets hold now.
///
/// # Errors
/// The node does not have one of them.
pub(crate) fn of(unit: &Unit, known: &BTreeMap<String, Secret>) -> Result<Given, NoSecret> {
    let one = |(index, secret): (usize, &ferrite_schema::unit::SecretFile)| {
        let name = secret.name();
        let content = known.get(name).ok_or_else(|| NoSecret { name: name.to_owned() })?;
        let mount = SecretMount { file: index.to_string(), target: secret.target() };
        Ok((mount, content.clone()))
    };
    unit.secrets.iter().enumerate().map(one).collect::<Result<_, _>>().map(Given)
}

impl Given {
    /// For the request.
    pub(crate) fn mounts(&self) -> Vec<SecretMount> {
        self.0.iter().map(|(mount, _)| mount.clone()).collect()
    }

    /// Writes them into a unit's run folder, for the process that makes its container.
    ///
    /// # Errors
    /// Not all of them are there.
    pub(crate) fn hand_over(&self, run_folder: &Path) -> Result<(), HandOver> {
        if self.0.is_empty() {
            return Ok(());
        }
        let folder = run_folder.join(shim::SECRETS);
        durable::private_folder(&folder)
            .map_err(|source| HandOver::Folder { path: folder.clone(), source })?;
        for (mount, Secret(content)) in &self.0 {
            durable::write(&folder.join(&mount.file), content.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn known() -> BTreeMap<String, Secret> {
        [("db", "sesame\n"), ("tls", "open")]
            .map(|(name, text)| (name.to_owned(), Secret(text.to_owned())))
            .into()
    }

    fn unit(secrets: &str) -> Unit {
        let text = format!("name = \"web\"\nimage = \"i\"\nsecrets = {secrets}");
        ferrite_schema::unit::parse(&text).unwrap()
    }

    #[test]
    fn they_are_handed_over_in_files_of_roots_and_named_in_the_request_alone() {
        let unit = unit("[\"tls\", { name = \"db\", target = \"/etc/db\" }, \"db\"]");
        let given = of(&unit, &known()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        given.hand_over(folder.path()).unwrap();
        let seen: Vec<_> = given
            .mounts()
            .into_iter()
            .map(|mount| {
                let path = folder.path().join(shim::SECRETS).join(&mount.file);
                let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                (mount.target, std::fs::read_to_string(path).unwrap(), mode)
            })
            .collect();
        let file = |target: &str, text: &str| (target.to_owned(), text.to_owned(), 0o600);
        assert_eq!(
            seen,
            [
                file("/run/secrets/tls", "open"),
                file("/etc/db", "sesame\n"),
                file("/run/secrets/db", "sesame\n")
            ]
        );
        let folder = std::fs::metadata(folder.path().join(shim::SECRETS)).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        let shown = format!("{given:?}{:?}", given.mounts());
        assert!(!shown.contains("sesame") && !shown.contains("open"), "{shown}");
    }

    #[test]
    fn one_that_the_node_lacks_is_named_and_nothing_is_given() {
        let problem = of(&unit("[\"db\", \"absent\"]"), &known()).unwrap_err().to_string();
        let expected = "the node's configuration has no [secrets] absent: add it there, or drop it from the unit's `secrets`";
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_unit_without_any_has_no_folder_for_them() {
        let folder = tempfile::tempdir().unwrap();
        of(&unit("[]"), &known()).unwrap().hand_over(folder.path()).unwrap();
        assert!(!folder.path().join(shim::SECRETS).exists());
    }
}
