//! How a command fails: one error for all of them, its exit code, and what a person can do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use ferrite_archive::extract::Extract;
use ferrite_archive::pack::Pack;
use ferrite_image::build::BuildError;
use ferrite_image::kernel::ObtainKernel;
use ferrite_image::kernel::build::BuildKernel;
use ferrite_image::kernel::plan::PlanKernel;
use ferrite_image::keys::KeyError;
use ferrite_image::opened::OpenImage;
use ferrite_image::packages::PackageError;
use ferrite_image::packages::cache::CacheError;
use ferrite_image::qcow2::ConvertDisk;
use ferrite_image::variant::ReadVariant;
use ferrite_image::verify::VerifyImage;
use ferrite_layout::arguments::ReadArguments;
use ferrite_layout::slot_header::ReadHeader;
pub use ferrite_schema::chain;

use crate::archive::ArchiveError;
use crate::client::ClientError;
use crate::cluster::problem::ClusterError;
use crate::context::ContextError;
use crate::document::DocumentError;
use crate::etcd::EtcdProblem;
use crate::exit::Exit;
use crate::founding::FoundCluster;
use crate::founding::folder::WriteFolder;
use crate::output::OutputError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Failure {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Etcd(#[from] EtcdProblem),
    #[error(transparent)]
    Found(#[from] FoundCluster),
    #[error(transparent)]
    Folder(#[from] WriteFolder),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    OpenImage(#[from] OpenImage),
    #[error(transparent)]
    VerifyImage(#[from] VerifyImage),
    #[error("{why}")]
    Pull { why: String },
    #[error("build the image")]
    Build {
        #[from]
        source: BuildError,
    },
    #[error("build the image: obtain packages")]
    Packages {
        #[from]
        source: PackageError,
    },
    #[error("the kernel of variant {variant}")]
    Kernel { variant: String, source: PlanKernel },
    #[error("read variant {variant}")]
    Variant { variant: String, source: ReadVariant },
    #[error("variant {variant} takes its kernel out of a package; there is nothing to build")]
    NoOwnKernel { variant: String },
    #[error("the kernel of variant {variant} is not in the cache")]
    KernelNotCached { variant: String },
    #[error("use --kernel-args")]
    KernelArguments { source: ReadArguments },
    #[error("find the program {path} for the image")]
    NoProgram { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("start the asynchronous runtime")]
    Runtime { source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("write {path}: it exists already")]
    Exists { path: PathBuf },
    #[error(
        "import {file}: {name:?} is no name of a unit: say with `--name` what it is to be called"
    )]
    UnitName { file: PathBuf, name: String },
    #[error("find units {what}: none is like that")]
    NoUnit { what: String },
    #[error("find service {name:?}: {node} knows none of this name")]
    NoService { name: String, node: String },
    #[error("ask what a node answers for services: it says nothing")]
    NoAnswers,
    #[error("unit {name:?} {what}")]
    Unit { name: String, what: String },
    #[error("copy: one side must be NAME:/PATH, the other a path here")]
    CopySides,
    #[error("copy to {path}: {what} is there")]
    CopyOver { path: PathBuf, what: &'static str },
    #[error(
        "copy to {path}: a whole root brings names of its own, and this folder is not new or empty"
    )]
    CopyRoot { path: PathBuf },
    #[error("copy to {path}: the node sent nothing of that name")]
    CopyNothing { path: PathBuf },
    #[error("copy to {path}: it was interrupted, and nothing of it was kept")]
    CopyInterrupted { path: PathBuf },
    #[error(transparent)]
    Packed(#[from] Pack),
    #[error("copy to {path}")]
    Copied { path: PathBuf, source: Extract },
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("run a command in unit {name:?}: {reason}")]
    NotRun { name: String, reason: String, code: u8 },
    #[error("the command ended with status {code}")]
    Command { code: u8 },
    #[error("wait for unit {name:?}: it is still {state} after {}", humantime::format_duration(*within))]
    UnitDeadline { name: String, state: String, within: std::time::Duration },
    #[error("make STATE of {hostname} anew: for good would be lost: {lost}")]
    Unconfirmed { hostname: String, lost: String },
    #[error("choose machine {what:?}: the cluster has none of that name or ID")]
    NoMachine { what: String, known: Vec<String> },
    #[error("choose machine {what:?}: several are like that: {}", found.join(", "))]
    SomeMachines { what: String, found: Vec<String> },
    #[error("choose a machine: context {context:?} is for one node and not for a cluster")]
    NoCluster { context: String },
    #[error(
        "choose a machine: context {context:?} is for a cluster, and this is done to one machine"
    )]
    WhichMachine { context: String },
    #[error("find instance {name:?}: {why}")]
    NoInstance { name: String, why: String },
    #[error("read {words:?}: it must look like KEY=VALUE, or KEY- to take the key away")]
    Metadata { words: String },
    #[error("wait for unit {name:?}: after {} {}", humantime::format_duration(*within), states.join(", "))]
    InstancesDeadline { name: String, states: Vec<String>, within: std::time::Duration },
    #[error("{act} on {}", failed.join("; "))]
    SomeFailed { act: String, failed: Vec<String> },
    #[error("{what}: this is done by each machine to its own units; use `--machine NAME`")]
    OfOneMachine { what: &'static str },
    #[error("help on {topic:?}: there is no such command")]
    NoTopic { topic: String },
}

