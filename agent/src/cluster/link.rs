//! A node's end of its link: it says that it is there and what it runs, and hears what it is to run. Whatever ends the link,
//! what runs goes on; only a relay that was heard changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::presence::Times;
use ferrite_cluster::protocol::{
    AssignmentSnapshot, Follower, Hello, KeepAlive, Member, Message, PeersSnapshot, SPOKEN, Welcome,
};
use ferrite_cluster::records::{LEVEL, Machine, State};
use ferrite_schema::cluster::{ClusterId, MachineId};
use ferrite_store::beside::beside;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};

use super::errand::{Done, Due, Instances, carry_out, ended};
use super::fence::{Keeper, Phase};
use super::frames::{Broken, Hears, Says, frames};
use super::kept::{Folder, KeptAssignment};

/// What a relay gets for its first word.
const PATIENCE: Duration = Duration::from_secs(10);
/// What came of it before the connection broke is here, or comes at once.
const LAST_WORD: Duration = Duration::from_millis(100);
/// In a TTL a node says so often that it is there; and a relay that has said nothing for this part of a TTL is left, so
/// that there is time enough to find another one.
const BEATS: u32 = 4;
const SILENCE: u32 = 2;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It does not want us.
    #[error("{0}")]
    Refused(String),
    /// This machine is a copy of one that is alive.
    #[error("{0}")]
    Copy(String),
    /// The cluster has forgotten this machine, or revoked its certificate.
    #[error("{0}")]
    Revoked(String),
    #[error("it has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// The node was a member, and is none as far as the relay has heard.
    #[error("its list of members has not this node any more: it is asked anew")]
    Unlisted,
    /// This node can be its own relay now.
    #[error("this node is a relay itself now")]
    Nearer,
    #[error("it answers {0} where it should welcome this node")]
    Unexpected(&'static str),
}

const fn refused(why: String, (copy, revoked): (bool, bool)) -> End {
    match (copy, revoked) {
        (true, _) => End::Copy(why),
        (false, true) => End::Revoked(why),
        (false, false) => End::Refused(why),
    }
}

/// What a node brings along.
pub(super) struct Own<'node> {
    pub(super) cluster: ClusterId,
    pub(super) machine: MachineId,
    pub(super) boot_id: String,
    /// Tells its record, whenever it must be said.
    pub(super) record: &'node (dyn Fn() -> Machine + Sync),
    /// Until when it may run what must not run twice.
    pub(super) fence: &'node Keeper,
}

/// What a node has of its cluster, over all links.
#[derive(Debug)]
pub(super) struct Following {
    folder: Folder,
    epoch: u64,
    follower: Follower,
    /// Versions that what was assigned has, by instance.
    specs: BTreeMap<UnitName, SpecHash>,
    /// Since that was asked last, it was found to be another machine's.
    pub(super) given_up: bool,
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
            given_up: false,
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

    /// What was assigned is another machine's, of which this one is a copy. What is told once it is gone counts, however old.
    pub(super) fn forget(&mut self) {
        self.follower.new_epoch();
        self.follower.assignment = None;
        self.specs.clear();
        self.given_up = true;
    }

    /// The cluster has given to others what was assigned, and will not have this machine again: nothing of it is run at the next
    /// boot either.
    pub(super) fn renounce(&mut self) {
        let known = self.follower.assignment.as_ref();
        let had = known.is_some_and(|known| !known.instances.is_empty());
        self.forget();
        if !had {
            return;
        }
        let assignment = AssignmentSnapshot { revision: 0, instances: BTreeMap::new() };
        let kept = KeptAssignment { epoch: self.epoch, assignment };
        if let Err(error) = self.folder.keep_assignment(&kept) {
            self.troubles.insert("assignment", ferrite_schema::chain(&error));
        }
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
    /// The node is among the members that the relay has told.
    listed: bool,
    /// What is to be done on the node, beside the link: that it is there a node says all the time, however long this takes.
    due: Due,
}

/// What is told whoever carries out more than the link itself does.
pub(super) struct News<'node> {
    /// A relay has welcomed the node.
    pub(super) welcome: &'node mut (dyn FnMut(&Welcome) + Send),
    /// Who runs etcd.
    pub(super) members: &'node mut (dyn FnMut(Vec<Member>, bool) + Send),
    /// Who is in the cluster's network.
    pub(super) peers: &'node mut (dyn FnMut(PeersSnapshot) + Send),
    /// Certificates that open nothing any more.
    pub(super) revoked: &'node mut (dyn FnMut(BTreeSet<String>) + Send),
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
    let (listed, due) = (false, Due::default());
    let mut link = Link { own, instances, following, says, wanted, reports, record, listed, due };
    match link.run(&mut hears, news).await {
        Ok(never) => never,
        Err(End::Broken(broken)) => last_word(&mut hears).await.unwrap_or(End::Broken(broken)),
        Err(end) => end,
    }
}

/// What a relay has said before it hung up: it may have refused the node while that was saying something.
async fn last_word<C: AsyncRead>(hears: &mut Hears<C>) -> Option<End> {
    while let Ok(Ok(message)) = tokio::time::timeout(LAST_WORD, hears.next()).await {
        if let Message::Refused { why, copy, revoked } = message {
            return Some(refused(why, (copy, revoked)));
        }
    }
    None
}

