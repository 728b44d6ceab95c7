//! Limits of each process, from the specification's words to the kernel's.

use std::io;

use libcontainer::oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::process::{Resource, Rlimit};

/// The limits that a specification names.
pub(super) fn of(limits: &[PosixRlimit]) -> Vec<(Resource, Rlimit)> {
    let bound = |value: u64| (value != u64::MAX).then_some(value);
    let one = |limit: &PosixRlimit| {
        let found = Rlimit { current: bound(limit.soft()), maximum: bound(limit.hard()) };
        (resource(limit.typ()), found)
    };
    limits.iter().map(one).collect()
}

/// Raises this process's own upper limits to those: a command in a container could not raise them itself.
pub(super) fn raise(limits: &[(Resource, Rlimit)]) -> io::Result<()> {
    for (resource, wanted) in limits {
        let mut own = rustix::process::getrlimit(*resource);
        let higher = own.maximum.is_some_and(|own| wanted.maximum.is_none_or(|max| max > own));
        if higher {
            own.maximum = wanted.maximum;
            rustix::process::setrlimit(*resource, own)?;
        }
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}
