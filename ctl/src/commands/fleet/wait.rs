//! Waiting for a unit of the cluster: it is looked at again and again, and what has changed is said.

use std::time::Duration;

use ferrite_schema::api::{ClusterInstance, ClusterUnit, UnitState, UnitTarget};

use super::tables::{progress, state_words};
use crate::cli::Until;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::printable;
use crate::session::Session;

/// How often a unit is looked at: a look is one read of the cluster's store.
const POLL: Duration = Duration::from_millis(500);

/// Waits until all instances of a unit that was started are as far as `until` says.
pub(super) fn until(
    cluster: &Client,
    unit: &ClusterUnit,
    until: Until,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<ClusterUnit, Failure> {
    if until == Until::Accepted {
        return Ok(unit.clone());
    }
    let enough = |unit: &ClusterUnit| {
        !unit.instances.is_empty()
            && unit
                .instances
                .iter()
                .all(|one| state(one).is_some_and(|state| reached(state, until)))
    };
    look(cluster, unit, within, session, enough)
}

/// Waits until nothing of a unit that is inactive runs.
pub(super) fn until_nothing_runs(
    cluster: &Client,
    unit: &ClusterUnit,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<ClusterUnit, Failure> {
    let stopped = |unit: &ClusterUnit| {
        unit.target != Some(UnitTarget::Inactive) || unit.instances.iter().all(is_away)
    };
    look(cluster, unit, within, session, stopped)
}

/// Waits until the cluster knows the unit no more, which it was told to forget.
pub(super) fn until_gone(
    cluster: &Client,
    name: &str,
    within: Duration,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let asked = session.wait_for(async { Ok(cluster.cluster_unit(name).await) })?;
    let unit = match asked {
        Ok(unit) => unit,
        Err(error) if error.is_unknown() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let away = |unit: &ClusterUnit| unit.target.is_none() && unit.instances.iter().all(is_away);
    match look(cluster, &unit, within, session, away) {
        Err(Failure::Client(error)) if error.is_unknown() => Ok(()),
        other => other.map(drop),
    }
}

/// Nobody can say when what a lost machine ran has ended there.
fn is_away(instance: &ClusterInstance) -> bool {
    matches!(instance.state.as_str(), "lost" | "unplaced")
}

fn look(
    cluster: &Client,
    unit: &ClusterUnit,
    within: Duration,
    session: &mut Session<'_>,
    enough: impl Fn(&ClusterUnit) -> bool,
) -> Result<ClusterUnit, Failure> {
    let mut seen = unit.clone();
    let (mut said, err) = (String::new(), &mut *session.err);
    let looks = async {
        loop {
            let now = progress(&seen);
            if now != said {
                // Nobody is left to hear that standard error is gone.
                drop(writeln!(err, "{}", printable(&now)));
                said = now;
            }
            if enough(&seen) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
            seen = cluster.cluster_unit(&unit.name).await?;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    match runtime.block_on(async { tokio::time::timeout(within, looks).await }) {
        Ok(looked) => looked.map(|()| seen),
        Err(_elapsed) => {
            let all = seen.instances.iter();
            let states = all.map(|one| format!("{} is {}", one.name, state_words(one))).collect();
            Err(Failure::InstancesDeadline { name: seen.name, states, within })
        }
    }
}

/// What the instance is doing, in the words of a machine; none where it has none that says so, or where that is about the
/// version before.
fn state(instance: &ClusterInstance) -> Option<UnitState> {
    if instance.outdated {
        return None;
    }
    serde_json::from_value(serde_json::Value::String(instance.state.clone())).ok()
}

const fn reached(state: UnitState, until: Until) -> bool {
    match (until, state) {
        (Until::Accepted, _) | (_, UnitState::Exited | UnitState::Failed) => true,
        (Until::Running, UnitState::Running | UnitState::BackingOff | UnitState::Scheduled) => true,
        (Until::Running | Until::Ended, _) => false,
    }
}

/// What is wrong with an instance that was to run, for a person.
pub(super) fn trouble(unit: &ClusterUnit) -> Option<(String, String)> {
    let down = |one: &&ClusterInstance| {
        matches!(state(one), Some(UnitState::Failed | UnitState::BackingOff))
    };
    let one = unit.instances.iter().find(down)?;
    let on = one.machine_name.as_deref().unwrap_or("no machine");
    Some((one.name.clone(), format!("is {} on {on}", state_words(one))))
}
