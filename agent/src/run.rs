//! The agent's main line: configuration, identity, stores, units, API, network; then ready; then, some day, down.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use ferrite_files::durable;
use ferrite_files::quarantine::Quarantine;
use ferrite_net::containers::{self, Containers};
use ferrite_net::links::Network;
use ferrite_schema::control::{Request, Response};
use ferrite_schema::names;
use ferrite_schema::node_config::NodeConfig;
use ferrite_store::beside;
use ferrite_store::layer::Layers;
use ferrite_store::pull::Puller;
use ferrite_store::store::ImageStore;
use ferrite_units::events::Events;
use ferrite_units::ids::{Evidence, Ranges};
use ferrite_units::launch::Places;
use ferrite_units::store::UnitStore;
use ferrite_units::supervisor::{self, Tools, Units};
use ferrite_units::volumes::{self, Volumes};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{self, server::Server};
use crate::config::{self, Loaded, Sources};
use crate::control::{self, Step};
use crate::identity;
use crate::keeper;
use crate::links;
use crate::node::Node;
use crate::stats;
use crate::streams::Streams;

/// The configuration that the node ran with before.
const LAST_GOOD_CONFIG: &str = "/var/lib/ferrite/config.last-good.toml";

/// Runs the agent until PID 1 asks it to end.
///
/// # Errors
/// The node cannot be managed: PID 1 starts the agent again.
pub async fn run() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let step = Step::begin("configuration");
    // Before anything is written: what the node keeps is nobody else's, whatever folder a unit is given.
    let mut made: Vec<String> = Vec::new();
    made.extend(
        Quarantine::at(Path::new(names::QUARANTINE_DIR)).make_folder(Path::new(names::LIB_DIR)),
    );
    durable::private_folder(Path::new(names::RUN_DIR))
        .context("make the agent's folder in memory")?;
    let Loaded { config, mut warnings } = config::load(&Sources {
        files: vec![names::FW_CFG_CLOUD_CONFIG.into(), names::OEM_CLOUD_CONFIG.into()],
        last_good: LAST_GOOD_CONFIG.into(),
    });
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    step.end();
    let step = Step::begin("network");
    let (network, news) = Network::begin().context("begin to set up the network")?;
    step.end();
    let step = Step::begin("images and units");
    warnings.extend(made);
    let (id, problem) = identity::machine_id(Path::new(names::MACHINE_ID_FILE))?;
    warnings.extend(problem);
    let places = containers::Places {
        folder: PathBuf::from(names::RUN_DIR).join("net"),
        runs: PathBuf::from(names::RUN_DIR).join("units"),
    };
    let (containers, unit_names) = Containers::begin(&config.network, &id, places)
        .context("begin to own the units' network")?;
    let (node, supervisor) = prepare(&config, id, containers, warnings).await?;
    step.end();
    let cleaned = Arc::clone(&node);
    // Nobody waits for it, however much there is.
    beside::unwaited(move || clean(&cleaned));
    let server = listen(&config, &node).await;
    let serve = async {
        match server {
            Some(server) => server.serve(api::router(Arc::clone(&node))).await,
            None => std::future::pending().await,
        }
    };
    let ready = async {
        say_ready(&node).await;
        std::future::pending::<()>().await;
    };
    let stopped = async {
        let asked = terminate.recv().await;
        tracing::info!(?asked, "going-down");
        let told = tell_of_stops(node.units.clone());
        tokio::pin!(told);
        tokio::select! {
            left = node.units.stop_all() => left,
            () = &mut told => Vec::new(),
        }
    };
    tokio::select! {
        left = stopped => {
            if !left.is_empty() {
                tracing::error!(units = left.join(","), "units-not-stopped");
            }
        }
        () = supervisor => anyhow::bail!("the supervisor ended"),
        () = serve => anyhow::bail!("the API ended"),
        () = keeper::work(&node, &config.images) => anyhow::bail!("the image store's task ended"),
        () = unit_names => anyhow::bail!("the units' names ended"),
        () = network.work(node.hostname.clone()) => anyhow::bail!("the network's task ended"),
        () = links::listen(&node, news) => anyhow::bail!("the network's news ended"),
        () = ready => {}
    }
    // PID 1 writes everything to disk: it watches how that goes.
    Ok(())
}

/// Tells PID 1 how long it is to wait for the units, each time that fewer are left. Never ends.
async fn tell_of_stops(mut units: Units) {
    while let Some(stopping) = units.next_stopping().await {
        let within_s = stopping.within.as_secs();
        let request = Request::Stopping { left: stopping.left, within_s };
        if let Err(error) = control::ask_later(request).await {
            tracing::warn!(error = ferrite_schema::chain(&error), "stopping-not-told");
        }
    }
    std::future::pending().await
}

/// Removes what earlier agents took away or left unfinished.
fn clean(node: &Node) {
    let lib = Path::new(names::LIB_DIR);
    Quarantine::at(Path::new(names::QUARANTINE_DIR)).retry();
    node.layers.clean();
    node.volumes.clean();
    volumes::clean(&lib.join("scratch"));
    volumes::clean(&node.logs);
}

