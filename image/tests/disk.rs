//! Disk images, judged by other people's tools. A small layout and a made-up kernel keep this to seconds.

// The attribute tells clippy what everything in this folder is.
#[cfg(test)]
#[path = "disk/corruption.rs"]
mod corruption;
#[cfg(test)]
#[path = "disk/fixture.rs"]
mod fixture;
#[cfg(test)]
#[path = "disk/foreign_tools.rs"]
mod foreign_tools;
#[cfg(test)]
#[path = "disk/refusals.rs"]
mod refusals;
#[cfg(test)]
#[path = "disk/sectors.rs"]
mod sectors;
#[cfg(test)]
#[path = "disk/staging.rs"]
mod staging;
