//! The way to ready: what is seen is judged by [`readiness`] each time it changes, and PID 1 is told once.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferrite_files::durable;
use ferrite_schema::control::{Request, Response};
use ferrite_units::launch::Places;
use ferrite_units::proof;
use ferrite_units::readiness::Settled;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::control;
use crate::node::Node;
use crate::readiness::{self, Api, Containers, Evidence, Verdict};

/// A container of the OS's own that did not work is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);
/// What comes within this time of the agent's start is not missed: a link takes a moment.
const LATE: Duration = Duration::from_secs(30);
/// What a unit may take to its first container without being said to be late; well within what PID 1 gives the node.
const UNITS_LATE: Duration = Duration::from_secs(120);
/// What the node's status says these things are about.
const ABOUT: &str = "readiness";
/// Says by being there that a good boot of this node had a link with an address.
const LINK_RECORD: &str = "had-link";

/// Whether a link of this node ever had an address in a good boot.
#[derive(Debug, Clone)]
pub struct LinkRecord(PathBuf);

impl LinkRecord {
    /// In the agent's folder on STATE.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join(LINK_RECORD))
    }

    fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Remembers it for later boots. What cannot be written is said; only a later update asks for it.
    fn write(&self) {
        if !self.exists()
            && let Err(error) = durable::write(&self.0, b"")
        {
            tracing::warn!(error = ferrite_schema::chain(&error), "link-not-remembered");
        }
    }
}

/// Where what is seen comes from.
#[derive(Debug)]
pub struct Sources {
    /// The configuration is known, or there never was one.
    pub configured: bool,
    /// The units.
    pub units: watch::Receiver<Settled>,
    /// Whether a link has an address.
    pub link: watch::Receiver<bool>,
    /// The API.
    pub api: watch::Receiver<Api>,
    /// What earlier boots had.
    pub record: LinkRecord,
    /// Where a container of the OS's own would live.
    pub places: Places,
}

/// Tells PID 1 once that the node is as it should be; then goes on saying what is missing. Never ends.
pub async fn work(node: &Node, proven: bool, mut sources: Sources) {
    if let Some(why) = &node.rescue {
        tracing::error!(why, "rescue-state");
        return std::future::pending().await;
    }
    let mut containers = Containers::Unknown;
    let mut said = None;
    let late = Instant::now() + LATE;
    let units_late = Instant::now() + UNITS_LATE;
    let before = sources.record.exists();
    loop {
        let mut units = *sources.units.borrow_and_update();
        // What is started once the node is ready says nothing about it.
        units.tried |= node.ready.load(Ordering::Relaxed);
        let evidence = Evidence {
            proven: proven || node.ready.load(Ordering::Relaxed),
            configured: sources.configured,
            units,
            late: Instant::now() >= units_late,
            containers: containers.clone(),
            api: sources.api.borrow_and_update().clone(),
            link_before: before,
            link_now: *sources.link.borrow_and_update(),
        };
        let missing = match readiness::judge(&evidence) {
            Verdict::Prove => {
                containers = prove(&sources.places).await;
                continue;
            }
            Verdict::Wait(why) => Some(format!("the node is not ready: {}", why.join("; "))),
            Verdict::Ready(missing) => {
                if !node.ready.load(Ordering::Relaxed) {
                    say(node).await;
                }
                if evidence.link_now {
                    sources.record.write();
                }
                (!missing.is_empty()).then(|| missing.join("; "))
            }
        };
        let early = missing.is_some() && Instant::now() < late;
        if missing != said && !early {
            said.clone_from(&missing);
            node.stand(ABOUT.to_owned(), missing);
        }
        let failed = matches!(containers, Containers::Failed(_));
        // The senders live as long as the program.
        tokio::select! {
            Ok(()) = sources.units.changed() => {}
            Ok(()) = sources.link.changed() => {}
            Ok(()) = sources.api.changed() => {}
            () = tokio::time::sleep_until(late), if early => {}
            () = tokio::time::sleep_until(units_late), if !evidence.late => {}
            () = tokio::time::sleep(AGAIN), if failed => containers = Containers::Unknown,
        }
    }
}

async fn prove(places: &Places) -> Containers {
    match proof::containers_work(places).await {
        Ok(()) => {
            tracing::info!("containers-work");
            Containers::Shown
        }
        Err(why) => {
            tracing::error!(why, "containers-do-not-work");
            Containers::Failed(why)
        }
    }
}

async fn say(node: &Node) {
    match control::ask_later(Request::Ready).await {
        Ok(Response::Done | Response::AlreadySo) => {
            node.ready.store(true, Ordering::Relaxed);
            tracing::info!("ready");
            ferrite_sys::memory::give_back_free_heap();
            ferrite_sys::memory::forget_start_up_code();
        }
        Ok(other) => node.warn(format!("PID 1 does not take the node as ready: {other:?}")),
        Err(error) => node.warn(format!(
            "PID 1 was not told that the node is ready: {}",
            ferrite_schema::chain(&error)
        )),
    }
}
