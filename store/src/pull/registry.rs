//! One place that has an image: a registry or a mirror of it, with the credentials meant for it alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_schema::host;
use ferrite_schema::reference::{DOCKER_HUB, Reference};
use hyper::StatusCode;
use hyper::header;
use serde::Deserialize;

use super::address::{Address, Origin};
use super::challenge::{self, Challenge};
use super::http::{Answer, Ask, Client, Http};
use super::trust::Trust;

/// Where Docker Hub's registry really is.
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";
/// Largest answer of a token service, and largest error that is read.
const SMALL_MAX_BYTES: u64 = 1 << 20;
/// What is shown of an error's text.
const SAID_MAX_CHARS: usize = 300;
/// Tries of one request.
const TRIES_MAX: u32 = 5;
/// First pause before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause, also where the server asks for more.
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
    #[error("get {address}: the server answers {status}{said}")]
    Status {
        /// What was asked for.
        address: Address,
        /// The answer.
        status: StatusCode,
        /// What it says.
        said: Said,
        /// How long it wants to be left alone.
        after: Option<Duration>,
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
            Self::Http(error) => error.is_transient(),
            Self::Status { status, .. } => {
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
            Self::Status { after, .. } => *after,
            _ => None,
        };
        let own = PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16));
        asked.unwrap_or(own).min(PAUSE_MAX)
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

/// A place that may have an image.
#[derive(Debug, Clone)]
pub struct Place {
    client: Client,
    trust: Arc<Trust>,
    origin: Origin,
    /// `/v2/…/repository`
    base: String,
    repository: String,
    authorization: Arc<Mutex<Option<String>>>,
}

/// The places that may have an image: mirrors first, as the configuration orders them, the registry last.
#[must_use]
pub fn places(reference: &Reference, client: &Client, trust: &Arc<Trust>) -> Vec<Place> {
    let config = trust.host(reference.registry());
    let mirrors = config.map(|config| config.mirrors.clone()).unwrap_or_default();
    let place = |text: &str| {
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        let plain = trust.host(host).is_some_and(|config| config.plain_http);
        // Docker Hub's server has another name than its images.
        let host = match host::canonical(host)? {
            hub if hub == DOCKER_HUB => DOCKER_HUB_SERVER.to_owned(),
            other => other,
        };
        let prefix = prefix.trim_matches('/');
        let repository = if prefix.is_empty() {
            reference.repository().to_owned()
        } else {
            format!("{prefix}/{}", reference.repository())
        };
        Some(Place {
            client: client.clone(),
            trust: Arc::clone(trust),
            origin: Origin::of(&host, !plain)?,
            base: format!("/v2/{repository}"),
            repository,
            authorization: Arc::default(),
        })
    };
    mirrors.iter().map(String::as_str).chain([reference.registry()]).filter_map(place).collect()
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
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

impl Place {
    /// The server.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Asks for `manifests/…` or `blobs/…`; a refused token is fetched anew once.
    ///
    /// # Errors
    /// The answer is not a good one.
    pub async fn get(&self, what: &str, accept: &str, from_byte: u64) -> Result<Answer, Registry> {
        let address =
            Address { origin: self.origin.clone(), path: format!("{}/{what}", self.base) };
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let had_known = known.is_some();
        let ask =
            |authorization| Ask { address: address.clone(), accept, from_byte, authorization };
        let answer = self.client.get(ask(known)).await?;
        // Whoever we were sent to knows nothing of the registry's users.
        if answer.status != StatusCode::UNAUTHORIZED || answer.address.origin != self.origin {
            return good(answer).await;
        }
        let challenges: Vec<Challenge> = answer
            .headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| challenge::parse(value.to_str().ok()?))
            .collect();
        let said = said(answer).await;
        let authorization = self.convince(&challenges, said.clone(), had_known).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(authorization.clone());
        let answer = self.client.get(ask(Some(authorization))).await?;
        if answer.status == StatusCode::UNAUTHORIZED && answer.address.origin == self.origin {
            return Err(self.refused(said));
        }
        good(answer).await
    }

    fn refused(&self, said: Said) -> Registry {
        let origin = self.origin.clone();
        match self.credentials() {
            Some(_) => Registry::Refused { origin, said },
            None => Registry::NoCredentials { origin, said },
        }
    }

    /// `Authorization` of the configured user.
    fn credentials(&self) -> Option<String> {
        let config = self.trust.server(&self.origin)?;
        let (user, password) = (config.username.as_ref()?, config.password.as_ref()?);
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.0))))
    }

    async fn convince(
        &self,
        challenges: &[Challenge],
        said: Said,
        had_known: bool,
    ) -> Result<String, Registry> {
        let bearer = challenges.iter().find(|one| matches!(one, Challenge::Bearer { .. }));
        match bearer.or(challenges.first()) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let own = format!("repository:{}:pull", self.repository);
                let scope = scope.as_deref().unwrap_or(&own);
                let unusable = |why| Registry::Challenge { origin: self.origin.clone(), why };
                let address = challenge::token_address(realm, service.as_deref(), scope)
                    .ok_or_else(|| unusable("its token service has no address"))?;
                self.token(address).await
            }
            Some(Challenge::Basic) if had_known => Err(self.refused(said)),
            Some(Challenge::Basic) => self.credentials().ok_or_else(|| self.refused(said)),
            None => Err(Registry::Challenge {
                origin: self.origin.clone(),
                why: "it names no way to do so that is known here",
            }),
        }
    }

    async fn token(&self, address: Address) -> Result<String, Registry> {
        // A registry with TLS must not have its users' passwords sent in the open; the client refuses plain HTTP to
        // hosts where the configuration does not allow it.
        if self.origin.secure && !address.origin.secure {
            let why = "its token service is not reached by TLS";
            return Err(Registry::Challenge { origin: self.origin.clone(), why });
        }
        let authorization = self.credentials();
        let ask = Ask { address: address.clone(), accept: "", from_byte: 0, authorization };
        let answer = self.client.get(ask).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            return Err(self.refused(said(answer).await));
        }
        let bytes = good(answer).await?.bytes(SMALL_MAX_BYTES).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|source| Registry::Token { address: address.clone(), source })?;
        match token.token.or(token.access_token).filter(|token| is_token(token)) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(Registry::Challenge {
                origin: self.origin.clone(),
                why: "its token service answers without a token",
            }),
        }
    }
}

/// A token goes into a header: nothing in it may end the line.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Passes answers with the wanted thing in them.
async fn good(answer: Answer) -> Result<Answer, Registry> {
    let (status, address) = (answer.status, answer.address.clone());
    if status.is_success() {
        return Ok(answer);
    }
    let after = answer
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let said = said(answer).await;
    Err(match status {
        StatusCode::NOT_FOUND => Registry::Missing { address, said },
        _ => Registry::Status { address, status, said, after },
    })
}

async fn said(answer: Answer) -> Said {
    // What cannot be read is not shown: the status says enough.
    let bytes = answer.bytes(SMALL_MAX_BYTES).await.unwrap_or_default();
    let Ok(errors) = serde_json::from_slice::<Errors>(&bytes) else { return Said::default() };
    let text = errors.errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; ");
    Said(text.chars().filter(|c| !c.is_control()).take(SAID_MAX_CHARS).collect())
}
