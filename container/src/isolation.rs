//! Everything that sets a container apart, put together: owners, root, volumes, secrets, bounds, devices, specification.

use std::path::{Path, PathBuf};

use ferrite_schema::shim::{Network, Request};
use libcontainer::oci_spec::runtime::Spec;

use super::devices::{self, DevicesProblem};
use super::inside::{self, Missing, Root};
use super::joined::{self, JoinProblem};
use super::limits::{self, LimitsProblem};
use super::owners::{Ids, Owners, OwnersProblem};
use super::ports::{self, PortsProblem};
use super::resources::{self, ResourcesProblem};
use super::rootfs::{self, Rootfs};
use super::secrets::{self, SecretsProblem};
use super::spec::{self, Found, SpecProblem};
use super::volumes::{self, VolumeProblem};

/// A container could not be set apart as it was asked for, and so is not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum IsolationProblem {
    #[error(transparent)]
    Join(#[from] JoinProblem),
    #[error(transparent)]
    Owners(#[from] OwnersProblem),
    #[error(transparent)]
    Rootfs(#[from] Rootfs),
    #[error(transparent)]
    Volume(#[from] VolumeProblem),
    #[error(transparent)]
    Secrets(#[from] SecretsProblem),
    #[error("mount on /{name}: find the image's folder there, or make it")]
    NoFolder { name: &'static str, source: std::io::Error },
    #[error("make the working directory {path} in the image")]
    WorkingDirectory { path: String, source: std::io::Error },
    #[error(transparent)]
    Resources(#[from] ResourcesProblem),
    #[error(transparent)]
    Devices(#[from] DevicesProblem),
    #[error(transparent)]
    Ports(#[from] PortsProblem),
    #[error(transparent)]
    Limits(#[from] LimitsProblem),
    #[error(transparent)]
    Spec(#[from] SpecProblem),
}

/// What a container is created from.
#[derive(Debug)]
pub(super) struct Isolated {
    /// For libcontainer.
    pub(super) spec: Spec,
    /// Its user namespace, which the specification names by this process's descriptor.
    pub(super) owners: Owners,
}

/// Makes the container's root, volumes and cgroup, in this process's mount namespace, and says the rest in the
/// specification.
pub(super) fn prepare(request: &Request, folder: &Path) -> Result<Isolated, IsolationProblem> {
    limits::allow(&request.ulimits)?;
    let owners = match &request.network {
        Network::Unit(shared) => Owners::of(request.ids, joined::join(shared)?),
        Network::Host | Network::None | Network::Bridge(_) => Owners::new(Ids::of(request))?,
    };
    let root = rootfs::mount(request, &owners, folder)?;
    check_own_folders(&owners, &root)?;
    volumes::mount((&request.mounts, &request.resources), &owners, &root)?;
    let user = spec::user(request, &root, &owners)?;
    secrets::mount(request, (&owners, &user), &root, folder)?;
    make_working_directory(request, &owners, &root)?;
    let cgroup: PathBuf =
        resources::apply(&request.cgroup, &request.resources, !request.privileged)?;
    if matches!(request.network, Network::Host) && !request.node_ports {
        ports::keep(&cgroup)?;
    }
    let mut found = Found { root, user, user_namespace: owners.namespace(), ..Found::default() };
    if request.privileged {
        found.devices = devices::described(&devices::all()?)?;
    } else {
        let named = devices::named(&request.devices)?;
        devices::restrict(&cgroup, &named)?;
        found.mounts = devices::nodes(&named, &owners)?;
    }
    let spec = spec::build(request, found)?;
    Ok(Isolated { spec, owners })
}

/// Where the image has links in the place of these, what is mounted there would land elsewhere.
fn check_own_folders(owners: &Owners, root: &Path) -> Result<(), IsolationProblem> {
    let _acting = owners.act_as_root();
    for name in ["dev", "proc", "sys"] {
        Root::open(root)
            .and_then(|root| root.own_folder(name))
            .map_err(|source| IsolationProblem::NoFolder { name, source })?;
    }
    Ok(())
}

/// Images may name a working directory that they do not hold.
fn make_working_directory(
    request: &Request,
    owners: &Owners,
    root: &Path,
) -> Result<(), IsolationProblem> {
    let failed = |source| IsolationProblem::WorkingDirectory { path: request.cwd.clone(), source };
    let opened = Root::open(root).map_err(failed)?;
    let _acting = owners.act_as_root();
    let place = opened.place(&request.cwd, Missing::Folder).map_err(failed)?;
    let is_folder = inside::is_folder(&place).map_err(failed)?;
    if is_folder { Ok(()) } else { Err(failed(std::io::ErrorKind::NotADirectory.into())) }
}
