//! Why a command is not carried out.

use std::io;
use std::path::PathBuf;

use ferrite_files::durable::WriteFile;
use libcontainer::container::StateConversionError;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;

use super::arguments::Usage;
use super::devices::DevicesProblem;
use super::itself::ItselfProblem;
use crate::limits::LimitsProblem;
use crate::seccomp::ProgramProblem;

/// The command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Usage(#[from] Usage),
    #[error(transparent)]
    Verb(#[from] VerbProblem),
    #[error(transparent)]
    Itself(#[from] ItselfProblem),
}

/// A verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerbProblem {
    #[error("use systemd for cgroups: this runtime manages them itself")]
    Systemd,
    #[error("find container {id}: it does not exist")]
    NoContainer { id: String },
    #[error(transparent)]
    Container(#[from] LibcontainerError),
    #[error("read or write the specification")]
    Specification(#[from] OciSpecError),
    #[error("keep the state")]
    State(#[from] libcontainer::container::state::StateError),
    #[error("understand the state")]
    Understand(#[from] StateConversionError),
    #[error(transparent)]
    Devices(#[from] DevicesProblem),
    #[error(transparent)]
    Limits(#[from] LimitsProblem),
    #[error(transparent)]
    Update(#[from] UpdateProblem),
    #[error(transparent)]
    Write(#[from] WriteFile),
    #[error("use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
    #[error("run nothing: no command was given")]
    NoCommand,
    #[error("find the container's process in its specification")]
    NoProcess,
    #[error("add capability {name}: there is no such capability")]
    NoCapability { name: String },
    #[error("send the container a signal")]
    Signal(#[source] io::Error),
    #[error("wait for the container")]
    Wait(#[source] io::Error),
    #[error("write JSON")]
    Encode(#[source] serde_json::Error),
    #[error("write to standard output")]
    Say(#[source] io::Error),
}

/// A limit was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpdateProblem {
    #[error("read the limits from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("understand the limits")]
    Understand(#[source] serde_json::Error),
    #[error("limit memory and swap together to {swap}: that is less than {limit} for memory alone")]
    Swap { swap: i64, limit: i64 },
    #[error("limit swap: it counts together with memory, whose limit is unknown")]
    SwapAlone,
    #[error("change {setting}: only what the second version of cgroups can change is understood")]
    NotPossible { setting: &'static str },
    #[error("change {file:?}: that is no file of a control group")]
    NoFile { file: String },
    #[error("write {value:?} to {}", path.display())]
    Write { path: PathBuf, value: String, source: io::Error },
}
