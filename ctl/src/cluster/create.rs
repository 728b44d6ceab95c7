//! Makes a cluster's folder from an image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_image::build::VMLINUX;
use ferrite_schema::cluster::ClusterName;
use ferrite_schema::names::{API_PORT, FW_CFG_CLOUD_CONFIG_NAME};
use ferrite_schema::node_config::{
    self, ApiConfig, ClusterNetworkConfig, JoinAddress, MARKER, NodeConfig,
};
use ferrite_vm::disk::{self, Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::host::{self, Host};
use ferrite_vm::machine::{Boot, Clock, FwCfg, Lifetime, Machine, Timing};
use ferrite_vm::switch::topology::Network;

use super::folder;
use super::network;
use super::problem::ClusterError;
use super::record::Record;
use crate::cli::{BootMethod, UpArguments};
use crate::context::Context;
use crate::founding::{self, FoundedNode, Plan};
use crate::pki::{self, Identity};

/// Room that a cluster's folder needs: the image's content, and what a node writes at first.
const SPACE_BYTES: u64 = 1 << 30;

/// Files of an image that a node takes with it, so that building the image anew changes nothing for it.
const IMAGE_FILES: [&str; 5] = [DISK, KERNEL, INITRAMFS, COMMAND_LINE, MANIFEST];
const DISK: &str = "disk.raw";
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const COMMAND_LINE: &str = "cmdline";
const MANIFEST: &str = "manifest.json";

/// Nodes of a cluster that may become members where nobody says how many, as `founding` has it.
const MEMBERS_MAX: usize = 5;
/// What several nodes begin with.
const FOUNDED: &str = "founded";
const OVERLAY: &str = "disk.qcow2";
const CLOUD_CONFIG: &str = "cloud-config";

/// Checks that `image` is the folder of an image, and returns its absolute path.
pub(super) fn check_image(image: &Path) -> Result<PathBuf, ClusterError> {
    for file in IMAGE_FILES {
        if !image.join(file).is_file() {
            return Err(ClusterError::NoImage { folder: image.to_owned(), file });
        }
    }
    fs::canonicalize(image).map_err(|source| ClusterError::Read { path: image.to_owned(), source })
}

/// Whether the cluster was made from what `image` holds now. The manifest has the hashes of everything.
pub(super) fn is_of_image(
    cluster: &Path,
    record: &Record,
    image: &Path,
) -> Result<bool, ClusterError> {
    let of_image = folder::read_if_there(&image.join(MANIFEST))?;
    for node in &record.nodes {
        if folder::read_if_there(&folder::of_node(cluster, node).join(MANIFEST))? != of_image {
            return Ok(false);
        }
    }
    Ok(of_image.is_some())
}

/// Makes the folder of a new cluster; the record comes last and makes it valid.
pub(super) fn create(
    cluster: &Path,
    record: &Record,
    arguments: &UpArguments,
    host: &Host,
) -> Result<(), ClusterError> {
    let size_bytes = u64::from(arguments.disk_size) << 30;
    let image_bytes = fs::metadata(record.image.join(DISK))
        .map_err(|source| ClusterError::Read { path: record.image.join(DISK), source })?
        .len();
    if size_bytes < image_bytes {
        let asked_gib = arguments.disk_size;
        return Err(ClusterError::DiskTooSmall { asked_gib, image_mib: image_bytes >> 20 });
    }
    host::require_space(cluster, SPACE_BYTES)?;
    let config = read_config(arguments.config.as_deref())?;

    folder::make_private(cluster)?;
    match &record.network {
        Some(network) => found_cluster(cluster, record, network, arguments)?,
        None => make_identities(cluster, record)?,
    }
    for node in &record.nodes {
        let config = config.clone();
        make_node(cluster, record, node, (&record.image, config, size_bytes), host)?;
    }
    record.save(cluster)
}

/// Makes the folder of a node's machine, from an image, with its part of the configuration and a disk of this size.
fn make_node(
    cluster: &Path,
    record: &Record,
    node: &str,
    (image, config, size_bytes): (&Path, NodeConfig, u64),
    host: &Host,
) -> Result<(), ClusterError> {
    let machine = folder::of_node(cluster, node);
    folder::make_private(&machine)?;
    write_config(cluster, record, node, config)?;
    let vmlinux = image.join(VMLINUX).is_file().then_some(VMLINUX);
    for file in IMAGE_FILES.into_iter().chain(vmlinux) {
        take(&image.join(file), &machine.join(file))?;
    }
    let overlay = machine.join(OVERLAY);
    // The base is named relative to the overlay: the folder may be moved.
    Ok(disk::create_overlay(host, Path::new(DISK), Format::Raw, &overlay, Some(size_bytes))?)
}

/// Makes one more node of the same image as `model`, for the cluster of `record`, which knows it already: with a configuration
/// of its own, or like `model`.
pub(super) fn make_further(
    cluster: &Path,
    record: &Record,
    (node, model, config): (&str, &str, Option<NodeConfig>),
    size_bytes: u64,
    host: &Host,
) -> Result<(), ClusterError> {
    host::require_space(cluster, SPACE_BYTES)?;
    let founded = |node: &str| cluster.join(FOUNDED).join(founding::folder::file_of(node));
    let own = config.as_ref().and_then(|config| config.cluster.clone());
    let belongs = match own {
        Some(own) => Some(own),
        None => {
            let mut belongs = read_document(&founded(model))?.cluster;
            if let Some(belongs) = belongs.as_mut().filter(|_| record.nodes.len() > MEMBERS_MAX) {
                belongs.member = None;
            }
            belongs
        }
    };
    let path = founded(node);
    let document = belongs.map(|cluster| FoundedNode { hostname: node.to_owned(), cluster });
    let text = document.map(|document| document.document()).transpose();
    let text = text.map_err(|error| ClusterError::Write {
        path: path.clone(),
        source: io::Error::other(error),
    })?;
    folder::write_private(&path, text.unwrap_or_default().as_bytes())?;
    let like = folder::of_node(cluster, model);
    let config = match config {
        Some(config) => config,
        None => read_document(&like.join(CLOUD_CONFIG))?,
    };
    make_node(cluster, record, node, (&like, config, size_bytes), host)
}

/// Certificates of a node that belongs to no cluster, and of who speaks to it.
fn make_identities(cluster: &Path, record: &Record) -> Result<(), ClusterError> {
    let pki = cluster.join("pki");
    folder::make_private(&pki)?;
    let authority = pki::make_authority(&record.name)?;
    save_identity(&pki, "ca", &authority.identity)?;
    save_identity(&pki, "client", &pki::make_client(&authority, "ferrite")?)?;
    for node in &record.nodes {
        save_identity(&pki, node, &pki::make_server(&authority, node)?)?;
    }
    Ok(())
}

/// Makes the beginning of a cluster as `ferrite config new --cluster` does, whose nodes find one another on the network.
fn found_cluster(
    cluster: &Path,
    record: &Record,
    network: &Network,
    arguments: &UpArguments,
) -> Result<(), ClusterError> {
    let not_a_name = |source| ClusterError::NotAName { name: record.name.clone(), source };
    let name: ClusterName = record.name.parse().map_err(not_a_name)?;
    let count = u8::try_from(record.nodes.len()).unwrap_or(u8::MAX);
    let nodes = founding::numbered(&name, count, arguments.members)?;
    let mut join = Vec::new();
    for node in &record.nodes {
        let host = network.address(network.port(node)?).to_string();
        join.push(JoinAddress { host, port: API_PORT });
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let network = arguments.network.wanted();
    let founded = founding::found(&Plan { name, nodes, join, network, now_s })?;
    // Where it is reached is known only when it runs.
    let context = founded.context(format!("https://127.0.0.1:{API_PORT}"));
    let path = cluster.join(FOUNDED);
    founding::folder::write(&path, &founded, &context)
        .map_err(|error| ClusterError::Write { path, source: io::Error::other(error) })
}

/// What was asked of the cluster's network when it was made, as its first node's configuration has it.
pub(super) fn network_of(
    cluster: &Path,
    record: &Record,
) -> Result<ClusterNetworkConfig, ClusterError> {
    let Some(node) = record.nodes.first().filter(|_| record.network.is_some()) else {
        return Ok(ClusterNetworkConfig::default());
    };
    let founded = cluster.join(FOUNDED).join(founding::folder::file_of(node));
    Ok(read_document(&founded)?.cluster.map(|belongs| belongs.network).unwrap_or_default())
}

/// Nodes that may run etcd, as their configurations have it.
pub(super) fn may_run_etcd(cluster: &Path, record: &Record) -> Result<usize, ClusterError> {
    if record.network.is_none() {
        return Ok(1);
    }
    let mut may = 0_usize;
    for node in &record.nodes {
        let founded = cluster.join(FOUNDED).join(founding::folder::file_of(node));
        let belongs = read_document(&founded)?.cluster;
        may += usize::from(belongs.is_some_and(|belongs| belongs.member.is_some()));
    }
    Ok(may)
}

/// Writes the cloud-config that the nodes of an existing cluster get from now on.
pub(super) fn replace_config(
    cluster: &Path,
    record: &Record,
    path: &Path,
) -> Result<(), ClusterError> {
    let config = read_config(Some(path))?;
    record.nodes.iter().try_for_each(|node| write_config(cluster, record, node, config.clone()))
}

/// The machine of a node, with what its clock says at first.
pub(super) fn machine(
    cluster: &Path,
    record: &Record,
    (node, clock): (&str, Clock),
) -> Result<Machine, ClusterError> {
    let directory = folder::of_node(cluster, node);
    let boot = match record.boot {
        BootMethod::Bios => Boot::Bios,
        BootMethod::Uefi => Boot::Uefi,
        BootMethod::Direct => {
            let path = directory.join(COMMAND_LINE);
            let command_line =
                fs::read_to_string(&path).map_err(|source| ClusterError::Read { path, source })?;
            Boot::Direct {
                kernel: Boot::kernel_in(&directory).into(),
                initramfs: Some(INITRAMFS.into()),
                // It has one disk, and nobody else could tell PID 1 which.
                command_line: format!("{} ferrite.disk=vda", command_line.trim()),
            }
        }
    };
    Ok(Machine {
        name: format!("ferrite-{node}"),
        directory,
        cpus: record.cpus,
        memory_mib: record.memory_mib,
        boot,
        disks: vec![Disk {
            path: OVERLAY.into(),
            format: Format::Qcow2,
            cache: Cache::Writeback,
            bus: Bus::Virtio,
            sector_bytes: 512,
            plugged: Plugged::AtPowerOn,
        }],
        fw_cfg: vec![FwCfg {
            name: FW_CFG_CLOUD_CONFIG_NAME.to_owned(),
            file: CLOUD_CONFIG.into(),
        }],
        network: network::card(record, node)?,
        forwards: if record.network.is_none() { vec![API_PORT] } else { Vec::new() },
        timing: Timing::Real,
        clock,
        watchdog: true,
        screen: false,
        lifetime: Lifetime::Detached,
        extra_arguments: Vec::new(),
    })
}

/// How the client reaches the cluster whose nodes' APIs are at `ports` of this computer.
pub(super) fn context(
    cluster: &Path,
    record: &Record,
    ports: &[u16],
) -> Result<Context, ClusterError> {
    let mut endpoints = ports.iter().map(|port| format!("https://127.0.0.1:{port}"));
    let none = || ClusterError::NotRunning { name: record.name.clone() };
    let endpoint = endpoints.next().ok_or_else(none)?;
    let further = endpoints.collect();
    if record.network.is_some() {
        let path = cluster.join(FOUNDED).join(founding::folder::CONTEXT);
        let text = fs::read_to_string(&path)
            .map_err(|source| ClusterError::Read { path: path.clone(), source })?;
        let founded: Context = ferrite_schema::document::parse(&text)
            .map_err(|problem| ClusterError::Config { path, problem })?;
        return Ok(Context { endpoint, further, ..founded });
    }
    let client = load_identity(&cluster.join("pki"), "client")?;
    Ok(Context {
        name: record.name.clone(),
        endpoint,
        further,
        ca: load_identity(&cluster.join("pki"), "ca")?.certificate,
        certificate: client.certificate,
        key: client.key,
        cluster: None,
    })
}

fn read_config(path: Option<&Path>) -> Result<NodeConfig, ClusterError> {
    let Some(path) = path else { return Ok(NodeConfig::default()) };
    let config = read_document(path)?;
    if config.api.is_some() {
        return Err(ClusterError::ConfigApi { path: path.to_owned() });
    }
    Ok(config)
}

pub(super) fn read_document(path: &Path) -> Result<NodeConfig, ClusterError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ClusterError::Read { path: path.to_owned(), source })?;
    node_config::parse(&text)
        .map_err(|problem| ClusterError::Config { path: path.to_owned(), problem })
}

