//! What registries say instead of giving what they are asked for, and how often they are asked again.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::address::{Address, Origin};
use super::http::{Answer, Http};
use super::retry_after::Rest;

/// Largest answer of a token service, and largest error that is read.
pub(super) const SMALL_MAX_BYTES: u64 = 1 << 20;
/// What is shown of an error's text.
const SAID_MAX_CHARS: usize = 300;
/// Tries of one request.
const TRIES_MAX: u32 = 5;
/// First pause before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause. Where a server wants to be left alone for longer, it is not asked again.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// A registry did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Registry {
    /// No answer.
    #[error(transparent)]
    Http(#[from] Http),
    /// It does not have it.
    #[error("find {address}: the registry does not have it{said}")]
    Missing {
        /// What was asked for.
        address: Address,
        /// What it says.
        said: Said,
    },
    /// It wants to know who asks, and the configuration does not say.
    #[error("log in to {origin}: it wants a user and a password; set them in [registries.{:?}] of the node's configuration{said}", origin.authority())]
    NoCredentials {
        /// The server.
        origin: Origin,
        /// What it says.
        said: Said,
    },
    /// It does not like who asks.
    #[error("log in to {origin}: it refuses the user or the password in [registries.{:?}] of the node's configuration{said}", origin.authority())]
    Refused {
        /// The server.
        origin: Origin,
        /// What it says.
        said: Said,
    },
    /// It sends our credentials where they must not go, or nowhere.
    #[error("log in to {origin}: {why}")]
    Challenge {
        /// The server.
        origin: Origin,
        /// Why not.
        why: &'static str,
    },
    /// The token service answers nonsense.
    #[error("read the token from {address}")]
    Token {
        /// The service.
        address: Address,
        /// Why.
        source: serde_json::Error,
    },
    /// Another status.
    #[error("get {address}: the server answers {status}{said}{}", limit(*status, rest.as_ref()))]
    Status {
        /// What was asked for.
        address: Address,
        /// The answer.
        status: StatusCode,
        /// What it says.
        said: Said,
        /// How long it wants to be left alone.
        rest: Option<Rest>,
    },
}

/// A server's own words, cut and without anything that steers a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, " ({})", self.0) }
    }
}

impl Registry {
    /// Trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(Http::Resting { rest, .. }) | Self::Status { rest: Some(rest), .. } => {
                rest.left <= PAUSE_MAX
            }
            Self::Http(error) => error.is_transient(),
            Self::Status { status, rest: None, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::Missing { .. }
            | Self::NoCredentials { .. }
            | Self::Refused { .. }
            | Self::Challenge { .. }
            | Self::Token { .. } => false,
        }
    }

    /// How long to wait before try number `tries`, counted from 1.
    #[must_use]
    pub fn pause(&self, tries: u32) -> Duration {
        let asked = match self {
            Self::Http(Http::Resting { rest, .. }) | Self::Status { rest: Some(rest), .. } => {
                rest.left
            }
            _ => Duration::ZERO,
        };
        let own = PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16));
        asked.max(own).min(PAUSE_MAX)
    }
}

/// Runs `work` until it succeeds, fails for good, or was tried often enough.
///
/// # Errors
/// The last one.
pub async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T, Registry>
where
    F: Future<Output = Result<T, Registry>>,
{
    let mut tries = 1;
    loop {
        match work().await {
            Err(error) if error.is_transient() && tries < TRIES_MAX => {
                tracing::info!(
                    error = ferrite_schema::chain(&error),
                    tries,
                    "registry-tried-again"
                );
                tokio::time::sleep(error.pause(tries)).await;
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Passes answers with the wanted thing in them.
pub(super) async fn good(answer: Answer) -> Result<Answer, Registry> {
    let (status, address, rest) = (answer.status, answer.address.clone(), answer.rest);
    if status.is_success() {
        return Ok(answer);
    }
    let said = said(answer).await;
    Err(match status {
        StatusCode::NOT_FOUND => Registry::Missing { address, said },
        _ => Registry::Status { address, status, said, rest },
    })
}

/// The rest of a sentence about a status that means a limit.
fn limit(status: StatusCode, rest: Option<&Rest>) -> String {
    match rest.filter(|rest| !rest.left.is_zero()) {
        Some(rest) => format!(": {rest}"),
        None if status == StatusCode::TOO_MANY_REQUESTS => ": its rate limit is reached".to_owned(),
        None => String::new(),
    }
}

#[derive(Debug, Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Debug, Deserialize)]
struct OneError {
    #[serde(default)]
    message: String,
}

pub(super) async fn said(answer: Answer) -> Said {
    // What cannot be read is not shown: the status says enough.
    let bytes = answer.bytes(SMALL_MAX_BYTES).await.unwrap_or_default();
    let Ok(errors) = serde_json::from_slice::<Errors>(&bytes) else { return Said::default() };
    let text = errors.errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; ");
    Said(text.chars().filter(|c| !c.is_control()).take(SAID_MAX_CHARS).collect())
}
