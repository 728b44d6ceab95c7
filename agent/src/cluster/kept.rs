//! What a node keeps of its cluster on STATE beside its certificate, so that it goes on without: what it is to run, who the
//! members were, and whether etcd's data is here.
//!
//! What decides about this node (what it runs, whether it ran etcd, that there is a cluster) and cannot be read is not gone: it
//! stays, and is an error each time. Peers and services are told again by the next relay: what cannot be read of them is set aside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::SpecHash;
use ferrite_cluster::protocol::{AssignmentSnapshot, Member, PeersSnapshot};
use ferrite_cluster::records::{Record, Spec, decode};
use ferrite_files::durable::{self, WriteFile};
use ferrite_files::quarantine::Quarantine;
use ferrite_files::removal;
use ferrite_files::small::{ReadSmall, read_small_text};
use ferrite_schema::cluster::MachineId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::recovery::Recovery;

/// Longest file that is read, and so the longest that is written: room for a catalogue of 100,000 instances.
const FILE_MAX_BYTES: usize = 32 << 20;
const ASSIGNMENT: &str = "assignment.json";
const MEMBERS: &str = "members.json";
const MEMBER: &str = "member.json";
const SPECS: &str = "specs";
const PEERS: &str = "peers.json";
const SERVICES: &str = "services.json";
const RECOVERY: &str = "recovery.json";
const MESH_KEY: &str = "mesh.key";
const HARDWARE: &str = "hardware.json";
const REVOKED: &str = "revoked.json";

/// Something was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Keep {
    #[error(transparent)]
    Write(#[from] WriteFile),
    #[error("make {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("remove {}", path.display())]
    Remove { path: PathBuf, source: std::io::Error },
    #[error("write it as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("keep {}: it has {size_bytes} bytes, and {FILE_MAX_BYTES} are the most that is read", path.display())]
    TooLong { path: PathBuf, size_bytes: usize },
}

/// What the node was last told to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptAssignment {
    /// The cluster's epoch.
    pub(super) epoch: u64,
    /// All of it.
    pub(super) assignment: AssignmentSnapshot,
}

/// That etcd's data is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptMember {
    /// This machine began the cluster.
    pub(super) founder: bool,
    /// The members that etcd began beside, itself among them. Only a beginning needs them; they stay, so that etcd's command
    /// line does and nothing has to be restarted.
    #[serde(default)]
    pub(super) beside: Vec<MachineId>,
    /// etcd has had data here. Where that is gone, etcd is not to begin again.
    #[serde(default)]
    pub(super) begun: bool,
}

/// Which services were answered for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptServices {
    /// When that was so, in seconds since the epoch.
    pub(super) as_of_s: u64,
    /// By name.
    pub(super) catalogue: Catalogue,
}

/// Why something that was kept is not known.
enum Unread {
    /// It is not what it should be.
    NotOurs(String),
    /// The disk does not give it.
    Disk(std::io::Error),
}

impl Unread {
    fn said(&self, path: &Path) -> String {
        match self {
            Self::NotOurs(why) => format!("read {}: {why}", path.display()),
            Self::Disk(error) => format!("read {}: {error}", path.display()),
        }
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What was kept, if it is there and understood. What is not stays where it is, and is an error each time: it is not gone.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        self.look(name).map_err(|unread| unread.said(&self.0.join(name)))
    }

