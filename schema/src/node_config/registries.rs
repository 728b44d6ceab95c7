//! `[registries."host[:port]"]`: how a registry is reached and as whom; `[images]`: the store's own settings.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{host, reference};

/// Part of STATE, in percent, that images which nothing uses may not keep from being free.
pub const COLLECT_BELOW_PERCENT: u8 = 15;
/// Part of STATE, in percent, that is free after such images were removed, if there were enough.
pub const COLLECT_UNTIL_PERCENT: u8 = 25;

/// How one registry, or a mirror, is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Hosts, with or without port and path, that are asked before the registry itself, in this order.
    pub mirrors: Vec<String>,
    /// Certificate authorities (PEM) that are trusted for this host beside the system's.
    pub ca: Option<String>,
    /// HTTP without TLS: names, images and passwords go over the network in the open.
    pub plain_http: bool,
    /// User of basic authentication, or of the token service that the registry names.
    pub username: Option<String>,
    /// Their password.
    pub password: Option<Secret>,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// `[images]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// Registry of names without one; Docker Hub where absent.
    pub default_registry: Option<String>,
    /// Images that nothing uses are removed when less than this part of STATE is free; 15 where absent.
    pub collect_below_percent: Option<u8>,
    /// Until this part is free; 25 where absent.
    pub collect_until_percent: Option<u8>,
}

impl RegistryConfig {
    /// Takes from `other`, which is about the same host, what is not said here.
    pub fn complete(&mut self, other: Self) {
        if self.mirrors.is_empty() {
            self.mirrors = other.mirrors;
        }
        self.ca = self.ca.take().or(other.ca);
        self.plain_http |= other.plain_http;
        if self.username.is_none() {
            (self.username, self.password) = (other.username, other.password);
        }
    }

    /// What is wrong with it, as one sentence.
    #[must_use]
    pub fn problem(&self, host: &str) -> Option<String> {
        if !host::is_host(host) {
            return Some(format!(
                "[registries.{host:?}] does not name a host, with or without a port"
            ));
        }
        let bad_mirror = self.mirrors.iter().find(|mirror| {
            let (host, path) = mirror.split_once('/').unwrap_or((mirror, "x"));
            !host::is_host(host) || path.is_empty() || path.contains([' ', '?', '#', '@'])
        });
        if let Some(mirror) = bad_mirror {
            return Some(format!(
                "mirror {mirror:?} of [registries.{host:?}] is not a host with or without port and path"
            ));
        }
        match (&self.username, &self.password) {
            (Some(name), Some(_)) if name.contains(':') => {
                Some(format!("the username of [registries.{host:?}] holds a colon"))
            }
            (Some(_), Some(_)) | (None, None) => None,
            _ => {
                Some(format!("[registries.{host:?}] needs both username and password, or neither"))
            }
        }
    }
}

impl ImagesConfig {
    /// What is wrong with it, as one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self
            .default_registry
            .as_deref()
            .is_some_and(|host| !(host::is_host(host) && reference::is_registry(host)))
        {
            return Some(
                "[images] default_registry is not a host, with or without a port".to_owned(),
            );
        }
        let below = self.collect_below_percent.unwrap_or(COLLECT_BELOW_PERCENT);
        let until = self.collect_until_percent.unwrap_or(COLLECT_UNTIL_PERCENT);
        (below > until || until > 90).then(|| {
            format!("[images] collects below {below} % until {until} % are free: the second must not be less, nor above 90")
        })
    }
}
