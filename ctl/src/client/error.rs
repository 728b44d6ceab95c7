//! What can go wrong between this computer and a node.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ferrite_schema::utc;
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
    #[error("reach a node of {node:?}: {}", tried.join("; "))]
    Unreached { node: String, tried: Vec<String> },
    #[error("{act}: no node of {node:?} can answer: {}", tried.join("; "))]
    NoneServes { act: String, node: String, tried: Vec<String> },
    #[error("prove who node {node:?} at {address} is{}", when(source))]
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
            Self::Connect { .. }
            | Self::Deadline { .. }
            | Self::Unreached { .. }
            | Self::NoneServes { .. } => Exit::Unreachable,
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

    /// Nodes have answered, and none of them can for the cluster: it has no quorum, as far as they know.
    #[must_use]
    pub const fn is_unserved(&self) -> bool {
        matches!(
            self,
            Self::NoneServes { .. }
                | Self::Answered { status: StatusCode::SERVICE_UNAVAILABLE, .. }
        )
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::Unreached { .. } => {
                Some(NOT_RUNNING)
            }
            Self::NoneServes { .. } => Some(NO_QUORUM),
            Self::Handshake { source, .. } if !when(source).is_empty() => Some(DATES_HERE),
            Self::Handshake { source, .. } if tls(source).is_some() => Some(OTHER_CA),
            Self::Exchange { source, .. } if is_expired_there(source) => Some(DATES_THERE),
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
const NO_QUORUM: &str = "the cluster answers while most of its members run: `ferrite cluster status` tells which machines do; \
     what runs on them runs on meanwhile";
const OTHER_CA: &str = "another node answers at this address, or it was made anew with other certificates: \
     `ferrite context list` shows what is known, `ferrite cluster up` writes a fresh context";
const DATES_HERE: &str = "either this computer's clock is wrong (`date` shows it), or the node's certificate has to be made \
     anew: give the node another [api] certificate, or make the cluster anew with `ferrite cluster up`";
const DATES_THERE: &str = "to the node this context's certificate is not valid at this time: either the node's clock is wrong \
     (its console says so when it boots; set the machine's hardware clock), or the certificate has ended";
const NOT_LET_IN: &str = "the node does not trust this context's certificate: \
     choose another one with `ferrite context use NAME`";

/// The dates, where a certificate is refused because of them.
fn when(error: &io::Error) -> String {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    let (now, word, bound) = match tls(error) {
        Some(rustls::Error::InvalidCertificate(ExpiredContext { time, not_after })) => {
            (time, "until", not_after)
        }
        Some(rustls::Error::InvalidCertificate(NotValidYetContext { time, not_before })) => {
            (time, "from", not_before)
        }
        Some(_) | None => return String::new(),
    };
    let (now, bound) = (utc::text(now.as_secs()), utc::text(bound.as_secs()));
    format!(": its certificate is valid {word} {bound}, and this computer's clock says {now}")
}

/// The node says that our certificate's time has not come or is over.
fn is_expired_there(error: &(dyn Error + 'static)) -> bool {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    tls(error) == Some(&alert)
}

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

#[cfg(test)]
mod tests {
    use rustls::CertificateError;
    use rustls::pki_types::UnixTime;

    use super::*;

    fn handshake(problem: rustls::Error) -> ClientError {
        ClientError::Handshake {
            node: "dev".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            source: io::Error::other(problem),
        }
    }

    #[test]
    fn a_certificate_out_of_its_time_is_told_with_dates() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (at(1_924_992_000), at(1_790_000_000));
        let late = CertificateError::ExpiredContext { time, not_after };
        let error = handshake(rustls::Error::InvalidCertificate(late));
        let text = error.to_string();
        assert!(text.contains("until 2026-09-21") && text.contains("says 2031-01-01"), "{text}");
        assert_eq!(error.hint(), Some(DATES_HERE));
        let other = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(handshake(other).hint(), Some(OTHER_CA));
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        assert!(is_expired_there(&io::Error::other(alert)));
    }
}
