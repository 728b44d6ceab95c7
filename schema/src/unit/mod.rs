//! Units: the containers that a user asks for.

mod bad_value;
mod bytes;
mod check;
mod container;
mod container_check;
pub mod cron;
mod definition;
mod life;
mod life_check;
pub mod names;
mod network;
mod place;
mod placement;
mod placement_check;
mod secret;
pub mod template;

pub use bad_value::BadValue;
pub use bytes::Bytes;
pub use check::check;
pub use container::{Capabilities, Port, Protocol, Resources, Ulimit, Volume, VolumeSource};
pub use definition::{PullPolicy, RestartPolicy, Unit};
pub use life::{Health, Probe, StartLimit, Timer};
pub use network::NetworkMode;
pub use placement::{OnLoss, Placement, REPLICAS_MAX};
pub use secret::{PlacedSecret, SECRETS_FOLDER, SecretFile};

use crate::document::{self, Problem};

/// Parses a unit.
///
/// # Errors
/// The first problem of the document.
pub fn parse(text: &str) -> Result<Unit, Problem> {
    let unit: Unit = document::parse(text)?;
    check(&unit)
        .map_err(|bad| Problem::at(text, place::offset(text, &bad.path), bad.to_string()))?;
    Ok(unit)
}

/// A template's instance called `name`.
///
/// # Errors
/// A value has an unknown specifier, or is bad with this name in it.
pub fn instance(template: &Unit, name: &str) -> Result<Unit, BadValue> {
    let unit = template::expanded(template, name)?;
    check(&unit)?;
    Ok(unit)
}

#[cfg(test)]
mod tests;
