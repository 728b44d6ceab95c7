//! Files of a crate do not know one another in circles.
//!
//! A file knows another where it names something of that one's module by a path that starts with `crate`, `super` or
//! `self`, or with a module that it declares itself. Whom it lets see something (`pub(in crate::api)`) it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ferrite_tests::programs::checkout;

use crate::sources::{below, code, split_tests};

/// Circles that may be: the crate, files that are in the circle (with any below them), and why. Only a state machine and its
/// own parts may stand here for good. One that is gone must go here, too.
const MAY_BE: [(&str, &[&str], &str); 7] = [
    // To be broken, all of them: they are no state machines.
    (
        "agent",
        &["cluster", "node"],
        "the node holds the cluster's handle, whose parts say things in the node's status",
    ),
    ("container", &["container", "handover", "reaper"], "the program is handed over to its reaper"),
    (
        "container",
        &["exec", "exec::enter", "exec::relay"],
        "who enters says what becomes of leftovers",
    ),
    (
        "schema",
        &["node_config", "node_config::secrets"],
        "secrets are checked in parts of the document",
    ),
    (
        "schema",
        &[
            "unit::container_check",
            "unit::definition",
            "unit::network",
            "unit::secret",
            "unit::template",
        ],
        "keys with rules of their own are checked beside their types",
    ),
    ("store", &["pull", "pull::renew"], "a name that is asked anew is pulled as others are"),
    (
        "tests/bench",
        &[
            "cluster",
            "cluster::idle",
            "cluster::leader",
            "cluster::mesh",
            "cluster::replaced",
            "cluster::visible",
        ],
        "parts of one benchmark",
    ),
];

type Module = Vec<String>;

/// The module that a file is, in the crate whose sources are in `source`.
fn module_of(source: &Path, file: &Path) -> Module {
    let inside = file.strip_prefix(source).unwrap().with_extension("");
    let mut parts: Module =
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Every path of `code` that starts with one of `starts`, as its parts; groups in braces become one path each.
fn paths(code: &str, starts: &[String]) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let is_start = starts.contains(&tokens[index])
            && tokens.get(index + 1).is_some_and(|next| next == "::");
        let before = |steps: usize| index.checked_sub(steps).map(|index| tokens[index].as_str());
        let is_inner = before(1) == Some("::");
        let is_visibility =
            before(1) == Some("in") && before(2) == Some("(") && before(3) == Some("pub");
        if is_start && !is_inner && !is_visibility {
            index = tree(&tokens, index, &mut Vec::new(), &mut found);
        } else {
            index += 1;
        }
    }
    found
}

/// Words, `::`, and single signs.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut joins = false;
    for letter in code.chars() {
        let is_word = letter.is_alphanumeric() || letter == '_';
        let colon = letter == ':' && joins && tokens.last().is_some_and(|last| last == ":");
        let word = is_word
            && joins
            && tokens.last().is_some_and(|last| {
                last.ends_with(|end: char| end.is_alphanumeric() || end == '_')
            });
        match tokens.last_mut() {
            Some(last) if colon || word => last.push(letter),
            _ if letter.is_whitespace() => {}
            _ => tokens.push(letter.to_string()),
        }
        joins = !letter.is_whitespace();
    }
    tokens
}

/// Reads the tree of paths at `index`; where it ends.
fn tree(
    tokens: &[String],
    mut index: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let depth = prefix.len();
    while let Some(token) = tokens.get(index) {
        if token == "{" {
            index += 1;
            while tokens.get(index).is_some_and(|token| token != "}") {
                let next = tree(tokens, index, prefix, found);
                index = next.max(index + 1);
                while tokens.get(index).is_some_and(|token| ![",", "}"].contains(&token.as_str())) {
                    index += 1;
                }
                if tokens.get(index).is_some_and(|token| token == ",") {
                    index += 1;
                }
            }
            prefix.truncate(depth);
            return index + 1;
        }
        prefix.push(token.clone());
        index += 1;
        if tokens.get(index).is_none_or(|next| next != "::") {
            break;
        }
        index += 1;
    }
    found.push(prefix.clone());
    prefix.truncate(depth);
    index
}

/// The module of `all` that a path of `from` leads into.
fn target(from: &Module, path: &[String], all: &BTreeMap<Module, String>) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        rest = more;
    }
    let least = base.len();
    base.extend(rest.iter().cloned());
    while !all.contains_key(&base) && base.len() > least {
        base.pop();
    }
    (all.contains_key(&base) && base != *from).then_some(base)
}

