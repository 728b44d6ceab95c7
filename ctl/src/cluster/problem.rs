//! Why a cluster command fails, its exit code, and what a person can do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ferrite_pki::MakeRequest;
use ferrite_schema::cluster::NotOne;
use ferrite_vm::console::ConsoleError;
use ferrite_vm::disk::CreateDisk;
use ferrite_vm::host::HostError;
use ferrite_vm::qmp::QmpError;
use ferrite_vm::running::MachineError;
use ferrite_vm::switch::SwitchError;
use ferrite_vm::switch::client::ControlError;
use ferrite_vm::switch::topology::TopologyError;

use crate::context::ContextError;
use crate::exit::Exit;
use crate::founding::FoundCluster;
use crate::pki::MakeCertificate;

/// Why a cluster command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClusterError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Disk(#[from] CreateDisk),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Certificate(#[from] MakeCertificate),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Found(#[from] FoundCluster),
    #[error("name a cluster of several nodes {name:?}")]
    NotAName { name: String, source: NotOne },
    #[error("start the network's switch")]
    StartSwitch { source: io::Error },
    #[error("start the network's switch: it ended; {} says: {said}", log.display())]
    SwitchEnded { log: PathBuf, said: String },
    #[error(
        "use the network of cluster {name:?}: it has one machine, which has a network of its own"
    )]
    NoNetwork { name: String },
    #[error("make cluster {name:?} one of {asked} nodes: it has {has}")]
    OtherSize { name: String, has: usize, asked: u8 },
    #[error(
        "make {asked} the number of cluster {name:?}'s nodes that may run etcd: it is {has} since it was made"
    )]
    OtherMembers { name: String, has: usize, asked: u8 },
    #[error(
        "make the network of cluster {name:?} another one: it is chosen when the cluster is made"
    )]
    OtherNetwork { name: String },
    #[error("set the clock of {name:?}: {} on, and a clock is set when a machine is switched on", match on.as_slice() {
        [one] => format!("{one} is"),
        all => format!("{} are", all.join(", ")),
    })]
    ClockRuns { name: String, on: Vec<String> },
    #[error("add nodes: {} made before the next one failed, and not started", match added.as_slice() {
        [one] => format!("{one} was"),
        all => format!("{} were", all.join(", ")),
    })]
    AddedInPart { name: String, added: Vec<String>, source: Box<Self> },
    #[error(
        "start node {name:?} alone: `--nodes`, `--fresh` and `--renew` are for a whole cluster"
    )]
    NodeAlone { name: String },
    #[error("delete node {name:?} alone: a cluster is deleted as a whole")]
    DeleteNode { name: String },
    #[error("use cluster or node {name:?}: there is no such cluster, and none has such a node")]
    UnknownNode { name: String },
    #[error("use cluster {name:?}: there is no such cluster")]
    Unknown { name: String },
    #[error("name a cluster {name:?}: use letters, digits and `-`, at most 32, a letter first")]
    BadName { name: String },
    #[error("use {name:?}: no machine of it runs")]
    NotRunning { name: String },
    #[error("use cluster {name:?}: another `ferrite cluster` works on it")]
    Busy { name: String },
    #[error("use image {}: it has no file `{file}`", folder.display())]
    NoImage { folder: PathBuf, file: &'static str },
    #[error("make a disk of {asked_gib} GiB: the image alone has {image_mib} MiB")]
    DiskTooSmall { asked_gib: u32, image_mib: u64 },
    #[error("read cloud-config {}: {problem}", path.display())]
    Config { path: PathBuf, problem: ferrite_schema::document::Problem },
    #[error("use cloud-config {}: its [api] section would lock this command out", path.display())]
    ConfigApi { path: PathBuf },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read {}: it is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("watch for Ctrl-C")]
    Signals { source: io::Error },
    #[error("start {name}: the machine gave up; its console's last lines:\n{tail}")]
    GaveUp { name: String, tail: String },
    #[error("start {name}: not ready in {}; its console's last lines:\n{tail}", humantime::format_duration(*within))]
    NotReady { name: String, within: Duration, tail: String },
    #[error("start {name}: the machine ended; its console's last lines:\n{tail}")]
    Ended { name: String, tail: String },
    #[error("start {name}: its machines have not found one another in {}: {why}", humantime::format_duration(*within))]
    Apart { name: String, within: Duration, why: String },
    #[error("start {name}: interrupted while its machines looked for one another; they run on")]
    Left { name: String },
    #[error("start {name}: interrupted; its machine was stopped again")]
    Interrupted { name: String },
    #[error("make a token: {why}")]
    MakeToken { why: String },
    #[error("make a key")]
    AccessKey { source: MakeRequest },
    #[error("write {}, and with it the key of somebody's access", path.display())]
    AccessFile { path: PathBuf, source: io::Error },
    #[error("choose certificate {what:?}: {}", match found { 0 => "none is called or begins so".to_owned(), found => format!("{found} begin so") })]
    WhichAccess { what: String, found: usize },
    #[error("make machine {hostname} anew: {why}")]
    NotReset { hostname: String, why: String },
    #[error("choose token {id:?}: {}", match found { 0 => "none begins so".to_owned(), found => format!("{found} begin so") })]
    WhichToken { id: String, found: usize },
}

