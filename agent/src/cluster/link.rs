//! A node's end of its link: it says that it is there and what it runs, and hears what it is to run. Whatever ends the link,
//! what runs goes on; only a relay that was heard changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::protocol::{
    Follower, Hello, KeepAlive, Member, Message, PeersSnapshot, VERSION, Welcome,
};
use ferrite_cluster::records::{Assigned, LEVEL, Machine, Spec, State};
use ferrite_schema::cluster::{ClusterId, MachineId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::frames::{Broken, Hears, Says, frames};
use super::kept::{Folder, KeptAssignment};

/// What a relay gets for its first word.
const PATIENCE: Duration = Duration::from_secs(10);
/// What changes within this time is said at once.
const GATHERED: Duration = Duration::from_millis(100);
/// In a TTL a node says so often that it is there; and a relay that has said nothing for this part of a TTL is left, so
/// that there is time enough to find another one.
const BEATS: u32 = 4;
const SILENCE: u32 = 2;

/// What runs here, as the link sees it.
pub(super) trait Instances {
    /// What the cluster's instances do.
    fn state(&self, specs: &BTreeMap<UnitName, SpecHash>) -> impl Future<Output = State>;

    /// A number that rises whenever that changes.
    fn changes(&self) -> watch::Receiver<u64>;

    /// From now on these are to run, and no others of the cluster's.
    fn assign(&self, wanted: BTreeMap<UnitName, (Assigned, Spec)>) -> impl Future<Output = ()>;
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It does not want us.
    #[error("{0}")]
    Refused(String),
    #[error("it has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// This node can be its own relay now.
    #[error("this node is a relay itself now")]
    Nearer,
    #[error("it answers {0} where it should welcome this node")]
    Unexpected(&'static str),
}

/// What a node brings along.
pub(super) struct Own<'node> {
    pub(super) cluster: ClusterId,
    pub(super) machine: MachineId,
    pub(super) boot_id: String,
    /// Tells its record, whenever it must be said.
    pub(super) record: &'node (dyn Fn() -> Machine + Sync),
}

/// What a node has of its cluster, over all links.
#[derive(Debug)]
pub(super) struct Following {
    folder: Folder,
    epoch: u64,
    follower: Follower,
    /// Versions that what was assigned has, by instance.
    specs: BTreeMap<UnitName, SpecHash>,
    /// What a person should know, by what it is about.
    pub(super) troubles: BTreeMap<&'static str, String>,
    /// Members, as a node that is no relay knows them.
    pub(super) elsewhere: Vec<Member>,
}

impl Following {
    /// Goes on with what was kept.
    pub(super) fn begin(folder: Folder) -> Self {
        let mut following = Self {
            folder,
            epoch: 0,
            follower: Follower::default(),
            specs: BTreeMap::new(),
            troubles: BTreeMap::new(),
            elsewhere: Vec::new(),
        };
        match following.folder.assignment() {
            Ok(Some(kept)) => {
                following.epoch = kept.epoch;
                let instances = &kept.assignment.instances;
                following.specs = instances
                    .iter()
                    .map(|(name, assigned)| (name.clone(), assigned.spec.clone()))
                    .collect();
                following.follower.assignment = Some(kept.assignment);
            }
            Ok(None) => {}
            Err(why) => drop(following.troubles.insert("assignment", why)),
        }
        following
    }

    /// Revision of the store that the assignment is of; 0 where there is none.
    fn revision(&self) -> i64 {
        self.follower.assignment.as_ref().map_or(0, |known| known.revision)
    }

    /// Specifications of the assignment that are not here.
    fn missing(&self) -> BTreeSet<SpecHash> {
        let instances = self.follower.assignment.iter().flat_map(|known| known.instances.values());
        instances
            .map(|assigned| assigned.spec.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|hash| self.folder.spec(hash).is_none())
            .collect()
    }
}

/// One link, from its first word to its end.
struct Link<'node, C, I> {
    own: &'node Own<'node>,
    instances: &'node I,
    following: &'node mut Following,
    says: Says<C>,
    /// Specifications that were asked for.
    wanted: BTreeSet<SpecHash>,
    /// Reports that were sent.
    reports: u64,
    /// What the node said of itself last.
    record: Machine,
}