impl<C: AsyncRead + AsyncWrite, I: Instances> Link<'_, C, I> {
    async fn welcome(&mut self, hears: &mut Hears<C>) -> Result<Welcome, End> {
        let hello = Hello {
            versions: SPOKEN.to_vec(),
            cluster: self.own.cluster.to_string(),
            machine: self.own.machine.clone(),
            boot_id: self.own.boot_id.clone(),
            hardware: self.record.hardware.clone(),
            level: LEVEL,
        };
        self.says.say(&Message::Hello(hello)).await?;
        loop {
            match hears.next().await? {
                Message::Welcome(welcome) => return Ok(welcome),
                Message::Members { members, .. } => self.following.elsewhere = members,
                Message::Refused { why, copy, revoked } => {
                    return Err(refused(why, (copy, revoked)));
                }
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
        if let Some(election_ms) = welcome.election_ms {
            let election = Duration::from_millis(election_ms.into());
            self.own.fence.knows(Times { ttl, election });
        }
        let mut fence = self.own.fence.watch();
        let mut changes = self.instances.changes();
        changes.mark_unchanged();
        let state = self.instances.state(&self.following.specs).await;
        let mut said = self.register(state).await?;
        self.says.say(&Message::Subscribe { services: None }).await?;
        let mut beats = tokio::time::interval(ttl / BEATS);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut heard) = (0, Instant::now());
        let silence = ttl / SILENCE;
        let errand = None;
        tokio::pin!(errand);
        loop {
            if errand.is_none()
                && let Some(next) = self.due.next(&self.following.specs)
            {
                errand.set(Some(carry_out(self.instances, next)));
            }
            tokio::select! {
                message = hears.next() => {
                    heard = Instant::now();
                    self.hear(message?, news).await?;
                }
                done = ended(errand.as_mut()) => {
                    errand.set(None);
                    if let Done::Runs(state) = done {
                        said = self.tell(state, said).await?;
                    }
                }
                Ok(()) = changes.changed() => self.due.report = true,
                // What must not run twice may run now: it was assigned before.
                Ok(()) = fence.changed() => {
                    if *fence.borrow_and_update() == Phase::Open {
                        self.apply().await;
                    }
                }
                () = self.own.fence.hurries() => beats.reset_immediately(),
                () = tokio::time::sleep_until(heard + silence) => return Err(End::Silent(silence)),
                _ = beats.tick() => {
                    // Its addresses may have changed.
                    self.due.register |= (self.own.record)() != self.record;
                    number += 1;
                    let machines = vec![self.own.machine.clone()];
                    let asks = self.own.fence.guards();
                    if asks {
                        self.own.fence.sent(number);
                    }
                    let alive = KeepAlive { number, machines, asks };
                    self.says.say(&Message::KeepAlive(alive)).await?;
                }
            }
        }
    }

    /// Tells what runs, where that is another thing than was `said`.
    async fn tell(&mut self, state: State, said: State) -> Result<State, End> {
        if std::mem::take(&mut self.due.register) {
            return self.register(state).await;
        }
        if state != said {
            self.reports += 1;
            let report = Message::State { number: self.reports, state: state.clone() };
            self.says.say(&report).await?;
        }
        Ok(state)
    }

    async fn register(&mut self, state: State) -> Result<State, End> {
        self.record = (self.own.record)();
        let machine = Box::new(self.record.clone());
        self.says.say(&Message::Register { machine, state: state.clone() }).await?;
        Ok(state)
    }

    /// Takes in what the relay says.
    async fn hear(&mut self, message: Message, news: &mut News<'_>) -> Result<(), End> {
        match message {
            Message::Refused { why, copy, revoked } => return Err(refused(why, (copy, revoked))),
            Message::Members { members, fresh } => {
                let lists = members.iter().any(|member| member.machine == self.own.machine);
                let was = std::mem::replace(&mut self.listed, lists);
                let empty = members.is_empty();
                (news.members)(members, fresh);
                if was && !lists && !fresh && !empty {
                    // Only what a quorum says at the beginning of a link is believed about that.
                    return Err(End::Unlisted);
                }
            }
            Message::Peers(piece) => {
                if let Some(peers) = self.following.follower.peers(piece) {
                    (news.peers)(peers);
                }
            }
            Message::Revoked(piece) => {
                if let Some(serials) = self.following.follower.revoked(piece) {
                    (news.revoked)(serials);
                }
            }
            Message::Catalogue(snapshot) => {
                let whole = self.following.follower.catalogue(snapshot);
                self.tell_services(whole, news);
            }
            Message::CatalogueDelta(delta) => {
                let whole = self.following.follower.catalogue_delta(delta);
                let whole = whole.map_err(|behind| End::Refused(behind.to_string()))?;
                self.tell_services(whole, news);
            }
            Message::KeptAlive { number, gone, held } => {
                if held {
                    self.own.fence.counted(number);
                }
                self.due.register |= gone.contains(&self.own.machine);
            }
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
                let kept = match spec.text {
                    Some(text) => {
                        let folder = self.following.folder.clone();
                        beside(move || folder.keep_spec(&spec.hash, &text)).await
                    }
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
        Ok(())
    }

    /// A piece alone changes nothing.
    fn tell_services(&self, whole: bool, news: &mut News<'_>) {
        if let Some(catalogue) = self.following.follower.services().filter(|_| whole) {
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

    /// What the node is to run is known: it is kept, and then done. One after the other: what is kept forgets the
    /// specifications of what was before, and would forget those of what comes next.
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
        let folder = following.folder.clone();
        match beside(move || folder.keep_assignment(&kept)).await {
            Ok(()) => drop(following.troubles.remove("kept")),
            Err(error) => {
                drop(following.troubles.insert("kept", ferrite_schema::chain(&error)));
            }
        }
        tracing::info!(instances = wanted.len(), revision = self.following.revision(), "assigned");
        self.due.apply = Some(wanted);
        self.due.report = true;
    }
}
