//! A member's end of a node's link: what the node says of itself goes into the store, and what it is to run comes out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::SpecHash;
use ferrite_cluster::numbers::{Number, number};
use ferrite_cluster::protocol::{
    AssignmentSnapshot, CatalogueDelta, CatalogueSnapshot, Hello, Member, Message, PeersSnapshot,
    REVOKED_SINCE, SPOKEN, SpecText, Welcome, agreed_version,
};
use ferrite_cluster::records::{Alive, Assignment, Cluster, Machine, Record, Rest, State, decode};
use ferrite_cluster::store::{
    ClusterStore, Compare, Entry, LeaseId, Operation, Outcome, Refusal, Revision, StoreProblem,
    Watch, WatchEnd,
};
use ferrite_cluster::transactions::{Join, join, report};
use ferrite_schema::cluster::{ClusterId, MachineId};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Told;
use super::frames::{Broken, Hears, Says};

mod refusals;

/// How often a machine's record is read anew because somebody changed it meanwhile.
const TRIES: usize = 5;
/// What every node is told is said no more often than this.
const GATHERED: Duration = Duration::from_millis(100);
/// Longest list of specifications that is answered at once.
const SPECS_MAX: usize = 10_000;

/// What all links of a member have in common.
#[derive(Debug, Clone)]
pub(super) struct Relay<S> {
    pub(super) store: S,
    pub(super) cluster: ClusterId,
    pub(super) machine: MachineId,
    /// The cluster's epoch.
    pub(super) epoch: u64,
    /// A machine that says nothing for so long is gone.
    pub(super) ttl: Duration,
    /// etcd elects a leader within this.
    pub(super) election: Duration,
    /// Who runs etcd, as a quorum said after the node had come.
    pub(super) fresh: Vec<Member>,
    /// Who runs etcd, as it changes.
    pub(super) members: watch::Receiver<Vec<Member>>,
    /// What every node is told.
    pub(super) told: watch::Receiver<Option<Told>>,
}

/// A node that has come.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// Who it is, by its certificate.
    pub(super) machine: MachineId,
    /// Serial number of that; a member shows itself none.
    pub(super) serial: Option<String>,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Store(#[from] StoreProblem),
    #[error(transparent)]
    Watch(#[from] WatchEnd),
    #[error("it was refused: {0}")]
    Refused(String),
    /// It is another machine with the ID of one that is alive.
    #[error("it was refused: {0}")]
    Copy(String),
    #[error("this node's etcd ends")]
    Over,
}

/// A machine that has joined through this link.
#[derive(Debug, Clone, Copy)]
struct Joined {
    lease: LeaseId,
    /// Of its `alive`.
    revision: Revision,
}

/// One link.
struct Link<'relay, S, C> {
    relay: &'relay Relay<S>,
    node: MachineId,
    /// Serial number of its certificate.
    serial: Option<String>,
    boot_id: String,
    hardware: Option<String>,
    /// The version of the protocol that both speak.
    version: u32,
    says: Says<C>,
    joined: Option<Joined>,
    /// It wants to know what every node is told; what it was told last, and the number of that.
    subscribed: bool,
    said: Option<Told>,
    catalogues: i64,
    /// Specifications that it wants still: one after the other, and what it says is heard between them.
    wanted: VecDeque<SpecHash>,
}

/// Serves the node that has said `hello`, until one of both ends it.
pub(super) async fn serve<S, C>(
    relay: &Relay<S>,
    guest: &Guest,
    hello: Hello,
    (mut hears, says): (Hears<C>, Says<C>),
) -> End
where
    S: ClusterStore + fmt::Debug,
    C: AsyncRead + AsyncWrite,
{
    let (boot_id, hardware) = (hello.boot_id.clone(), hello.hardware.clone());
    let node = guest.machine.clone();
    let mut link = Link {
        relay,
        node,
        serial: guest.serial.clone(),
        boot_id,
        hardware,
        version: 1,
        says,
        joined: None,
        subscribed: false,
        said: None,
        catalogues: 1,
        wanted: VecDeque::new(),
    };
    let ended = match link.welcome(&hello).await {
        Ok(()) => link.run(&mut hears).await,
        Err(end) => Err(end),
    };
    match ended {
        Ok(never) => never,
        Err(end) => end,
    }
}

