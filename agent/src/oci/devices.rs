//! Device rules of a specification, enforced by our own filter: libcontainer is built without its own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferrite_sys::device_filter::{self, Allowed, Kind};
use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use crate::shim::devices::HARMLESS;

/// Where cgroup v2 is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The rules cannot be enforced, so the container is not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevicesProblem {
    #[error("enforce the device rules: only `deny all` followed by what is allowed is understood")]
    NotUnderstood,
    #[error("enforce the device rules in cgroup {}", path.display())]
    Attach { path: PathBuf, source: io::Error },
}

/// Enforces what the specification says about devices in the container's cgroup.
pub(super) fn enforce(spec: &Spec) -> Result<(), DevicesProblem> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_ref());
    let Some(mut allowed) = allowed(rules.map(Vec::as_slice).unwrap_or_default())? else {
        return Ok(());
    };
    for device in linux.devices().iter().flatten() {
        let kind = match device.typ() {
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Character,
            LinuxDeviceType::A | LinuxDeviceType::P => continue,
        };
        let (Ok(major), Ok(minor)) = (device.major().try_into(), device.minor().try_into()) else {
            return Err(DevicesProblem::NotUnderstood);
        };
        allowed.push(Allowed { kind, major, minor: Some(minor) });
    }
    let cgroup = linux.cgroups_path().as_deref().unwrap_or(Path::new("/"));
    let path = Path::new(CGROUPS).join(cgroup.strip_prefix("/").unwrap_or(cgroup));
    let failed = |source| DevicesProblem::Attach { path: path.clone(), source };
    let folder = File::open(&path).map_err(failed)?;
    device_filter::attach(folder.as_fd(), &allowed).map_err(|errno| failed(errno.into()))
}

/// What is allowed; nothing where everything is.
fn allowed(rules: &[LinuxDeviceCgroup]) -> Result<Option<Vec<Allowed>>, DevicesProblem> {
    let mut allowed: Option<Vec<Allowed>> = None;
    for rule in rules {
        let typ = rule.typ().unwrap_or(LinuxDeviceType::A);
        let number = |number: Option<i64>| number.filter(|number| *number >= 0);
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let everything = typ == LinuxDeviceType::A && major.is_none() && minor.is_none();
        match (rule.allow(), everything) {
            (false, true) => {
                let default = |(major, minor)| Allowed { kind: Kind::Character, major, minor };
                allowed = Some(HARMLESS.map(default).to_vec());
            }
            (true, true) => allowed = None,
            (true, false) => {
                let Some(allowed) = &mut allowed else { continue };
                let Some(Ok(major)) = major.map(u32::try_from) else {
                    // A whole kind, such as permission to make nodes: nodes of devices that are not named stay
                    // unusable, which is what we promise.
                    continue;
                };
                let minor = minor.map(u32::try_from).transpose();
                let minor = minor.map_err(|_large| DevicesProblem::NotUnderstood)?;
                let kinds: &[Kind] = match typ {
                    LinuxDeviceType::B => &[Kind::Block],
                    LinuxDeviceType::C | LinuxDeviceType::U => &[Kind::Character],
                    LinuxDeviceType::A | LinuxDeviceType::P => &[Kind::Block, Kind::Character],
                };
                allowed.extend(kinds.iter().map(|kind| Allowed { kind: *kind, major, minor }));
            }
            (false, false) => return Err(DevicesProblem::NotUnderstood),
        }
    }
    Ok(allowed)
}
