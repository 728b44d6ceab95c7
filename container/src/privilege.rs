//! What the shim is among processes, and what it may do.

use std::io;

use caps::{CapSet, Capability};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

/// The shim could not be set apart from the agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Privilege {
    #[error("start a session")]
    Session(#[source] io::Error),
    #[error("become the reaper of the container's processes")]
    Subreaper(#[source] io::Error),
    #[error("make a mount namespace")]
    MountNamespace(#[source] io::Error),
}

/// Own session (no signal meant for the agent's reaches it), own mount namespace (no mount of a container is
/// ever visible on the node, and all of them vanish with the shim), reaper of what the container leaves.
pub(super) fn separate() -> Result<(), Privilege> {
    nix::unistd::setsid().map_err(|errno| Privilege::Session(errno.into()))?;
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Privilege::Subreaper(errno.into()))?;
    let namespace = |errno: nix::errno::Errno| Privilege::MountNamespace(errno.into());
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(namespace)?;
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(namespace)
}

/// Has the kernel hold this thread to the bounds of what it writes into (a project's quota, and the part of STATE that is kept
/// back for the node) until the guard is dropped.
pub(super) fn keep_to_bounds() -> io::Result<KeptToBounds> {
    caps::drop(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).map_err(io::Error::other)?;
    Ok(KeptToBounds)
}

/// Ends being held to bounds when it is dropped.
#[derive(Debug)]
pub(super) struct KeptToBounds;

impl Drop for KeptToBounds {
    fn drop(&mut self) {
        // Who never had it does not get it.
        drop(caps::raise(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE));
    }
}