async fn prepare(
    config: &NodeConfig,
    id: String,
    containers: Containers,
    mut warnings: Vec<String>,
) -> anyhow::Result<(Arc<Node>, impl Future<Output = ()>)> {
    let lib = Path::new(names::LIB_DIR);
    let quarantine = Quarantine::at(Path::new(names::QUARANTINE_DIR));
    for name in ["images", "layers", "logs", "scratch", "units", "volumes"] {
        warnings.extend(quarantine.make_folder(&lib.join(name)));
    }
    let hostname = identity::set_hostname(config.hostname.as_deref(), &id)?;
    warnings.extend(stats::without_quotas(lib));
    let images = ImageStore::open(&lib.join("images"));
    warnings.extend(images.problems().iter().cloned());
    let images = match &config.images.default_registry {
        Some(registry) => images.with_default_registry(registry),
        None => images,
    };
    let layers = Layers::open(&lib.join("layers"));
    warnings.extend(layers.problems().iter().cloned());
    let puller = Puller::new(images.clone(), layers.clone(), config.into());
    let logs = lib.join("logs");
    let run = PathBuf::from(names::RUN_DIR).join("units");
    let (volumes, scratch) = (lib.join("volumes"), lib.join("scratch"));
    let places = Places {
        run: run.clone(),
        scratch: scratch.clone(),
        logs: logs.clone(),
        shim_cgroup: "/sys/fs/cgroup/system/shims".into(),
        unit_cgroup: "/units".to_owned(),
        volumes: volumes.clone(),
        ids: Ranges::at(&lib.join("ids.json"), Evidence { scratch, run: run.clone() }),
        allowed: config.containers.clone(),
    };
    let store = UnitStore::at(&lib.join("units"));
    let events = Events::default();
    let tools = Tools {
        store,
        images: images.clone(),
        layers: layers.clone(),
        puller: puller.clone(),
        places,
        records: PathBuf::from(names::RUN_DIR).join("lives"),
        env_files: config
            .env_files
            .iter()
            .map(|(name, file)| (name.clone(), file.0.clone()))
            .collect(),
        events: events.clone(),
        containers,
    };
    let (units, problems, supervisor) = supervisor::begin(tools).await;
    warnings.extend(problems);
    let init = init_status(&mut warnings).await;
    let release = std::fs::read_to_string(names::OS_RELEASE).unwrap_or_default();
    let value = |key| identity::os_release(&release, key).unwrap_or_default();
    let node = Node {
        id,
        hostname,
        version: value("VERSION_ID"),
        variant: value("VARIANT_ID"),
        slot: init.slot,
        rescue: init.rescue,
        units,
        images,
        layers,
        volumes: Volumes::in_folder(&volumes),
        puller,
        events,
        run,
        streams: Streams::default(),
        logs,
        ready: AtomicBool::new(false),
        warnings: Mutex::new(warnings),
    };
    Ok((Arc::new(node), supervisor))
}

/// What PID 1 knows of this boot.
#[derive(Debug, Default)]
struct Boot {
    slot: String,
    rescue: Option<String>,
}

/// A recreated STATE, and one that cannot be used, are worth a warning for the whole boot.
async fn init_status(warnings: &mut Vec<String>) -> Boot {
    match control::ask_later(Request::Status).await {
        Ok(Response::Status(status)) => {
            if let Some(why) = status.state_recreated {
                warnings.push(format!("STATE was made anew in this boot, EMPTY: {why}"));
            }
            warnings.extend(status.rescue.clone());
            warnings.extend(status.warnings);
            Boot { slot: status.slot.to_string(), rescue: status.rescue }
        }
        Ok(other) => {
            tracing::warn!(answer = ?other, "init-status-unexpected");
            Boot::default()
        }
        Err(error) => {
            tracing::warn!(error = ferrite_schema::chain(&error), "init-not-asked");
            Boot::default()
        }
    }
}

async fn listen(config: &NodeConfig, node: &Node) -> Option<Server> {
    let Some(api) = &config.api else {
        node.warn("no API is served: the configuration has no [api]".to_owned());
        return None;
    };
    for doubt in Server::doubts(api) {
        node.warn(doubt);
    }
    let step = Step::begin("api");
    match Server::listen(api, names::API_PORT).await {
        Ok(server) => {
            step.end();
            tracing::info!(port = names::API_PORT, "api-listening");
            Some(server)
        }
        Err(error) => {
            node.warn(format!("no API is served: {}", ferrite_schema::chain(&error)));
            None
        }
    }
}

/// Tells PID 1 once that the node is as it should be.
async fn say_ready(node: &Node) {
    if let Some(why) = &node.rescue {
        tracing::error!(why, "rescue-state");
        return;
    }
    let mut units: Units = node.units.clone();
    units.settled().await;
    match control::ask_later(Request::Ready).await {
        Ok(Response::Done | Response::AlreadySo) => {
            node.ready.store(true, Ordering::Relaxed);
            tracing::info!("ready");
            ferrite_sys::memory::forget_start_up_code();
        }
        Ok(other) => node.warn(format!("PID 1 does not take the node as ready: {other:?}")),
        Err(error) => node.warn(format!(
            "PID 1 was not told that the node is ready: {}",
            ferrite_schema::chain(&error)
        )),
    }
}
