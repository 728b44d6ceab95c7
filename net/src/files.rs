//! What a unit's network leaves in its folder: `hosts` and `resolv.conf` for the container, and a record for the
//! agent that comes after this one. All of it is in memory and gone with the machine.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ferrite_files::removal;
use ferrite_schema::shim::{self, Attachment, BindMount, MountSource};
use ferrite_schema::unit::Port;
use serde::{Deserialize, Serialize};

use crate::resolv_conf::ResolvConf;

const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";
const RECORD: &str = "attachment.json";
/// There where the unit has the node's network.
const OF_NODE: &str = "network-of-node";

/// A unit's files could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteFiles {
    /// Which.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// What a unit on the bridge has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) unit: String,
    pub(super) attachment: Attachment,
    pub(super) ports: Vec<Port>,
    /// It reaches the cloud's metadata.
    #[serde(default)]
    pub(super) metadata: bool,
}

/// Whose network a unit has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// Its own, on the bridge.
    Bridge(Record),
    /// The node's.
    Node,
    /// None, or an agent before this one did not say.
    Nobody,
}

/// What a unit finds in its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) hosts: String,
    pub(super) resolv_conf: String,
}

/// The container's own names, and the addresses that they stand for.
pub(super) fn hosts(unit: &str, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    let own = if addresses.is_empty() { &[IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { addresses };
    // A unit's name is also a hostname in most cases; what is none would only confuse its readers, and what has dots
    // may be somebody else's.
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let also = (unit != hostname && unit.chars().all(fits)).then_some(unit);
    for address in own {
        text.push_str(&format!("{address} {hostname}"));
        if let Some(unit) = also {
            text.push_str(&format!(" {unit}"));
        }
        text.push('\n');
    }
    text
}

/// Asks the node's resolver. Short names are units' first; where the node itself would look comes after.
pub(super) fn resolv_conf(gateway: Ipv4Addr, domain: &str, of_node: &str) -> String {
    let of_node = ResolvConf::parse(of_node).search;
    let search = std::iter::once(domain.to_owned()).chain(of_node).collect();
    ResolvConf { servers: vec![gateway.into()], search }.text()
}

/// Writes a unit's files and says how they are mounted. A container cannot write them: they are in the node's
/// memory, which it could fill.
pub(super) fn write(
    folder: &Path,
    contents: &Contents,
    whose: &Whose,
) -> Result<Vec<BindMount>, WriteFiles> {
    let put = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(|source| WriteFiles { path: path.to_owned(), source })
    };
    fs::create_dir_all(folder).map_err(|source| WriteFiles { path: folder.to_owned(), source })?;
    let mut mounts = Vec::new();
    for (name, text) in [(HOSTS, &contents.hosts), (RESOLV_CONF, &contents.resolv_conf)] {
        let path = folder.join(name);
        put(&path, text.as_bytes())?;
        mounts.push(BindMount {
            source: MountSource::Owned(path.to_string_lossy().into_owned()),
            target: format!("/etc/{name}"),
            read_only: true,
        });
    }
    match whose {
        Whose::Bridge(record) => {
            put(&folder.join(RECORD), &serde_json::to_vec(record).unwrap_or_default())?;
        }
        Whose::Node => put(&folder.join(OF_NODE), &[])?,
        Whose::Nobody => {}
    }
    Ok(mounts)
}

/// Folders of all units, and whose network each of them has.
pub(super) fn all(folder: &Path) -> Vec<(PathBuf, Whose)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let whose = |folder: PathBuf| {
        let text = fs::read(folder.join(RECORD)).unwrap_or_default();
        let whose = match serde_json::from_slice(&text) {
            Ok(record) => Whose::Bridge(record),
            Err(_) if folder.join(OF_NODE).exists() => Whose::Node,
            Err(_) => Whose::Nobody,
        };
        (folder, whose)
    };
    entries.map(|entry| whose(entry.path())).collect()
}

