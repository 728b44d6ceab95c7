//! The life of a node that may run etcd: who begins the cluster, who learns, and what follows while etcd runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::beginning::{self, Listed, MayNot};
use super::etcd;
use super::founding::{self, Verdict};
use super::hearing::{Heard, hear, hear_from, living};
use super::kept::KeptMember;
use super::places::places;
use super::recovery::{self, Act};
use super::tells::Tells;
use super::terms::{self, Begins, timings};
use super::{Cluster, Terms, lead, now_s, outlook, recovering, ruin, space};
use crate::node::Node;
use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::Monotonic;
use ferrite_cluster::presence::Times;
use ferrite_cluster::protocol::{Member, Standing};
use ferrite_cluster::records::{Machine, decode};
use ferrite_cluster::store::{ClusterStore, Etcd, Maintenance, StoreProblem};
use ferrite_schema::cluster::MachineId;
use ferrite_schema::node_config::MemberConfig;

const ABOUT: &str = "cluster member";
/// How often others are asked how they stand, and etcd whether it is well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What cannot be done now is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// etcd's peer certificate is made anew after this long, which is well before it ends.
const CERTIFICATE_LIFE_S: u64 = 10 * 24 * 60 * 60;
/// Certificates are good a day before they are made.
const BACKDATED_S: u64 = 24 * 60 * 60;
/// How often the clock is looked at.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// A member that has not begun yet, or of which that is not known any more.
const LEARNS: KeptMember = KeptMember { founder: false, beside: Vec::new(), begun: false };

