//! The order in which the agent's code is linked (`agent/start-up.ld`): what a node runs in its first minute, seen by QEMU,
//! which names every piece of code when it translates it.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ferrite_tests::programs::succeed;
use ferrite_vm::machine::Timing;

use crate::arguments::StartUpArguments;
use crate::containers::guest::{Guest, Node};

/// Where programs lie that may lie anywhere.
const PROGRAMS: &str = "0x7e0000000000+0x1ffffffffff";
/// A name that stands for so many times more code than was run, and for more than that many bytes, comes last.
const TIMES: u64 = 4;
const MANY_BYTES: u64 = 4096;
const HEAD: &str = "/* Code that a node runs in its first minute, in this order: see build.rs. Made by `scripts/start-up-order`; not for people. */\n\
                    SECTIONS {\n  .text.start : {\n";
const TAIL: &str = "  }\n} INSERT BEFORE .text;\n";

/// A function of a program: where it begins, how long it is, what the linker calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    start: u64,
    bytes: u64,
    name: String,
}

/// Boots a node, does with it what every node is for, and writes the list anew.
pub(crate) fn write(arguments: &StartUpArguments) -> Result<()> {
    let functions = functions(&succeed(Command::new("nm").arg("-S").arg(&arguments.agent))?);
    ensure!(!functions.is_empty(), "{} has no symbols", arguments.agent.display());
    let scratch = tempfile::tempdir()?;
    let log = scratch.path().join("translated");
    let qemu =
        ["-d", "in_asm", "-dfilter", PROGRAMS, "-D", &log.to_string_lossy()].map(str::to_owned);
    let guest = Guest {
        ferrite: &arguments.ferrite,
        image: &arguments.probed_image,
        directory: &scratch.path().join("node"),
        settings: "",
        timing: Timing::Real,
        extra_arguments: &qemu,
    };
    let mut node = Node::boot_as(&guest)?;
    use_it(&node, &arguments.busybox)?;
    let agent = node
        .processes()?
        .pid(|process| process["name"] == "ferrite-agent" && process["parent"] == 1)?;
    let maps = node.read(&format!("/proc/{agent}/maps"))?;
    drop(node);
    let base = base(&maps).context("find where the agent lies")?;
    let lines = BufReader::new(File::open(&log)?).lines().map_while(Result::ok);
    let list = list(&functions, run(&functions, lines.filter_map(|line| address(&line)), base));
    fs::write(&arguments.list, list).with_context(|| format!("write {}", arguments.list.display()))
}

fn use_it(node: &Node, busybox: &Path) -> Result<()> {
    let unit =
        "name = \"once\"\nimage = \"busybox\"\nrestart = \"never\"\ncommand = [\"/bin/true\"]\n";
    fs::write(node.directory().join("once.toml"), unit)?;
    let busybox = fs::canonicalize(busybox)?;
    let import = ["import", &busybox.to_string_lossy(), "--name", "busybox"];
    let start = ["unit", "start", "once.toml", "--until", "ended"];
    let words: [&[&str]; 10] = [
        &["machine", "status"],
        &["unit", "list"],
        &import,
        &start,
        &start,
        &["unit", "logs", "once"],
        &["unit", "status", "once"],
        &["events"],
        &["images"],
        &["unit", "destroy", "once"],
    ];
    words.into_iter().try_for_each(|words| node.ferrite(words).map(drop))
}

/// What `nm -S` lists, in order.
fn functions(text: &str) -> Vec<Function> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let start = u64::from_str_radix(words.next()?, 16).ok()?;
        let bytes = u64::from_str_radix(words.next()?, 16).ok()?;
        let code = matches!(words.next()?, "t" | "T" | "w" | "W" | "i");
        code.then_some(Function { start, bytes, name: words.next()?.to_owned() })
    };
    let mut all: Vec<_> = text.lines().filter_map(parse).collect();
    all.sort();
    all
}

/// Where the agent's file begins in memory.
fn base(maps: &str) -> Option<u64> {
    let line = maps.lines().find(|line| line.ends_with("/ferrite-agent"))?;
    u64::from_str_radix(line.split_once('-')?.0, 16).ok()
}

/// Of an instruction, in QEMU's log.
fn address(line: &str) -> Option<u64> {
    u64::from_str_radix(line.strip_prefix("0x")?.split_once(':')?.0, 16).ok()
}

/// Which of `functions` were run, by number, in the order in which they were first.
fn run(functions: &[Function], addresses: impl Iterator<Item = u64>, base: u64) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let at = |address: u64| {
        let offset = address.checked_sub(base)?;
        let number = functions.partition_point(|it| it.start <= offset).checked_sub(1)?;
        let it = functions.get(number)?;
        (offset - it.start < it.bytes).then_some(number)
    };
    addresses.filter_map(at).filter(|number| seen.insert(*number)).collect()
}

