//! On STATE nothing is written by a name where somebody else may have put anything: a link would be written through, a FIFO
//! waited for, a folder be in the way for ever. `ferrite_files::own` and `ferrite_files::durable` know better, and a
//! new name is nobody's.

use ferrite_tests::programs::checkout;

use crate::sources::{below, code, split_tests};

/// Crates of a node that write to STATE.
const CRATES: [&str; 8] = ["files", "store", "units", "agent", "shim", "container", "net", "init"];
/// Words that write by a name, whatever has it.
const WRITES: [&str; 7] = [
    "fs::write(",
    "fs::copy(",
    "File::create(",
    ".create(true)",
    ".truncate(true)",
    ".append(true)",
    "OFlags::TRUNC",
];

/// Files of memory and of the kernel: nothing of a container's is there, and nothing of a boot before.
const IN_MEMORY: &str = "it is in a folder of /run that is the node's alone";
const OF_THE_KERNEL: &str = "a setting of the kernel's";
/// Files that may, and why.
const MAY_WRITE: [(&str, &str); 25] = [
    ("files/src/own.rs", "it is who knows better"),
    ("units/src/proof.rs", IN_MEMORY),
    ("units/src/shims.rs", IN_MEMORY),
    (
        "agent/src/cluster/etcd.rs",
        "the hosts file is in /run; a copy goes into a folder that is new",
    ),
    ("shim/src/main.rs", IN_MEMORY),
    ("container/src/container.rs", OF_THE_KERNEL),
    ("container/src/resources.rs", OF_THE_KERNEL),
    ("container/src/exec/enter.rs", OF_THE_KERNEL),
    ("container/src/oci/exec.rs", "a folder of another engine's"),
    ("container/src/oci/report.rs", "a log that another engine names"),
    ("container/src/seccomp/program.rs", IN_MEMORY),
    ("net/src/files.rs", IN_MEMORY),
    ("net/src/bridge.rs", OF_THE_KERNEL),
    ("net/src/links.rs", OF_THE_KERNEL),
    ("init/src/unwritten.rs", OF_THE_KERNEL),
    ("init/src/haste.rs", OF_THE_KERNEL),
    ("init/src/log.rs", OF_THE_KERNEL),
    ("init/src/fatal.rs", OF_THE_KERNEL),
    ("init/src/modules/autoload.rs", OF_THE_KERNEL),
    ("init/src/boot/handover.rs", IN_MEMORY),
    ("init/src/state/etc.rs", "an /etc in memory"),
    ("init/src/state/memory.rs", "the kernel's pool of random bytes"),
    ("init/src/run/sysctl.rs", OF_THE_KERNEL),
    ("init/src/run/cgroups.rs", OF_THE_KERNEL),
    ("init/src/run/mod.rs", OF_THE_KERNEL),
];

#[test]
fn state_is_written_by_who_knows_what_may_be_in_the_way() {
    let allowed = MAY_WRITE.map(|(file, _)| file);
    let mut wrong = Vec::new();
    let mut used = Vec::new();
    for path in CRATES.iter().flat_map(|name| below(&checkout().join(name).join("src"))) {
        let name = path.strip_prefix(checkout()).unwrap().to_string_lossy().into_owned();
        let is_test = ["tests.rs", "attacks.rs", "as_root.rs", "namespace.rs"]
            .iter()
            .any(|end| name.ends_with(end))
            || ["/tests/", "/as_root/", "/differential/", "dhcp/servers"]
                .iter()
                .any(|part| name.contains(part));
        if is_test {
            continue;
        }
        let (product, _) = split_tests(&code(&std::fs::read_to_string(&path).unwrap()));
        let found: Vec<&str> = WRITES.into_iter().filter(|word| product.contains(*word)).collect();
        match allowed.iter().find(|file| **file == name) {
            Some(file) if !found.is_empty() => used.push(*file),
            Some(_) => {}
            None if found.is_empty() => {}
            None => wrong.push(format!("{name}: {}", found.join(", "))),
        }
    }
    assert!(wrong.is_empty(), "use ferrite_files::own or ::durable:\n{}", wrong.join("\n"));
    for file in allowed {
        assert!(used.contains(&file), "{file} writes nothing like that any more: take it out");
    }
}