impl ClusterError {
    /// The exit code that the command ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Host(_) => Exit::Environment,
            Self::Machine(MachineError::Host(_) | MachineError::Spawn { .. }) => Exit::Environment,
            Self::Unknown { .. }
            | Self::UnknownNode { .. }
            | Self::DeleteNode { .. }
            | Self::NodeAlone { .. }
            | Self::BadName { .. }
            | Self::NotAName { .. }
            | Self::OtherSize { .. }
            | Self::OtherMembers { .. }
            | Self::OtherNetwork { .. }
            | Self::ClockRuns { .. }
            | Self::WhichToken { .. }
            | Self::WhichAccess { .. }
            | Self::NoNetwork { .. } => Exit::Usage,
            Self::NoImage { .. }
            | Self::DiskTooSmall { .. }
            | Self::Config { .. }
            | Self::ConfigApi { .. }
            | Self::Damaged { .. } => Exit::Invalid,
            Self::NotRunning { .. } => Exit::Unreachable,
            Self::NotReset { .. } => Exit::Refused,
            Self::AddedInPart { source, .. } => source.exit(),
            Self::Machine(_)
            | Self::Qmp(_)
            | Self::Disk(_)
            | Self::Console(_)
            | Self::Certificate(_)
            | Self::Context(_)
            | Self::Busy { .. }
            | Self::Topology(_)
            | Self::Switch(_)
            | Self::Control(_)
            | Self::Found(_)
            | Self::MakeToken { .. }
            | Self::AccessKey { .. }
            | Self::AccessFile { .. }
            | Self::StartSwitch { .. }
            | Self::SwitchEnded { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Signals { .. }
            | Self::GaveUp { .. }
            | Self::NotReady { .. }
            | Self::Apart { .. }
            | Self::Left { .. }
            | Self::Ended { .. }
            | Self::Interrupted { .. } => Exit::Failed,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherSize { .. } => Some(
                "`ferrite cluster up --fresh` makes it anew, with empty disks; another name makes another cluster"
                    .to_owned(),
            ),
            Self::OtherMembers { .. } => Some(
                "`ferrite etcd members --target N` changes how many run it; `ferrite cluster up --fresh` makes it anew, with empty disks"
                    .to_owned(),
            ),
            Self::OtherNetwork { .. } => Some(
                "`ferrite cluster up --fresh` makes it anew, with empty disks".to_owned(),
            ),
            Self::ClockRuns { name, .. } => Some(format!("`ferrite cluster down {name}` first")),
            Self::AddedInPart { name, .. } => Some(format!(
                "`ferrite cluster up {name}` starts them; add the others again, and not those"
            )),
            Self::Unknown { .. } | Self::UnknownNode { .. } => {
                Some("`ferrite cluster list` shows all, `ferrite cluster up` makes one".to_owned())
            }
            Self::NotRunning { name } => Some(format!("`ferrite cluster up {name}` starts it")),
            Self::NoImage { .. } => {
                Some("`ferrite image build` makes one; `--image DIR` names another".to_owned())
            }
            Self::Damaged { .. } => {
                Some("`ferrite cluster up --fresh` makes the cluster anew".to_owned())
            }
            Self::WhichToken { .. } => {
                Some("`ferrite cluster token list` shows all, with how each begins".to_owned())
            }
            Self::WhichAccess { .. } => {
                Some("`ferrite access list -o json` shows names and whole numbers".to_owned())
            }
            Self::AccessFile { .. } => Some(
                "name another file with `-f FILE`; what was given and not written is revoked with `ferrite access revoke`"
                    .to_owned(),
            ),
            Self::ConfigApi { .. } => Some("remove the section".to_owned()),
            Self::Apart { .. } => {
                Some("they run on: `ferrite machine status --machine NAME` says what each waits for, `ferrite cluster up` waits again; a busy computer needs longer: `--timeout 15m`".to_owned())
            }
            Self::NotReady { .. } => {
                Some("it runs on: `ferrite machine status` and `ferrite unit list` may say why, `ferrite cluster console` shows what it said, `ferrite cluster down` ends it; a busy computer needs longer: `--timeout 15m`".to_owned())
            }
            Self::GaveUp { .. } | Self::Ended { .. } => {
                Some("`ferrite cluster console -n 1000` shows all of it".to_owned())
            }
            _ => None,
        }
    }
}
