//! Kernel modules: by name, by what a device says it is, and by what the kernel asks for.
//!
//! A kernel without modules has no `/lib/modules/RELEASE`; then there is nothing to load and nothing fails.

pub mod autoload;
pub mod coldplug;
pub mod glob;
pub mod hotplug;
pub mod index;
pub mod loader;
pub mod uevent;
pub mod urgency;

pub use hotplug::{Announcements, Hotplug};
pub use loader::{Loader, Probe};
pub use urgency::Urgency;
