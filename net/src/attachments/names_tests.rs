//! Units that run learn what the node's name servers and domains are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tests::{attachments, wish};
use super::*;
use crate::namespace;

const MODES: [(&str, NetworkMode); 3] =
    [("own", NetworkMode::Bridge), ("host", NetworkMode::Host), ("none", NetworkMode::None)];

fn resolv_conf(folder: &Path, unit: &str) -> PathBuf {
    folder.join("net").join(unit).join("resolv.conf")
}

/// What units find, and which file it is.
fn found(folder: &Path) -> [(String, u64); 3] {
    MODES.map(|(unit, _)| {
        let path = resolv_conf(folder, unit);
        (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().ino())
    })
}

#[test]
fn units_that_run_learn_what_a_later_lease_brings() {
    let name = "units_that_run_learn_what_a_later_lease_brings";
    namespace::inside(&format!("{}::{name}", module_path!()), || {
        namespace::show_interfaces();
        let folder = tempfile::tempdir().unwrap();
        let (folder, of_node) = (folder.path(), folder.path().join("resolv.conf"));
        let mut first = attachments(folder);
        for (unit, mode) in MODES {
            first.attach(&Wish { mode, ..wish(unit) }).unwrap();
            let run = folder.join("units").join(unit);
            fs::create_dir_all(&run).unwrap();
            fs::write(run.join(ferrite_schema::shim::REQUEST), "").unwrap();
        }
        let begun = found(folder);
        assert_eq!(begun[1].0, "", "there is no lease yet");
        let check = |attachments: &Attachments, lease: &str, search: &str| {
            fs::write(&of_node, lease).unwrap();
            attachments.refresh();
            let own = format!("nameserver 10.120.0.1\nsearch ferrite.local{search}\n");
            let texts = [own.as_str(), lease, ""];
            let expected: Vec<(String, u64)> = (texts.iter().zip(&begun))
                .map(|(text, (_, inode))| ((*text).to_owned(), *inode))
                .collect();
            assert_eq!(found(folder).to_vec(), expected, "the same files, which are mounted");
        };
        let long = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\n";
        check(&first, long, " a.example b.example");
        check(&first, "nameserver 192.0.2.3\n", "");
        // So does an agent that comes later.
        let mut second = attachments(folder);
        second.take_over().unwrap();
        check(&second, "nameserver 192.0.2.4\nsearch c.example\n", " c.example");
        // A unit that is gone is in nobody's way.
        second.detach("own");
        second.detach("host");
        second.refresh();
        assert!(!resolv_conf(folder, "own").exists() && !resolv_conf(folder, "host").exists());
    });
}

#[test]
fn units_of_a_lone_node_send_no_longer_packets_than_the_node() {
    let name = "units_of_a_lone_node_send_no_longer_packets_than_the_node";
    namespace::inside(&format!("{}::{name}", module_path!()), || {
        namespace::show_interfaces();
        let folder = tempfile::tempdir().unwrap();
        let mut attachments = attachments(folder.path());
        namespace::ip("link add eth0 type veth peer name eth9");
        namespace::ip("link set eth9 up");
        namespace::ip("link set eth0 up");
        namespace::ip("address add 192.0.2.7/24 dev eth0");
        for (of_node, of_units) in [(1500, None), (1400, Some(1400)), (9000, None)] {
            namespace::ip(&format!("link set eth0 mtu {of_node}"));
            let files = attachments.attach(&wish("web")).unwrap();
            let Network::Bridge(attachment) = files.network else { panic!("no bridge") };
            assert_eq!(attachment.mtu, of_units, "{of_node}");
        }
    });
}
