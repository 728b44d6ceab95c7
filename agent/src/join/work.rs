//! Runs [`super::step`]: keeps the node's certificate there and fresh, and tells who needs it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_pki::{Dates, Issuer, Pin, certificates, digest, make_key, make_request, read_request};
use ferrite_schema::chain;
use ferrite_schema::cluster::{ClusterId, MachineId, MachineName};
use ferrite_schema::join::{ClusterRecord, JoinAnswer, JoinRequest};
use ferrite_schema::node_config::{ClusterConfig, Root, Secret};
use ferrite_store::beside::beside;

use super::ask::{Cluster, ask};
use super::kept::{Folder, Kept};
use super::service::node_issuer;
use super::step::{Effect, Event, Joining, Way};

/// Longest sleep: a clock that is set is noticed after it at the latest.
const NAP_MAX: Duration = Duration::from_secs(600);

/// The node's certificate of its cluster, with its key; PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Membership {
    /// Its certificate, then those above it.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A log never shows the key.
impl std::fmt::Debug for Membership {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Membership")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// What it works with.
#[derive(Debug)]
pub struct Settings {
    /// `[cluster]`.
    pub config: ClusterConfig,
    /// This machine.
    pub machine: MachineId,
    /// Where key and certificate are kept, on STATE.
    pub folder: PathBuf,
    /// Digest of what the machine is made of.
    pub hardware: String,
    /// ID of this boot.
    pub boot: String,
}

/// Who is told.
pub trait Told {
    /// Shows this in the node's status as long as it is so, or nothing any more.
    fn stand(&self, warning: Option<String>);
    /// What happened once.
    fn warn(&self, warning: String);
    /// There is a certificate, or a fresh one.
    fn member(&self, membership: Membership);
    /// STATE belongs to another cluster, for this reason. With this certificate operators of the named cluster may reach the node,
    /// to give orders about the machine.
    fn estranged(&self, why: &str, reached: Option<(ClusterId, Membership)>);
}

/// Works until it is dropped.
pub async fn work(settings: Settings, told: &impl Told) {
    let folder = Folder::at(&settings.folder);
    let kept = folder.load(&settings.machine);
    for problem in &kept.problems {
        told.warn(problem.clone());
    }
    if let Some(foreign) = foreign(&settings.config, kept.record.as_ref()) {
        tracing::error!(why = foreign, "join-state-of-another-cluster");
        told.stand(Some(foreign.clone()));
        loop {
            told.estranged(&foreign, reached(&settings, &kept));
            // Its certificate ends, or the clock was set.
            tokio::time::sleep(NAP_MAX).await;
        }
    }
    match begin(settings, folder, kept, told) {
        Ok((worker, dates)) => worker.run(dates, told).await,
        Err(why) => {
            told.stand(Some(why));
            std::future::pending().await
        }
    }
}

/// What is said where STATE belongs to another cluster than the configuration. Its units, volumes and key are that
/// cluster's: only a person can say that they are wanted no more.
fn foreign(config: &ClusterConfig, record: Option<&ClusterRecord>) -> Option<String> {
    let theirs = record.filter(|record| record.id != config.id)?;
    Some(format!(
        "this node's STATE belongs to cluster {} ({}), and its configuration to cluster {} ({}): it belongs to neither until one is changed. \
         Give it the other cluster's configuration, or make STATE anew, EMPTY: `ferrite machine reset --at ADDRESS`, or ferrite.state=recreate on the kernel's command line",
        theirs.name, theirs.id, config.name, config.id
    ))
}

/// STATE belongs to another cluster than the configuration.
pub(crate) fn is_foreign(config: &ClusterConfig, folder: &Path) -> bool {
    foreign(config, Folder::at(folder).record().as_ref()).is_some()
}

/// By whom and how a node is reached whose STATE belongs to another cluster. One that has issuers certifies itself, in memory alone, for
/// the cluster of its configuration: whoever gave it that has the machine. Any other one has no certificate but that of the
/// cluster that STATE belongs to.
fn reached(settings: &Settings, kept: &Kept) -> Option<(ClusterId, Membership)> {
    let config = &settings.config;
    if config.member.is_none() {
        let (certificate, _) = kept.certificate.as_ref()?;
        let (record, key) = (kept.record.as_ref()?, kept.key.as_ref()?);
        let membership = Membership { certificate: certificate.clone(), key: key.clone() };
        return Some((record.id.clone(), membership));
    }
    let issuer = node_issuer(config).ok()?;
    let key = make_key().ok()?;
    let request = read_request(&make_request(&key).ok()?).ok()?;
    let name = MachineName { machine: settings.machine.clone(), cluster: config.name.clone() };
    let leaf = ferrite_pki::node_leaf(&config.id, &name, now_s());
    let certificate = issuer.certify(&leaf, &request).ok()?;
    Some((config.id.clone(), Membership { certificate, key }))
}

/// Everything that does not change.
struct Worker {
    settings: Settings,
    folder: Folder,
    key: String,
    cluster: Cluster,
    csr: String,
    issuer: Option<Issuer>,
    /// What the cluster has said of itself before.
    record: Option<ClusterRecord>,
}

fn begin(
    settings: Settings,
    folder: Folder,
    kept: Kept,
    told: &impl Told,
) -> Result<(Worker, Option<Dates>), String> {
    let config = &settings.config;
    let pin = match &config.root {
        Root::Certificate(text) => {
            let all = certificates(text)
                .map_err(|error| format!("use [cluster] root: {}", chain(&error)))?;
            Pin::Root(all.into_iter().next().ok_or("use [cluster] root: it is empty")?)
        }
        Root::Fingerprint(fingerprint) => Pin::Fingerprint(fingerprint.0),
    };
    let issuer = match &config.member {
        Some(_) => Some(node_issuer(config).map_err(|error| chain(&error))?),
        None => None,
    };
    let key = match kept.key {
        Some(key) => key,
        None => folder
            .make_key()
            .map_err(|error| format!("this node cannot join its cluster: {}", chain(&error)))?,
    };
    let csr = make_request(&key).map_err(|error| chain(&error))?;
    let digest = read_request(&csr).map_err(|error| chain(&error))?.digest;
    let (id, name) = (config.id.clone(), config.name.clone());
    let cluster = Cluster { pin, id, name, machine: settings.machine.clone(), key: digest };
    let mut dates = None;
    if let Some((certificate, _facts)) = kept.certificate {
        match cluster.check(&certificate, now_s()) {
            Ok(found) => {
                // Even one that has ended: who asks may have a clock that is wrong.
                told.member(Membership { certificate, key: key.clone() });
                dates = Some(found);
            }
            Err(why) => told.warn(format!("the node's certificate on STATE is not used: {why}")),
        }
    }
    Ok((Worker { settings, folder, key, cluster, csr, issuer, record: kept.record }, dates))
}

impl Worker {
    async fn run(self, dates: Option<Dates>, told: &impl Told) {
        let addresses = self.settings.config.join.len();
        let way = if self.issuer.is_some() { Way::Issues } else { Way::Asks(addresses) };
        let mut joining = Joining::new(way);
        let mut event = Event::Begin(dates);
        let mut said = None;
        loop {
            let effects = joining.step(event, now_s(), chance());
            event = Event::Time;
            for effect in effects {
                match effect {
                    Effect::Stand(warning) if warning == said => {}
                    Effect::Stand(warning) => {
                        told.stand(warning.clone());
                        said = warning;
                    }
                    Effect::Issue => event = self.issue(told).await,
                    Effect::Ask(address) => event = self.ask(address, told).await,
                    Effect::Wait { until_s } => {
                        let left = Duration::from_secs(until_s.saturating_sub(now_s()).max(1));
                        tokio::time::sleep(left.min(NAP_MAX)).await;
                    }
                }
            }
        }
    }