impl Failure {
    /// The exit code that the command ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => context_exit(error),
            Self::Client(error) => error.exit(),
            Self::Cluster(error) => error.exit(),
            Self::Etcd(error) => error.exit(),
            Self::Found(FoundCluster::Nodes { .. } | FoundCluster::Members { .. }) => Exit::Usage,
            Self::Found(_) | Self::Folder(_) => Exit::Failed,
            Self::Keys(error) => match error {
                KeyError::Name { .. } | KeyError::Reserved | KeyError::Extension { .. } => {
                    Exit::Usage
                }
                KeyError::Exists { .. } | KeyError::Random { .. } | KeyError::Write { .. } => {
                    Exit::Failed
                }
                KeyError::Read { .. }
                | KeyError::Digits { .. }
                | KeyError::Point { .. }
                | KeyError::TooOpen { .. } => Exit::Invalid,
            },
            Self::VerifyImage(VerifyImage::Open(_)) => Exit::Invalid,
            Self::VerifyImage(VerifyImage::Read { .. }) => Exit::Failed,
            Self::VerifyImage(_) => Exit::Unverified,
            Self::Document(_) | Self::Archive(_) | Self::OpenImage(_) => Exit::Invalid,
            Self::NoProgram { .. } | Self::Packages { .. } => Exit::Environment,
            Self::Kernel { source, .. } => kernel_exit(source),
            Self::Variant { .. } => Exit::Invalid,
            Self::Build { source } => match source {
                BuildError::Variant { .. } | BuildError::Layout { .. } => Exit::Invalid,
                BuildError::Kernel { source: ObtainKernel::Plan(source) } => kernel_exit(source),
                BuildError::Packages { .. }
                | BuildError::Tools { .. }
                | BuildError::Qcow2 { source: ConvertDisk::Start { .. } } => Exit::Environment,
                _ => Exit::Failed,
            },
            Self::Output(_)
            | Self::Runtime { .. }
            | Self::Write { .. }
            | Self::Exists { .. }
            | Self::Pull { .. }
            | Self::NoUnit { .. }
            | Self::NoService { .. }
            | Self::NoAnswers
            | Self::Unit { .. }
            | Self::NoInstance { .. }
            | Self::InstancesDeadline { .. }
            | Self::SomeFailed { .. }
            | Self::NotRun { .. }
            | Self::Read { .. }
            | Self::CopyOver { .. }
            | Self::CopyNothing { .. }
            | Self::CopyInterrupted { .. }
            | Self::Packed(_)
            | Self::Copied { .. }
            | Self::Command { .. }
            | Self::KernelNotCached { .. }
            | Self::UnitDeadline { .. } => Exit::Failed,
            Self::NoTopic { .. }
            | Self::UnitName { .. }
            | Self::NoMachine { .. }
            | Self::SomeMachines { .. }
            | Self::NoCluster { .. }
            | Self::WhichMachine { .. }
            | Self::Metadata { .. }
            | Self::OfOneMachine { .. }
            | Self::CopySides
            | Self::CopyRoot { .. }
            | Self::KernelArguments { .. }
            | Self::NoOwnKernel { .. }
            | Self::Unconfirmed { .. } => Exit::Usage,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Context(error) => context_hint(error),
            Self::Folder(WriteFolder::Exists { .. }) => {
                Some("name another folder behind the options".to_owned())
            }
            Self::Client(error) => error.hint().map(str::to_owned),
            Self::Cluster(error) => error.hint(),
            Self::Etcd(error) => error.hint().map(str::to_owned),
            Self::Archive(error) => error.hint().map(str::to_owned),
            Self::Exists { .. } => Some("`--force` replaces it".to_owned()),
            Self::NoMachine { .. }
            | Self::SomeMachines { .. }
            | Self::NoCluster { .. }
            | Self::WhichMachine { .. }
            | Self::NoInstance { .. }
            | Self::InstancesDeadline { .. } => self.machine_hint(),
            Self::NoService { .. } => Some("`ferrite service list` lists all services".to_owned()),
            Self::NoAnswers => self.machine_hint(),
            Self::NoUnit { .. } => Some("`ferrite unit list` lists all units".to_owned()),
            Self::Unit { name, .. } | Self::UnitDeadline { name, .. } => {
                Some(format!("`ferrite unit logs {name}` shows what it wrote"))
            }
            Self::CopyOver { .. } => Some(
                "a copy takes the place of a file alone; name another path, or remove it first"
                    .to_owned(),
            ),
            Self::CopyRoot { .. } => Some("name a folder that does not exist yet".to_owned()),
            Self::KernelNotCached { variant } => {
                Some(format!("`ferrite image kernel build --variant {variant}` makes it"))
            }
            Self::Unconfirmed { .. } => Some("say it again with `--yes`".to_owned()),
            Self::NoTopic { .. } => Some("`ferrite --help` lists all commands".to_owned()),
            Self::NoProgram { .. } => Some(
                "build it with `cargo build --release --workspace --bins`, or name its folder \
                 with `--binaries DIR`"
                    .to_owned(),
            ),
            Self::VerifyImage(error) if is_unknown_key(error) => Some(
                "trust the key that signed it with `--trust NAME.pub`, if you know whose it is"
                    .to_owned(),
            ),
            Self::Found(_)
            | Self::UnitName { .. }
            | Self::Folder(_)
            | Self::Document(_)
            | Self::Keys(_)
            | Self::OpenImage(_)
            | Self::VerifyImage(_)
            | Self::Build { .. }
            | Self::Kernel { .. }
            | Self::Variant { .. }
            | Self::NoOwnKernel { .. }
            | Self::Packages { .. }
            | Self::Output(_)
            | Self::Pull { .. }
            | Self::Runtime { .. }
            | Self::NotRun { .. }
            | Self::CopySides
            | Self::Metadata { .. }
            | Self::SomeFailed { .. }
            | Self::OfOneMachine { .. }
            | Self::CopyNothing { .. }
            | Self::CopyInterrupted { .. }
            | Self::Packed(_)
            | Self::Copied { .. }
            | Self::KernelArguments { .. }
            | Self::Read { .. }
            | Self::Command { .. }
            | Self::Write { .. } => None,
        }
    }

    /// What a person can do about a failure to find a machine of a cluster, or what is on it.
    fn machine_hint(&self) -> Option<String> {
        match self {
            Self::NoMachine { known, .. } => Some(format!("known are: {}", known.join(", "))),
            Self::SomeMachines { .. } => {
                Some("say more of the ID: `ferrite machine list -o json` shows it whole".to_owned())
            }
            Self::NoCluster { .. } => Some(
                "leave out `--machine`, or choose a cluster's context with `--context`".to_owned(),
            ),
            Self::WhichMachine { .. } => {
                Some("name it with `--machine NAME`: `ferrite machine list` lists them".to_owned())
            }
            Self::NoInstance { .. } => {
                Some("`ferrite unit list` lists instances and their machines".to_owned())
            }
            Self::InstancesDeadline { name, .. } => {
                Some(format!("`ferrite unit why {name}` says what they wait for"))
            }
            _ => None,
        }
    }
}

