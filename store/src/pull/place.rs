//! One place that has an image: a registry or a mirror of it, with the credentials meant for it alone.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_schema::host;
use ferrite_schema::reference::{DOCKER_HUB, Reference};
use hyper::StatusCode;
use hyper::header;
use serde::Deserialize;

use super::address::{Address, Origin};
use super::challenge::{self, Challenge};
use super::http::{Answer, Ask, Client, Known};
use super::registry::{Registry, SMALL_MAX_BYTES, Said, good, said};
use super::trust::Trust;

/// Where Docker Hub's registry really is.
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";
/// Most servers that want to be convinced before one request is answered: the place, and whom it sends us to.
const CONVINCED_MAX: usize = 3;

/// A place that may have an image.
#[derive(Debug, Clone)]
pub struct Place {
    client: Client,
    trust: Arc<Trust>,
    origin: Origin,
    /// `/v2/…/repository`
    base: String,
    /// What convinced it, and other servers that it sent us to.
    known: Arc<Mutex<Known>>,
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
            known: Arc::default(),
        })
    };
    mirrors.iter().map(String::as_str).chain([reference.registry()]).filter_map(place).collect()
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Place {
    /// The server.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What [`Place::get`] is to be asked for, to get what is at this address; nothing where that is elsewhere.
    #[must_use]
    pub fn within(&self, address: &Address) -> Option<String> {
        let path = address.path.strip_prefix(&self.base)?.strip_prefix('/')?;
        (address.origin == self.origin).then(|| path.to_owned())
    }

    /// Asks for `manifests/…` or `blobs/…`. Each server on the way that wants to know who asks is convinced once, by what is
    /// meant for it; a refused token is fetched anew.
    ///
    /// # Errors
    /// The answer is not a good one.
    pub async fn get(&self, what: &str, accept: &str, from_byte: u64) -> Result<Answer, Registry> {
        self.ask(what, accept, (false, from_byte)).await
    }

    /// As [`Self::get`], for what stands before the content alone.
    ///
    /// # Errors
    /// The answer is not a good one.
    pub async fn head(&self, what: &str, accept: &str) -> Result<Answer, Registry> {
        self.ask(what, accept, (true, 0)).await
    }

    async fn ask(
        &self,
        what: &str,
        accept: &str,
        (head, from_byte): (bool, u64),
    ) -> Result<Answer, Registry> {
        let address =
            Address { origin: self.origin.clone(), path: format!("{}/{what}", self.base) };
        let mut convinced = Vec::new();
        loop {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let ask = Ask { address: address.clone(), accept, head, from_byte, known: &known };
            let answer = self.client.get(ask).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return good(answer).await;
            }
            let asking = Asking { place: self, at: answer.address.clone() };
            let challenges: Vec<Challenge> = answer
                .headers
                .get_all(header::WWW_AUTHENTICATE)
                .iter()
                .filter_map(|value| challenge::parse(value.to_str().ok()?))
                .collect();
            let said = said(answer).await;
            let origin = &asking.at.origin;
            if convinced.contains(origin) || convinced.len() >= CONVINCED_MAX {
                return Err(asking.refused(said));
            }
            let had_known = known.contains_key(origin);
            let words = asking.convince(&challenges, said, had_known).await?;
            convinced.push(origin.clone());
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(origin.clone(), words);
        }
    }
}

/// A server that wants to know who asks.
struct Asking<'a> {
    place: &'a Place,
    /// What it was asked for.
    at: Address,
}

impl Asking<'_> {
    fn refused(&self, said: Said) -> Registry {
        let origin = self.at.origin.clone();
        match self.credentials() {
            Some(_) => Registry::Refused { origin, said },
            None => Registry::NoCredentials { origin, said },
        }
    }

    fn unusable(&self, why: &'static str) -> Registry {
        Registry::Challenge { origin: self.at.origin.clone(), why }
    }

    /// `Authorization` of the user who is configured for this server.
    fn credentials(&self) -> Option<String> {
        let config = self.place.trust.server(&self.at.origin)?;
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
                let own = repository(&self.at.path).map(|name| format!("repository:{name}:pull"));
                let named = scope.as_deref().filter(|scope| !scope.trim().is_empty());
                let scope = named.or(own.as_deref());
                let address = challenge::token_address(realm, service.as_deref(), scope)
                    .ok_or_else(|| self.unusable("its token service has no address"))?;
                self.token(address).await
            }
            Some(Challenge::Basic) if had_known => Err(self.refused(said)),
            Some(Challenge::Basic) => self.credentials().ok_or_else(|| self.refused(said)),
            None => Err(self.unusable("it names no way to do so that is known here")),
        }
    }

    async fn token(&self, address: Address) -> Result<String, Registry> {
        // A registry with TLS must not have its users' passwords sent in the open; the client refuses plain HTTP to
        // hosts where the configuration does not allow it.
        if self.at.origin.secure && !address.origin.secure {
            return Err(self.unusable("its token service is not reached by TLS"));
        }
        let known = self.credentials().map(|words| (address.origin.clone(), words));
        let known = known.into_iter().collect();
        let ask =
            Ask { address: address.clone(), accept: "", head: false, from_byte: 0, known: &known };
        let answer = self.place.client.get(ask).await?;
        // One that limits by 403 says for how long.
        if matches!(answer.status.as_u16(), 400 | 401 | 403) && answer.rest.is_none() {
            return Err(self.refused(said(answer).await));
        }
        let bytes = good(answer).await?.bytes(SMALL_MAX_BYTES).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|source| Registry::Token { address: address.clone(), source })?;
        // Services that give both may leave either of them empty.
        let token =
            [token.token, token.access_token].into_iter().flatten().find(|one| is_token(one));
        match token {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(self.unusable("its token service answers without a token")),
        }
    }
}

/// A token goes into a header: nothing in it may end the line.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The repository that a path of a registry is about.
fn repository(path: &str) -> Option<&str> {
    let path = path.split('?').next()?.strip_prefix("/v2/")?;
    let ends = ["/manifests/", "/blobs/", "/referrers/"];
    let end = ends.iter().filter_map(|word| path.rfind(word)).max()?;
    path.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_is_not_named_is_that_of_the_path() {
        for (path, expected) in [
            ("/v2/team/app/manifests/1", Some("team/app")),
            ("/v2/team/app/blobs/sha256:00?x=/manifests/1", Some("team/app")),
            ("/v2/blobs/manifests/blobs/sha256:00", Some("blobs/manifests")),
            ("/v2/a/referrers/sha256:00", Some("a")),
            ("/v2/", None),
            ("/bucket/blobs/1", None),
        ] {
            assert_eq!(repository(path), expected, "{path}");
        }
    }
}