    /// What was kept of what is told again. What is not understood is set aside, and said once.
    fn recall<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let path = self.0.join(name);
        match self.look(name) {
            Ok(found) => Ok(found),
            Err(Unread::NotOurs(why)) => Err(match Quarantine::beside(&self.0).keep(&path, &why) {
                Ok(said) => said,
                Err(error) => format!("{why}; {}", ferrite_schema::chain(&error)),
            }),
            Err(unread @ Unread::Disk(_)) => Err(unread.said(&path)),
        }
    }

    fn look<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Unread> {
        match read_small_text(&self.0.join(name), FILE_MAX_BYTES as u64) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| Unread::NotOurs(error.to_string())),
            Err(ReadSmall::Read(error)) => Err(Unread::Disk(error)),
            Err(error) => Err(Unread::NotOurs(error.to_string())),
        }
    }

    /// Nothing is written that would not be read.
    fn write<T: Serialize>(&self, name: &str, kept: &T) -> Result<(), Keep> {
        let (path, text) = (self.0.join(name), serde_json::to_vec(kept)?);
        if text.len() > FILE_MAX_BYTES {
            return Err(Keep::TooLong { path, size_bytes: text.len() });
        }
        private(&self.0)?;
        Ok(durable::write(&path, &text)?)
    }

    pub(super) fn assignment(&self) -> Result<Option<KeptAssignment>, String> {
        self.read(ASSIGNMENT)
    }

    /// Keeps what is to be run, and forgets specifications that it does not name.
    pub(super) fn keep_assignment(&self, kept: &KeptAssignment) -> Result<(), Keep> {
        self.write(ASSIGNMENT, kept)?;
        let named: Vec<String> =
            kept.assignment.instances.values().map(|assigned| file_of(&assigned.spec)).collect();
        for entry in fs::read_dir(self.0.join(SPECS)).into_iter().flatten().flatten() {
            if !named.iter().any(|name| entry.file_name() == name.as_str())
                && let Err(error) = removal::remove(&entry.path())
            {
                tracing::debug!(error = ferrite_schema::chain(&error), "specification-stays");
            }
        }
        Ok(())
    }

    /// A specification, as it is stored in the cluster, and understood. One that is damaged is not there: it comes again.
    pub(super) fn spec(&self, hash: &SpecHash) -> Option<Spec> {
        let path = self.0.join(SPECS).join(file_of(hash));
        let text = read_small_text(&path, <Spec as Record>::MAX_BYTES as u64).ok()??;
        decode(&Key::Spec(hash.clone()), text.as_bytes()).ok()
    }

    pub(super) fn keep_spec(&self, hash: &SpecHash, text: &str) -> Result<(), Keep> {
        let folder = self.0.join(SPECS);
        private(&self.0)?;
        private(&folder)?;
        Ok(durable::write(&folder.join(file_of(hash)), text.as_bytes())?)
    }

    /// Who the members were. That there were any says that the node has seen the cluster.
    pub(super) fn members(&self) -> Result<Option<Vec<Member>>, String> {
        self.read(MEMBERS)
    }

    pub(super) fn keep_members(&self, members: &[Member]) -> Result<(), Keep> {
        self.write(MEMBERS, &members)
    }

    /// Digest of the machine on which this node ran etcd last.
    pub(super) fn hardware(&self) -> Result<Option<String>, String> {
        self.read(HARDWARE)
    }

    pub(super) fn keep_hardware(&self, digest: &str) -> Result<(), Keep> {
        self.write(HARDWARE, &digest)
    }

    /// Who was in the cluster's network.
    pub(super) fn peers(&self) -> Result<Option<PeersSnapshot>, String> {
        self.recall(PEERS)
    }

    pub(super) fn keep_peers(&self, peers: &PeersSnapshot) -> Result<(), Keep> {
        self.write(PEERS, peers)
    }

    /// Certificates that open nothing any more.
    pub(super) fn revoked(&self) -> Result<Option<BTreeSet<String>>, String> {
        self.recall(REVOKED)
    }

    pub(super) fn keep_revoked(&self, serials: &BTreeSet<String>) -> Result<(), Keep> {
        self.write(REVOKED, serials)
    }

    /// Which services were answered for, and until when that was so.
    pub(super) fn services(&self) -> Result<Option<KeptServices>, String> {
        self.recall(SERVICES)
    }

    pub(super) fn keep_services(&self, services: &KeptServices) -> Result<(), Keep> {
        self.write(SERVICES, services)
    }

    /// Where the key of this node's end of the cluster's network is.
    pub(super) fn mesh_key(&self) -> PathBuf {
        self.0.join(MESH_KEY)
    }

    /// Whether etcd's data is here, or has begun to be.
    pub(super) fn member(&self) -> Result<Option<KeptMember>, String> {
        self.read(MEMBER)
    }

    /// How far a recovery is that is under way here.
    pub(super) fn recovery(&self) -> Result<Option<Recovery>, String> {
        self.read(RECOVERY)
    }

    /// Keeps how far it is; `None` is the end of it.
    pub(super) fn keep_recovery(&self, kept: Option<&Recovery>) -> Result<(), Keep> {
        match kept {
            Some(kept) => self.write(RECOVERY, kept),
            None => {
                let path = self.0.join(RECOVERY);
                durable::remove(&path).map_err(|source| Keep::Remove { path, source })
            }
        }
    }

    /// It is none any more.
    pub(super) fn forget_member(&self) -> std::io::Result<()> {
        durable::remove(&self.0.join(MEMBER))
    }

    pub(super) fn keep_member(&self, member: &KeptMember) -> Result<(), Keep> {
        self.write(MEMBER, member)
    }
}

fn file_of(hash: &SpecHash) -> String {
    format!("{hash}.json")
}