fn context_exit(error: &ContextError) -> Exit {
    match error {
        ContextError::Invalid { .. } => Exit::Invalid,
        ContextError::Unknown { .. }
        | ContextError::BadName { .. }
        | ContextError::NoneCurrent { .. } => Exit::Usage,
        ContextError::NoFolder => Exit::Environment,
        ContextError::Exists { .. }
        | ContextError::List { .. }
        | ContextError::Read { .. }
        | ContextError::Write { .. }
        | ContextError::Encode { .. } => Exit::Failed,
    }
}

fn context_hint(error: &ContextError) -> Option<String> {
    match error {
        ContextError::NoneCurrent { known } if known.is_empty() => {
            Some("`ferrite cluster up` starts a node and makes a context for it".to_owned())
        }
        ContextError::NoneCurrent { known } => {
            Some(format!("choose one with `ferrite context use NAME`: {}", known.join(", ")))
        }
        ContextError::Unknown { known, .. } if known.is_empty() => {
            Some("no context is known yet; `ferrite cluster up` makes one".to_owned())
        }
        ContextError::Unknown { known, .. } => Some(format!("known here: {}", known.join(", "))),
        ContextError::Exists { name } => Some(format!(
            "it may hold the only key to its cluster: give the new cluster another name, or put \
             contexts/{name}.toml out of the way"
        )),
        ContextError::NoFolder
        | ContextError::List { .. }
        | ContextError::Read { .. }
        | ContextError::Invalid { .. }
        | ContextError::Write { .. }
        | ContextError::Encode { .. }
        | ContextError::BadName { .. } => None,
    }
}

fn kernel_exit(error: &PlanKernel) -> Exit {
    match error {
        PlanKernel::Definition { .. }
        | PlanKernel::Build { source: BuildKernel::Wrong { .. } | BuildKernel::Changed { .. } } => {
            Exit::Invalid
        }
        PlanKernel::Packages { .. }
        | PlanKernel::Build {
            source:
                BuildKernel::Packages { .. }
                | BuildKernel::Door { .. }
                | BuildKernel::Cache { source: CacheError::Space { .. } },
        } => Exit::Environment,
        PlanKernel::NoSource { .. } | PlanKernel::Build { .. } => Exit::Failed,
    }
}

/// The image may well be whole: whoever signed it is just not known here.
fn is_unknown_key(error: &VerifyImage) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(ReadHeader::UnknownKey { .. }) = cause.downcast_ref() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// What a person reads on standard error.
#[must_use]
pub fn report(failure: &Failure) -> String {
    let error = format!("error: {}\n", chain(failure));
    match failure.hint() {
        Some(hint) => format!("{error}help: {hint}\n"),
        None => error,
    }
}
