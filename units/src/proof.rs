//! A container of the OS's own, which shows that containers work here where no unit does: one file of the image, in
//! everything that sets a unit's container apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrite_files::{durable, removal};
use ferrite_schema::api::Exit;
use ferrite_schema::names;
use ferrite_schema::shim::{Network, Outcome, Request};
use ferrite_schema::unit::Resources;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::launch::Places;
use crate::secrets::Given;
use crate::shims::{self, Found};

/// No unit can have this name.
const NAME: &str = "+proof";
/// What the program is told: it ends at once, well.
const WORD: &str = "proof";
/// Longest that it may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bound of the wait for what hangs and was killed.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// Runs it, and takes everything away again.
///
/// # Errors
/// Why a container does not work here, in a sentence.
pub async fn containers_work(places: &Places) -> Result<(), String> {
    let folder = PathBuf::from(names::RUN_DIR).join("proof");
    let result = tokio::time::timeout(PATIENCE, run(&folder, places)).await;
    let tidied = tidy(&folder, places);
    let seconds = PATIENCE.as_secs();
    result.unwrap_or_else(|_| Err(format!("it has not ended after {seconds} s"))).and(tidied)
}

async fn run(folder: &Path, places: &Places) -> Result<(), String> {
    let said = |error: &(dyn std::error::Error + 'static)| ferrite_schema::chain(error);
    let layer = folder.join("layer");
    durable::private_folder(folder).map_err(|error| said(&error))?;
    fs::create_dir_all(&layer).map_err(|error| said(&error))?;
    fs::copy(names::SHIM, layer.join(WORD)).map_err(|error| said(&error))?;
    let request = request(folder, &layer, places)?;
    let run = folder.join("run");
    let mut stream =
        shims::start(&run, 1, &request, &Given::default()).await.map_err(|error| said(&error))?;
    // It closes the connection when it ends.
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    drop(stream.shutdown().await);
    match shims::find(&run, Some(1)).await {
        Found::Ended(Outcome::Ended { exit: Exit::Status { code: 0 }, .. }) => Ok(()),
        Found::Ended(Outcome::Ended { exit, .. }) => Err(format!("its program ended by {exit:?}")),
        Found::Ended(Outcome::StartFailed { reason }) => Err(reason),
        Found::Nothing | Found::Alive(_) | Found::Lost => Err("its process is lost".to_owned()),
    }
}

fn request(folder: &Path, layer: &Path, places: &Places) -> Result<Request, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let ids = places.ids.of(NAME).map_err(|error| ferrite_schema::chain(&error))?;
    Ok(Request {
        unit: NAME.to_owned(),
        layers: vec![text(layer)],
        scratch: text(&places.scratch.join(NAME)),
        read_only_root: true,
        args: vec![format!("/{WORD}"), WORD.to_owned()],
        env: BTreeMap::from([("HOME".to_owned(), "/".to_owned())]),
        cwd: "/".to_owned(),
        user: String::new(),
        hostname: WORD.to_owned(),
        tty: false,
        stdin: false,
        init: false,
        privileged: false,
        ids: Some(ids),
        far_ids: Vec::new(),
        capabilities: Vec::new(),
        devices: Vec::new(),
        project: None,
        mounts: Vec::new(),
        secrets: Vec::new(),
        resources: Resources::default(),
        sysctls: BTreeMap::new(),
        ulimits: BTreeMap::new(),
        network: Network::None,
        node_ports: false,
        cgroup: format!("{}/{NAME}", places.unit_cgroup),
        shim_cgroup: text(places.shim_cgroup_of(NAME).path()),
        log_dir: text(&folder.join("log")),
        stop_signal: Signal::SIGTERM as i32,
        beside: false,
    })
}

/// What is left of it would only take room.
fn tidy(folder: &Path, places: &Places) -> Result<(), String> {
    for folder in [folder, &places.scratch.join(NAME)] {
        if let Err(error) = removal::remove(folder) {
            tracing::warn!(error = ferrite_schema::chain(&error), "proof-left");
        }
    }
    if let Err(error) = places.shim_cgroup_of(NAME).clear(EMPTY_WITHIN) {
        tracing::warn!(error = ferrite_schema::chain(&error), "proof-left");
    }
    places.ids.release(NAME).map_err(|error| ferrite_schema::chain(&error))
}