/// Lives. Never ends.
pub(super) async fn live(cluster: &Arc<Cluster>, node: &Node) {
    let Some(member) = &cluster.config.member else {
        cluster.standing.send_replace(Some(standing(cluster, false)));
        return std::future::pending().await;
    };
    let kept = loop {
        match cluster.folder.member() {
            Ok(None) if etcd::has_data() => break Some(LEARNS),
            Ok(kept) => break kept,
            Err(why) if etcd::has_data() => {
                node.warn(why);
                break Some(LEARNS);
            }
            // Whether this node ran etcd is not known: until it is, nothing is begun.
            Err(why) => {
                let why = format!(
                    "this node does not know whether it ran etcd, and begins nothing: {why}; make STATE anew (`ferrite machine state recreate`) where that stays so"
                );
                say_unusable(cluster, Some("it is not known whether it ran here"));
                node.stand(ABOUT.to_owned(), Some(why));
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    say_unusable(cluster, None);
    cluster.standing.send_replace(Some(standing(cluster, kept.is_some())));
    let mut kept = kept;
    loop {
        let now = match kept.take() {
            Some(kept) => kept,
            None => become_member(cluster, node, member).await,
        };
        node.stand(ABOUT.to_owned(), None);
        run(cluster, node, now).await;
        tracing::warn!("member-removed");
        while let Err(why) = cease(cluster, node).await {
            node.stand(
                ABOUT.to_owned(),
                Some(format!("etcd's data is of a member that the cluster has removed: {why}")),
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// This node is a member no more, as a quorum says: its data is of no use to anybody. It may learn again.
async fn cease(cluster: &Cluster, node: &Node) -> Result<(), String> {
    let said = |error: &(dyn std::error::Error + 'static)| ferrite_schema::chain(error);
    node.units.stop_system(etcd::NAME).await.map_err(|error| said(&error))?;
    // Cut off after this, the data alone says that it was one, and a quorum that it is not. The other way round it would
    // be a member that has lost its data.
    cluster.folder.forget_member().map_err(|error| said(&error))?;
    etcd::set_aside().map_err(|error| said(&error))?;
    // Data of a recovery that was given up must not be taken for a member's.
    cluster.folder.keep_recovery(None).map_err(|error| said(&error))?;
    cluster.standing.send_modify(|standing| {
        if let Some(standing) = standing {
            standing.member = false;
        }
    });
    cluster.unusable.send_replace(None);
    cluster.removed.send_replace(false);
    Ok(())
}

fn standing(cluster: &Cluster, member: bool) -> Standing {
    let knows = match cluster.folder.members() {
        Ok(members) => members.is_some(),
        // It was there.
        Err(_) => true,
    };
    Standing {
        machine: cluster.machine().clone(),
        boot_id: Some(cluster.about.boot.clone()),
        eligible: cluster.config.member.is_some(),
        member,
        serves: false,
        answers: false,
        epoch: None,
        knows,
    }
}

/// Waits until this node begins the cluster, or is told to run etcd beside others.
async fn become_member(cluster: &Arc<Cluster>, node: &Node, config: &MemberConfig) -> KeptMember {
    loop {
        match listed(cluster) {
            Listed::Learner if keep(cluster, node, &LEARNS) => return LEARNS,
            Listed::Learner => {}
            // It was given up here, and the others count on it still: they remove it, and have it learn anew.
            Listed::Voter => say_unusable(cluster, Some("its data was given up")),
            Listed::Not => say_unusable(cluster, None),
        }
        let own = cluster.standing.borrow().clone();
        if let Some(own) = own.filter(|own| !own.knows) {
            let heard = hear(cluster).await;
            let verdict = founding::judge(&own, config.expect, &heard.standings, &heard.silent);
            let why = match verdict {
                Verdict::Begin => {
                    let kept = KeptMember { founder: true, ..LEARNS };
                    if keep(cluster, node, &kept) {
                        tracing::info!(cluster = %cluster.name(), "cluster-begins-here");
                        return kept;
                    }
                    continue;
                }
                Verdict::Join => None,
                Verdict::Wait(why) => Some(why),
            };
            node.stand(ABOUT.to_owned(), why);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Before etcd has anything: a node that does not remember could begin a second cluster.
fn keep(cluster: &Cluster, node: &Node, kept: &KeptMember) -> bool {
    // One that was cut off while it ceased to be a member may have left an order behind.
    match cluster.folder.keep_recovery(None).and_then(|()| cluster.folder.keep_member(kept)) {
        Ok(()) => {
            cluster.standing.send_modify(|standing| {
                if let Some(standing) = standing {
                    standing.member = true;
                }
            });
            true
        }
        Err(error) => {
            node.stand(ABOUT.to_owned(), Some(ferrite_schema::chain(&error)));
            false
        }
    }
}

/// Runs etcd, and what belongs beside it, until the cluster has removed this member.
async fn run(cluster: &Arc<Cluster>, node: &Node, mut kept: KeptMember) {
    let mut removed = cluster.removed.subscribe();
    let mut ordered = cluster.recovery_ordered.subscribe();
    let since_us = now_us();
    loop {
        ordered.mark_unchanged();
        let why = match begin(cluster, node, &mut kept).await {
            Ok(()) => tokio::select! {
                why = attend(cluster, node, &mut kept, since_us) => why,
                // Its sender lives as long as the cluster's handle.
                _ = removed.wait_for(|removed| *removed) => {
                    show(cluster, None);
                    return;
                }
                _ = ordered.changed() => {
                    show(cluster, None);
                    continue;
                }
            },
            Err(why) => {
                show(cluster, None);
                why
            }
        };
        node.stand(ABOUT.to_owned(), Some(format!("etcd does not run here: {why}")));
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = ordered.changed() => {}
            _ = removed.wait_for(|removed| *removed) => return,
        }
    }
}

/// What the cluster has said of this machine last.
fn listed(cluster: &Cluster) -> Listed {
    let members = cluster.members.borrow();
    let own = members.iter().find(|member| member.machine == *cluster.machine());
    match own {
        None => Listed::Not,
        Some(own) if own.learner => Listed::Learner,
        Some(_) => Listed::Voter,
    }
}

/// Remembers that etcd has data here, as soon as it has.
fn note_begun(cluster: &Cluster, kept: &mut KeptMember) -> Result<(), String> {
    if !kept.begun && etcd::has_data() {
        let begun = KeptMember { begun: true, ..kept.clone() };
        cluster.folder.keep_member(&begun).map_err(|error| ferrite_schema::chain(&error))?;
        *kept = begun;
    }
    Ok(())
}

async fn begin(cluster: &Cluster, node: &Node, kept: &mut KeptMember) -> Result<(), String> {
    note_begun(cluster, kept)?;
    // Two that have the same data and the same name among the members would make two histories of one.
    if let Some(why) = living(cluster).await {
        return Err(why);
    }
    let mut members: Vec<MachineId> =
        cluster.members().into_iter().map(|member| member.machine).collect();
    if !members.contains(cluster.machine()) {
        members.push(cluster.machine().clone());
    }
    let begins = beginning::begins(kept, etcd::has_data(), listed(cluster), &members)
        .map_err(|refused| refuse(cluster, refused))?;
    let whose = cluster.whose();
    etcd::prepare(&cluster.config, &whose, now_s())
        .map_err(|error| ferrite_schema::chain(&error))?;
    if let beginning::Begins::Beside(beside) = &begins
        && kept.beside != *beside
    {
        kept.beside.clone_from(beside);
        cluster.folder.keep_member(kept).map_err(|error| ferrite_schema::chain(&error))?;
    }
    let arguments = etcd::arguments(&whose, &begins, &timings());
    while let Some(under_way) = cluster.folder.recovery()? {
        let does = recovery::act(Some(&under_way));
        if matches!(does, Act::Copy | Act::Commit | Act::Force)
            && recovering::overtaken(cluster, node, &under_way).await?
        {
            continue;
        }
        match does {
            Act::Copy => recovering::copy(node).await?,
            Act::Force => recovering::force(node, arguments.clone()).await?,
            // That is all: from here on etcd may be alone.
            Act::Commit => {}
            // Before it is shown to anybody: see `serve`.
            Act::Raise | Act::Plain => break,
        }
        recovering::note(cluster, &under_way)?;
    }
    let hardware = &cluster.about.hardware;
    if cluster.folder.hardware().ok().flatten().as_ref() != Some(hardware) {
        cluster.folder.keep_hardware(hardware).map_err(|error| ferrite_schema::chain(&error))?;
    }
    let unit = etcd::unit(arguments);
    node.units.run_system(unit).await.map_err(|error| ferrite_schema::chain(&error))
}

/// etcd is not begun. Where its data is gone, the others hear that it is: they can replace this member at once.
fn refuse(cluster: &Cluster, refused: MayNot) -> String {
    let why = refused.to_string();
    if refused == MayNot::DataGone {
        say_unusable(cluster, Some("its data is gone"));
    }
    why
}

/// Says in this machine's record that its etcd cannot go on, or that it does.
fn say_unusable(cluster: &Cluster, why: Option<&str>) {
    cluster.unusable.send_if_modified(|said| {
        let differs = said.as_deref() != why;
        if differs {
            tracing::warn!(why, "etcd-unusable");
            *said = why.map(str::to_owned);
        }
        differs
    });
}

/// What is done while etcd runs; answers with why it must be begun anew.
async fn attend(
    cluster: &Arc<Cluster>,
    node: &Node,
    kept: &mut KeptMember,
    since_us: u64,
) -> String {
    let store = match Etcd::at(&etcd::socket()).await {
        Ok(store) => store,
        Err(problem) => return ferrite_schema::chain(&problem),
    };
    let own = match Maintenance::at(&etcd::socket()).await {
        Ok(own) => own,
        Err(problem) => return ferrite_schema::chain(&problem),
    };
    let serves = serve(cluster, node, (&store, since_us), kept);
    let finds = find_peers(cluster);
    tokio::select! {
        never = serves => never,
        never = finds => never,
        never = space::tend(&store, &own, node) => never,
        () = grows_old(now_s()) => "its certificate is made anew".to_owned(),
    }
}

/// Ends when a certificate that was made at `made_s` is to be made anew: it grows old, or the clock says another time than then.
async fn grows_old(made_s: u64) {
    while !is_old(made_s, now_s()) {
        tokio::time::sleep(CLOCK_EVERY).await;
    }
}

const fn is_old(made_s: u64, now_s: u64) -> bool {
    now_s.saturating_add(BACKDATED_S / 2) < made_s
        || now_s > made_s.saturating_add(CERTIFICATE_LIFE_S)
}

/// Keeps the names of peers where they are. While all is well, machines' records say where that is, and whoever calls from
/// elsewhere; while there is no quorum, everybody is asked, too: their addresses may all have changed.
async fn find_peers(cluster: &Cluster) -> String {
    let whose = cluster.whose();
    let mut known: BTreeMap<MachineId, IpAddr> = BTreeMap::new();
    let mut hints = cluster.hints.subscribe();
    let mut write = |heard: Heard| {
        let mut proven = cluster.hints.borrow().places(std::time::Instant::now());
        proven.extend(heard.addresses);
        known = places(&cluster.members(), &known, proven);
        if let Err(error) = etcd::write_hosts(&whose, &known) {
            tracing::error!(error = ferrite_schema::chain(&error), "peers-not-written");
        }
    };
    loop {
        hints.mark_unchanged();
        write(hear_from(cluster, moved(cluster)).await);
        if cluster.store().is_none() {
            write(hear(cluster).await);
        }
        let heard = async {
            tokio::time::sleep(LOOK_EVERY / 4).await;
            // Its sender lives as long as the cluster's handle.
            drop(hints.changed().await);
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = heard => {}
        }
    }
}

/// Where members are said to be, other than the records have it.
fn moved(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members();
    let elsewhere = |machine: &MachineId, address: IpAddr| {
        let member = members.iter().find(|member| member.machine == *machine);
        member.is_some_and(|member| !member.addresses.contains(&address))
    };
    let said = cluster.hints.borrow().said_of(elsewhere, std::time::Instant::now());
    said.iter().map(ToString::to_string).collect()
}

/// Lets the rest of the agent use etcd while it is well.
async fn serve(
    cluster: &Arc<Cluster>,
    node: &Node,
    (store, since_us): (&Etcd, u64),
    kept: &mut KeptMember,
) -> String {
    let mut said = None;
    let mut known = outlook::Known::nothing(Monotonic::start());
    // Nobody can have given this member up before it was one.
    let mut estranged = kept.begun;
    loop {
        // Before anything is acknowledged that it could forget.
        let found = match note_begun(cluster, kept) {
            Ok(()) => well(cluster, store).await,
            Err(why) => Err(why),
        };
        let found = match found {
            Ok(terms) if estranged => {
                match recovering::look_for_newer(cluster, terms.epoch).await {
                    Ok(()) => Ok(terms),
                    Err(why) => Err(why),
                }
            }
            found => found,
        };
        let why = match found {
            Ok(terms) => {
                estranged = false;
                say_unusable(cluster, None);
                show(cluster, Some((store.clone(), terms)));
                node.stand(ABOUT.to_owned(), None);
                tracing::info!("member-serves");
                let why = lead_and_look(cluster, node, store, (terms, &mut known)).await;
                show(cluster, None);
                tracing::warn!(why, "member-serves-no-more");
                why
            }
            Err(why) => why,
        };
        if said.as_ref() != Some(&why) {
            node.stand(ABOUT.to_owned(), Some(format!("etcd is not well here: {why}")));
            said = Some(why);
        }
        let answers = recovering::answers().await;
        cluster.standing.send_modify(|standing| {
            if let Some(standing) = standing {
                standing.answers = answers;
            }
        });
        if !answers && let Some(words) = ruin::look(&node.logs.join(etcd::NAME), since_us) {
            say_unusable(cluster, Some(&format!("it ends and says: {words}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn show(cluster: &Cluster, serves: Option<(Etcd, Terms)>) {
    let (store, terms) = serves.unzip();
    cluster.standing.send_modify(|standing| {
        if let Some(standing) = standing {
            standing.serves = store.is_some();
            standing.answers = store.is_some();
            standing.epoch = terms.map(|terms| terms.epoch);
        }
    });
    if store.is_none() {
        // What is told must not be older than this member's part in the cluster.
        cluster.told.send_replace(None);
    }
    cluster.terms.send_replace(terms);
    cluster.store.send_replace(store);
}

/// Whether etcd can be used, and what holds in the cluster.
async fn well(cluster: &Cluster, store: &Etcd) -> Result<Terms, String> {
    let said = |problem: StoreProblem| ferrite_schema::chain(&problem);
    let raft = store.raft().await.map_err(said)?;
    if raft.learner {
        return Err("it learns still".to_owned());
    }
    if raft.leader.is_none() {
        return Err(lead::NO_LEADER.to_owned());
    }
    recovering::raise(cluster, store).await?;
    let begins = Begins {
        id: cluster.id().clone(),
        expect: cluster.config.member.as_ref().map_or(1, |member| member.expect),
        timings: timings(),
        network: cluster.config.network,
        token: crate::join::work::token_digest(&cluster.config),
        epoch_heard: heard_epoch(cluster),
    };
    terms::found_or_read(store, &begins).await
}

/// The latest epoch that this node has heard of.
fn heard_epoch(cluster: &Cluster) -> u64 {
    let kept = cluster.folder.assignment().ok().flatten();
    let kept = kept.map_or(1, |kept| kept.epoch);
    cluster.epoch().map_or(kept, |epoch| epoch.max(kept)).max(1)
}

/// Leads, where it falls to this member, and looks who the members are; answers with why etcd is of no more use.
async fn lead_and_look(
    cluster: &Arc<Cluster>,
    node: &Node,
    store: &Etcd,
    (Terms { epoch, ttl, election }, known): (Terms, &mut outlook::Known<Monotonic>),
) -> String {
    let times = Times { ttl, election };
    let settings = lead::Settings {
        machine: cluster.machine().clone(),
        cluster: cluster.name().clone(),
        times,
    };
    let tells = Tells(node);
    let tells_all = |told| drop(cluster.told.send_replace(Some(told)));
    tokio::select! {
        problem = lead::work(store, &settings, tells) => ferrite_schema::chain(&problem),
        problem = keep_looking(cluster, store) => ferrite_schema::chain(&problem),
        problem = outlook::keep(store, ttl, known, tells_all) => ferrite_schema::chain(&problem),
        why = recovering::keep_looking_for_newer(cluster, epoch) => why,
    }
}

async fn keep_looking(cluster: &Cluster, store: &Etcd) -> StoreProblem {
    loop {
        if let Err(problem) = look(cluster, store).await {
            return problem;
        }
        tokio::time::sleep(2 * LOOK_EVERY).await;
    }
}

/// Asks a quorum who the members are.
pub(super) async fn look(cluster: &Cluster, store: &Etcd) -> Result<Vec<Member>, StoreProblem> {
    let members = members(store).await?;
    cluster.know(members.clone());
    Ok(members)
}

async fn members(store: &Etcd) -> Result<Vec<Member>, StoreProblem> {
    let mut members = Vec::new();
    for member in store.members().await? {
        let Some(machine) = member.machine else { continue };
        let key = Key::Machine(machine.clone());
        let (_, entry) = store.get(&key.bytes()).await?;
        let record = entry.and_then(|entry| decode::<Machine>(&key, &entry.value).ok());
        let addresses = record.map(|record| record.addresses).unwrap_or_default();
        members.push(Member { machine, addresses, learner: member.learner });
    }
    Ok(members)
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_anew_when_it_grows_old_and_when_the_clock_was_wrong() {
        let made_s = 1_800_000_000;
        for (now_s, expected) in [
            (made_s, false),
            (made_s - BACKDATED_S / 4, false),
            (made_s - BACKDATED_S, true),
            (0, true),
            (made_s + CERTIFICATE_LIFE_S, false),
            (made_s + CERTIFICATE_LIFE_S + 1, true),
        ] {
            assert_eq!(is_old(made_s, now_s), expected, "{now_s}");
        }
    }
}
