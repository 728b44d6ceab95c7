//! What a node keeps of its membership on STATE: its key, its certificate, what it knows of its cluster. Root's alone.

use std::io;
use std::path::{Path, PathBuf};

use ferrite_files::durable::{self, WriteFile};
use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::read_small_text;
use ferrite_pki::{Facts, MakeRequest, make_key, make_request};
use ferrite_schema::cluster::MachineId;
use ferrite_schema::join::{ANSWER_MAX_BYTES, ClusterRecord, JoinAnswer};

/// Longest file that is read.
const FILE_MAX_BYTES: u64 = ANSWER_MAX_BYTES as u64;
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const RECORD: &str = "cluster.json";

/// Something of it could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Keep {
    /// The folder cannot be made.
    #[error("make {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteFile),
    /// The record cannot be written as JSON.
    #[error("write what is known of the cluster")]
    Encode(#[from] serde_json::Error),
    /// The key cannot be made.
    #[error(transparent)]
    Key(#[from] MakeRequest),
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// What is in it.
#[derive(Debug, Default)]
pub struct Kept {
    /// The node's key (PEM).
    pub key: Option<String>,
    /// Its certificate with those above it (PEM), and what it says. It is for this machine and this key.
    pub certificate: Option<(String, Facts)>,
    /// The cluster that the node has belonged to.
    pub record: Option<ClusterRecord>,
    /// What a person should know: what was there and could not be understood is set aside.
    pub problems: Vec<String>,
}

impl Folder {
    /// `path` need not exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads what is there. What cannot be understood is set aside and said; what the disk does not give is said.
    #[must_use]
    pub fn load(&self, machine: &MachineId) -> Kept {
        let mut kept = Kept::default();
        let is_key = |text: String| {
            make_request(&text).map(|_request| text).map_err(|error| ferrite_schema::chain(&error))
        };
        kept.key = self.read(KEY, is_key, &mut kept.problems);
        let is_record =
            |text: String| serde_json::from_str(&text).map_err(|error| error.to_string());
        kept.record = self.read(RECORD, is_record, &mut kept.problems);
        let digest = kept.key.as_deref().and_then(key_digest);
        let is_ours = |text: String| {
            let facts =
                ferrite_pki::first_facts(&text).map_err(|error| ferrite_schema::chain(&error))?;
            let named = facts.machine.as_ref().map(|name| &name.machine);
            if named != Some(machine) {
                return Err(format!("it is not of this machine ({machine})"));
            }
            if Some(&facts.key) != digest.as_ref() {
                return Err("it is of another key than the one beside it".to_owned());
            }
            Ok((text, facts))
        };
        kept.certificate = self.read(CERTIFICATE, is_ours, &mut kept.problems);
        kept
    }

    /// There has been a certificate, whatever it is worth now.
    #[must_use]
    pub fn was_certified(&self) -> bool {
        self.0.join(CERTIFICATE).symlink_metadata().is_ok()
    }

    /// The cluster that the node has belonged to, where that is known. Nothing is set aside.
    #[must_use]
    pub fn record(&self) -> Option<ClusterRecord> {
        let text = read_small_text(&self.0.join(RECORD), FILE_MAX_BYTES).ok()??;
        serde_json::from_str(&text).ok()
    }

    fn read<T>(
        &self,
        name: &str,
        understand: impl FnOnce(String) -> Result<T, String>,
        problems: &mut Vec<String>,
    ) -> Option<T> {
        let path = self.0.join(name);
        let why = match read_small_text(&path, FILE_MAX_BYTES) {
            Ok(None) => return None,
            Ok(Some(text)) => match understand(text) {
                Ok(understood) => return Some(understood),
                Err(why) => why,
            },
            Err(ferrite_files::small::ReadSmall::Read(error)) => {
                problems.push(format!("read {}: {error}", path.display()));
                return None;
            }
            Err(error) => error.to_string(),
        };
        problems.push(match Quarantine::beside(&self.0).keep(&path, &why) {
            Ok(said) => said,
            Err(error) => ferrite_schema::chain(&error),
        });
        None
    }

    /// Makes the node's key. It never leaves the node.
    ///
    /// # Errors
    /// It cannot be made or kept; there is none then.
    pub fn make_key(&self) -> Result<String, Keep> {
        self.make_folder()?;
        let key = make_key()?;
        durable::write(&self.0.join(KEY), key.as_bytes())?;
        Ok(key)
    }

    /// Keeps what a member answered. The cluster comes first: a node that knows its cluster and has no certificate asks it
    /// again; one with the certificate alone would not know whose it is.
    ///
    /// # Errors
    /// It cannot be written; each file holds what it held.
    pub fn keep(&self, answer: &JoinAnswer) -> Result<(), Keep> {
        self.make_folder()?;
        let record = serde_json::to_vec_pretty(&answer.cluster)?;
        durable::write(&self.0.join(RECORD), &record)?;
        durable::write(&self.0.join(CERTIFICATE), answer.certificate.as_bytes())?;
        Ok(())
    }

    fn make_folder(&self) -> Result<(), Keep> {
        durable::private_folder(&self.0)
            .map_err(|source| Keep::Folder { path: self.0.clone(), source })
    }
}

/// Digest of the public part of a key (PEM), as certificates have it.
fn key_digest(key: &str) -> Option<String> {
    let request = make_request(key).ok()?;
    ferrite_pki::read_request(&request).ok().map(|requested| requested.digest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ferrite_pki::{Dates, Issuer, make_root, node_leaf};
    use ferrite_schema::cluster::MachineName;

    use super::*;

    const MACHINE: &str = "00112233445566778899aabbccddeeff";

    fn answer(key: &str, machine: &str) -> JoinAnswer {
        let root = make_root("root", 1, Dates::ALWAYS).unwrap();
        let id = "0f".repeat(16).parse().unwrap();
        let name =
            MachineName { machine: machine.parse().unwrap(), cluster: "dev".parse().unwrap() };
        let key = ferrite_pki::read_request(&make_request(key).unwrap()).unwrap();
        let leaf = node_leaf(&id, &name, 1_000_000);
        let certificate = Issuer::root(&root).unwrap().certify(&leaf, &key).unwrap();
        let cluster = ClusterRecord { id, name: name.cluster, epoch: 1, members: Vec::new() };
        JoinAnswer { certificate, cluster }
    }

    #[test]
    fn what_was_kept_is_there_again_and_only_root_reads_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        let machine = MACHINE.parse().unwrap();
        let nothing = folder.load(&machine);
        assert!(nothing.key.is_none() && nothing.record.is_none() && nothing.problems.is_empty());
        let key = folder.make_key().unwrap();
        let answer = answer(&key, MACHINE);
        folder.keep(&answer).unwrap();
        let kept = folder.load(&machine);
        assert_eq!(kept.problems, Vec::<String>::new());
        assert_eq!(kept.key.as_deref(), Some(key.as_str()));
        assert_eq!(kept.record, Some(answer.cluster));
        assert_eq!(kept.certificate.unwrap().0, answer.certificate);
        for entry in place.path().join("cluster").read_dir().unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_damaged_or_of_somebody_else_is_set_aside() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        let machine: MachineId = MACHINE.parse().unwrap();
        let key = folder.make_key().unwrap();
        folder.keep(&answer(&key, &"ab".repeat(16))).unwrap();
        let kept = folder.load(&machine);
        assert!(
            kept.certificate.is_none() && kept.problems[0].contains("not of this machine"),
            "{:?}",
            kept.problems
        );
        folder.keep(&answer(&make_key().unwrap(), MACHINE)).unwrap();
        let kept = folder.load(&machine);
        assert!(
            kept.certificate.is_none() && kept.problems[0].contains("another key"),
            "{:?}",
            kept.problems
        );
        for (name, content) in [(KEY, &b"no key"[..]), (RECORD, b"{"), (CERTIFICATE, b"\xff")] {
            std::fs::write(place.path().join("cluster").join(name), content).unwrap();
        }
        let kept = folder.load(&machine);
        assert_eq!(kept.problems.len(), 3, "{:?}", kept.problems);
        assert!(folder.load(&machine).problems.is_empty(), "it is set aside once");
    }
}