/// Whom each module knows.
fn known(files: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<Module>> {
    files
        .iter()
        .map(|(module, code)| {
            let children = files.keys().filter(|other| {
                other.split_last().is_some_and(|(_, above)| above == module.as_slice())
            });
            let mut starts: Vec<String> =
                children.filter_map(|child| child.last().cloned()).collect();
            starts.extend(["crate", "super", "self"].map(str::to_owned));
            let paths = paths(code, &starts);
            (module, paths.iter().filter_map(|path| target(module, path, files)).collect())
        })
        .collect()
}

/// Sets of modules that all lead to one another.
fn circles(known: &BTreeMap<&Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached = |from: &Module| -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Module> = known.get(from).into_iter().flatten().collect();
        while let Some(module) = open.pop() {
            if reached.insert(module.clone()) {
                open.extend(known.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> =
        known.keys().map(|module| (*module, reached(module))).collect();
    let both = |a: &Module, b: &Module| all[a].contains(b) && all[b].contains(a);
    let mut circles: Vec<BTreeSet<Module>> = known
        .keys()
        .map(|module| {
            known.keys().filter(|other| both(module, other)).map(|other| (*other).clone()).collect()
        })
        .filter(|circle: &BTreeSet<Module>| circle.len() > 1)
        .collect();
    circles.sort();
    circles.dedup();
    circles
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { module.join("::") }
}

/// Circles of the crate in `folder`.
fn circles_of(folder: &str) -> Vec<BTreeSet<Module>> {
    let source = checkout().join(folder).join("src");
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with("tests") || ["attacks", "as_root"].contains(&name.as_str())
    };
    let files: BTreeMap<Module, String> = below(&source)
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (module_of(&source, &path), split_tests(&code(&text)).0)
        })
        .collect();
    circles(&known(&files))
}

#[test]
fn files_know_one_another_in_one_direction() {
    let members = members();
    assert!(members.len() > 10, "{members:?}");
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for member in &members {
        for circle in circles_of(member) {
            let excepted = MAY_BE.iter().position(|(name, files, _)| {
                let covers = |module: &Module| {
                    let mut prefixes = (0..=module.len()).map(|end| module[..end].join("::"));
                    prefixes.any(|prefix| files.contains(&prefix.as_str()))
                };
                let there = |file: &&str| circle.iter().any(|module| module.join("::") == **file);
                name == member && circle.iter().all(covers) && files.iter().all(there)
            });
            match excepted {
                Some(index) => drop(used.insert(index)),
                None => {
                    let names: Vec<String> = circle.iter().map(shown).collect();
                    wrong.push(format!("{member}: {}", names.join(", ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "files that know one another in circles:\n{}", wrong.join("\n"));
    for (index, (member, files, _)) in MAY_BE.iter().enumerate() {
        assert!(used.contains(&index), "{member} has no circle in {files:?} any more: take it out");
    }
}

/// Folders of the workspace's members.
pub(crate) fn members() -> Vec<String> {
    let manifest = std::fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("members = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &[&[&str]]) {
        let module = |name: &&str| {
            name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Module>()
        };
        let files = files.iter().map(|(name, code)| (module(name), (*code).to_owned())).collect();
        let expected: Vec<BTreeSet<Module>> =
            expected.iter().map(|circle| circle.iter().map(module).collect()).collect();
        assert_eq!(circles(&known(&files)), expected);
    }

    #[test]
    fn circles_are_found_through_every_kind_of_path() {
        check(&[("a", "use crate::b::B;"), ("b", "fn f() { crate::a::g(); }")], &[&["a", "b"]]);
        check(
            &[("a", "use crate::{c, b::{self, B}};"), ("b", "use super::a;"), ("c", "")],
            &[&["a", "b"]],
        );
        check(&[("", "mod a; use a::A;"), ("a", "use crate::X;")], &[&["", "a"]]);
        check(&[("m", "use self::n::N;"), ("m::n", "use super::M;")], &[&["m", "m::n"]]);
        check(
            &[("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a;")],
            &[&["a", "b", "c"]],
        );
        // Who may see something is not used.
        check(&[("a", "mod b; use b::B;"), ("a::b", "pub(in crate::a) struct B;")], &[]);
        check(
            &[
                ("a", "mod b; use b::B;"),
                ("a::b", "pub(in crate::a) fn f() { for x in crate::a::Y {} }"),
            ],
            &[&["a", "a::b"]],
        );
        // Somebody else's module of the same name, one direction, and oneself.
        check(
            &[("a", "use other::b::B; use crate::b::B;"), ("b", "use b::a::A; use self::T;")],
            &[],
        );
        check(&[("m", "mod n;"), ("m::n", "use super::M;")], &[]);
    }
}
