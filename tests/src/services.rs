//! Container images of real services, made from Debian's packages by other people's tools.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::programs::{artifacts, checkout, succeed};

static MAKING: Mutex<()> = Mutex::new(());

/// A service that Debian packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A web server, on port 8080, with busybox for its health check.
    Nginx,
    /// A database in memory with an append-only file in `/data`, on port 6379.
    Redis,
    /// A language.
    Python3,
}

impl Service {
    /// Name of the image.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Redis => "redis",
            Self::Python3 => "python3",
        }
    }
}

/// An OCI archive with the service.
///
/// # Errors
/// `scripts/service-image` fails.
pub fn archive(service: Service) -> Result<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = artifacts()?.join("services").join(format!("{}.tar", service.name()));
    let mut make = Command::new(checkout().join("scripts/service-image"));
    succeed(make.arg(service.name()).arg(&path).current_dir(checkout()))?;
    Ok(path)
}