    async fn issue(&self, told: &impl Told) -> Event {
        let Some(issuer) = &self.issuer else {
            return Event::Failed("this node has no issuer's key".to_owned());
        };
        let config = &self.settings.config;
        let name =
            MachineName { machine: self.settings.machine.clone(), cluster: config.name.clone() };
        let leaf = ferrite_pki::node_leaf(&config.id, &name, now_s());
        let made = read_request(&self.csr)
            .map_err(|error| chain(&error))
            .and_then(|key| issuer.certify(&leaf, &key).map_err(|error| chain(&error)));
        let checked = made.and_then(|certificate| {
            let dates = self.cluster.check(&certificate, now_s())?;
            Ok((certificate, dates))
        });
        let (certificate, dates) = match checked {
            Ok(checked) => checked,
            Err(why) => return Event::Failed(format!("use [cluster] node_issuer: {why}")),
        };
        let cluster = self.record.clone().unwrap_or_else(|| ClusterRecord {
            id: config.id.clone(),
            name: config.name.clone(),
            epoch: 1,
            members: Vec::new(),
        });
        self.keep(JoinAnswer { certificate, cluster }, dates, told).await
    }

    async fn ask(&self, address: usize, told: &impl Told) -> Event {
        let Some(address) = self.settings.config.join.get(address) else {
            return Event::Failed("there is no such address".to_owned());
        };
        let request = JoinRequest {
            cluster: self.settings.config.id.clone(),
            machine: self.settings.machine.clone(),
            token: self
                .settings
                .config
                .token
                .as_ref()
                .map(|token| Secret(token.reveal().to_owned())),
            csr: self.csr.clone(),
            hardware: self.settings.hardware.clone(),
            boot: self.settings.boot.clone(),
        };
        match ask(&self.cluster, address, &request, now_s()).await {
            Ok((answer, dates)) => self.keep(answer, dates, told).await,
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(%address, why, "join-not-answered");
                if error.is_final() { Event::Refused(why) } else { Event::Failed(why) }
            }
        }
    }

    async fn keep(&self, answer: JoinAnswer, dates: Dates, told: &impl Told) -> Event {
        let folder = self.folder.clone();
        let (answer, kept) = beside(move || {
            let kept = folder.keep(&answer);
            (answer, kept)
        })
        .await;
        if let Err(error) = kept {
            // It is good all the same, until the node restarts.
            told.warn(format!("the node's certificate is this boot's only: {}", chain(&error)));
        }
        let until = ferrite_schema::utc::text(dates.until_s);
        tracing::info!(cluster = %answer.cluster.name, until, "join-certificate");
        told.member(Membership { certificate: answer.certificate, key: self.key.clone() });
        Event::Answered(dates)
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A number of this node's own, which is all that it takes so that nodes do not ask all at once.
fn chance() -> u32 {
    ferrite_pki::draw(4).ok().and_then(|digits| u32::from_str_radix(&digits, 16).ok()).unwrap_or(0)
}

/// Digest of a token, under which a cluster keeps it.
#[must_use]
pub fn token_digest(config: &ClusterConfig) -> Option<String> {
    config.token.as_ref().map(|token| digest(token.reveal().as_bytes()))
}
