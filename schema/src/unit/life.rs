//! What a unit says about its life: how often it is started, when, and how to see that it is well.

use serde::{Deserialize, Serialize};

/// Bounds how often a unit is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StartLimit {
    /// Most starts…
    pub starts: u32,
    /// … within this many seconds; within its whole life where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u32>,
}

/// When a unit is started by itself. Exactly one of `every_s` and `cron`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Timer {
    /// Seconds from one start to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u32>,
    /// Five fields as in `crontab(5)`, in UTC: `"0 3 * * *"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
}

/// How to see that a unit does its work. Exactly one of `exec`, `http` and `tcp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// A command in the container; well is status 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Port and path in the container, `":8080/healthz"`; well is a status of 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A port in the container; well is that it accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// Seconds after the start in which failures do not count.
    #[serde(default)]
    pub start_period_s: u32,
    /// Seconds from one check to the next.
    #[serde(default = "default_interval_s")]
    pub interval_s: u32,
    /// Seconds that a check may take.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u32,
    /// Failures in a row that make it unhealthy; its container is then stopped and the restart policy decides.
    #[serde(default = "default_retries")]
    pub retries: u32,
}

const fn default_interval_s() -> u32 {
    10
}

const fn default_timeout_s() -> u32 {
    5
}

const fn default_retries() -> u32 {
    3
}

/// What a health check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<'a> {
    /// Runs a command in the container.
    Exec(&'a [String]),
    /// Asks for a path.
    Http {
        /// Port in the container.
        port: u16,
        /// Path and query, with the leading `/`.
        path: &'a str,
    },
    /// Connects.
    Tcp(u16),
}

impl Health {
    /// What it does, where exactly one kind is given and well-formed.
    #[must_use]
    pub fn probe(&self) -> Option<Probe<'_>> {
        match (&self.exec, &self.http, self.tcp) {
            (Some(command), None, None) if !command.is_empty() => Some(Probe::Exec(command)),
            (None, Some(http), None) => {
                let rest = http.strip_prefix(':')?;
                let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                Some(Probe::Http {
                    port: port.parse().ok()?,
                    path: if path.is_empty() { "/" } else { path },
                })
            }
            (None, None, Some(port)) => Some(Probe::Tcp(port)),
            _ => None,
        }
    }
}
