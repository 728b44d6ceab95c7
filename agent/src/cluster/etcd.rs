//! How a member runs etcd: its flags, its certificate, and the names by which peers find one another. Pure but for the files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ferrite_cluster::records::Timings;
use ferrite_cluster::store::{PEER_PORT, peer_url};
use ferrite_files::durable::{self, WriteFile};
use ferrite_files::quarantine::{Quarantine, SetAside};
use ferrite_files::removal;
use ferrite_pki::{Identity, Issuer};
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId, MachineName};
use ferrite_schema::names;
use ferrite_schema::node_config::{ClusterConfig, MemberConfig, Root};
use ferrite_schema::shim::{BindMount, MountSource};
use ferrite_units::system::SystemUnit;
use nix::sys::signal::Signal;

use super::beginning::Begins;

/// Where a member's etcd has what is only for this boot: its socket, its certificate, its peers' addresses.
pub(super) const RUN_DIR: &str = "/run/ferrite/etcd";
/// Its data, on STATE.
pub(super) const DATA_DIR: &str = "/var/lib/ferrite/etcd";
/// Where a copy of that is made, before it is set aside.
const COPY_DIR: &str = "/var/lib/ferrite/etcd-copy";
/// The unit.
pub(super) const NAME: &str = "+etcd";
/// Its container's root in the image.
const ROOT: &str = "/usr/share/ferrite/etcd";
const PROGRAM: &str = "/usr/bin/etcd";
/// Most that its file may have.
pub(super) const QUOTA_BYTES: u64 = 512 << 20;
/// What it gets to hand its lead over and close its data, in seconds.
const GRACE_S: u32 = 15;
/// As its container sees these.
const DATA: &str = "/data";
const SOCKET_DIR: &str = "/socket";
const PKI: &str = "/pki";
const SOCKET: &str = "etcd.sock";
const CERTIFICATE: &str = "peer.pem";
const KEY: &str = "peer.key";
const TRUSTED: &str = "ca.pem";
const HOSTS: &str = "hosts";

/// etcd cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum Prepare {
    #[error("make {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Write(#[from] WriteFile),
    #[error("write {}", path.display())]
    Hosts { path: PathBuf, source: std::io::Error },
    #[error("use [cluster] peer_issuer")]
    Issuer(#[from] ferrite_pki::UseIssuer),
    #[error(transparent)]
    Certificate(#[from] ferrite_pki::MakeCertificate),
    #[error("a member has the whole root")]
    Root,
}

/// etcd's data is not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Copy {
    #[error("copy etcd's data: write {}", path.display())]
    Make { path: PathBuf, source: std::io::Error },
    #[error("copy etcd's data")]
    Aside(#[from] SetAside),
}

/// Whose etcd it is.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) id: ClusterId,
    pub(super) name: ClusterName,
    pub(super) machine: MachineId,
}

impl Whose {
    fn named(&self, machine: &MachineId) -> MachineName {
        MachineName { machine: machine.clone(), cluster: self.name.clone() }
    }
}

