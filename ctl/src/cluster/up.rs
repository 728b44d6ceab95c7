//! `ferrite cluster up`.

use std::path::Path;
use std::time::Duration;

use ferrite_schema::names::API_PORT;
use ferrite_schema::node_config::ClusterNetworkConfig;
use ferrite_vm::host::{Acceleration, Host};
use ferrite_vm::machine::Clock;
use ferrite_vm::running;

use super::gathering::{self, Gather};
use super::problem::ClusterError;
use super::record::Record;
use super::start::{Interrupt, Starting, Unfinished};
use super::view::{self, Status};
use super::waiting::{self, Wait};
use super::{commands, create, folder, network, publish};
use crate::cli::{DEFAULT_NAME, UpArguments};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::session::Session;

/// The image of a new cluster where nobody says which.
const IMAGE: &str = "out/cloud";

/// Makes the cluster unless it exists, starts it unless it runs, and says how to talk to it. Where a node is named, that
/// one alone.
pub(super) fn up(arguments: &UpArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    match commands::node_of(&arguments.name)? {
        None => up_with(arguments, None, session),
        Some((cluster, node)) => {
            if arguments.nodes.is_some() || arguments.fresh || arguments.renew {
                return Err(ClusterError::NodeAlone { name: node }.into());
            }
            up_with(&UpArguments { name: cluster, ..arguments.clone() }, Some(&[node]), session)
        }
    }
}

/// Starts these nodes of an existing cluster, or all of one that may not exist yet.
pub(super) fn up_with(
    arguments: &UpArguments,
    named: Option<&[String]>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let cluster = folder::of(&arguments.name)?;
    let _lock = folder::lock(&arguments.name)?;
    let existing = Record::load(&cluster)?;
    if let (Some(record), Some(asked), false) = (&existing, arguments.nodes, arguments.fresh)
        && record.nodes.len() != usize::from(asked)
    {
        let (name, has) = (record.name.clone(), record.nodes.len());
        return Err(ClusterError::OtherSize { name, has, asked }.into());
    }
    let anew = match &existing {
        None => true,
        Some(record) => arguments.fresh || is_stale(&cluster, record, arguments, session)?,
    };
    if let (Some(record), false) = (&existing, anew) {
        require_obeyed((&cluster, record), arguments, &meant(record, named))?;
    }
    if let (Some(record), false) = (&existing, anew)
        && is_running(&cluster, &meant(record, named))?
    {
        // The switch may have been killed, which machines outlive.
        network::start(&cluster, record)?;
        publish::restore(&cluster, record)?;
        use_context(&cluster, record)?;
        return show(&cluster, record, &format!("{} is up already", words(record, named)), session);
    }
    let host = Host::probe().map_err(ClusterError::from)?;
    let interrupt = Interrupt::catch()?;
    let mut unfinished = None;
    let record = match existing {
        Some(record) if !anew => record.adapted(arguments),
        existing => {
            let image = match (&arguments.image, &existing) {
                (Some(image), _) => image.clone(),
                (None, Some(record)) => record.image.clone(),
                (None, None) => IMAGE.into(),
            };
            let image = create::check_image(&image)?;
            let has = existing.map(|record| record.nodes.len());
            let record = Record::new(arguments, image, has);
            if record.network.is_none() && asks_for_network(arguments) {
                return Err(ClusterError::NoNetwork { name: record.name }.into());
            }
            // Whatever is there is either to be replaced or was never finished.
            commands::end_and_delete(&arguments.name)?;
            unfinished = Some(Unfinished::new(&cluster));
            create::create(&cluster, &record, arguments, &host)?;
            record
        }
    };
    if let Some(config) = arguments.config.as_deref().filter(|_| unfinished.is_none()) {
        create::replace_config(&cluster, &record, config)?;
    }
    let nodes = meant(&record, named);
    let clock = arguments.clock.clone().map_or(Clock::Host, Clock::At);
    let started = (nodes.as_slice(), clock, arguments.timeout);
    let headline = start_nodes((&cluster, &record), started, (&host, &interrupt), session);
    if let (Some(unfinished), false) = (&mut unfinished, is_interrupt(&headline)) {
        // A machine that failed stays, so that its console can be read.
        unfinished.keep();
    }
    if is_interrupt(&headline) && unfinished.is_some() {
        context::remove(&record.name).map_err(ClusterError::from)?;
    }
    let headline = headline?;
    record.save(&cluster)?;
    if named.is_none() && record.network.is_some() && record.nodes.len() > 1 {
        gather((&cluster, &record), arguments.timeout, &interrupt, session)?;
    }
    show(&cluster, &record, &headline, session)
}

/// Something is asked of a network that a single machine has not.
fn asks_for_network(arguments: &UpArguments) -> bool {
    !(arguments.publish.is_empty() && arguments.offer.is_empty())
        || arguments.ipv6_only
        || arguments.network.wanted() != ClusterNetworkConfig::default()
}

/// Refuses what was asked of a cluster that stays as it is, and would change nothing of it.
fn require_obeyed(
    (cluster, record): (&Path, &Record),
    arguments: &UpArguments,
    nodes: &[String],
) -> Result<(), ClusterError> {
    if let Some(asked) = arguments.members {
        let has = create::may_run_etcd(cluster, record)?;
        if has != usize::from(asked) {
            return Err(ClusterError::OtherMembers { name: record.name.clone(), has, asked });
        }
    }
    let (wanted, usual) = (arguments.network.wanted(), ClusterNetworkConfig::default());
    let is_ipv6_only = record.network.as_ref().is_some_and(|network| network.ipv6_only);
    if arguments.ipv6_only && !is_ipv6_only
        || wanted != usual && create::network_of(cluster, record)? != wanted
    {
        return Err(ClusterError::OtherNetwork { name: record.name.clone() });
    }
    if arguments.clock.is_some() {
        let on = running_of(cluster, nodes)?;
        if !on.is_empty() {
            let name = match (nodes, nodes.len() < record.nodes.len()) {
                ([node], true) => node,
                _ => &record.name,
            };
            return Err(ClusterError::ClockRuns { name: name.clone(), on });
        }
    }
    Ok(())
}

