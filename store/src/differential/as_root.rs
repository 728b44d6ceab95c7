//! The comparison. It needs root, for owners, devices and mounts: `scripts/test` runs it in a machine.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;

use super::engines::{Outcomes, run};
use super::made::folder;
use super::random::{Engine, Stack, stack, stack_of};
use super::seen::{Node, Tree, join};

/// Everybody that we are compared with.
const ALL: [Engine; 2] = [Engine::Umoci, Engine::Storage];
/// Stacks that lie beside one another in one image.
const TOGETHER: u64 = 64;
/// Of so many seeds one has its stack at the root of an image of its own.
const ALONE_EVERY: u64 = 25;

/// In an emulated machine a stack takes about a second.
fn count() -> u64 {
    if std::env::var_os("FERRITE_LONG").is_some() { 100_000 } else { 100 }
}

/// `FERRITE_SEED` has it look at others.
fn first_seed() -> u64 {
    std::env::var("FERRITE_SEED").ok().map_or(0, |seed| seed.parse().unwrap())
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// Makes two nodes of the same path the same where they differ in what is known and meant.
fn overlook(engine: Engine, path: &[u8], ours: &mut Node, theirs: &mut Node, begun_s: i64) {
    if engine == Engine::Storage && ours.kind != FileType::RegularFile {
        // Each layer begins as a copy of the one below, in which links of one file are of one file, and nothing else is.
        ours.same_as.clone_from(&theirs.same_as);
    }
    let folders = ours.kind == FileType::Directory && theirs.kind == FileType::Directory;
    if !folders {
        return;
    }
    // Nobody said when it was changed. Both forget the times of folders that whiteouts or later layers change.
    let is_new = |node: &Node| node.mtime.0 >= begun_s;
    let unnamed = is_new(ours);
    if is_new(theirs) {
        ours.mtime = theirs.mtime;
    }
    // Made in a folder that hands on its group; with overlayfs Docker and containerd make none there.
    if unnamed && is_new(theirs) && theirs.mode == ours.mode | 0o2000 {
        (ours.mode, ours.owner) = (theirs.mode, theirs.owner);
    }
    if engine == Engine::Storage {
        // It leaves attributes that a folder had in a lower layer.
        theirs.xattrs.retain(|name, _| ours.xattrs.contains_key(name));
    }
    if path.is_empty() {
        // Where no layer names the root, it is anything.
        if unnamed && matches!((engine, theirs.mtime.0), (Engine::Umoci, 0)) {
            ours.mtime = theirs.mtime;
        }
        if engine == Engine::Storage && is_new(theirs) {
            (ours.mode, ours.owner) = (theirs.mode, theirs.owner);
        }
    }
}

fn differences(engine: Engine, ours: &Tree, theirs: &Tree, begun_s: i64) -> Vec<String> {
    let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let shown = String::from_utf8_lossy(path);
        match (ours.get(path), theirs.get(path)) {
            (Some(ours), Some(theirs)) => {
                let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
                overlook(engine, path, &mut ours, &mut theirs, begun_s);
                if ours != theirs {
                    found.push(format!("{shown:?}: ours {ours:?}\n    {engine:?} {theirs:?}"));
                }
            }
            (ours, theirs) => {
                found.push(format!("{shown:?}: ours {ours:?}\n    {engine:?} {theirs:?}"));
            }
        }
    }
    found
}

/// What is not as it should be with what became of a stack in an image; `only` is that part of a tree.
fn judge(
    stack: &Stack,
    outcomes: &Outcomes,
    only: impl Fn(&Tree) -> Tree,
    begun_s: i64,
) -> Vec<String> {
    let taken = outcomes.others.iter().any(|(_, outcome)| outcome.is_ok());
    // Where containers-storage alone takes it, a whiteout has hidden something of its own layer there, which the specification does
    // not say.
    let by_umoci =
        outcomes.others.iter().any(|(engine, outcome)| *engine == Engine::Umoci && outcome.is_ok());
    match (&outcomes.ours, taken) {
        (Err(_), false) => Vec::new(),
        (Err(_), true) if !by_umoci => Vec::new(),
        (Err(error), true) => vec![format!("we refuse it: {error}")],
        (Ok(_), false) => vec!["we take it alone".to_owned()],
        (Ok(ours), true) => {
            let compare = |(engine, outcome): &(Engine, Result<Tree, String>)| match outcome {
                Ok(theirs) if !stack.other_than.contains(engine) => {
                    differences(*engine, &only(ours), &only(theirs), begun_s)
                }
                Ok(_) | Err(_) => Vec::new(),
            };
            outcomes.others.iter().flat_map(compare).collect()
        }
    }
}

/// The tree of one stack among others.
fn one(tree: &Tree, index: usize) -> Tree {
    let (top, inside) = (folder(index), join(&folder(index), b""));
    let strip = |path: &[u8]| path.strip_prefix(&inside[..]).unwrap_or_default().to_vec();
    let own = tree.iter().filter(|(path, _)| **path == top || path.starts_with(&inside));
    own.map(|(path, node)| (strip(path), Node { same_as: strip(&node.same_as), ..node.clone() }))
        .collect()
}

