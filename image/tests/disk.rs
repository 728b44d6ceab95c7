//! Disk images, judged by other people's tools. A small layout and a made-up kernel keep this to seconds.

#[path = "disk/corruption.rs"]
mod corruption;
#[path = "disk/fixture.rs"]
mod fixture;
#[path = "disk/foreign_tools.rs"]
mod foreign_tools;
