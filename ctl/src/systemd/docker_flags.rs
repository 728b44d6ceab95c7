//! The options of `docker run`, from its first years to now, and podman's beside them.

use super::flags::Fate::{Carried, Lost, NotNeeded};
use super::flags::{Flag, switch, value};

const CLIENT: &str = "it is about Docker's client, which is not there";
const NO_DAEMON: &str = "there is no daemon: the node itself starts the container";
const OWN_NAME: &str = "the container is called as its unit";
const LOGS: &str = "`ferrite unit logs` keeps and bounds what it writes";
const ISOLATION: &str = "Ferrite decides this; see docs/isolation.md for what a unit may ask for";
const NAMES: &str = "names are answered by the node, which knows all services; names of the outside are asked of the node's own name servers";
const ADDRESS: &str = "units get their addresses from the node; reach it by its name";
const CPUS: &str = "use `resources.cpus` or `resources.cpu_weight`";
const DISK: &str = "rates are of the disk of STATE here: `resources.io_read_per_s` and `resources.io_write_per_s`, in bytes a second";
const WINDOWS: &str = "it is for Windows";
const PODMAN: &str = "it ties podman to systemd, and neither is there";

/// All of them.
pub(crate) const RUN: [Flag; 133] = [
    switch("rm", NotNeeded("the container goes when it ends")),
    value("name", Carried),
    switch("detach", Carried).short('d'),
    value("detach-keys", NotNeeded(CLIENT)),
    value("attach", NotNeeded(CLIENT)).short('a'),
    switch("sig-proxy", NotNeeded(CLIENT)),
    value("cidfile", NotNeeded(NO_DAEMON)),
    switch("quiet", NotNeeded(CLIENT)).short('q'),
    switch("help", NotNeeded(CLIENT)),
    value(
        "pull",
        NotNeeded("an image is fetched when it is not there; `ferrite pull` fetches it anew"),
    ),
    switch(
        "disable-content-trust",
        NotNeeded("the node's `[[signatures]]` say whose images it runs"),
    ),
    value("env", Carried).short('e'),
    value("env-file", Carried),
    value("publish", Carried).short('p'),
    switch("publish-all", Carried).short('P'),
    value("expose", NotNeeded("units reach every port of one another, by name")),
    value("volume", Carried).short('v'),
    value("mount", Carried),
    value("tmpfs", Carried),
    value(
        "volumes-from",
        Lost("give the volume a name, and name it in both units: `[[volumes]] name = \"data\"`"),
    ),
    value("volume-driver", Lost("volumes are folders of the node")),
    value("shm-size", Carried),
    value("storage-opt", Carried),
    value("link", Carried),
    value("net", Carried),
    value("network", Carried),
    value("net-alias", Lost(OWN_NAME)),
    value("network-alias", Lost(OWN_NAME)),
    value("ip", Lost(ADDRESS)),
    value("ip6", Lost(ADDRESS)),
    value("link-local-ip", Lost(ADDRESS)),
    value("mac-address", Lost(ADDRESS)),
    value("add-host", Lost(NAMES)),
    value("dns", Lost(NAMES)),
    value("dns-opt", Lost(NAMES)),
    value("dns-option", Lost(NAMES)),
    value("dns-search", Lost(NAMES)),
    value("domainname", Lost("say the whole name in `hostname`")),
    value("hostname", Carried).short('h'),
    value("memory", Carried).short('m'),
    value("memory-reservation", Carried),
    value("memory-swap", Carried),
    value("memory-swappiness", NotNeeded("there is no swap")),
    value("kernel-memory", NotNeeded("the kernel's memory counts as the unit's")),
    switch("oom-kill-disable", Lost("a unit beyond its memory has a process killed, always")),
    value("oom-score-adj", Lost(ISOLATION)),
    value("cpus", Carried),
    value("cpu-quota", Carried),
    value("cpu-period", Carried),
    value("cpu-shares", Carried).short('c'),
    value("cpuset", Lost(CPUS)),
    value("cpuset-cpus", Lost(CPUS)),
    value("cpuset-mems", Lost(CPUS)),
    value("cpu-rt-period", Lost(CPUS)),
    value("cpu-rt-runtime", Lost(CPUS)),
    value("cpu-count", Lost(WINDOWS)),
    value("cpu-percent", Lost(WINDOWS)),
    value("pids-limit", Carried),
    value("blkio-weight", Carried),
    value("blkio-weight-device", Lost(DISK)),
    value("device-read-bps", Lost(DISK)),
    value("device-write-bps", Lost(DISK)),
    value("device-read-iops", Lost(DISK)),
    value("device-write-iops", Lost(DISK)),
    value("io-maxbandwidth", Lost(WINDOWS)),
    value("io-maxiops", Lost(WINDOWS)),
    value("isolation", Lost(WINDOWS)),
    value("ulimit", Carried),
    value("sysctl", Carried),
    value("user", Carried).short('u'),
    value(
        "group-add",
        Lost("a unit's groups are its image's: `user = \"user:group\"` says the first one"),
    ),
    value("workdir", Carried).short('w'),
    value("entrypoint", Carried),
    switch("privileged", Carried),
    switch("read-only", Carried),
    switch("interactive", Carried).short('i'),
    switch("tty", Carried).short('t'),
    switch(
        "init",
        Lost("the program itself is process 1 and must take in processes that it did not start"),
    ),
    value("cap-add", Carried),
    value("cap-drop", Carried),
    value("device", Carried),
    value("device-cgroup-rule", Lost("name the devices: `devices = [\"/dev/fuse\"]`")),
    value("gpus", Lost("name the devices: `devices = [\"/dev/dri/card0\"]`")),
    value("security-opt", Carried),
    value("userns", Carried),
    value("pid", Carried),
    value("ipc", Carried),
    value("uts", Carried),
    value("cgroupns", Lost(ISOLATION)),
    value("cgroup-parent", NotNeeded("each unit has a cgroup of its own")),
    value("runtime", Lost(ISOLATION)),
    value("platform", Lost("a node runs images of its own platform")),
    value("label", Carried).short('l'),
    value("label-file", Lost("write them as `labels`: the file is not read")),
    value("annotation", Lost("use `labels`")),
    value("restart", Carried),
    value("stop-signal", Carried),
    value("stop-timeout", Carried),
    value("health-cmd", Carried),
    value("health-interval", Carried),
    value("health-timeout", Carried),
    value("health-retries", Carried),
    value("health-start-period", Carried),
    value(
        "health-start-interval",
        NotNeeded("until it is well for the first time it is looked at every second"),
    ),
    switch("no-healthcheck", NotNeeded("a health check of the image is not used; `[health]` is")),
    value("log-driver", NotNeeded(LOGS)),
    value("log-opt", NotNeeded(LOGS)),
    value("lxc-conf", Lost(ISOLATION)),
    switch("use-api-socket", Lost("there is no Docker")),
    // podman's
    value("cgroups", NotNeeded(PODMAN)),
    value("sdnotify", NotNeeded(PODMAN)),
    value("conmon-pidfile", NotNeeded(PODMAN)),
    value("pidfile", NotNeeded(PODMAN)),
    switch("replace", NotNeeded("a unit has one container, and the one before has ended")),
    value("requires", Lost("say it with `requires`")),
    value(
        "pod",
        Lost("a unit has one container: make each of a pod's a unit, and use their names"),
    ),
    value("systemd", NotNeeded(PODMAN)),
    value("healthcheck-command", Carried),
    value("healthcheck-interval", Lost("use `health.interval_s`")),
    value("healthcheck-retries", Lost("use `health.retries`")),
    value("healthcheck-timeout", Lost("use `health.timeout_s`")),
    value("healthcheck-start-period", Lost("use `health.start_period_s`")),
    value("secret", Lost("use `env_files`, which the node's configuration has")),
    value("tz", Lost("use `env = { TZ = \"…\" }`, where the image has time zones")),
    value("umask", Lost(ISOLATION)),
    switch("env-host", Lost("name the variables in `env`")),
    switch("http-proxy", NotNeeded(CLIENT)),
    value("image-volume", Lost("name its volumes in `[[volumes]]`")),
    value("init-path", NotNeeded(CLIENT)),
    switch("read-only-tmpfs", Lost("name them in `[[volumes]]`, with `tmpfs`")),
    value("subuidname", NotNeeded("each unit has IDs of its own")),
    value("subgidname", NotNeeded("each unit has IDs of its own")),
    value("uidmap", Lost("each unit has IDs of its own")),
];

