//! The agent's main line: configuration, identity, stores, units, API, network; then ready; then, some day, down.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

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
use tokio::sync::watch;

use crate::api::server::{Ending, Server};
use crate::cluster::{self, About, Cluster};
use crate::config::{self, Loaded, Sources};
use crate::control::{self, Step};
use crate::identity;
use crate::join::hardware;
use crate::keeper;
use crate::links;
use crate::node::{self, Node, WARNINGS_AT_START_MAX};
use crate::readiness::Api;
use crate::ready::{self, LinkRecord};
use crate::reserve;
use crate::serving;
use crate::stats;
use crate::streams::Streams;

/// The configuration that the node ran with before.
const LAST_GOOD_CONFIG: &str = "/var/lib/ferrite/config.last-good.toml";

/// The node's name servers, as its links bring them.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs the agent until PID 1 asks it to end.
///
/// # Errors
/// The node cannot be managed: PID 1 starts the agent again.
pub async fn run() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let Loaded { config, known, mut warnings } = configuration()?;
    let step = Step::begin("network");
    let of_links = Path::new(names::RUN_DIR).join("links");
    let (network, news) = Network::begin(RESOLV_CONF.into(), of_links, &config.network)
        .context("begin to set up the network")?;
    step.end();
    let step = Step::begin("images and units");
    let (id, problem) = identity::machine_id(Path::new(names::MACHINE_ID_FILE))?;
    warnings.extend(problem);
    let (containers, unit_names) = units_network(&config, &id, &network)?;
    let (node, proven, places, supervisor) =
        prepare(&config, id, containers.clone(), warnings).await?;
    step.end();
    let cleaned = Arc::clone(&node);
    // Nobody waits for it, however much there is.
    beside::unwaited(move || clean(&cleaned));
    for doubt in config.api.iter().flat_map(Server::doubts) {
        node.warn(doubt);
    }
    // Before units are started: none with the node's network takes its port.
    let (doorway, port, visitors) = serving::listen(&config, &node).await;
    let (api_seen, api) = watch::channel(Api::Unasked);
    let (end, ending) = Ending::new();
    let serve = serving::serve(&node, port, &doorway, api_seen, ending);
    tokio::pin!(serve);
    let (link_seen, link) = watch::channel(false);
    let record = LinkRecord::in_folder(Path::new(names::LIB_DIR));
    let sources = ready::Sources {
        configured: known,
        units: node.units.settled(),
        link,
        api,
        record,
        places,
    };
    let ready = ready::work(&node, proven, sources);
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
        () = &mut serve => anyhow::bail!("the API ended"),
        () = serving::belong(&config, &node, &doorway, (visitors, containers)) => anyhow::bail!("the node's membership ended"),
        () = keeper::work(&node, &config.images) => anyhow::bail!("the image store's task ended"),
        () = reserve::work(&node) => anyhow::bail!("the watch over STATE's files ended"),
        () = unit_names => anyhow::bail!("the units' names ended"),
        () = network.work(node.hostname.clone()) => anyhow::bail!("the network's task ended"),
        () = links::listen(&node, news, link_seen) => anyhow::bail!("the network's news ended"),
        () = ready => {}
    }
    // Who asked for this is told that it happens.
    end.send_replace(true);
    serve.await;
    // PID 1 writes everything to disk: it watches how that goes.
    Ok(())
}

/// Begins to own the units' network; the future answers for units' names.
fn units_network(
    config: &NodeConfig,
    id: &str,
    network: &Network,
) -> anyhow::Result<(Containers, impl Future<Output = ()> + use<>)> {
    let places = containers::Places {
        folder: PathBuf::from(names::RUN_DIR).join("net"),
        runs: PathBuf::from(names::RUN_DIR).join("units"),
        resolv_conf: RESOLV_CONF.into(),
        machines: crate::cluster::kept_addresses(Path::new(names::MEMBERSHIP_DIR)),
        flat: crate::cluster::kept_flat(Path::new(names::MEMBERSHIP_DIR)),
    };
    let begun =
        Containers::begin(&config.network, id, places, (network.teller(), network.renamed()));
    let (containers, names) = begun.context("begin to own the units' network")?;
    if config.cluster.is_some() {
        containers.expect_mesh();
    }
    Ok((containers, names))
}

