//! Modules for hardware, present and to come.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::log;
use crate::modules::coldplug;
use crate::modules::loader::{LoadModule, Loader};
use crate::modules::uevent::{Received, Uevent, UeventSocket};
use crate::modules::urgency::Urgency;

const SYS_DIR: &str = "/sys";
/// Announcements handled per call, so that a storm of them does not hold up the caller's loop.
const BATCH_MAX: usize = 64;

/// What the kernel announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcements {
    /// In their order.
    pub uevents: Vec<Uevent>,
    /// Some were lost: whoever waits for a device must look for it.
    pub lost: bool,
}

/// Loads modules as devices are announced. Poll [`Hotplug::as_fd`] for reading and call [`Hotplug::handle`].
#[derive(Debug)]
pub struct Hotplug {
    socket: UeventSocket,
    loader: Loader,
}

impl Hotplug {
    /// Subscribes to the kernel's announcements. Nothing is loaded yet: see [`Hotplug::coldplug`].
    ///
    /// # Errors
    /// The kernel does not let us subscribe.
    pub fn open(loader: Loader) -> Result<Self, Errno> {
        Ok(Self { socket: UeventSocket::open()?, loader })
    }

    /// The modules themselves.
    pub fn loader(&mut self) -> &mut Loader {
        &mut self.loader
    }

    /// Loads modules for all hardware that is there; returns the names of what was new. Devices that
    /// these modules bring up are announced, so [`Hotplug::handle`] does the rest.
    pub fn coldplug(&mut self) -> Vec<String> {
        self.load_urgent(&Self::devices(), |_| true)
    }

    /// What the devices that are there say they are.
    #[must_use]
    pub fn devices() -> BTreeSet<String> {
        coldplug::modaliases(Path::new(SYS_DIR))
    }

    /// Loads those modules for `devices` that somebody waits for whom `wanted` names; returns the names of what was new.
    pub fn load_urgent(
        &mut self,
        devices: &BTreeSet<String>,
        wanted: impl Fn(Urgency) -> bool,
    ) -> Vec<String> {
        if self.loader.is_empty() {
            return Vec::new();
        }
        devices.iter().flat_map(|modalias| self.load_for(modalias, &wanted)).collect()
    }

    /// Takes waiting announcements, loads modules for new devices, and returns the announcements for
    /// whatever else the caller makes of them. Call again while the descriptor is readable.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn handle(&mut self) -> Result<Announcements, Errno> {
        let mut announcements = Announcements::default();
        while announcements.uevents.len() < BATCH_MAX {
            match self.socket.receive()? {
                Received::Nothing => break,
                Received::Lost => {
                    log::warn(format_args!(
                        "device announcements were lost; looking at all devices"
                    ));
                    announcements.lost = true;
                    self.coldplug();
                }
                Received::Uevent(uevent) => {
                    if let Some(modalias) =
                        uevent.modalias.as_deref().filter(|_| uevent.action == "add")
                    {
                        self.load_for(modalias, |_| true);
                    }
                    announcements.uevents.push(uevent);
                }
            }
        }
        Ok(announcements)
    }

    fn load_for(&mut self, modalias: &str, wanted: impl Fn(Urgency) -> bool) -> Vec<String> {
        let (new, failures) = self.loader.load_urgent_for(modalias, wanted);
        for failure in &failures {
            warn(failure);
        }
        new
    }
}

impl AsFd for Hotplug {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn warn(failure: &LoadModule) {
    log::warn(format_args!("{}", ferrite_schema::chain(failure)));
}