/// Docker's own options, before the verb.
pub(crate) const GLOBAL: [Flag; 11] = [
    value("host", NotNeeded(CLIENT)).short('H'),
    value("config", NotNeeded(CLIENT)),
    value("context", NotNeeded(CLIENT)),
    switch("debug", NotNeeded(CLIENT)).short('D'),
    value("log-level", NotNeeded(CLIENT)).short('l'),
    switch("tls", NotNeeded(CLIENT)),
    switch("tlsverify", NotNeeded(CLIENT)),
    value("tlscacert", NotNeeded(CLIENT)),
    value("tlscert", NotNeeded(CLIENT)),
    value("tlskey", NotNeeded(CLIENT)),
    value("root", NotNeeded(CLIENT)),
];

/// Those of `docker stop` and `docker kill`.
pub(crate) const STOP: [Flag; 4] = [
    value("time", Carried).short('t'),
    value("timeout", Carried),
    value("signal", Carried).short('s'),
    switch("ignore", NotNeeded(CLIENT)).short('i'),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_option_is_there_twice() {
        for flags in [&RUN[..], &GLOBAL, &STOP] {
            let long: BTreeSet<_> = flags.iter().map(|flag| flag.long).collect();
            let short: Vec<_> = flags.iter().filter_map(|flag| flag.short).collect();
            let different: BTreeSet<_> = short.iter().collect();
            assert_eq!((long.len(), short.len()), (flags.len(), different.len()));
        }
    }
}
