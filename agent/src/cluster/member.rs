//! The life of a node that may run etcd: who begins the cluster, who learns, and what follows while etcd runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::Report;
use ferrite_cluster::protocol::{Member, Standing};
use ferrite_cluster::records::{
    Cluster as Record, LEVEL, Machine, Networks, Rest, Timings, Token, decode, encode,
};
use ferrite_cluster::store::{ClusterStore, Compare, Etcd, Operation, StoreProblem, Transaction};
use ferrite_schema::api::EventKind;
use ferrite_schema::cluster::MachineId;
use ferrite_schema::node_config::MemberConfig;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::beginning::{self, Begins, Listed};
use super::etcd;
use super::founding::{self, Verdict};
use super::hints::is_of_link;
use super::kept::KeptMember;
use super::places::places;
use super::{Cluster, Terms, following, lead, now_s, outlook};
use crate::node::Node;

const ABOUT: &str = "cluster member";
const ABOUT_RECORDS: &str = "cluster records";
const ABOUT_BRAKE: &str = "cluster brake";
/// Most records that a node's status names.
const REFUSED_SHOWN_MAX: usize = 8;
/// How often others are asked how they stand, and etcd whether it is well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What cannot be done now is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// etcd's peer certificate is made anew after this long, which is well before it ends.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// Networks that nodes get theirs from.
const IPV4: &str = "10.112.0.0/12";

/// A member that has not begun yet, or of which that is not known any more.
const LEARNS: KeptMember = KeptMember { founder: false, beside: Vec::new(), begun: false };

/// What others have said, and who said nothing.
#[derive(Debug, Default)]
struct Heard {
    standings: BTreeMap<MachineId, Standing>,
    addresses: BTreeMap<MachineId, IpAddr>,
    silent: BTreeMap<String, String>,
}

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
                node.stand(ABOUT.to_owned(), Some(why));
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
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
    cluster.standing.send_modify(|standing| {
        if let Some(standing) = standing {
            standing.member = false;
        }
    });
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
        eligible: cluster.config.member.is_some(),
        member,
        serves: false,
        knows,
    }
}