impl<S: ClusterStore + fmt::Debug, C: AsyncRead + AsyncWrite> Link<'_, S, C> {
    async fn welcome(&mut self, hello: &Hello) -> Result<(), End> {
        if hello.cluster != self.relay.cluster.as_str() {
            let why = format!(
                "this is cluster {}, and it belongs to cluster {}",
                self.relay.cluster, hello.cluster
            );
            return self.refuse(why).await;
        }
        if hello.machine != self.node {
            let why = format!(
                "it says to be machine {}, and its certificate is of machine {}",
                hello.machine, self.node
            );
            return self.refuse(why).await;
        }
        self.refuse_revoked().await?;
        // Before it is told anything: what is said to a machine is not for another one with its ID.
        let alive = self.read::<Alive>(&Key::Alive(self.node.clone())).await?;
        if alive.is_some_and(|alive| alive.boot_id != self.boot_id) {
            let known = self.read(&Key::Machine(self.node.clone())).await?;
            return self.refuse_boot(known.as_ref()).await;
        }
        let Some(version) = agreed_version(&hello.versions) else {
            let why = format!(
                "it speaks versions {:?} of the protocol, and this node speaks {SPOKEN:?}",
                hello.versions
            );
            return self.refuse(why).await;
        };
        self.version = version;
        self.refuse_level(hello.level).await?;
        let welcome = Welcome {
            version,
            epoch: self.relay.epoch,
            relay: self.relay.machine.clone(),
            ttl_s: u32::try_from(self.relay.ttl.as_secs()).unwrap_or(u32::MAX),
            election_ms: u32::try_from(self.relay.election.as_millis()).ok(),
        };
        Ok(self.says.say(&Message::Welcome(welcome)).await?)
    }

    /// A record, where there is one that is understood: what is not is found, and said, where it is used.
    async fn read<T: Record>(&self, key: &Key) -> Result<Option<T>, End> {
        let (_, entry) = self.relay.store.get(&key.bytes()).await?;
        Ok(entry.and_then(|entry| decode(key, &entry.value).ok()))
    }

    async fn run(&mut self, hears: &mut Hears<C>) -> Result<End, End> {
        let key = Key::Assign(self.node.clone());
        let mut members = self.relay.members.clone();
        // Of what the channel holds nobody knows how old it is.
        let known = self.relay.fresh.clone();
        self.says.say(&Message::Members { members: known, fresh: true }).await?;
        let mut assignments: Option<Watch> = None;
        let mut told = self.relay.told.clone();
        told.mark_changed();
        // When the next of what every node is told is due.
        let (mut due, mut last) = (None, Instant::now() - GATHERED);
        loop {
            tokio::select! {
                changed = told.changed(), if due.is_none() && self.subscribed => {
                    if changed.is_err() {
                        return Err(End::Over);
                    }
                    due = Some(last + GATHERED);
                }
                () = sleep_until(due), if due.is_some() => {
                    (due, last) = (None, Instant::now());
                    let now = told.borrow_and_update().clone();
                    if let Some(now) = now {
                        self.tell(now).await?;
                    }
                }
                message = hears.next() => {
                    let message = message?;
                    let registers = matches!(message, Message::Register { .. });
                    self.hear(message).await?;
                    if registers && assignments.is_none() && self.joined.is_some() {
                        let from = self.tell_assignment(&key).await?;
                        assignments =
                            Some(self.relay.store.watch(&key.bytes(), from.next()).await?);
                    }
                }
                () = std::future::ready(()), if !self.wanted.is_empty() => self.tell_spec().await?,
                changes = next(&mut assignments) => match changes {
                    Some(Ok(_)) => drop(self.tell_assignment(&key).await?),
                    Some(Err(end)) => return Err(end.into()),
                    None => return Err(End::Over),
                },
                changed = members.changed() => {
                    if changed.is_err() {
                        return Err(End::Over);
                    }
                    let known = members.borrow_and_update().clone();
                    self.says.say(&Message::Members { members: known, fresh: false }).await?;
                }
            }
        }
    }

    /// Tells the node all that it is to run; answers with the revision that it is of.
    async fn tell_assignment(&mut self, key: &Key) -> Result<Revision, End> {
        let (revision, entry) = self.relay.store.get(&key.bytes()).await?;
        let assignment = match &entry {
            None => Assignment::default(),
            Some(entry) => match decode(key, &entry.value) {
                Ok(assignment) => assignment,
                Err(refused) => {
                    // What runs goes on: nobody knows what it should be.
                    tracing::error!(
                        error = ferrite_schema::chain(&refused),
                        "assignment-not-understood"
                    );
                    return Ok(revision);
                }
            },
        };
        let snapshot = AssignmentSnapshot { revision: revision.0, instances: assignment.instances };
        self.says.say(&Message::Assignment(snapshot)).await?;
        Ok(revision)
    }

    async fn hear(&mut self, message: Message) -> Result<(), End> {
        match message {
            // All that it waits for has its place elsewhere: a link is small, and there may be thousands.
            Message::Register { machine, state } => Box::pin(self.register(*machine, state)).await,
            Message::KeepAlive(alive) => {
                let gone = match self.joined {
                    None => true,
                    Some(joined) => match self.relay.store.keep_alive(joined.lease).await {
                        Ok(()) => false,
                        Err(StoreProblem::Refused(Refusal::NoLease)) => true,
                        Err(problem) => return Err(problem.into()),
                    },
                };
                let held = alive.asks && !gone && self.holds().await?;
                let gone = if gone { vec![self.node.clone()] } else { Vec::new() };
                let number = alive.number;
                Ok(self.says.say(&Message::KeptAlive { number, gone, held }).await?)
            }
            Message::State { number, state } => self.report(number, &state).await,
            Message::WantSpecs { hashes } => self.want_specs(hashes).await,
            // All of them: nobody asks for less yet.
            Message::Subscribe { .. } => {
                self.subscribed = true;
                Ok(())
            }
            other => {
                let why = format!("a node does not say {}", word(&other));
                self.refuse(why).await
            }
        }
    }

    /// The node is there by the lease that it has through this link. An etcd may confirm the renewal of a lease that is gone
    /// (etcd#20590); what it reads it agrees on with a quorum.
    async fn holds(&self) -> Result<bool, End> {
        let key = Key::Alive(self.node.clone());
        let (_, entry) = self.relay.store.get(&key.bytes()).await?;
        let lease = entry.and_then(|entry| entry.lease);
        Ok(self.joined.is_some_and(|joined| lease == Some(joined.lease)))
    }

    /// Tells what changed of what every node is told.
    async fn tell(&mut self, now: Told) -> Result<(), End> {
        let before = self.said.replace(now.clone());
        let peers = now.peers.filter(|peers| {
            before.as_ref().and_then(|before| before.peers.as_ref()) != Some(peers)
        });
        if let Some(peers) = peers {
            self.says.say(&Message::Peers(PeersSnapshot::clone(&peers).into())).await?;
        }
        let known = before.as_ref().map(|before| &before.revoked);
        if known != Some(&now.revoked) {
            if self.serial.as_ref().is_some_and(|serial| now.revoked.contains(serial)) {
                self.refuse_revoked().await?;
            }
            if self.version >= REVOKED_SINCE {
                let all = BTreeSet::clone(&now.revoked);
                self.says.say(&Message::Revoked(all.into())).await?;
            }
        }
        let base = self.catalogues;
        let message = match before {
            None => Message::Catalogue(CatalogueSnapshot {
                revision: base,
                catalogue: Catalogue::clone(&now.catalogue),
                more: false,
            }),
            Some(before) => {
                let delta = before.catalogue.difference(&now.catalogue);
                if delta.is_empty() {
                    return Ok(());
                }
                self.catalogues += 1;
                Message::CatalogueDelta(CatalogueDelta {
                    base,
                    revision: self.catalogues,
                    delta,
                    further: BTreeMap::new(),
                    more: false,
                })
            }
        };
        Ok(self.says.say(&message).await?)
    }

    async fn report(&mut self, number: u64, state: &State) -> Result<(), End> {
        let Some(joined) = self.joined else {
            return self.refuse("it reports before it has registered".to_owned()).await;
        };
        let reports = match report(&self.node, state, joined.revision) {
            Ok(reports) => reports,
            Err(refused) => return self.refuse(ferrite_schema::chain(&refused)).await,
        };
        match self.relay.store.transact(reports).await? {
            Outcome::Done(_) => Ok(self.says.say(&Message::Stored { number }).await?),
            Outcome::Failed(_) => {
                // Its lease is gone, or it has joined by another link: the next `keep-alive` says so.
                Ok(())
            }
        }
    }

    async fn want_specs(&mut self, hashes: Vec<SpecHash>) -> Result<(), End> {
        let count = self.wanted.len().saturating_add(hashes.len());
        if count > SPECS_MAX {
            return self.refuse(format!("it wants {count} specifications at once")).await;
        }
        self.wanted.extend(hashes);
        Ok(())
    }

    async fn tell_spec(&mut self) -> Result<(), End> {
        let Some(hash) = self.wanted.pop_front() else { return Ok(()) };
        let (_, entry) = self.relay.store.get(&Key::Spec(hash.clone()).bytes()).await?;
        let text = entry.and_then(|entry| String::from_utf8(entry.value).ok());
        // What is not what its hash says is as good as none.
        let text = text.filter(|text| SpecHash::of(text.as_bytes()) == hash);
        Ok(self.says.say(&Message::Spec(SpecText { hash, text })).await?)
    }

    async fn register(&mut self, machine: Machine, state: State) -> Result<(), End> {
        for tried in 0..TRIES {
            let store = &self.relay.store;
            let machine_key = Key::Machine(self.node.clone());
            let (_, known) = store.get(&machine_key.bytes()).await?;
            let alive_key = Key::Alive(self.node.clone());
            let (_, before) = store.get(&alive_key.bytes()).await?;
            let mut incarnation = 1;
            if let Some(entry) = &before {
                let alive: Alive = match decode(&alive_key, &entry.value) {
                    Ok(alive) => alive,
                    Err(refused) => return self.refuse(ferrite_schema::chain(&refused)).await,
                };
                if alive.boot_id != self.boot_id {
                    let known = known.and_then(|entry| decode(&machine_key, &entry.value).ok());
                    return self.refuse_boot(known.as_ref()).await;
                }
                incarnation = alive.incarnation.saturating_add(1);
            }
            let number = self.number(tried).await?;
            let lease = store.grant(self.relay.ttl).await?;
            let alive = Alive { boot_id: self.boot_id.clone(), incarnation, rest: Rest::new() };
            let says = Join { machine: machine.clone(), alive, state: state.clone() };
            let mut joins = match join(&self.node, says, lease, known.as_ref(), before.as_ref()) {
                Ok(joins) => joins,
                Err(refused) => return self.refuse(ferrite_schema::chain(&refused)).await,
            };
            // It may have been forgotten since it was welcomed.
            joins.compares.push(Compare::absent(Key::Forgotten(self.node.clone()).bytes()));
            if let Some(serial) = &self.serial {
                joins.compares.push(Compare::absent(Key::Revoked(serial.clone()).bytes()));
            }
            if let Some((compare, put)) = number {
                joins.compares.push(compare);
                joins.operations.push(put);
            }
            match store.transact(joins).await? {
                Outcome::Done(revision) => {
                    self.joined = Some(Joined { lease, revision });
                    self.forget_lease(before.and_then(|entry: Entry| entry.lease), lease).await;
                    return Ok(());
                }
                Outcome::Failed(_) => {
                    self.forget_lease(Some(lease), LeaseId(0)).await;
                    self.refuse_revoked().await?;
                }
            }
        }
        self.refuse("its record changes all the time".to_owned()).await
    }

    /// Gives the node a network, in the transaction by which it joins, where it has none and there is one left.
    async fn number(&mut self, tried: usize) -> Result<Option<(Compare, Operation)>, End> {
        let store = &self.relay.store;
        let (_, cluster) = store.get(&Key::Cluster.bytes()).await?;
        let cluster = cluster.and_then(|entry| decode::<Cluster>(&Key::Cluster, &entry.value).ok());
        let Some(Ok(network)) = cluster.map(|cluster| cluster.networks.parse()) else {
            tracing::error!("cluster-networks-not-understood");
            return Ok(None);
        };
        let nets = store.list(Key::nets().as_bytes()).await?.entries;
        // Who was not the fastest takes one further on, each another.
        let spread = self.node.as_str().bytes().map(usize::from).sum::<usize>();
        let skip = spread.checked_rem(tried.saturating_mul(16)).unwrap_or(0);
        match number(&self.node, &nets, network.ipv4, skip) {
            Ok(Number::Free(number, compare, put)) => {
                tracing::debug!(machine = %self.node, number, "network-is-free");
                Ok(Some((compare, put)))
            }
            Ok(Number::Has(_)) => Ok(None),
            Ok(Number::None) => {
                let (ipv4, room) = (network.ipv4, network.ipv4.room());
                self.refuse(format!(
                    "the cluster's network {ipv4} has room for {room} machines, and all of it is given: forget machines that are gone for good (`ferrite machine forget`), or begin a cluster with a wider network ([cluster.network] ipv4)"
                ))
                .await
            }
            Err(refused) => self.refuse(ferrite_schema::chain(&refused)).await,
        }
    }

    /// Nothing hangs on it any more; one that is not given back ends by itself.
    async fn forget_lease(&self, lease: Option<LeaseId>, but: LeaseId) {
        if let Some(lease) = lease.filter(|lease| *lease != but)
            && let Err(error) = self.relay.store.revoke(lease).await
        {
            tracing::debug!(error = ferrite_schema::chain(&error), "lease-not-given-back");
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn next(
    watch: &mut Option<Watch>,
) -> Option<Result<Vec<ferrite_cluster::store::Change>, WatchEnd>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// What a message is called.
fn word(message: &Message) -> String {
    let said = serde_json::to_value(message).ok();
    let word = said.as_ref().and_then(|value| value.get("type")).and_then(|word| word.as_str());
    word.unwrap_or("that").to_owned()
}