/// What is wrong with a stack alone in an image.
fn alone(stack: &Stack, at_root: bool, begun_s: i64) -> Vec<String> {
    judge(stack, &run(std::slice::from_ref(stack), at_root, &ALL), Tree::clone, begun_s)
}

/// Looks at stacks in one image; pairs of a stack's place and what is wrong with it.
fn together(stacks: &[Stack], engines: &[Engine], begun_s: i64) -> Vec<(usize, Vec<String>)> {
    let outcomes = run(stacks, false, engines);
    let refused =
        outcomes.ours.is_err() || outcomes.others.iter().any(|(_, outcome)| outcome.is_err());
    if !refused {
        let judged = |index, stack| judge(stack, &outcomes, |tree| one(tree, index), begun_s);
        let stacks = stacks.iter().enumerate();
        let found = stacks.map(|(index, stack)| (index, judged(index, stack)));
        return found.filter(|(_, problems)| !problems.is_empty()).collect();
    }
    if let [only] = stacks {
        let problems = judge(only, &outcomes, Tree::clone, begun_s);
        return if problems.is_empty() { Vec::new() } else { vec![(0, problems)] };
    }
    // Somebody refuses one of them, and with it all.
    let (low, high) = stacks.split_at(stacks.len() / 2);
    let mut found = together(low, engines, begun_s);
    let high = together(high, engines, begun_s).into_iter();
    found.extend(high.map(|(index, problems)| (index + low.len(), problems)));
    found
}

/// The smallest stack near this one that still shows a problem, and the problem.
fn shrunk(
    stack: &Stack,
    (at_root, odd): (bool, bool),
    problems: Vec<String>,
    begun_s: i64,
) -> (Stack, Vec<String>) {
    let (mut stack, mut problems) = (stack.clone(), problems);
    let mut again = true;
    while again {
        again = false;
        let mut smaller = Vec::new();
        for layer in 0..stack.layers.len() {
            let mut less = stack.layers.clone();
            less.remove(layer);
            smaller.push(less);
            for item in 0..stack.layers[layer].len() {
                let mut less = stack.layers.clone();
                less[layer].remove(item);
                smaller.push(less);
            }
        }
        let smaller = smaller.iter().filter(|layers| !layers.is_empty());
        for less in smaller.filter_map(|layers| stack_of(layers, odd)) {
            let found = alone(&less, at_root, begun_s);
            if !found.is_empty() {
                (stack, problems, again) = (less, found, true);
                break;
            }
        }
    }
    (stack, problems)
}

fn report(
    seed: u64,
    (at_root, odd): (bool, bool),
    stack: &Stack,
    problems: &[String],
    begun_s: i64,
) -> String {
    let alone = alone(stack, at_root, begun_s);
    let reproduced = !alone.is_empty();
    let (stack, problems) = if reproduced {
        shrunk(stack, (at_root, odd), alone, begun_s)
    } else {
        (stack.clone(), problems.to_vec())
    };
    let mut text = format!("seed {seed}, at the root: {at_root}, alone: {reproduced}\n");
    for (number, layer) in stack.layers.iter().enumerate() {
        writeln!(text, "  layer {number}").unwrap();
        layer.iter().for_each(|item| writeln!(text, "    {item:?}").unwrap());
    }
    problems.iter().for_each(|problem| writeln!(text, "  {problem}").unwrap());
    text
}

fn is_alone(seed: u64) -> bool {
    seed.is_multiple_of(ALONE_EVERY)
}

/// Looks at the stacks of some seeds; what is wrong with one of them.
fn look(seeds: impl Iterator<Item = u64>, begun_s: i64) -> Option<String> {
    let (alone_seeds, seeds): (Vec<u64>, Vec<u64>) = seeds.partition(|seed| is_alone(*seed));
    for seed in alone_seeds {
        let stack = stack(seed, true);
        let problems = alone(&stack, true, begun_s);
        if !problems.is_empty() {
            return Some(report(seed, (true, true), &stack, &problems, begun_s));
        }
    }
    if seeds.is_empty() {
        return None;
    }
    // Of odd ones containers-storage would refuse nearly all, and with one all.
    let odd = seeds.first().is_some_and(|seed| (seed / TOGETHER) % 2 == 1);
    let engines = if odd { &ALL[..1] } else { &ALL[..] };
    let stacks: Vec<_> = seeds.iter().map(|seed| stack(*seed, odd)).collect();
    let (index, problems) = together(&stacks, engines, begun_s).into_iter().next()?;
    Some(report(seeds[index], (false, odd), &stacks[index], &problems, begun_s))
}

#[test]
fn random_stacks_are_what_others_make_of_them() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let (first, begun_s) = (first_seed(), now_s());
    let (next, last) = (AtomicU64::new(first), first + count());
    let work = || {
        loop {
            let seed = next.fetch_add(TOGETHER, Ordering::Relaxed);
            if seed >= last {
                return None;
            }
            let found = look(seed..last.min(seed + TOGETHER), begun_s);
            if found.is_some() {
                // Nobody begins another one.
                next.store(last, Ordering::Relaxed);
                return found;
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let problem = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().find_map(|worker| worker.join().unwrap())
    });
    assert!(problem.is_none(), "{}", problem.unwrap_or_default());
}
