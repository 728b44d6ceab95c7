//! The OCI runtime specification of a container: isolated unless the unit says otherwise.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder, get_default_maskedpaths, get_default_mounts,
    get_default_readonly_paths,
};

use super::protocol::Request;
use super::seccomp;
use super::user::{self, User, UserProblem};

/// Where programs are looked for when neither image nor unit says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container's root may do: Docker's set without `CAP_MKNOD`, since device nodes are never its business.
const CAPABILITIES: [Capability; 13] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Beyond the runtime specification's own list.
const MASKED: [&str; 4] =
    ["/proc/interrupts", "/sys/devices/virtual/powercap", "/proc/kallsyms", "/proc/modules"];

/// A specification could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpecProblem {
    #[error("run unit {unit}: neither it nor its image says which program")]
    NoProgram { unit: String },
    #[error(transparent)]
    User(#[from] UserProblem),
    #[error("make the container's specification")]
    Build(#[from] OciSpecError),
}

/// Makes the specification of the container that is asked for, with `rootfs` mounted.
pub(super) fn build(request: &Request, rootfs: &Path) -> Result<Spec, SpecProblem> {
    if request.args.first().is_none_or(String::is_empty) {
        return Err(SpecProblem::NoProgram { unit: request.unit.clone() });
    }
    let user = user::find(&request.user, rootfs)?;
    Ok(SpecBuilder::default()
        .version("1.2.0")
        .hostname(&request.hostname)
        .root(RootBuilder::default().path(rootfs).readonly(false).build()?)
        .mounts(mounts()?)
        .process(process(request, &user)?)
        .linux(linux(request)?)
        .build()?)
}

fn process(request: &Request, user: &User) -> Result<Process, OciSpecError> {
    let env = environment(&request.env, &request.hostname, user);
    let identity =
        UserBuilder::default().uid(user.uid).gid(user.gid).additional_gids(user.groups.clone());
    ProcessBuilder::default()
        .terminal(false)
        .user(identity.build()?)
        .args(request.args.clone())
        .env(env)
        .cwd(PathBuf::from(&request.cwd))
        .capabilities(capabilities()?)
        .no_new_privileges(true)
        .oom_score_adj(0)
        .build()
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

fn capabilities() -> Result<LinuxCapabilities, OciSpecError> {
    let all: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .permitted(all)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
}

fn mounts() -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = get_default_mounts();
    for mount in &mut mounts {
        if mount.destination() == Path::new("/proc") {
            let options = ["nosuid", "noexec", "nodev"].map(str::to_owned).to_vec();
            *mount = MountBuilder::default()
                .destination("/proc")
                .typ("proc")
                .source("proc")
                .options(options)
                .build()?;
        }
    }
    Ok(mounts)
}

fn linux(request: &Request) -> Result<Linux, OciSpecError> {
    let kinds = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let mut namespaces = Vec::new();
    for kind in kinds {
        namespaces.push(LinuxNamespaceBuilder::default().typ(kind).build()?);
    }
    let mut masked = get_default_maskedpaths();
    masked.extend(MASKED.map(str::to_owned));
    LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(PathBuf::from(&request.cgroup))
        .masked_paths(masked)
        .readonly_paths(get_default_readonly_paths())
        .seccomp(seccomp::profile()?)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(home: Option<&str>) -> User {
        User { uid: 0, gid: 0, groups: vec![], home: home.map(str::to_owned) }
    }

    #[test]
    fn home_and_path_are_never_missing_or_empty() {
        let asked =
            BTreeMap::from([("HOME".to_owned(), String::new()), ("A".to_owned(), "b".to_owned())]);
        let env = environment(&asked, "web", &user(None));
        assert_eq!(env, ["A=b", "HOME=/", "HOSTNAME=web", &format!("PATH={DEFAULT_PATH}")]);
        let env = environment(&BTreeMap::new(), "web", &user(Some("/srv")));
        assert!(env.contains(&"HOME=/srv".to_owned()));
    }

    #[test]
    fn a_container_is_isolated_by_default() {
        let request = Request {
            unit: "web".to_owned(),
            layers: vec!["/l".to_owned()],
            scratch: "/s".to_owned(),
            args: vec!["/bin/true".to_owned()],
            env: BTreeMap::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: "web".to_owned(),
            read_only_root: false,
            tty: false,
            stdin: false,
            privileged: false,
            ids: None,
            capabilities: vec![],
            devices: vec![],
            mounts: vec![],
            resources: ferrite_schema::unit::Resources::default(),
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            network: super::super::protocol::Network::None,
            cgroup: "/units/web".to_owned(),
            shim_cgroup: "/x".to_owned(),
            log_dir: "/y".to_owned(),
        };
        let root = tempfile::tempdir().unwrap();
        let spec = build(&request, root.path()).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
        assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/units/web")));
        assert!(linux.seccomp().is_some());
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert!(
            !bounding.contains(&Capability::SysAdmin) && !bounding.contains(&Capability::Mknod)
        );
        let nothing = Request { args: vec![], ..request };
        assert!(matches!(build(&nothing, root.path()), Err(SpecProblem::NoProgram { .. })));
    }
}
