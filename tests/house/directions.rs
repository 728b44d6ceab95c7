//! Which crate may depend on which, as cargo sees them, and that ARCHITECTURE.md names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use ferrite_tests::programs::{checkout, succeed};
use serde_json::Value;

/// Members by their folder, each with all members that it may depend on. A new edge is a line here, with its reason in
/// the commit.
const MAY_DEPEND_ON: [(&str, &[&str]); 20] = [
    ("layout", &[]),
    ("schema", &["layout"]),
    ("archive", &[]),
    ("files", &[]),
    ("sys", &[]),
    ("init", &["layout", "schema", "sys", "files"]),
    ("shim", &["files", "schema", "sys"]),
    ("store", &["archive", "files", "schema", "sys"]),
    ("net", &["files", "schema", "sys"]),
    ("container", &["archive", "files", "net", "schema", "shim", "store", "sys"]),
    // Certificates as the operator's computer and the nodes make and believe them.
    ("pki", &["schema"]),
    ("units", &["files", "net", "schema", "store", "sys"]),
    ("agent", &["cluster", "files", "net", "pki", "schema", "store", "sys", "units"]),
    ("image", &["layout", "schema"]),
    ("vm", &[]),
    ("ctl", &["archive", "image", "layout", "pki", "schema", "vm"]),
    ("tests", &["ctl", "image", "layout", "schema", "vm"]),
    ("tests/bench", &["ctl", "image", "layout", "schema", "tests", "vm"]),
    ("tests/probe", &["sys"]),
    ("cluster", &["schema"]),
];

/// Members that are expected and not there yet.
const COMING: [&str; 0] = [];

/// Members with programs whose library another member uses all the same, and why.
const LIBRARIES_OF_PROGRAMS: [(&str, &str, &str); 3] = [
    (
        "shim",
        "container",
        "both ends of the sockets between a shim and the commands that join its container",
    ),
    ("ctl", "tests", "keys and contexts as the command makes them"),
    ("ctl", "tests/bench", "keys and contexts as the command makes them"),
];

/// Crates of others that a member must not reach, however indirectly, and why.
const MUST_NOT_REACH: [(&str, &[&str], &str); 11] = [
    ("layout", &["tokio", "rustix", "nix", "libc"], "it does no I/O"),
    ("init", &["tokio", "rustls", "libcontainer"], "PID 1 has neither async nor network"),
    ("archive", &["tokio", "rustls"], "what reads an archive waits for nobody"),
    ("shim", &["tokio", "rustls", "libcontainer"], "one small process per container"),
    (
        "container",
        &["rustls", "axum", "hyper"],
        "nothing that reads the network is near hostile code",
    ),
    ("agent", &["libcontainer", "libseccomp"], "hostile code's surroundings are another process's"),
    ("units", &["libcontainer", "libseccomp"], "it starts the program of `container`"),
    ("pki", &["tokio", "rustix", "nix"], "it does no I/O"),
    ("cluster", &["rustls", "rustix", "nix"], "it opens nothing but etcd's own socket"),
    ("image", &["tokio"], "it builds without async"),
    ("tests/probe", &["tokio"], "it is small enough to look at a guest without changing it"),
];

struct Workspace {
    /// Folder of each member, by cargo's ID.
    members: BTreeMap<String, String>,
    /// Folders of members with a program.
    programs: BTreeSet<String>,
    /// Name of every package, by cargo's ID.
    names: BTreeMap<String, String>,
    /// What a package links, by IDs; dependencies of tests and build scripts left out.
    links: BTreeMap<String, Vec<String>>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn workspace() -> Workspace {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).current_dir(checkout());
    let found: Value = serde_json::from_str(&succeed(&mut cargo).unwrap()).unwrap();
    let root = text(&found["workspace_root"]);
    let ids: BTreeSet<String> = each(&found["workspace_members"]).map(text).collect();
    let (mut members, mut programs, mut names) =
        (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    for package in each(&found["packages"]) {
        let id = text(&package["id"]);
        names.insert(id.clone(), text(&package["name"]));
        if !ids.contains(&id) {
            continue;
        }
        let manifest = text(&package["manifest_path"]);
        let folder = manifest.strip_prefix(&root).and_then(|rest| rest.strip_suffix("Cargo.toml"));
        let folder = folder.unwrap().trim_matches('/').to_owned();
        if each(&package["targets"]).any(|target| target["kind"][0] == "bin") {
            programs.insert(folder.clone());
        }
        members.insert(id, folder);
    }
    let links = each(&found["resolve"]["nodes"])
        .map(|node| {
            let linked = each(&node["deps"])
                .filter(|edge| each(&edge["dep_kinds"]).any(|kind| kind["kind"].is_null()));
            (text(&node["id"]), linked.map(|edge| text(&edge["pkg"])).collect())
        })
        .collect();
    Workspace { members, programs, names, links }
}

impl Workspace {
    /// Every edge between members: who depends, on whom.
    fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().flat_map(|(id, from)| {
            let linked = self.links.get(id).into_iter().flatten();
            linked.filter_map(|to| Some((from.as_str(), self.members.get(to)?.as_str())))
        })
    }