/// etcd as one of the node's own units.
pub(super) fn unit(arguments: Vec<String>) -> SystemUnit {
    let run = Path::new(RUN_DIR);
    let mount = |source: PathBuf, target: &str, read_only| BindMount {
        source: MountSource::Owned(source.to_string_lossy().into_owned()),
        target: target.to_owned(),
        read_only,
    };
    SystemUnit {
        name: NAME.to_owned(),
        root: ROOT.into(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        args: [PROGRAM.to_owned()].into_iter().chain(arguments).collect(),
        mounts: vec![
            mount(DATA_DIR.into(), DATA, false),
            mount(run.join("socket"), SOCKET_DIR, false),
            mount(run.join("pki"), PKI, true),
            mount(run.join(HOSTS), "/etc/hosts", true),
        ],
        memory_max: None,
        stop_signal: Signal::SIGTERM as i32,
        stop_grace_s: GRACE_S,
    }
}

/// etcd's socket, as the node has it.
pub(super) fn socket() -> PathBuf {
    Path::new(RUN_DIR).join("socket").join(SOCKET)
}

/// Its command line. Clients come by the socket alone; what stands for their address is nobody's.
pub(super) fn arguments(whose: &Whose, begins: &Begins, timings: &Timings) -> Vec<String> {
    let own = peer_url(&whose.named(&whose.machine));
    let (state, initial) = match begins {
        Begins::New => ("new", vec![whose.machine.clone()]),
        Begins::Beside(members) => ("existing", members.clone()),
    };
    let initial: Vec<String> = initial
        .iter()
        .map(|machine| format!("{machine}={}", peer_url(&whose.named(machine))))
        .collect();
    let pairs = [
        ("name", whose.machine.to_string()),
        ("data-dir", DATA.to_owned()),
        ("listen-client-urls", format!("unix://{SOCKET_DIR}/{SOCKET}")),
        ("advertise-client-urls", "http://localhost:1".to_owned()),
        ("listen-peer-urls", format!("https://[::]:{PEER_PORT}")),
        ("initial-advertise-peer-urls", own),
        ("initial-cluster", initial.join(",")),
        ("initial-cluster-state", state.to_owned()),
        ("initial-cluster-token", whose.id.to_string()),
        ("peer-cert-file", format!("{PKI}/{CERTIFICATE}")),
        ("peer-key-file", format!("{PKI}/{KEY}")),
        ("peer-trusted-ca-file", format!("{PKI}/{TRUSTED}")),
        ("peer-client-cert-auth", "true".to_owned()),
        // Peers have an authority of their own, and no addresses in their certificates.
        ("experimental-peer-skip-client-san-verification", "true".to_owned()),
        ("heartbeat-interval", timings.heartbeat_ms.to_string()),
        ("election-timeout", timings.election_ms.to_string()),
        ("auto-compaction-mode", "revision".to_owned()),
        ("auto-compaction-retention", "5000".to_owned()),
        ("quota-backend-bytes", QUOTA_BYTES.to_string()),
        ("snapshot-count", "5000".to_owned()),
        ("enable-grpc-gateway", "false".to_owned()),
        ("experimental-initial-corrupt-check", "true".to_owned()),
        ("experimental-compact-hash-check-enabled", "true".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

/// The same for one that is to be alone from now on, whoever else was a member.
pub(super) fn alone(mut arguments: Vec<String>) -> Vec<String> {
    arguments.push("--force-new-cluster".to_owned());
    arguments
}

/// Makes a certificate by which peers know this one.
pub(super) fn certificate(
    config: &ClusterConfig,
    whose: &Whose,
    now_s: u64,
) -> Result<Identity, Prepare> {
    let (Some(MemberConfig { peer_issuer, .. }), Root::Certificate(root)) =
        (&config.member, &config.root)
    else {
        return Err(Prepare::Root);
    };
    let above = Identity {
        certificate: peer_issuer.certificate.as_str().to_owned(),
        key: peer_issuer.key.reveal().to_owned(),
    };
    let leaf = ferrite_pki::peer_leaf(&whose.id, &whose.named(&whose.machine), now_s);
    Ok(Issuer::below(&above, root)?.issue(&leaf)?)
}

/// Makes its folders and its certificate, which is another one with each start of the agent.
pub(super) fn prepare(config: &ClusterConfig, whose: &Whose, now_s: u64) -> Result<(), Prepare> {
    let issued = certificate(config, whose, now_s)?;
    let authority = config.member.as_ref().ok_or(Prepare::Root)?.peer_issuer.certificate.as_str();
    let run = Path::new(RUN_DIR);
    for folder in [run, &run.join("socket"), &run.join("pki"), Path::new(DATA_DIR)] {
        durable::private_folder(folder)
            .map_err(|source| Prepare::Folder { path: folder.to_owned(), source })?;
    }
    let pki = run.join("pki");
    durable::write(&pki.join(TRUSTED), authority.as_bytes())?;
    // etcd reads both at each handshake: the key first, so that a moment has at worst a pair that does not fit.
    durable::write(&pki.join(KEY), issued.key.as_bytes())?;
    durable::write(&pki.join(CERTIFICATE), issued.certificate.as_bytes())?;
    let hosts = run.join(HOSTS);
    if !hosts.exists() {
        write_hosts(whose, &BTreeMap::new())?;
    }
    Ok(())
}

/// Writes where peers are now. It is the same file all the time, which etcd's container has mounted.
pub(super) fn write_hosts(
    whose: &Whose,
    addresses: &BTreeMap<MachineId, IpAddr>,
) -> Result<(), Prepare> {
    let path = Path::new(RUN_DIR).join(HOSTS);
    let failed = |source| Prepare::Hosts { path: path.clone(), source };
    let text = hosts(whose, addresses);
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn hosts(whose: &Whose, addresses: &BTreeMap<MachineId, IpAddr>) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    // Itself it reaches whatever its addresses are.
    let own = IpAddr::from([127, 0, 0, 1]);
    let others = addresses.iter().filter(|(machine, _)| **machine != whose.machine);
    for (machine, address) in others.chain([(&whose.machine, &own)]) {
        text.push_str(&format!("{address} {}\n", whose.named(machine)));
    }
    text
}

/// Sets its data aside: it may be all that is left of something.
pub(super) fn set_aside() -> Result<(), SetAside> {
    let why = "etcd's data of a member that the cluster has removed";
    match fs::exists(DATA_DIR) {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => Quarantine::at(Path::new(names::QUARANTINE_DIR))
            .keep(Path::new(DATA_DIR), why)
            .map(drop),
    }
}

/// There is data of an etcd here, whatever else is known: its log, without which it would begin anew with whatever else is left.
pub(super) fn has_data() -> bool {
    holds_log(&Path::new(DATA_DIR).join("member/wal"))
}

fn holds_log(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.any(|entry| {
            entry.map_or(true, |entry| entry.path().extension() == Some(OsStr::new("wal")))
        }),
        // What cannot be looked at may be there.
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Copies all that etcd has, which must not run, and sets the copy aside; answers with where it is. A copy that was cut off is
/// made anew.
pub(super) fn copy_aside() -> Result<String, Copy> {
    let (from, to) = (Path::new(DATA_DIR), Path::new(COPY_DIR));
    removal::remove(to).map_err(|error| Copy::Make {
        path: to.to_owned(),
        source: std::io::Error::other(error),
    })?;
    copy_folder(&from.join("member/snap"), &to.join("member/snap"))?;
    copy_folder(&from.join("member/wal"), &to.join("member/wal"))?;
    let why = "a copy of etcd's data as it was before a recovery";
    Ok(Quarantine::at(Path::new(names::QUARANTINE_DIR)).keep(to, why)?)
}

/// Copies a folder's files, so that they stay.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Copy> {
    let failed = |path: &Path, source| Copy::Make { path: path.to_owned(), source };
    fs::create_dir_all(to).map_err(|source| failed(to, source))?;
    for entry in fs::read_dir(from).map_err(|source| failed(from, source))? {
        let entry = entry.map_err(|source| failed(from, source))?;
        let path = to.join(entry.file_name());
        // What is not yet in use has such a name, and links are nothing of etcd's.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || path.extension() == Some(OsStr::new("tmp")) {
            continue;
        }
        fs::copy(entry.path(), &path)
            .and_then(|_| fs::File::open(&path)?.sync_all())
            .map_err(|source| failed(&path, source))?;
    }
    durable::sync_folder(to).map_err(|source| failed(to, source))
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::records::Rest;

    use super::*;

    fn id(digit: &str) -> MachineId {
        digit.repeat(32).parse().unwrap()
    }

    fn whose() -> Whose {
        Whose {
            id: "c".repeat(32).parse().unwrap(),
            name: "dev".parse().unwrap(),
            machine: id("a"),
        }
    }

    #[test]
    fn without_its_log_nothing_of_etcd_is_there_and_what_cannot_be_read_may_be() {
        let place = tempfile::tempdir().unwrap();
        let wal = place.path().join("wal");
        assert!(!holds_log(&wal));
        fs::create_dir(&wal).unwrap();
        fs::write(wal.join("0.tmp"), "").unwrap();
        assert!(!holds_log(&wal));
        fs::write(wal.join("0-0.wal"), "").unwrap();
        assert!(holds_log(&wal));
        assert!(holds_log(&wal.join("0-0.wal")), "a file, and no folder");
    }

    #[test]
    fn a_copy_has_the_files_of_the_folder_and_nothing_that_is_half_made() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("a/b/to"));
        fs::create_dir(&from).unwrap();
        for (name, words) in [("db", "data"), ("1.tmp", "none"), ("1.wal", "log")] {
            fs::write(from.join(name), words).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        copy_folder(&from, &to).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&to).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1.wal", "db"]);
        assert_eq!(fs::read(to.join("1.wal")).unwrap(), b"log");
        let error = copy_folder(&from.join("db"), &to).unwrap_err();
        assert!(ferrite_schema::chain(&error).contains("db"), "{error}");
    }

    #[test]
    fn peers_are_named_and_never_addressed() {
        let timings = Timings { heartbeat_ms: 100, election_ms: 1000, ttl_s: 5, rest: Rest::new() };
        let begins = Begins::Beside(vec![id("a"), id("b")]);
        let flags = arguments(&whose(), &begins, &timings);
        let (a, b) = (id("a"), id("b"));
        let expected = format!(
            "--initial-cluster={a}=https://{a}.node.dev:2380,{b}=https://{b}.node.dev:2380"
        );
        assert!(flags.contains(&expected), "{flags:?}");
        assert!(flags.contains(&"--initial-cluster-state=existing".to_owned()));
        let listens: Vec<&String> = flags.iter().filter(|flag| flag.contains("listen")).collect();
        assert_eq!(
            listens,
            [
                "--listen-client-urls=unix:///socket/etcd.sock",
                "--listen-peer-urls=https://[::]:2380"
            ]
        );
        assert!(
            arguments(&whose(), &Begins::New, &timings)
                .contains(&"--initial-cluster-state=new".to_owned())
        );
    }

    #[test]
    fn the_names_of_peers_lead_to_where_they_are_and_its_own_to_itself() {
        let addresses = [(id("a"), [10, 0, 0, 1].into()), (id("b"), [10, 0, 0, 2].into())].into();
        let text = hosts(&whose(), &addresses);
        assert!(text.contains(&format!("10.0.0.2 {}.node.dev\n", id("b"))), "{text}");
        assert!(text.contains(&format!("127.0.0.1 {}.node.dev\n", id("a"))), "{text}");
        assert!(!text.contains("10.0.0.1 "), "{text}");
    }
}