/// Reads the configuration; with it comes what a person should know.
fn configuration() -> anyhow::Result<Loaded> {
    let step = Step::begin("configuration");
    // Before anything is written: what the node keeps is nobody else's, whatever folder a unit is given.
    let made =
        Quarantine::at(Path::new(names::QUARANTINE_DIR)).make_folder(Path::new(names::LIB_DIR));
    durable::private_folder(Path::new(names::RUN_DIR))
        .context("make the agent's folder in memory")?;
    let mut loaded = config::load(&Sources {
        files: vec![names::FW_CFG_CLOUD_CONFIG.into(), names::OEM_CLOUD_CONFIG.into()],
        last_good: LAST_GOOD_CONFIG.into(),
    });
    loaded.warnings.extend(made);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    step.end();
    Ok(loaded)
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
) -> anyhow::Result<(Arc<Node>, bool, Places, impl Future<Output = ()>)> {
    let lib = Path::new(names::LIB_DIR);
    let quarantine = Quarantine::at(Path::new(names::QUARANTINE_DIR));
    warnings.extend(quarantine.clear_way());
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
    let places = places(config, lib);
    let (run, volumes) = (places.run.clone(), places.volumes.clone());
    let store = UnitStore::at(&lib.join("units"));
    let cluster = cluster(config, &id, &hostname);
    warnings.extend(cluster.iter().flat_map(|cluster| withhold(cluster, &store)));
    let events = Events::default();
    let tools = Tools {
        store,
        images: images.clone(),
        layers: layers.clone(),
        puller: puller.clone(),
        places: places.clone(),
        records: PathBuf::from(names::RUN_DIR).join("lives"),
        env_files: config
            .env_files
            .iter()
            .map(|(name, file)| (name.clone(), file.0.clone()))
            .collect(),
        secrets: config.secrets.clone(),
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
        estranged: OnceLock::new(),
        units,
        images,
        layers,
        volumes: Volumes::in_folder(&volumes),
        puller,
        events,
        run,
        streams: Streams::default(),
        cluster,
        logs,
        ready: AtomicBool::new(false),
        warnings: Mutex::new(node::bounded(warnings, WARNINGS_AT_START_MAX)),
        standing: Mutex::default(),
    };
    Ok((Arc::new(node), init.proven, places, supervisor))
}

/// What may run elsewhere meanwhile is not begun before the cluster is heard. A sentence for each that STATE does not take.
fn withhold(cluster: &Cluster, store: &UnitStore) -> Vec<String> {
    let each = cluster.withheld().into_iter().filter_map(|name| {
        let error = store.want(name.as_str(), false).err()?;
        Some(format!("unit {name} may run twice: {}", ferrite_schema::chain(&error)))
    });
    each.collect()
}

/// The cluster that the configuration names.
fn cluster(config: &NodeConfig, id: &str, hostname: &str) -> Option<Arc<Cluster>> {
    // Without a machine ID of its own a node belongs to nothing; `serving::belong` says so.
    let (cluster, machine) = (config.cluster.as_ref()?, id.parse().ok()?);
    let about = About::of(
        config,
        hostname.to_owned(),
        (hardware::boot(Path::new("/proc")), hardware::digest(Path::new("/sys"))),
        names::MEMBERSHIP_DIR.into(),
    );
    Some(Arc::new(Cluster::new(cluster.clone(), machine, about)))
}

/// The folders that containers live in, with `lib` on STATE.
fn places(config: &NodeConfig, lib: &Path) -> Places {
    let run = PathBuf::from(names::RUN_DIR).join("units");
    let scratch = lib.join("scratch");
    Places {
        scratch: scratch.clone(),
        logs: lib.join("logs"),
        shim_cgroup: "/sys/fs/cgroup/system/shims".into(),
        unit_cgroup: cluster::UNIT_CGROUP.to_owned(),
        system_cgroup: "/node".to_owned(),
        volumes: lib.join("volumes"),
        ids: Ranges::at(&lib.join("ids.json"), Evidence { scratch, run: run.clone() }),
        run,
        allowed: config.containers.clone(),
    }
}

/// What PID 1 knows of this boot.
#[derive(Debug, Default)]
struct Boot {
    slot: String,
    rescue: Option<String>,
    /// The slot was good in an earlier boot, or earlier in this one.
    proven: bool,
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
            let running = status.slots.iter().find(|slot| slot.slot == status.slot);
            let good = running.is_some_and(|slot| slot.attributes.successful);
            let proven = status.ready || good;
            Boot { slot: status.slot.to_string(), rescue: status.rescue, proven }
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
