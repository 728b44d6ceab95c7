use ferrite_schema::shim::{IdRange, IdStretch};

use super::*;

fn user(home: Option<&str>) -> User {
    User { uid: 0, gid: 0, groups: vec![], home: home.map(str::to_owned) }
}

fn request() -> Request {
    Request {
        project: None,
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
        init: false,
        privileged: false,
        ids: None,
        far_ids: Vec::new(),
        capabilities: vec!["CHOWN".to_owned()],
        devices: vec![],
        mounts: vec![],
        secrets: vec![],
        resources: ferrite_schema::unit::Resources::default(),
        sysctls: BTreeMap::new(),
        ulimits: BTreeMap::new(),
        network: Network::None,
        cgroup: "/units/web".to_owned(),
        node_ports: false,
        shim_cgroup: "/x".to_owned(),
        log_dir: "/y".to_owned(),
        stop_signal: 15,
        beside: false,
    }
}

fn check(request: &Request) -> Result<Spec, SpecProblem> {
    let root = tempfile::tempdir().unwrap();
    let found = Found { root: root.path().to_owned(), ..Found::default() };
    build(request, found)
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
    let spec = check(&request()).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/units/web")));
    assert!(linux.seccomp().is_some());
    assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), Some(true));
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.bounding(), &Some(HashSet::from([Capability::Chown])));
    assert_eq!(sets.inheritable(), &Some(HashSet::new()));
    let nothing = Request { args: vec![], ..request() };
    assert!(matches!(check(&nothing), Err(SpecProblem::NoProgram { .. })));
}

#[test]
fn who_shares_a_network_gets_none_of_its_own_and_leaves_it_as_it_is() {
    let network = Network::Unit(ferrite_schema::shim::SharedNetwork {
        unit: "db".to_owned(),
        run: 1,
        folder: "/run/db".to_owned(),
        cgroup: "/units/db".to_owned(),
        attachment: None,
    });
    let spec = check(&Request { network, ..request() }).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(|one| one.typ()).collect();
    assert!(!kinds.contains(&LinuxNamespaceType::Network), "{kinds:?}");
    let parameters = linux.sysctl().clone().unwrap_or_default();
    assert!(!parameters.keys().any(|name| name.starts_with("net.")), "{parameters:?}");
    // What is the network's in /sys is seen, and not the node's.
    let sys = spec.mounts().iter().flatten().find(|mount| mount.destination() == Path::new("/sys"));
    assert_eq!(sys.unwrap().typ().as_deref(), Some("sysfs"));
}

#[test]
fn a_privileged_container_has_nothing_masked_or_filtered() {
    let spec = check(&Request { privileged: true, ..request() }).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none());
    assert_eq!(linux.masked_paths(), &Some(vec![]));
    assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), Some(false));
}

#[test]
fn what_does_not_exist_is_refused() {
    let unknown = Request { capabilities: vec!["EVERYTHING".to_owned()], ..request() };
    assert!(matches!(check(&unknown), Err(SpecProblem::Capability { .. })));
    let ids = IdRange { first: 1 << 20, count: 1 << 16 };
    for user in ["65536", "0:70000"] {
        let beyond = Request { ids: Some(ids), user: user.to_owned(), ..request() };
        let root = tempfile::tempdir().unwrap();
        let found = super::user(&beyond, root.path(), &Owners::without_namespace(ids, &[]));
        let problem = found.unwrap_err();
        assert!(matches!(problem, SpecProblem::NoSuchId { id: 65_536 | 70_000 }), "{user}");
    }
    // One that the unit was given is as good as any other.
    let far = IdStretch { inside: 70_000, first: 2 << 20, count: 1 };
    let given = Request { ids: Some(ids), user: "0:70000".to_owned(), ..request() };
    let root = tempfile::tempdir().unwrap();
    let user = super::user(&given, root.path(), &Owners::without_namespace(ids, &[far])).unwrap();
    assert_eq!(user.gid, 70_000);
}

#[test]
fn shared_memory_has_the_size_that_is_asked_for() {
    use ferrite_schema::shim::{BindMount, MountSource};
    let volume = BindMount {
        source: MountSource::Tmpfs(1 << 20),
        target: "/dev/shm/".to_owned(),
        read_only: false,
    };
    let spec = check(&Request { mounts: vec![volume], ..request() }).unwrap();
    let mounts = spec.mounts().as_ref().unwrap();
    let found = mounts.iter().find(|m| m.destination() == Path::new("/dev/shm")).unwrap();
    let options = found.options().as_ref().unwrap();
    assert_eq!(
        options.iter().filter(|o| o.starts_with("size=")).collect::<Vec<_>>(),
        ["size=1048576"]
    );
}