/// Writes a node's cloud-config: what was asked for, its name unless another was given, and its API's
/// identity, or its cluster.
fn write_config(
    cluster: &Path,
    record: &Record,
    node: &str,
    config: NodeConfig,
) -> Result<(), ClusterError> {
    let mut config = config;
    if record.network.is_some() {
        let founded = cluster.join(FOUNDED).join(founding::folder::file_of(node));
        config.hostname = Some(node.to_owned());
        config.cluster = read_document(&founded)?.cluster;
    } else {
        let pki = cluster.join("pki");
        let server = load_identity(&pki, node)?;
        config.hostname.get_or_insert_with(|| node.to_owned());
        config.api = Some(ApiConfig {
            ca: load_identity(&pki, "ca")?.certificate,
            certificate: server.certificate,
            key: server.key,
        });
    }
    let path = folder::of_node(cluster, node).join(CLOUD_CONFIG);
    let text = toml::to_string(&config).map_err(|error| ClusterError::Write {
        path: path.clone(),
        source: io::Error::other(error),
    })?;
    folder::write_private(&path, format!("{MARKER}\n{text}").as_bytes())
}

fn save_identity(pki: &Path, name: &str, identity: &Identity) -> Result<(), ClusterError> {
    folder::write_private(&pki.join(format!("{name}.pem")), identity.certificate.as_bytes())?;
    folder::write_private(&pki.join(format!("{name}.key")), identity.key.as_bytes())
}