fn private(path: &Path) -> Result<(), Keep> {
    durable::private_folder(path).map_err(|source| Keep::Folder { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::catalogue::Endpoint;
    use ferrite_cluster::records::{Assigned, Cause, Rest, Target};

    use super::super::recovery::Phase;
    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_what_nobody_names_goes() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        assert_eq!(folder.assignment(), Ok(None));
        assert_eq!(folder.members(), Ok(None));
        let spec = r#"{"level":1,"unit":{"name":"web","image":"web:1"}}"#;
        let hash = SpecHash::of(spec.as_bytes());
        folder.keep_spec(&hash, spec).unwrap();
        folder.keep_spec(&SpecHash::of(b"other"), "other").unwrap();
        assert_eq!(folder.spec(&hash).unwrap().unit().unwrap().name, "web");
        // It is not what its name says.
        assert_eq!(folder.spec(&SpecHash::of(b"other2")), None);
        assert_eq!(folder.spec(&SpecHash::of(b"other")), None);
        let assigned = Assigned {
            spec: hash.clone(),
            target: Target::Launched,
            cause: Cause::Wanted,
            fired_s: None,
            rest: Rest::new(),
        };
        let assignment = AssignmentSnapshot {
            revision: 7,
            instances: [("web@1".parse().unwrap(), assigned)].into(),
        };
        let kept = KeptAssignment { epoch: 1, assignment };
        folder.keep_assignment(&kept).unwrap();
        assert_eq!(folder.assignment(), Ok(Some(kept)));
        assert_eq!(fs::read_dir(place.path().join("cluster/specs")).unwrap().count(), 1);
        folder
            .keep_member(&KeptMember { founder: true, beside: Vec::new(), begun: false })
            .unwrap();
        assert_eq!(
            folder.member(),
            Ok(Some(KeptMember { founder: true, beside: Vec::new(), begun: false }))
        );
    }

    #[test]
    fn what_is_damaged_is_never_taken_for_absent_however_often_it_is_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        folder
            .keep_member(&KeptMember { founder: false, beside: Vec::new(), begun: false })
            .unwrap();
        folder.keep_recovery(Some(&Recovery { phase: Phase::Copied, epoch: 2 })).unwrap();
        for name in [MEMBER, MEMBERS, RECOVERY] {
            fs::write(place.path().join("cluster").join(name), "{").unwrap();
        }
        for _ in 0..2 {
            assert!(folder.member().unwrap_err().contains(MEMBER));
            assert!(folder.members().unwrap_err().contains(MEMBERS));
            assert!(folder.recovery().unwrap_err().contains(RECOVERY));
        }
        folder.keep_recovery(None).unwrap();
        assert_eq!(folder.recovery(), Ok(None));
        folder.keep_members(&[]).unwrap();
        assert_eq!(folder.members(), Ok(Some(Vec::new())));
    }

    fn services(instances: u32) -> KeptServices {
        let endpoint = Endpoint {
            machine: "ab".repeat(16).parse().unwrap(),
            addresses: vec![std::net::Ipv6Addr::from([0x11; 16]).into(); 8],
            ports: Vec::new(),
        };
        let name = |number| format!("web@{number}").parse().unwrap();
        let web = (0..instances).map(|number| (name(number), endpoint.clone())).collect();
        KeptServices {
            as_of_s: 7,
            catalogue: Catalogue { services: [("web".to_owned(), web)].into() },
        }
    }

    #[test]
    fn nothing_is_kept_that_would_not_be_read_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        // More than once was read.
        let many = services(20_000);
        folder.keep_services(&many).unwrap();
        assert_eq!(folder.services(), Ok(Some(many.clone())));
        let said = folder.keep_services(&services(100_000)).unwrap_err().to_string();
        assert!(said.contains("services.json") && said.contains("are the most"), "{said}");
        assert_eq!(folder.services(), Ok(Some(many)), "what was there stays");
    }

    #[test]
    fn what_is_told_again_is_set_aside_where_it_is_not_understood_and_said_once() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("cluster"));
        folder.keep_members(&[]).unwrap();
        let too_long = vec![b' '; FILE_MAX_BYTES + 1];
        for bad in [b"{".as_slice(), b"{}", b"\xff", &too_long] {
            for name in [PEERS, SERVICES] {
                fs::write(place.path().join("cluster").join(name), bad).unwrap();
            }
            let said = [folder.peers().unwrap_err(), folder.services().unwrap_err()];
            assert!(said.iter().all(|said| said.contains("it was set aside as")), "{said:?}");
            assert_eq!((folder.peers(), folder.services()), (Ok(None), Ok(None)));
        }
        assert_eq!(Quarantine::beside(&place.path().join("cluster")).names().len(), 8);
    }
}