    /// Names of all packages that a member links, however indirectly.
    fn reached_from(&self, member: &str) -> BTreeSet<&str> {
        let mut open: Vec<&String> =
            self.members.iter().filter(|(_, folder)| *folder == member).map(|(id, _)| id).collect();
        let mut reached = BTreeSet::new();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.links.get(id).into_iter().flatten());
            }
        }
        reached.into_iter().filter_map(|id| self.names.get(id)).map(String::as_str).collect()
    }
}

#[test]
fn crates_depend_on_one_another_in_the_directions_that_are_written_down() {
    let workspace = workspace();
    let wrong: Vec<String> = workspace
        .edges()
        .filter(|(from, to)| {
            let may = MAY_DEPEND_ON.iter().find(|(name, _)| name == from);
            may.is_none_or(|(_, may)| !may.contains(to))
        })
        .map(|(from, to)| format!("{from} depends on {to}"))
        .collect();
    assert!(wrong.is_empty(), "not in the list at the top of {}:\n{}", file!(), wrong.join("\n"));
}

#[test]
fn the_directions_are_those_of_every_member_and_lead_nowhere_twice() {
    let workspace = workspace();
    let mut known: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
    assert_eq!(known.len(), MAY_DEPEND_ON.len(), "a member is listed twice");
    known.retain(|name| !COMING.contains(name));
    let members: BTreeSet<&str> = workspace.members.values().map(String::as_str).collect();
    assert_eq!(known, members, "the list at the top of {} is not the workspace's", file!());
    // What may be must itself have a direction: whoever is allowed is listed earlier, or knows nobody who knows us.
    let mut open: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
    while let Some(done) = open.iter().find(|name| {
        let may = MAY_DEPEND_ON.iter().find(|(other, _)| other == *name);
        may.is_some_and(|(_, may)| may.iter().all(|other| !open.contains(other)))
    }) {
        let done = *done;
        open.remove(done);
    }
    assert!(open.is_empty(), "what is allowed goes in circles: {open:?}");
}

#[test]
fn programs_are_no_libraries_of_one_another() {
    let workspace = workspace();
    for (from, to) in workspace.edges().filter(|(_, to)| workspace.programs.contains(*to)) {
        let known = LIBRARIES_OF_PROGRAMS.iter().any(|(of, by, _)| (*of, *by) == (to, from));
        assert!(known, "{from} depends on {to}, which has a program");
    }
}

#[test]
fn what_a_member_must_not_reach_it_does_not() {
    let workspace = workspace();
    for (member, foreign, why) in MUST_NOT_REACH {
        let reached = workspace.reached_from(member);
        assert!(!reached.is_empty(), "{member} is no member");
        for name in foreign {
            assert!(!reached.contains(name), "{member} reaches {name}, and {why}");
        }
    }
    // The names are right: somebody reaches each.
    let all: BTreeSet<&str> =
        workspace.members.values().flat_map(|folder| workspace.reached_from(folder)).collect();
    for name in MUST_NOT_REACH.iter().flat_map(|(_, foreign, _)| foreign.iter()) {
        assert!(all.contains(name), "nobody reaches {name}: is it still called so?");
    }
}

/// Folders that the rows of a table of crates name: `| `name` | …`, and `parent/child` anywhere in a row.
fn named_in(table: &str, members: &BTreeSet<&str>) -> BTreeSet<String> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut named = BTreeSet::new();
    for row in rows {
        let (name, rest) = row.split_once('`').unwrap_or((row, ""));
        named.insert(name.trim_end_matches('/').to_owned());
        let inner = rest.split('`').filter(|word| word.contains('/') && members.contains(word));
        named.extend(inner.map(str::to_owned));
    }
    named
}

#[test]
fn architecture_names_the_members_and_nothing_else() {
    let workspace = workspace();
    let members: BTreeSet<&str> = workspace.members.values().map(String::as_str).collect();
    let architecture = fs::read_to_string(checkout().join("ARCHITECTURE.md")).unwrap();
    let (_, parts) = architecture.split_once("## Parts and their directions").unwrap();
    let (parts, _) = parts.split_once("\n## ").unwrap();
    let expected: BTreeSet<String> = members.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(named_in(parts, &members), expected);
    // The README's map has folders without crates, too.
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let (_, map) = readme.split_once("## Map").unwrap();
    let mapped = named_in(map, &members);
    for member in members.iter().filter(|name| !name.contains('/')) {
        assert!(mapped.contains(*member), "the README's map does not name {member}");
    }
}