fn load_identity(pki: &Path, name: &str) -> Result<Identity, ClusterError> {
    let read = |extension: &str| {
        let path = pki.join(format!("{name}.{extension}"));
        fs::read_to_string(&path).map_err(|source| ClusterError::Read { path, source })
    };
    Ok(Identity { certificate: read("pem")?, key: read("key")? })
}

/// Makes `to` the same file as `from`, which costs nothing; builders replace files and never rewrite them.
/// Across file systems it becomes a copy.
fn take(from: &Path, to: &Path) -> Result<(), ClusterError> {
    let taken = || -> io::Result<()> {
        // What was made by half may be there already, as the very same file, which a copy onto it would empty.
        match fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match fs::hard_link(from, to) {
            Err(error) if cannot_link(error.kind()) => fs::copy(from, to).map(drop),
            linked => linked,
        }
    };
    taken().map_err(|source| ClusterError::Write { path: to.to_owned(), source })
}

/// There is no second name for it: on another file system, on one without links, of somebody else's file.
const fn cannot_link(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(kind, CrossesDevices | Unsupported | PermissionDenied | TooManyLinks)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_taken_twice_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("image"), folder.path().join("node"));
        fs::write(&from, "a disk").unwrap();
        fs::write(&to, "left by half").unwrap();
        for _ in 0..2 {
            take(&from, &to).unwrap();
            assert_eq!(fs::read(&from).unwrap(), b"a disk");
            assert_eq!(fs::metadata(&from).unwrap().ino(), fs::metadata(&to).unwrap().ino());
        }
        let absent = take(&folder.path().join("absent"), &to).unwrap_err();
        assert!(absent.to_string().contains("node"), "{absent}");
    }
}