/// Gives a unit that runs another `resolv.conf`. It is the file that is mounted which changes: a new one in its place would
/// never be seen. Who reads it meanwhile finds empty lines at worst.
pub(super) fn rewrite(folder: &Path, text: &str) -> Result<(), WriteFiles> {
    let path = folder.join(RESOLV_CONF);
    let rewritten = || {
        let before = fs::read(&path)?;
        if before == text.as_bytes() {
            return Ok(());
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().max(before.len()), b'\n');
        let file = fs::OpenOptions::new().write(true).open(&path)?;
        file.write_all_at(&bytes, 0)?;
        file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
    };
    rewritten().map_err(|source| WriteFiles { path: path.clone(), source })
}

/// Removes a unit's files.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = removal::remove(folder) {
        let (entry, why) = (error.entry.display(), &error.source);
        tracing::warn!(folder = %folder.display(), %entry, %why, "network-files-left");
    }
}

/// What an earlier agent left: records of containers that may still run. Files of others are removed.
pub(super) fn living(folder: &Path, runs: &Path) -> Vec<Record> {
    let mut found = Vec::new();
    for (entry, whose) in all(folder) {
        let Some(name) = entry.file_name() else { continue };
        let run = runs.join(name);
        let lives = run.join(shim::REQUEST).exists() && !run.join(shim::OUTCOME).exists();
        match whose {
            Whose::Bridge(record) if lives && Some(record.unit.as_str()) == name.to_str() => {
                found.push(record);
            }
            // Without the bridge there is nothing to take over, and its files are mounted.
            Whose::Node | Whose::Nobody if lives => {}
            Whose::Bridge(_) | Whose::Node | Whose::Nobody => remove(&entry),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_container_itself() {
        let own = [IpAddr::from([10, 120, 0, 2]), "fd00::2".parse().unwrap()];
        let text = hosts("web", "www", &own);
        assert!(text.ends_with("\n10.120.0.2 www web\nfd00::2 www web\n"), "{text}");
        let dots = hosts("github.com", "github-com", &own[..1]);
        assert!(dots.ends_with("\n10.120.0.2 github-com\n"), "{dots}");
        assert!(hosts("a@1", "a-1", &own[..1]).ends_with("\n10.120.0.2 a-1\n"));
        assert!(hosts("web", "web", &[]).ends_with("\n127.0.0.1 web\n"));
    }

    #[test]
    fn short_names_are_units_first() {
        let text = resolv_conf(
            Ipv4Addr::new(10, 120, 0, 1),
            "ferrite.local",
            "nameserver 1.1.1.1\nsearch a.b c\n",
        );
        assert_eq!(text, "nameserver 10.120.0.1\nsearch ferrite.local a.b c\n");
    }

    #[test]
    fn only_what_may_still_run_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (net, runs) = (folder.path().join("net"), folder.path().join("units"));
        let contents = Contents { hosts: "h".to_owned(), resolv_conf: "r".to_owned() };
        let gateway = Ipv4Addr::new(10, 120, 0, 1);
        let attachment = Attachment {
            bridge: "b".to_owned(),
            link: "l".to_owned(),
            ipv4: (Ipv4Addr::new(10, 120, 0, 2), 16, gateway),
            ipv6: None,
            mtu: None,
        };
        for unit in ["alive", "ended", "stopped"] {
            let record = Record {
                unit: unit.to_owned(),
                attachment: attachment.clone(),
                ports: vec![],
                metadata: false,
            };
            let mounts = write(&net.join(unit), &contents, &Whose::Bridge(record)).unwrap();
            assert!(mounts.iter().all(|mount| mount.read_only), "{mounts:?}");
            fs::create_dir_all(runs.join(unit)).unwrap();
        }
        for (unit, whose) in [("host", Whose::Node), ("none", Whose::Nobody)] {
            write(&net.join(unit), &contents, &whose).unwrap();
            fs::create_dir_all(runs.join(unit)).unwrap();
        }
        for unit in ["alive", "ended", "host", "none"] {
            fs::write(runs.join(unit).join(shim::REQUEST), "").unwrap();
        }
        fs::write(runs.join("ended").join(shim::OUTCOME), "").unwrap();
        let found: Vec<String> =
            living(&net, &runs).into_iter().map(|record| record.unit).collect();
        assert_eq!(found, ["alive"]);
        let mut left: Vec<_> =
            fs::read_dir(&net).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["alive", "host", "none"]);
    }
}
