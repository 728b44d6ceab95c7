//! Devices that a container may use: a handful that are harmless, and those that its unit names. A program in
//! the kernel enforces it, whatever nodes an image or a volume holds.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferrite_schema::names;
use ferrite_sys::device_filter::{self, Access, Allowed, Kind};
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, Mount, MountBuilder,
};
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::MountFlags;

use super::owners::Owners;

/// Folder of devices.
const DEV: &str = "/dev";
/// What `/dev` has that is not the node's to give: every container has its own.
const OWN: [&str; 6] = ["console", "fd", "mqueue", "ptmx", "pts", "shm"];
/// `null`, `zero`, `full`, `random`, `urandom`: memory devices; `tty`, `ptmx`: the process's own terminal.
const HARMLESS: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    // Terminals of /dev/pts: an instance of its own is all that the container sees.
    (136, None),
];

/// Devices could not be given or denied.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevicesProblem {
    #[error("find device {} on the node", path.display())]
    Find { path: PathBuf, source: io::Error },
    #[error("give the unit {}: it is no device", path.display())]
    NoDevice { path: PathBuf },
    #[error("make a node for device {}", path.display())]
    Node { path: PathBuf, source: io::Error },
    #[error("deny the unit the node's devices in cgroup {}", path.display())]
    Deny { path: PathBuf, source: io::Error },
    #[error("list the node's devices")]
    List(#[source] io::Error),
    #[error("describe a device")]
    Describe(#[from] OciSpecError),
}

/// A device of the node.
#[derive(Debug, Clone)]
pub(super) struct Device {
    path: PathBuf,
    rule: Allowed,
    mode: u32,
    group: u32,
}

/// Finds the devices that a unit names.
pub(super) fn named(paths: &[String]) -> Result<Vec<Device>, DevicesProblem> {
    paths
        .iter()
        .map(|path| {
            let path = PathBuf::from(path);
            let found = fs::metadata(&path)
                .map_err(|source| DevicesProblem::Find { path: path.clone(), source })?;
            device(&path, &found).ok_or(DevicesProblem::NoDevice { path })
        })
        .collect()
}

/// All devices of the node, for a container that may do everything.
pub(super) fn all() -> Result<Vec<Device>, DevicesProblem> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(DEV)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DevicesProblem::List)? {
            let entry = entry.map_err(DevicesProblem::List)?;
            let name = entry.file_name();
            let own = OWN.iter().any(|own| name == *own);
            if folder == Path::new(DEV) && own {
                continue;
            }
            // Links are not followed: what they lead to is found itself.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => found.extend(device(&entry.path(), &metadata)),
                Err(_) => {}
            }
        }
    }
    Ok(found)
}

fn device(path: &Path, metadata: &fs::Metadata) -> Option<Device> {
    let kind = match FileType::from_raw_mode(metadata.mode()) {
        FileType::BlockDevice => Kind::Block,
        FileType::CharacterDevice => Kind::Character,
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let rule = Allowed { kind, major, minor: Some(minor), access: Access::ALL };
    Some(Device {
        path: path.to_owned(),
        rule,
        mode: metadata.mode() & 0o777,
        group: metadata.gid(),
    })
}

/// What every container may use.
pub(crate) fn harmless() -> [Allowed; HARMLESS.len()] {
    let access = Access::ALL;
    HARMLESS.map(|(major, minor)| Allowed { kind: Kind::Character, major, minor, access })
}

/// Denies the processes of a cgroup every device but the harmless ones and those that are named.
pub(super) fn restrict(cgroup: &Path, devices: &[Device]) -> Result<(), DevicesProblem> {
    let failed = |source| DevicesProblem::Deny { path: cgroup.to_owned(), source };
    let rules: Vec<Allowed> =
        harmless().into_iter().chain(devices.iter().map(|device| device.rule)).collect();
    let folder = File::open(cgroup).map_err(failed)?;
    device_filter::attach(folder.as_fd(), &rules).map_err(|errno| failed(errno.into()))
}

/// Makes nodes that belong to the container's root, and the mounts that show them in its `/dev`.
pub(super) fn nodes(devices: &[Device], owners: &Owners) -> Result<Vec<Mount>, DevicesProblem> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    // Mounted by the container's first process, in its user namespace: see `rootfs`.
    let place = Path::new(names::CONTAINER_DIR).join("devices");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| DevicesProblem::Node { path, source }
    };
    fs::create_dir_all(&place).map_err(failed(&place))?;
    // The folder's own file system knows no devices.
    rustix::mount::mount("tmpfs", &place, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, None)
        .map_err(|errno| failed(&place)(errno.into()))?;
    let mut mounts = Vec::new();
    for (number, device) in devices.iter().enumerate() {
        let node = place.join(number.to_string());
        make_node(&node, device, owners).map_err(failed(&device.path))?;
        let options = ["bind", "nosuid", "noexec"].map(str::to_owned).to_vec();
        let mount = MountBuilder::default().source(node).destination(&device.path);
        mounts.push(mount.typ("bind").options(options).build()?);
    }
    Ok(mounts)
}

fn make_node(path: &Path, device: &Device, owners: &Owners) -> io::Result<()> {
    let kind = match device.rule.kind {
        Kind::Block => FileType::BlockDevice,
        Kind::Character => FileType::CharacterDevice,
    };
    let number = rustix::fs::makedev(device.rule.major, device.rule.minor.unwrap_or_default());
    rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, number)?;
    // The unit was given the device, so its root may use it, and the group by its own number where it has it.
    let group = owners.outside(device.group).unwrap_or(owners.root());
    std::os::unix::fs::chown(path, Some(owners.root()), Some(group))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(device.mode))?;
    Ok(())
}

/// Devices as a container without a user namespace gets them.
pub(super) fn described(devices: &[Device]) -> Result<Vec<LinuxDevice>, DevicesProblem> {
    let describe = |device: &Device| {
        let kind = match device.rule.kind {
            Kind::Block => LinuxDeviceType::B,
            Kind::Character => LinuxDeviceType::C,
        };
        LinuxDeviceBuilder::default()
            .path(&device.path)
            .typ(kind)
            .major(i64::from(device.rule.major))
            .minor(i64::from(device.rule.minor.unwrap_or_default()))
            .file_mode(device.mode)
            .uid(0_u32)
            .gid(device.group)
            .build()
    };
    Ok(devices.iter().map(describe).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_are_devices() {
        let found = named(&["/dev/null".to_owned(), "/dev/zero".to_owned()]).unwrap();
        let null = harmless()[0];
        assert_eq!(found[0].rule, null);
        assert_eq!(described(&found).unwrap().len(), 2);
        for (path, expected) in [
            ("/dev", "give the unit /dev: it is no device"),
            ("/dev/no-such", "find device /dev/no-such on the node"),
        ] {
            assert_eq!(named(&[path.to_owned()]).unwrap_err().to_string(), expected);
        }
    }
}