/// Waits until this node begins the cluster, or is told to run etcd beside others.
async fn become_member(cluster: &Arc<Cluster>, node: &Node, config: &MemberConfig) -> KeptMember {
    loop {
        if listed(cluster) == Listed::Learner {
            let kept = LEARNS;
            if keep(cluster, node, &kept) {
                return kept;
            }
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
    match cluster.folder.keep_member(kept) {
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

/// Asks everybody whose address is known how it stands.
async fn hear(cluster: &Cluster) -> Heard {
    ask(cluster, following::addresses(cluster)).await
}

/// Asks whoever is at these addresses.
async fn ask(cluster: &Cluster, addresses: Vec<String>) -> Heard {
    let mut heard = Heard::default();
    let Some(identity) = cluster.identity.borrow().clone() else { return heard };
    let asked = addresses.iter().map(|address| identity.inquire(address));
    let answers = join_all(asked).await;
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok((standing, from)) => {
                cluster.tried(address, Some((from, &standing.machine)));
                if !is_of_link(from.ip()) {
                    heard.addresses.insert(standing.machine.clone(), from.ip());
                }
                heard.standings.insert(standing.machine.clone(), standing);
            }
            Err(error) => {
                cluster.tried(address, None);
                heard.silent.insert(address.clone(), ferrite_schema::chain(&error));
            }
        }
    }
    heard
}

/// Times of a new cluster: an emulated processor is slower than any network.
fn timings() -> Timings {
    let emulated = ferrite_sys::hypervisor::is_emulated();
    let (heartbeat_ms, election_ms, ttl_s) =
        if emulated { (250, 2500, 12) } else { (100, 1000, 5) };
    Timings { heartbeat_ms, election_ms, ttl_s, rest: Rest::new() }
}

/// Runs etcd, and what belongs beside it, until the cluster has removed this member.
async fn run(cluster: &Arc<Cluster>, node: &Node, mut kept: KeptMember) {
    let mut removed = cluster.removed.subscribe();
    loop {
        let why = match begin(cluster, node, &mut kept).await {
            Ok(()) => tokio::select! {
                why = attend(cluster, node, &mut kept) => why,
                // Its sender lives as long as the cluster's handle.
                _ = removed.wait_for(|removed| *removed) => {
                    show(cluster, None);
                    return;
                }
            },
            Err(why) => why,
        };
        node.stand(ABOUT.to_owned(), Some(format!("etcd does not run here: {why}")));
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
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
    let mut members: Vec<MachineId> =
        cluster.members().into_iter().map(|member| member.machine).collect();
    if !members.contains(cluster.machine()) {
        members.push(cluster.machine().clone());
    }
    let begins = beginning::begins(kept, etcd::has_data(), listed(cluster), &members)
        .map_err(|refused| refused.to_string())?;
    let whose = cluster.whose();
    etcd::prepare(&cluster.config, &whose, now_s())
        .map_err(|error| ferrite_schema::chain(&error))?;
    if let Begins::Beside(beside) = &begins
        && kept.beside != *beside
    {
        kept.beside.clone_from(beside);
        cluster.folder.keep_member(kept).map_err(|error| ferrite_schema::chain(&error))?;
    }
    let unit = etcd::unit(etcd::arguments(&whose, &begins, &timings()));
    node.units.run_system(unit).await.map_err(|error| ferrite_schema::chain(&error))
}

/// What is done while etcd runs; answers with why it must be begun anew.
async fn attend(cluster: &Arc<Cluster>, node: &Node, kept: &mut KeptMember) -> String {
    let store = match Etcd::at(&etcd::socket()).await {
        Ok(store) => store,
        Err(problem) => return ferrite_schema::chain(&problem),
    };
    let anew = Instant::now() + CERTIFICATE_LIFE;
    let serves = serve(cluster, node, &store, kept);
    let finds = find_peers(cluster);
    let renews = tokio::time::sleep_until(anew);
    tokio::select! {
        never = serves => never,
        never = finds => never,
        () = renews => "its certificate is made anew".to_owned(),
    }
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
        write(ask(cluster, moved(cluster)).await);
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
async fn serve(cluster: &Arc<Cluster>, node: &Node, store: &Etcd, kept: &mut KeptMember) -> String {
    let mut said = None;
    loop {
        // Before anything is acknowledged that it could forget.
        let found = match note_begun(cluster, kept) {
            Ok(()) => well(cluster, store).await,
            Err(why) => Err(why),
        };
        let why = match found {
            Ok(terms) => {
                show(cluster, Some((store.clone(), terms)));
                node.stand(ABOUT.to_owned(), None);
                tracing::info!("member-serves");
                let why = lead_and_look(cluster, node, store, terms.ttl).await;
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
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn show(cluster: &Cluster, serves: Option<(Etcd, Terms)>) {
    let (store, terms) = serves.unzip();
    cluster.standing.send_modify(|standing| {
        if let Some(standing) = standing {
            standing.serves = store.is_some();
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
        return Err("it knows no leader: it needs more than half of the members".to_owned());
    }
    store.transact(first_records(cluster)?).await.map_err(said)?;
    let (_, entry) = store.get(&Key::Cluster.bytes()).await.map_err(said)?;
    let entry = entry.ok_or("the cluster's record is gone")?;
    let record: Record =
        decode(&Key::Cluster, &entry.value).map_err(|refused| ferrite_schema::chain(&refused))?;
    if record.id != cluster.id().as_str() {
        return Err(format!("its data is of cluster {}, and this is {}", record.id, cluster.id()));
    }
    let ttl = Duration::from_secs(record.timings.ttl_s.max(1).into());
    Ok(Terms { epoch: record.epoch, ttl })
}

/// What a new cluster begins with; nothing is done where there is one.
fn first_records(cluster: &Cluster) -> Result<Transaction, String> {
    let said = |refused: ferrite_cluster::records::Refused| ferrite_schema::chain(&refused);
    let expect = cluster.config.member.as_ref().map_or(1, |member| member.expect);
    let record = Record {
        id: cluster.id().to_string(),
        epoch: 1,
        networks: Networks { ipv4: IPV4.to_owned(), ipv6: own_ipv6(cluster), rest: Rest::new() },
        // Even numbers tolerate no more than the odd one below.
        member_target: (expect - 1) / 2 * 2 + 1,
        timings: timings(),
        level: LEVEL,
        rest: Rest::new(),
    };
    let put = |key: &Key, value| Operation::Put { key: key.bytes(), value, lease: None };
    let mut operations = vec![put(&Key::Cluster, encode(&Key::Cluster, &record).map_err(said)?)];
    let digest = crate::join::work::token_digest(&cluster.config);
    if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
        let key = Key::Token(digest);
        operations.push(put(&key, encode(&key, &Token::default()).map_err(said)?));
    }
    Ok(Transaction { compares: vec![Compare::absent(Key::Cluster.bytes())], operations })
}

/// A `/48` of the cluster's own (RFC 4193), by its ID, which was drawn.
fn own_ipv6(cluster: &Cluster) -> String {
    let id = cluster.id().as_str();
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or("0").to_owned();
    format!("fd{}:{}:{}::/48", part(0, 2), part(2, 6), part(6, 10))
}

/// Leads, where it falls to this member, and looks who the members are; answers with why etcd is of no more use.
async fn lead_and_look(cluster: &Arc<Cluster>, node: &Node, store: &Etcd, ttl: Duration) -> String {
    let settings =
        lead::Settings { machine: cluster.machine().clone(), cluster: cluster.name().clone(), ttl };
    let tells = Tells(node);
    let tells_all = |told| drop(cluster.told.send_replace(Some(told)));
    tokio::select! {
        problem = lead::work(store, &settings, tells) => ferrite_schema::chain(&problem),
        problem = keep_looking(cluster, store) => ferrite_schema::chain(&problem),
        problem = outlook::keep(store, ttl, tells_all) => ferrite_schema::chain(&problem),
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

/// What a leader decides, as events of this node; what it cannot understand, in its status.
#[derive(Debug, Clone, Copy)]
struct Tells<'node>(&'node Node);

impl lead::Tells for Tells<'_> {
    fn decided(&mut self, report: &Report<'_>) {
        for made in report.moves {
            let place = |machine: &Option<MachineId>| {
                machine.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string)
            };
            let (from, to) = (place(&made.from), place(&made.to));
            let cause = made.cause.word();
            tracing::info!(instance = %made.instance, from, to, cause, "placed");
            let message = format!("placed: from {from} to {to} ({cause})");
            self.0.events.publish(Some(made.instance.as_str()), EventKind::State, message);
        }
        let refused: Vec<String> = report
            .refused
            .iter()
            .take(REFUSED_SHOWN_MAX)
            .map(|(key, why)| format!("{key}: {why}"))
            .collect();
        let stands = (!refused.is_empty()).then(|| {
            let what = if report.blocked {
                "the cluster decides nothing until what cannot be understood is mended"
            } else {
                "records of the cluster cannot be understood and stay as they are"
            };
            format!("{what}: {}", refused.join("; "))
        });
        self.0.stand(ABOUT_RECORDS.to_owned(), stands);
        let brakes = report.braked.then(|| {
            "many machines are gone at once: what ran on them is moved only if they stay away"
                .to_owned()
        });
        self.0.stand(ABOUT_BRAKE.to_owned(), brakes);
    }

    fn ended(&mut self) {
        // Whoever leads now says it.
        self.0.stand(ABOUT_RECORDS.to_owned(), None);
        self.0.stand(ABOUT_BRAKE.to_owned(), None);
    }
}
