//! What can go wrong between this computer and a node.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

use super::tls::CredentialsError;
use crate::exit::Exit;

/// A request that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClientError {
    #[error("read the address {endpoint:?}: it must look like https://HOST:PORT")]
    Address { endpoint: String },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("connect to node {node:?} at {address}")]
    Connect { node: String, address: String, source: io::Error },
    #[error("prove who node {node:?} at {address} is")]
    Handshake { node: String, address: String, source: io::Error },
    #[error("{act} on node {node:?}: no answer within {}", humantime::format_duration(*within))]
    Deadline { act: String, node: String, within: Duration },
    #[error("{act} on node {node:?}: the connection broke")]
    Exchange { act: String, node: String, source: hyper::Error },
    #[error("{act} on node {node:?}: the stream broke")]
    Stream { act: String, node: String, source: io::Error },
    #[error("{act} on node {node:?}: {message}")]
    Answered { act: String, node: String, status: StatusCode, message: String },
    #[error("{act} on node {node:?}: its answer cannot be read")]
    Answer { act: String, node: String, source: serde_json::Error },
    #[error("build the request to {act}")]
    Request { act: String, source: hyper::http::Error },
    #[error("read {path}")]
    Upload { path: PathBuf, source: io::Error },
}

impl ClientError {
    /// The exit code that this error ends the command with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::Credentials(_) | Self::Upload { .. } => Exit::Invalid,
            Self::Connect { .. } | Self::Deadline { .. } => Exit::Unreachable,
            Self::Handshake { source, .. } if tls(source).is_some() => Exit::Unverified,
            Self::Exchange { source, .. } if tls(source).is_some() => Exit::Refused,
            Self::Handshake { .. } | Self::Exchange { .. } | Self::Stream { .. } => {
                Exit::Unreachable
            }
            Self::Answered { status, .. } if status.is_server_error() => Exit::Failed,
            Self::Answered { status, .. }
                if *status == StatusCode::BAD_REQUEST
                    || *status == StatusCode::UNPROCESSABLE_ENTITY =>
            {
                Exit::Invalid
            }
            Self::Answered { .. } => Exit::Refused,
            Self::Answer { .. } | Self::Request { .. } => Exit::Failed,
        }
    }

    /// The node does not know what the request is about.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Answered { status: StatusCode::NOT_FOUND, .. })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } => Some(NOT_RUNNING),
            Self::Handshake { source, .. } if tls(source).is_some() => Some(OTHER_CA),
            Self::Exchange { source, .. } if tls(source).is_some() => Some(NOT_LET_IN),
            Self::Handshake { .. } | Self::Exchange { .. } | Self::Stream { .. } => {
                Some(NOT_RUNNING)
            }
            Self::Answer { .. } => Some(
                "the node may run another version: compare `ferrite machine status` and `ferrite --version`",
            ),
            Self::Address { .. } | Self::Credentials(_) => {
                Some("`ferrite cluster up` writes a new context; `ferrite context list` shows all")
            }
            Self::Answered { .. } | Self::Request { .. } | Self::Upload { .. } => None,
        }
    }
}

const NOT_RUNNING: &str = "is it running? `ferrite cluster status` tells, `ferrite cluster up` starts it, \
     `ferrite context list` shows which other nodes are known";
const OTHER_CA: &str = "another node answers at this address, or it was made anew with other certificates: \
     `ferrite context list` shows what is known, `ferrite cluster up` writes a fresh context";
const NOT_LET_IN: &str = "the node does not trust this context's certificate: \
     choose another one with `ferrite context use NAME`";

/// The TLS error inside `error`, if there is one.
fn tls<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error rustls::Error> {
    let mut next: Option<&'error (dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An io::Error hides the error that it wraps: source() skips it.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
