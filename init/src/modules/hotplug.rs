//! Modules for hardware, present and to come.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::log;
use crate::modules::coldplug;
use crate::modules::loader::{LoadModule, Loader};
use crate::modules::uevent::{Received, Uevent, UeventSocket};

const SYS_DIR: &str = "/sys";
/// Announcements handled per call, so that a storm of them does not hold up the caller's loop.
const BATCH_MAX: usize = 64;

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
        if self.loader.is_empty() {
            return Vec::new();
        }
        coldplug::modaliases(Path::new(SYS_DIR))
            .iter()
            .flat_map(|modalias| self.load_for(modalias))
            .collect()
    }

    /// Takes waiting announcements, loads modules for new devices, and returns the announcements for
    /// whatever else the caller makes of them. Call again while the descriptor is readable.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn handle(&mut self) -> Result<Vec<Uevent>, Errno> {
        let mut uevents = Vec::new();
        while uevents.len() < BATCH_MAX {
            match self.socket.receive()? {
                Received::Nothing => break,
                Received::Lost => {
                    log::warn(format_args!(
                        "device announcements were lost; looking at all devices"
                    ));
                    self.coldplug();
                }
                Received::Uevent(uevent) => {
                    if let Some(modalias) =
                        uevent.modalias.as_deref().filter(|_| uevent.action == "add")
                    {
                        self.load_for(modalias);
                    }
                    uevents.push(uevent);
                }
            }
        }
        Ok(uevents)
    }

    fn load_for(&mut self, modalias: &str) -> Vec<String> {
        let (new, failures) = self.loader.load_for(modalias);
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
    log::warn(format_args!("{}", crate::fatal::chain(failure)));
}