/// Machines that are ready still have to find one another.
fn gather(
    (cluster, record): (&Path, &Record),
    within: Duration,
    interrupt: &Interrupt,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let context = context_of(cluster, record)?;
    gathering::gather(
        &Gather { context: &context, nodes: &record.nodes, within, interrupt },
        session,
    )
}

fn start_nodes(
    (cluster, record): (&Path, &Record),
    (nodes, clock, timeout): (&[String], Clock, Duration),
    (host, interrupt): (&Host, &Interrupt),
    session: &mut Session<'_>,
) -> Result<String, ClusterError> {
    network::start(cluster, record)?;
    publish::restore(cluster, record)?;
    // Together: each has to wait for the others.
    let mut starting = Vec::new();
    for node in nodes {
        if running::find(&folder::of_node(cluster, node))?.is_none() {
            let machine = create::machine(cluster, record, (node, clock.clone()))?;
            starting.push(Starting::begin(node, &machine, host)?);
        }
    }
    // Before the nodes are ready, so that they can be asked why they are not.
    match (&record.network, starting.first_mut()) {
        (None, Some(machine)) => {
            let port = machine.running.forwarded_port(API_PORT)?;
            context::save_as_current(&create::context(cluster, record, &[port])?)?;
        }
        (Some(_), _) | (_, None) => use_context(cluster, record)?,
    }
    let wait = Wait { cluster: &record.name, timeout, draws: session.draws_progress(), interrupt };
    let outcome = waiting::wait(starting, &wait, session.err);
    if is_interrupt(&outcome) && !is_any_running(cluster, record)? {
        network::stop(cluster);
    }
    let seconds = outcome?.as_secs_f32();
    let means = match host.acceleration {
        Acceleration::Kvm => "with KVM",
        Acceleration::Tcg => "without KVM, which does not work here",
    };
    let name = words(record, Some(nodes).filter(|nodes| nodes.len() < record.nodes.len()));
    Ok(format!("{name} is up: ready after {seconds:.1} s ({} boot, {means})", record.boot))
}

fn is_interrupt<T>(outcome: &Result<T, ClusterError>) -> bool {
    matches!(outcome, Err(ClusterError::Interrupted { .. }))
}

/// Whether `--renew` was given and the image has changed. Says so where it has and it was not.
fn is_stale(
    cluster: &Path,
    record: &Record,
    arguments: &UpArguments,
    session: &mut Session<'_>,
) -> Result<bool, Failure> {
    // Who names no image means the one that the cluster was made from.
    let image = arguments.image.as_ref().unwrap_or(&record.image);
    // The cluster has its own copy: the folder it was made from may be gone, but not be something else.
    if !image.is_dir() {
        return Ok(false);
    }
    create::check_image(image)?;
    if create::is_of_image(cluster, record, image)? {
        return Ok(false);
    }
    if !arguments.renew {
        session.say(&format!(
            "note: {} has another image than {}; `--renew` starts over with it",
            image.display(),
            record.name
        ))?;
    }
    Ok(arguments.renew)
}

/// The nodes that are meant: those that were named, or all.
fn meant(record: &Record, named: Option<&[String]>) -> Vec<String> {
    named.map_or_else(|| record.nodes.clone(), <[String]>::to_vec)
}

/// What they are called in a sentence.
fn words(record: &Record, named: Option<&[String]>) -> String {
    named.map_or_else(|| record.name.clone(), |nodes| nodes.join(", "))
}

fn is_running(cluster: &Path, nodes: &[String]) -> Result<bool, ClusterError> {
    Ok(running_of(cluster, nodes)?.len() == nodes.len())
}

fn is_any_running(cluster: &Path, record: &Record) -> Result<bool, ClusterError> {
    Ok(!running_of(cluster, &record.nodes)?.is_empty())
}

/// Those of the nodes whose machines run.
fn running_of(cluster: &Path, nodes: &[String]) -> Result<Vec<String>, ClusterError> {
    let mut on = Vec::new();
    for node in nodes {
        if running::find(&folder::of_node(cluster, node))?.is_some() {
            on.push(node.clone());
        }
    }
    Ok(on)
}

/// Points the client at the cluster. The ports are others at every start.
fn use_context(cluster: &Path, record: &Record) -> Result<(), ClusterError> {
    Ok(context::save_as_current(&context_of(cluster, record)?)?)
}

fn context_of(cluster: &Path, record: &Record) -> Result<Context, ClusterError> {
    let mut ports = Vec::new();
    for node in &record.nodes {
        ports.extend(network::api_port(cluster, record, node)?);
    }
    create::context(cluster, record, &ports)
}

fn show(
    cluster: &Path,
    record: &Record,
    headline: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let status = view::status_of(cluster, record)?;
    session.show(&status, |status: &Status| {
        let name = &status.name;
        let name = if name == DEFAULT_NAME { String::new() } else { format!(" {name}") };
        format!(
            "{headline}\n  \
             talk to it   ferrite machine status\n  \
             its console  ferrite cluster console{name}\n  \
             stop it      ferrite cluster down{name}\n"
        )
    })
}
