//! Tests of single crates that need root, in a machine: whoever runs the suite, they run. They have `::as_root::` in their
//! path, and `scripts/test` leaves them out of the run on the host.

use std::process::Command;

use anyhow::{Result, ensure};
use ferrite_tests::as_root::{MARK, others, programs};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::succeed;

#[test]
fn tests_that_need_root_pass_on_a_node() -> Result<()> {
    let programs = programs()?;
    let mut node = Node::new("as-root", Kind::Product)?;
    node.boot()?;
    let places: Vec<String> =
        programs.iter().map(|(name, _)| format!("/bin/{name}-tests")).collect();
    let others = others()?;
    let tests = programs.iter().map(|(_, path)| path).zip(&places);
    let additions = tests.chain(others.iter().map(|(path, place)| (path, place)));
    let additions: Vec<_> =
        additions.map(|(path, place)| (path.as_path(), place.as_str())).collect();
    let archive = node.machine.directory.join("tests.tar");
    demo::extended(&demo::busybox()?, &additions, &archive)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "tests"])?;
    for ((name, path), place) in programs.iter().zip(&places) {
        let list = succeed(Command::new(path).args([MARK, "--list"]))?;
        let count = list.lines().filter(|line| line.ends_with(": test")).count();
        ensure!(count > 0, "{name} has no test that needs root: take it out of the list here");
        // On STATE: a container's root, itself an overlay, takes none of overlayfs's attributes.
        // Others want to know where they are at home.
        let long = std::env::var_os("FERRITE_LONG").map_or("", |_| "FERRITE_LONG = \"1\", ");
        let unit = format!(
            "name = \"{name}\"\nimage = \"tests\"\nprivileged = true\nnetwork = \"none\"\nrestart = \"never\"\n\
             command = [\"{place}\", \"{MARK}\"]\nvolumes = [{{ name = \"work\", target = \"/tmp\" }}]\n\
             env = {{ {long}HOME = \"/tmp\", PATH = \"/bin:/usr/bin\" }}\n"
        );
        let file = format!("{name}.toml");
        std::fs::write(node.machine.directory.join(&file), unit)?;
        // Random stacks are unpacked by three engines, which takes minutes there.
        let within = if long.is_empty() { "20m" } else { "24h" };
        node.ferrite_output(&["unit", "start", &file, "--until", "ended", "--timeout", within])?;
        let log = node.ferrite(&["unit", "logs", name])?;
        let expected = format!("test result: ok. {count} passed; 0 failed; 0 ignored");
        ensure!(log.contains(&expected), "{name}: not {expected:?} but\n{log}");
    }
    Ok(())
}
