//! Limits of each process, and the kernel parameters of a container's namespaces.

use std::collections::{BTreeMap, HashMap};
use std::io;

use ferrite_schema::shim::{Network, Request};
use ferrite_schema::unit::Ulimit;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use nix::sys::resource::{self, Resource};

/// Limits of a unit that says nothing: no core dumps, and as many open files as systemd gives a service.
const DEFAULTS: [(&str, u64, u64); 2] = [("core", 0, 0), ("nofile", 1024, 524_288)];
/// Parameters that a container's own network starts with: there is nobody there to keep low ports or `ping` from.
const LOW_PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");
const PING: &str = "net.ipv4.ping_group_range";

/// Limits could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsProblem {
    #[error("limit {name}: there is no such limit")]
    Unknown { name: String },
    #[error("raise the limit {name} to {hard}")]
    Raise { name: String, hard: u64, source: io::Error },
    #[error("describe the limits")]
    Describe(#[from] OciSpecError),
}

/// The limits, with the defaults.
pub(super) fn limits(asked: &BTreeMap<String, Ulimit>) -> Result<Vec<PosixRlimit>, LimitsProblem> {
    let all = with_defaults(asked)?.into_iter();
    all.map(|Limit { kind, soft, hard, .. }| {
        Ok(PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build()?)
    })
    .collect()
}

/// Raises this process's own upper limits where the container's are higher: it inherits them, and could not
/// raise them itself.
pub(super) fn allow(asked: &BTreeMap<String, Ulimit>) -> Result<(), LimitsProblem> {
    with_defaults(asked)?.iter().try_for_each(|limit| raise(limit.name, limit.resource, limit.hard))
}

/// The same for the limits of a specification that is there already.
pub(crate) fn allow_specified(limits: &[PosixRlimit]) -> Result<(), LimitsProblem> {
    limits.iter().try_for_each(|limit| {
        let name = limit.typ().to_string().to_ascii_lowercase();
        let name = name.strip_prefix("rlimit_").unwrap_or(&name);
        let unknown = || LimitsProblem::Unknown { name: name.to_owned() };
        let (_, resource) = kind(name).ok_or_else(unknown)?;
        raise(name, resource, limit.hard())
    })
}

struct Limit<'a> {
    name: &'a str,
    kind: PosixRlimitType,
    resource: Resource,
    soft: u64,
    hard: u64,
}

fn with_defaults(asked: &BTreeMap<String, Ulimit>) -> Result<Vec<Limit<'_>>, LimitsProblem> {
    let mut all: BTreeMap<&str, (u64, u64)> =
        DEFAULTS.into_iter().map(|(name, soft, hard)| (name, (soft, hard))).collect();
    for (name, limit) in asked {
        let both = match limit {
            Ulimit::Both(both) => (*both, *both),
            Ulimit::Each { soft, hard } => (*soft, *hard),
        };
        all.insert(name, both);
    }
    let known = all.into_iter().map(|(name, (soft, hard))| {
        let unknown = || LimitsProblem::Unknown { name: name.to_owned() };
        let (kind, resource) = kind(name).ok_or_else(unknown)?;
        Ok(Limit { name, kind, resource, soft, hard })
    });
    known.collect()
}

fn raise(name: &str, resource: Resource, hard: u64) -> Result<(), LimitsProblem> {
    let failed = |errno: nix::errno::Errno| LimitsProblem::Raise {
        name: name.to_owned(),
        hard,
        source: errno.into(),
    };
    let (soft, current) = resource::getrlimit(resource).map_err(failed)?;
    if current < hard {
        resource::setrlimit(resource, soft, hard).map_err(failed)?;
    }
    Ok(())
}

fn kind(name: &str) -> Option<(PosixRlimitType, Resource)> {
    Some(match name {
        "as" => (PosixRlimitType::RlimitAs, Resource::RLIMIT_AS),
        "core" => (PosixRlimitType::RlimitCore, Resource::RLIMIT_CORE),
        "cpu" => (PosixRlimitType::RlimitCpu, Resource::RLIMIT_CPU),
        "data" => (PosixRlimitType::RlimitData, Resource::RLIMIT_DATA),
        "fsize" => (PosixRlimitType::RlimitFsize, Resource::RLIMIT_FSIZE),
        "locks" => (PosixRlimitType::RlimitLocks, Resource::RLIMIT_LOCKS),
        "memlock" => (PosixRlimitType::RlimitMemlock, Resource::RLIMIT_MEMLOCK),
        "msgqueue" => (PosixRlimitType::RlimitMsgqueue, Resource::RLIMIT_MSGQUEUE),
        "nice" => (PosixRlimitType::RlimitNice, Resource::RLIMIT_NICE),
        "nofile" => (PosixRlimitType::RlimitNofile, Resource::RLIMIT_NOFILE),
        "nproc" => (PosixRlimitType::RlimitNproc, Resource::RLIMIT_NPROC),
        "rss" => (PosixRlimitType::RlimitRss, Resource::RLIMIT_RSS),
        "rtprio" => (PosixRlimitType::RlimitRtprio, Resource::RLIMIT_RTPRIO),
        "rttime" => (PosixRlimitType::RlimitRttime, Resource::RLIMIT_RTTIME),
        "sigpending" => (PosixRlimitType::RlimitSigpending, Resource::RLIMIT_SIGPENDING),
        "stack" => (PosixRlimitType::RlimitStack, Resource::RLIMIT_STACK),
        _ => return None,
    })
}

/// The kernel parameters, with those that a network of its own starts with.
pub(super) fn parameters(request: &Request) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = HashMap::new();
    if !matches!(request.network, Network::Host | Network::Unit(_)) {
        let last_group = request.ids.map_or(i32::MAX.unsigned_abs(), |ids| ids.count - 1);
        all.insert(LOW_PORTS.0.to_owned(), LOW_PORTS.1.to_owned());
        all.insert(PING.to_owned(), format!("0 {last_group}"));
    }
    all.extend(request.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_limit_of_a_specification_is_known() {
        let own = resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // runtime-spec, "POSIX process", with the names of getrlimit(2).
        let names = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK";
        let limits: Vec<PosixRlimit> = names
            .split(' ')
            .map(|name| json!({ "type": format!("RLIMIT_{name}"), "soft": 0, "hard": 0 }))
            .map(|limit| serde_json::from_value(limit).unwrap())
            .collect();
        allow_specified(&limits).unwrap();
        // Lower than what this process has is nothing to do.
        assert_eq!(resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap(), own);
    }

    #[test]
    fn a_unit_replaces_the_defaults_that_it_names() {
        let asked = BTreeMap::from([
            ("core".to_owned(), Ulimit::Each { soft: 1, hard: 2 }),
            ("nproc".to_owned(), Ulimit::Both(7)),
        ]);
        let found = with_defaults(&asked).unwrap();
        let found: Vec<_> = found.iter().map(|l| (l.kind, l.soft, l.hard)).collect();
        assert_eq!(
            found,
            [
                (PosixRlimitType::RlimitCore, 1, 2),
                (PosixRlimitType::RlimitNofile, 1024, 524_288),
                (PosixRlimitType::RlimitNproc, 7, 7),
            ]
        );
        let unknown = BTreeMap::from([("files".to_owned(), Ulimit::Both(1))]);
        let problem = limits(&unknown).unwrap_err();
        assert_eq!(problem.to_string(), "limit files: there is no such limit");
    }
}
