//! Watches over the inodes that the node keeps for itself on STATE: looks, and does what [`ferrite_files::reserve`] says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferrite_files::ballast::Ballast;
use ferrite_files::reserve::{Aim, Reserve, Seen, Todo, Watch};
use ferrite_schema::api::EventKind;
use ferrite_schema::{chain, names};
use ferrite_store::beside::beside;
use tokio::time::Instant;

use crate::bounds::{Bounded, Bounds, Kind};
use crate::node::Node;

/// How often is looked: for no longer is the node without inodes, where others take the last ones at once.
const LOOK: Duration = Duration::from_secs(1);
/// A ballast is made for the first time when the node is ready, or so long after its start: it is in nobody's way.
const FIRST: Duration = Duration::from_secs(120);
/// Most that are named of those that have the most.
const NAMED_MAX: usize = 3;

/// Watches. Never ends.
pub async fn work(node: &Arc<Node>) {
    if node.rescue.is_some() {
        return std::future::pending().await;
    }
    let lib = Path::new(names::LIB_DIR);
    let ballast = Ballast::in_folder(Path::new(names::RESERVE_DIR));
    // One that was made may have been let go, and units that begin are held for it.
    let late = Instant::now() + FIRST;
    while !ballast.exists() && !node.ready.load(Ordering::Relaxed) && Instant::now() < late {
        tokio::time::sleep(LOOK).await;
    }
    let counted = ballast.clone();
    let mut files = beside(move || counted.files()).await;
    let (mut watch, mut problems) = (Watch::default(), Vec::new());
    loop {
        // Nothing is known of a disk that does not answer, and nothing done.
        if let Ok(stat) = rustix::fs::statvfs(lib) {
            let (seen, before) = (Seen::of(&stat, files), watch.aim());
            let todo = watch.step(seen);
            if todo.bounds.is_some() || todo.ballast != files {
                let own = ballast.clone();
                let done = beside(move || carry_out(&own, todo, seen)).await;
                files = done.files;
                if done.problems != problems {
                    problems = done.problems;
                    let sentence = format!(
                        "the files that the node keeps for itself on STATE are not as they should be: {}",
                        problems.join("; ")
                    );
                    node.stand("reserve".to_owned(), (!problems.is_empty()).then_some(sentence));
                }
                tell(node, (before, watch.aim()), seen, &done.bounded);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What was done.
#[derive(Debug)]
struct Done {
    files: u64,
    bounded: Vec<Bounded>,
    problems: Vec<String>,
}

fn carry_out(ballast: &Ballast, todo: Todo, seen: Seen) -> Done {
    let lib = Path::new(names::LIB_DIR);
    let kinds = [
        Kind { name: "unit", folder: &lib.join("scratch") },
        Kind { name: "volume", folder: &lib.join("volumes") },
    ];
    let run = Path::new(names::RUN_DIR);
    let bounds = Bounds { run, kinds: &kinds, all: seen.all };
    let (mut bounded, mut problems) = (Vec::new(), Vec::new());
    let mut bound = |aim| {
        let (all, problem) = bounds.set(aim);
        bounded = all;
        problems.extend(problem.map(|problem| chain(&problem)));
    };
    // A bound that cannot be set is no reason to leave the node without what it keeps for this.
    if let Some(aim @ (Aim::Hold | Aim::Held)) = todo.bounds {
        bound(aim);
    }
    let set = ballast.set(todo.ballast);
    if let Some(Aim::Free) = todo.bounds {
        bound(Aim::Free);
    }
    if let Err(error) = set {
        problems.push(format!("set {} aside: {error}", todo.ballast));
    }
    Done { files: ballast.files(), bounded, problems }
}

/// Says it when it begins and when it ends.
fn tell(node: &Node, (before, now): (Aim, Aim), seen: Seen, bounded: &[Bounded]) {
    let sentence = match (before, now) {
        (Aim::Free, Aim::Hold | Aim::Held) => Some(short(seen, bounded)),
        (Aim::Hold | Aim::Held, Aim::Free) => None,
        (Aim::Free, Aim::Free) | (Aim::Hold | Aim::Held, Aim::Hold | Aim::Held) => return,
    };
    let well =
        "STATE can hold enough files and folders again: each unit may have its own number of them";
    node.events.publish(None, EventKind::Node, sentence.as_deref().unwrap_or(well));
    if sentence.is_none() {
        tracing::info!("{well}");
    }
    node.stand("inodes".to_owned(), sentence);
}

/// What a person should know and do.
fn short(seen: Seen, bounded: &[Bounded]) -> String {
    let reserve = Reserve::of(seen.all);
    let left = seen.free.saturating_add(seen.ballast);
    let many = reserve.enough().saturating_sub(left);
    let said = if bounded.is_empty() {
        "and nothing keeps units from taking the last ones: it was made without quotas, by an older version".to_owned()
    } else {
        let most = bounded.iter().take(NAMED_MAX);
        let most = most.map(|one| format!("{} ({})", one.name, one.inodes)).collect::<Vec<_>>();
        format!(
            "so no unit may have more of them than it has now, and the last {} are the node's; most have: {}",
            reserve.inodes(),
            most.join(", ")
        )
    };
    format!(
        "STATE can hold hardly any more files and folders, {said}; remove {many} at least, in units, by `ferrite volumes remove` or `ferrite images prune`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_names_who_has_the_most_and_how_many_must_go() {
        let seen = Seen { all: 100_000, free: 300, ballast: 4000 };
        let one = |name: &str, inodes| Bounded { name: name.to_owned(), inodes };
        let all =
            [one("unit a", 50_000), one("volume b", 40_000), one("unit c", 9), one("unit d", 8)];
        let sentence = short(seen, &all);
        assert!(sentence.contains("unit a (50000), volume b (40000), unit c (9);"), "{sentence}");
        assert!(
            sentence.contains("the last 4000 ") && sentence.contains("remove 7700 "),
            "{sentence}"
        );
        assert!(!sentence.contains("unit d"), "{sentence}");
        assert!(short(seen, &[]).contains("made without quotas"));
    }
}