/// What the linker is told of a function: its name without what changes with every build, which are the digits that tell crates
/// of one name apart (`Cs…_`, RFC 2603) and what LLVM adds. Code in C is not named: it comes in whole files.
fn pattern(name: &str) -> Option<String> {
    let (stem, tail) = name.split_once(".llvm.").unwrap_or((name, ""));
    let mut rest = stem.strip_prefix("_R")?;
    let mut pattern = "_R".to_owned();
    while let Some((before, after)) = rest.split_once("Cs") {
        pattern.push_str(before);
        pattern.push_str("Cs");
        let digits = after.find(|digit: char| !digit.is_ascii_alphanumeric());
        rest = match digits {
            Some(end) if after[end..].starts_with('_') => {
                pattern.push('*');
                &after[end..]
            }
            _ => after,
        };
    }
    pattern.push_str(rest);
    if !tail.is_empty() {
        pattern.push('*');
    }
    Some(pattern)
}

/// The linker script that puts what was `run` first.
fn list(functions: &[Function], run: Vec<usize>) -> String {
    let mut all: HashMap<String, u64> = HashMap::new();
    for function in functions {
        if let Some(pattern) = pattern(&function.name) {
            *all.entry(pattern).or_default() += function.bytes;
        }
    }
    let mut hot: HashMap<String, u64> = HashMap::new();
    let mut order = Vec::new();
    for function in run.into_iter().filter_map(|number| functions.get(number)) {
        let Some(pattern) = pattern(&function.name) else { continue };
        let bytes = hot.entry(pattern.clone()).or_insert_with(|| {
            order.push(pattern);
            0
        });
        *bytes += function.bytes;
    }
    let vague = |pattern: &&String| {
        let (all, hot) = (all.get(*pattern).copied(), hot.get(*pattern).copied());
        all > Some(MANY_BYTES) && all > hot.map(|hot| hot * TIMES)
    };
    let (last, first): (Vec<_>, Vec<_>) = order.iter().partition(vague);
    let mut text = HEAD.to_owned();
    for pattern in first.into_iter().chain(last) {
        text.push_str(&format!("    *(.text.{pattern})\n"));
    }
    text + TAIL
}

#[cfg(test)]
mod tests {
    use super::*;

    const NM: &str = "\
0000000000001000 0000000000000010 t _RNvCsaB1_1a1b
0000000000001010 0000000000000010 T _RNvCsaB1_1a1c.llvm.77
0000000000001020 0000000000008000 t _RNvCsc2_1a1b
0000000000009020 0000000000000020 t _RINvCsaB1_1a1dNtCsaB1_1a1eE
0000000000009040 0000000000000020 t malloc
0000000000009060 0000000000000020 r _RNvCsaB1_1a4data
";

    #[test]
    fn what_runs_first_comes_first_and_what_means_too_much_last() {
        let functions = functions(NM);
        assert_eq!(functions.len(), 5);
        let base = 0x7f00_0000_0000;
        let seen = [0x1008, 0x1009, 0x9050, 0x1012, 0x9030, 0x1000, 0xffff];
        let run = run(&functions, seen.into_iter().map(|offset| base + offset), base);
        assert_eq!(run, [0, 4, 1, 3]);
        let list = list(&functions, run);
        let names: Vec<_> = list.lines().filter(|line| line.starts_with("    ")).collect();
        let expected = [
            "    *(.text._RNvCs*_1a1c*)",
            "    *(.text._RINvCs*_1a1dNtCs*_1a1eE)",
            "    *(.text._RNvCs*_1a1b)",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_name_that_only_looks_like_a_crates_stays() {
        for (name, expected) in [
            ("_RNvNtCs9_3foo6Csharp3run", Some("_RNvNtCs*_3foo6Csharp3run")),
            ("_RNvCs9_3foo3xCs", Some("_RNvCs*_3foo3xCs")),
            ("memcpy", None),
        ] {
            assert_eq!(pattern(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_log_and_a_map() {
        assert_eq!(address("0x7f47271840c0:  31 ed      xorl"), Some(0x7f47_2718_40c0));
        assert_eq!(address("IN: "), None);
        let maps = "7f00-7f10 rw-p 0 00:00 0 \n7f908b61a000-7f908b97f000 r--p 0 fe:00 9 /usr/libexec/ferrite-agent\n";
        assert_eq!(base(maps), Some(0x7f90_8b61_a000));
    }
}
