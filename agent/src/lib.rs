//! The node's brain: configuration, network, images, units, API; and the shim, which owns one container.

pub mod api;
pub mod config;
pub mod control;
pub mod durable;
pub mod events;
pub mod identity;
pub mod image;
pub mod logs;
pub mod net;
pub mod node;
pub mod oci;
pub mod run;
pub mod shim;
pub mod stats;
pub mod unit;
pub mod volumes;

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // libcontainer's transparent errors repeat what was said already.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
