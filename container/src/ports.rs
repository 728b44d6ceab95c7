//! The node's own ports: no container that shares the node's network can take them, not even for the moment in which
//! the agent is restarted and nobody else has them. A program in the kernel enforces it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferrite_net::ports;
use ferrite_schema::unit::Protocol;
use ferrite_sys::bind_filter::{self, Port};

/// The node's ports could not be kept, so the container that might take them is not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortsProblem {
    #[error("keep the node's ports from a unit with the node's network: control group {} has none above", path.display())]
    NoParent { path: PathBuf },
    #[error("keep the node's ports from a unit with the node's network: forbid them in cgroup {}", path.display())]
    Deny { path: PathBuf, source: io::Error },
}

/// Denies the node's ports to the container in `cgroup`, by the cgroup above: that one is out of the container's
/// sight, so that nothing in it can take the program away or attach one that is asked later. All units share it; the
/// program leaves those with a network of their own alone.
pub(super) fn keep(cgroup: &Path) -> Result<(), PortsProblem> {
    let above = cgroup.parent();
    let above = above.ok_or_else(|| PortsProblem::NoParent { path: cgroup.to_owned() })?;
    let failed = |source| PortsProblem::Deny { path: above.to_owned(), source };
    let ports: Vec<Port> = ports::of_node()
        .map(|(number, protocol)| {
            let protocol = match protocol {
                Protocol::Tcp => bind_filter::Protocol::Tcp,
                Protocol::Udp => bind_filter::Protocol::Udp,
            };
            Port { number, protocol }
        })
        .collect();
    let folder = File::open(above).map_err(failed)?;
    bind_filter::deny(folder.as_fd(), &ports).map_err(|errno| failed(errno.into()))
}