/// What is told whoever carries out more than the link itself does.
pub(super) struct News<'node> {
    /// A relay has welcomed the node.
    pub(super) welcome: &'node mut (dyn FnMut(&Welcome) + Send),
    /// Who runs etcd.
    pub(super) members: &'node mut (dyn FnMut(Vec<Member>, bool) + Send),
    /// Who is in the cluster's network.
    pub(super) peers: &'node mut (dyn FnMut(PeersSnapshot) + Send),
    /// Which services are answered for by whom.
    pub(super) services: &'node mut (dyn FnMut(&Catalogue) + Send),
}

/// Links up over `stream`, until something ends it.
pub(super) async fn run<C, I>(
    stream: C,
    own: &Own<'_>,
    instances: &I,
    following: &mut Following,
    news: &mut News<'_>,
) -> End
where
    C: AsyncRead + AsyncWrite,
    I: Instances,
{
    let (mut hears, says) = frames(stream);
    let (wanted, reports) = (BTreeSet::new(), 0);
    let record = (own.record)();
    let mut link = Link { own, instances, following, says, wanted, reports, record };
    match link.run(&mut hears, news).await {
        Ok(never) => never,
        Err(end) => end,
    }
}

impl<C: AsyncRead + AsyncWrite, I: Instances> Link<'_, C, I> {
    async fn welcome(&mut self, hears: &mut Hears<C>) -> Result<Welcome, End> {
        let hello = Hello {
            versions: vec![VERSION],
            cluster: self.own.cluster.to_string(),
            machine: self.own.machine.clone(),
            boot_id: self.own.boot_id.clone(),
            level: LEVEL,
        };
        self.says.say(&Message::Hello(hello)).await?;
        loop {
            match hears.next().await? {
                Message::Welcome(welcome) => return Ok(welcome),
                Message::Members { members, .. } => self.following.elsewhere = members,
                Message::Refused { why } => return Err(End::Refused(why)),
                _ => return Err(End::Unexpected("something else")),
            }
        }
    }

    async fn run(&mut self, hears: &mut Hears<C>, news: &mut News<'_>) -> Result<End, End> {
        let welcomed = tokio::time::timeout(PATIENCE, self.welcome(hears)).await;
        let welcome = welcomed.map_err(|_elapsed| End::Silent(PATIENCE))??;
        if welcome.epoch != self.following.epoch {
            self.following.follower.new_epoch();
            self.following.epoch = welcome.epoch;
        }
        (news.welcome)(&welcome);
        let ttl = Duration::from_secs(welcome.ttl_s.max(1).into());
        let mut changes = self.instances.changes();
        changes.mark_unchanged();
        let mut said = self.register().await?;
        self.says.say(&Message::Subscribe { services: None }).await?;
        let mut beats = tokio::time::interval(ttl / BEATS);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut heard) = (0, Instant::now());
        let silence = ttl / SILENCE;
        loop {
            tokio::select! {
                message = hears.next() => {
                    heard = Instant::now();
                    if self.hear(message?, news).await? {
                        said = self.register().await?;
                    }
                }
                Ok(()) = changes.changed() => {
                    // A start alone is some changes within a moment.
                    tokio::time::sleep(GATHERED).await;
                    changes.mark_unchanged();
                    let state = self.instances.state(&self.following.specs).await;
                    if state != said {
                        self.reports += 1;
                        let report = Message::State { number: self.reports, state: state.clone() };
                        self.says.say(&report).await?;
                        said = state;
                    }
                }
                () = tokio::time::sleep_until(heard + silence) => return Err(End::Silent(silence)),
                _ = beats.tick() => {
                    // Its addresses may have changed.
                    if (self.own.record)() != self.record {
                        said = self.register().await?;
                    }
                    number += 1;
                    let machines = vec![self.own.machine.clone()];
                    self.says.say(&Message::KeepAlive(KeepAlive { number, machines })).await?;
                }
            }
        }
    }

    async fn register(&mut self) -> Result<State, End> {
        let state = self.instances.state(&self.following.specs).await;
        self.record = (self.own.record)();
        let machine = Box::new(self.record.clone());
        self.says.say(&Message::Register { machine, state: state.clone() }).await?;
        Ok(state)
    }

    /// Takes in what the relay says; `true` where the node must register again.
    async fn hear(&mut self, message: Message, news: &mut News<'_>) -> Result<bool, End> {
        match message {
            Message::Refused { why } => return Err(End::Refused(why)),
            Message::Members { members, fresh } => (news.members)(members, fresh),
            Message::Peers(peers) => (news.peers)(peers),
            Message::Catalogue(snapshot) => {
                self.following.follower.catalogue(snapshot);
                self.tell_services(news);
            }
            Message::CatalogueDelta(delta) => {
                let behind = self.following.follower.catalogue_delta(delta);
                behind.map_err(|behind| End::Refused(behind.to_string()))?;
                self.tell_services(news);
            }
            Message::KeptAlive { gone, .. } => return Ok(gone.contains(&self.own.machine)),
            Message::Assignment(snapshot) => {
                let newer = self.following.follower.assignment(snapshot);
                if newer {
                    self.ask_or_apply().await?;
                }
            }
            Message::AssignmentDelta(delta) => {
                let behind = self.following.follower.assignment_delta(delta);
                behind.map_err(|behind| End::Refused(behind.to_string()))?;
                self.ask_or_apply().await?;
            }
            Message::Spec(spec) => {
                self.wanted.remove(&spec.hash);
                let kept = match &spec.text {
                    Some(text) => self.following.folder.keep_spec(&spec.hash, text),
                    None => Ok(()),
                };
                if let Err(error) = kept {
                    let why = ferrite_schema::chain(&error);
                    self.following.troubles.insert("specification", why);
                }
                if self.wanted.is_empty() {
                    self.apply().await;
                }
            }
            // What only later versions of a relay say, and what concerns nobody here.
            _ => {}
        }
        Ok(false)
    }

    fn tell_services(&self, news: &mut News<'_>) {
        if let Some(catalogue) = self.following.follower.services() {
            (news.services)(catalogue);
        }
    }

    async fn ask_or_apply(&mut self) -> Result<(), End> {
        self.wanted = self.following.missing();
        if self.wanted.is_empty() {
            self.apply().await;
            return Ok(());
        }
        let hashes = self.wanted.iter().cloned().collect();
        Ok(self.says.say(&Message::WantSpecs { hashes }).await?)
    }

    /// What the node is to run is known: it is kept, and then done.
    async fn apply(&mut self) {
        let following = &mut *self.following;
        let Some(assignment) = following.follower.assignment.clone() else { return };
        following.specs = assignment
            .instances
            .iter()
            .map(|(name, assigned)| (name.clone(), assigned.spec.clone()))
            .collect();
        let mut wanted = BTreeMap::new();
        let mut absent = Vec::new();
        for (name, assigned) in &assignment.instances {
            match following.folder.spec(&assigned.spec) {
                Some(spec) => drop(wanted.insert(name.clone(), (assigned.clone(), spec))),
                None => absent.push(name.to_string()),
            }
        }
        following.troubles.remove("absent");
        if !absent.is_empty() {
            // Taking the others for all of it would stop these.
            let why = format!(
                "the specifications of {} are not in the cluster, or cannot be understood: nothing is changed on this node",
                absent.join(", ")
            );
            following.troubles.insert("absent", why);
            return;
        }
        let kept = KeptAssignment { epoch: following.epoch, assignment };
        match following.folder.keep_assignment(&kept) {
            Ok(()) => drop(following.troubles.remove("kept")),
            Err(error) => {
                drop(following.troubles.insert("kept", ferrite_schema::chain(&error)));
            }
        }
        tracing::info!(instances = wanted.len(), revision = self.following.revision(), "assigned");
        self.instances.assign(wanted).await;
    }
}
