//! The OCI runtime specification of a container: isolated unless the unit says otherwise.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ferrite_schema::shim::{Network, Request};
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDevice,
    LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder, get_default_maskedpaths, get_default_mounts,
    get_default_readonly_paths,
};

use super::limits::{self, LimitsProblem};
use super::owners::Owners;
use super::user::{self, User, UserProblem};
use super::{seccomp, volumes};

/// Where programs are looked for when neither image nor unit says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Beyond the runtime specification's own list.
const MASKED: [&str; 4] =
    ["/proc/interrupts", "/sys/devices/virtual/powercap", "/proc/kallsyms", "/proc/modules"];

/// A specification could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpecProblem {
    #[error("run unit {unit}: neither it nor its image says which program")]
    NoProgram { unit: String },
    #[error("give the unit capability {name}: there is none of that name")]
    Capability { name: String },
    #[error(
        "run as user or group {id}: the unit has 0 to 65535, those whose files its image has, and those that `user` names by number; write {id} there"
    )]
    NoSuchId { id: u32 },
    #[error(transparent)]
    User(#[from] UserProblem),
    #[error(transparent)]
    Limits(#[from] LimitsProblem),
    #[error("make the container's specification")]
    Build(#[from] OciSpecError),
}

/// What was made for the container before it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its root, mounted.
    pub(super) root: PathBuf,
    /// Whom its program runs as.
    pub(super) user: User,
    /// Its user namespace, where it has one of its own.
    pub(super) user_namespace: Option<PathBuf>,
    /// Mounts that come after the runtime's own.
    pub(super) mounts: Vec<Mount>,
    /// Devices that the runtime makes nodes for.
    pub(super) devices: Vec<LinuxDevice>,
}

/// Finds whom the program runs as in the container's own files; he is one whom the container has.
pub(super) fn user(request: &Request, root: &Path, owners: &Owners) -> Result<User, SpecProblem> {
    let user = user::find(&request.user, root)?;
    for id in [user.uid, user.gid].iter().chain(&user.groups) {
        if owners.outside(*id).is_none() {
            return Err(SpecProblem::NoSuchId { id: *id });
        }
    }
    Ok(user)
}

/// Makes the specification of the container that is asked for.
pub(super) fn build(request: &Request, found: Found) -> Result<Spec, SpecProblem> {
    if request.args.first().is_none_or(String::is_empty) {
        return Err(SpecProblem::NoProgram { unit: request.unit.clone() });
    }
    let capabilities = capabilities(request)?;
    let mut mounts = mounts(request)?;
    mounts.extend(found.mounts);
    let root = RootBuilder::default().path(found.root).readonly(request.read_only_root).build()?;
    let linux = linux(request, &capabilities, found.user_namespace, found.devices)?;
    Ok(SpecBuilder::default()
        .version("1.2.0")
        .hostname(&request.hostname)
        .root(root)
        .mounts(mounts)
        .process(process(request, &found.user, &capabilities)?)
        .linux(linux)
        .build()?)
}

fn process(
    request: &Request,
    user: &User,
    capabilities: &[Capability],
) -> Result<Process, SpecProblem> {
    let env = environment(&request.env, &request.hostname, user);
    let identity =
        UserBuilder::default().uid(user.uid).gid(user.gid).additional_gids(user.groups.clone());
    Ok(ProcessBuilder::default()
        .terminal(request.tty)
        .user(identity.build()?)
        .args(request.args.clone())
        .env(env)
        .cwd(PathBuf::from(&request.cwd))
        .capabilities(sets(capabilities)?)
        .no_new_privileges(!request.privileged)
        .rlimits(limits::limits(&request.ulimits)?)
        .oom_score_adj(0)
        .build()?)
}

/// `HOME` is always there: without it, code of the image would run inside the runtime to look it up.
fn environment(asked: &BTreeMap<String, String>, hostname: &str, user: &User) -> Vec<String> {
    let mut all = asked.clone();
    let mut default = |name: &str, value: &str| {
        let slot = all.entry(name.to_owned()).or_default();
        if slot.is_empty() {
            value.clone_into(slot);
        }
    };
    default("PATH", DEFAULT_PATH);
    default("HOME", user.home.as_deref().unwrap_or("/"));
    default("HOSTNAME", hostname);
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn capabilities(request: &Request) -> Result<Vec<Capability>, SpecProblem> {
    let parse = |name: &String| {
        name.parse().map_err(|_unknown| SpecProblem::Capability { name: name.clone() })
    };
    request.capabilities.iter().map(parse).collect()
}

/// Nothing is inheritable: a program that is no root's gets nothing by being executed.
fn sets(capabilities: &[Capability]) -> Result<LinuxCapabilities, OciSpecError> {
    let all: HashSet<Capability> = capabilities.iter().copied().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .permitted(all)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
}

fn mounts(request: &Request) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = get_default_mounts();
    let host_network = matches!(request.network, Network::Host);
    let shared_memory = volumes::shared_memory(&request.mounts);
    for mount in &mut mounts {
        let kernel = ["nosuid", "noexec", "nodev"];
        let change = match mount.destination().to_string_lossy().as_ref() {
            "/proc" => Some(("proc", "proc", kernel.to_vec())),
            // The kernel shows the network's part of /sys only to the owner of the network.
            "/sys" if host_network && request.ids.is_some() => {
                Some(("bind", "/sys", [&["rbind", "rro"], &kernel[..]].concat()))
            }
            "/sys" if request.privileged => Some(("sysfs", "sysfs", kernel.to_vec())),
            "/sys/fs/cgroup" if request.privileged => Some(("cgroup", "cgroup", kernel.to_vec())),
            _ => None,
        };
        if let Some((kind, source, options)) = change {
            let options: Vec<String> = options.into_iter().map(str::to_owned).collect();
            let changed = MountBuilder::default().destination(mount.destination().clone());
            *mount = changed.typ(kind).source(source).options(options).build()?;
        }
        if mount.destination() == Path::new(volumes::SHARED_MEMORY)
            && let Some(bytes) = shared_memory
        {
            let mut options = mount.options().clone().unwrap_or_default();
            options.retain(|option| !option.starts_with("size="));
            options.push(format!("size={bytes}"));
            mount.set_options(Some(options));
        }
    }
    Ok(mounts)
}

fn linux(
    request: &Request,
    capabilities: &[Capability],
    user_namespace: Option<PathBuf>,
    devices: Vec<LinuxDevice>,
) -> Result<Linux, OciSpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    // One that is shared is where this process is already.
    if !matches!(request.network, Network::Host | Network::Unit(_)) {
        kinds.push(LinuxNamespaceType::Network);
    }
    let mut namespaces = Vec::new();
    for kind in kinds {
        namespaces.push(LinuxNamespaceBuilder::default().typ(kind).build()?);
    }
    if let Some(path) = user_namespace {
        let user = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::User).path(path);
        namespaces.push(user.build()?);
    }
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(PathBuf::from(&request.cgroup))
        .devices(devices)
        .sysctl(limits::parameters(request));
    if request.privileged {
        return linux.masked_paths(Vec::new()).readonly_paths(Vec::new()).build();
    }
    let mut masked = get_default_maskedpaths();
    masked.extend(MASKED.map(str::to_owned));
    linux
        .masked_paths(masked)
        .readonly_paths(get_default_readonly_paths())
        .seccomp(seccomp::profile(capabilities)?)
        .build()
}

#[cfg(test)]
mod tests;
