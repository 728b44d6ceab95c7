//! Device rules of a specification, enforced by our own filter: libcontainer is built without its own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferrite_sys::device_filter::{self, Access, Allowed, Kind};
use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use crate::devices::harmless;

/// Where cgroup v2 is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The rules cannot be enforced, so the container is not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevicesProblem {
    #[error("enforce the device rules: only `deny all` followed by what is allowed is understood")]
    NotUnderstood,
    #[error("enforce the device rules: the container has no cgroup of its own")]
    NoCgroup,
    #[error("enforce the device rules in cgroup {}", path.display())]
    Attach { path: PathBuf, source: io::Error },
}

/// Enforces what the specification says about devices in the container's cgroup.
pub(super) fn enforce(spec: &Spec) -> Result<(), DevicesProblem> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_ref());
    let Some(allowed) = allowed(rules.map(Vec::as_slice).unwrap_or_default())? else {
        return Ok(());
    };
    let cgroup = linux.cgroups_path().as_deref().filter(|path| *path != Path::new("/"));
    let cgroup = cgroup.ok_or(DevicesProblem::NoCgroup)?;
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
        let access = match rule.access().as_deref() {
            None | Some("") => Access::ALL,
            Some(letters) => Access::from_letters(letters).ok_or(DevicesProblem::NotUnderstood)?,
        };
        let everything = typ == LinuxDeviceType::A && major.is_none() && minor.is_none();
        match (rule.allow(), everything) {
            (_, true) if access != Access::ALL => return Err(DevicesProblem::NotUnderstood),
            (false, true) => {
                allowed = Some(harmless().to_vec());
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
                allowed.extend(kinds.iter().map(|kind| Allowed {
                    kind: *kind,
                    major,
                    minor,
                    access,
                }));
            }
            (false, false) => return Err(DevicesProblem::NotUnderstood),
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rules: serde_json::Value) -> Result<Option<Vec<Allowed>>, DevicesProblem> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        allowed(&rules)
    }

    #[test]
    fn a_device_is_allowed_as_far_as_its_rule_goes() {
        let nothing = json!({ "allow": false, "access": "rwm" });
        let disk = json!({ "allow": true, "type": "b", "major": 8, "minor": 0, "access": "r" });
        let found = check(json!([nothing, disk])).unwrap().unwrap();
        let expected = Allowed {
            kind: Kind::Block,
            major: 8,
            minor: Some(0),
            access: Access::from_letters("r").unwrap(),
        };
        assert_eq!(found.split_last().unwrap(), (&expected, &harmless()[..]));
        assert_eq!(check(json!([nothing, { "allow": true }])).unwrap(), None);
        for refused in [
            json!([{ "allow": false, "access": "w" }]),
            json!([nothing, { "allow": true, "access": "r" }]),
            json!([nothing, { "allow": true, "type": "c", "major": 1, "access": "x" }]),
            json!([{ "allow": false, "type": "c", "major": 1 }]),
        ] {
            assert!(check(refused.clone()).is_err(), "{refused}");
        }
    }
}
