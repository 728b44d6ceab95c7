//! What others ask of the supervisor.

use crate::readiness::Settled;
use std::time::Duration;

use ferrite_schema::api::UnitStatus;
use ferrite_schema::unit::Unit;
use tokio::sync::{mpsc, oneshot, watch};

use super::assigned::{Assigned, NotTaken};
use super::machine::Event;
use super::shims::Shim;
use super::store::UnitStoreProblem;
use super::system::SystemUnit;

/// Why a request about a unit was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such unit.
    #[error("there is no unit {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// A unit that another one requires is not here.
    #[error("unit {name} requires {missing}, which is not on this node; submit it first")]
    Missing {
        /// The unit asked for.
        name: String,
        /// What it requires.
        missing: String,
    },
    /// Units would wait for each other for ever.
    #[error("units would wait for each other in a circle: {}", circle.join(" → "))]
    Circle {
        /// The names in it.
        circle: Vec<String>,
    },
    /// The network that a unit wants to share is not to be shared.
    #[error("unit {name} cannot share the network of {other}: {why}")]
    Network {
        /// The unit.
        name: String,
        /// Whose network it wants.
        other: String,
        /// Why not.
        why: String,
    },
    /// A start would take more units along than anybody means: templates that require instances of templates.
    #[error(
        "{name} requires, one after the other, more than {most} units: look at what its template requires"
    )]
    TooMany {
        /// The one that was asked for.
        name: String,
        /// Most units of one start.
        most: usize,
    },
    /// A template does not run.
    #[error("{name} is a template; ask for an instance of it, such as {name}1")]
    Template {
        /// The template.
        name: String,
    },
    /// A template that is in use.
    #[error("template {name} has instances: {}; destroy them first", instances.join(", "))]
    HasInstances {
        /// The template.
        name: String,
        /// Their names.
        instances: Vec<String>,
    },
    /// A template that makes no such instance.
    #[error("make {name} from its template")]
    Instance {
        /// The instance asked for.
        name: String,
        /// Why.
        source: ferrite_schema::unit::BadValue,
    },
    /// The cluster's unit: it is changed there.
    #[error("unit {name} belongs to the cluster: change it there, with `ferrite unit …`")]
    OfCluster {
        /// The unit.
        name: String,
    },
    /// The node's own unit.
    #[error("unit {name} is the node's own: the node itself starts and stops it")]
    OfNode {
        /// The unit.
        name: String,
    },
    /// No unit of the node's own can be called so.
    #[error("give the node's own unit {name} a name that begins with `+`")]
    NameOfNode {
        /// The name.
        name: String,
    },
    /// It was to be forgotten, and has not ended yet.
    #[error("unit {name} is being forgotten: wait until it is gone, or submit it again")]
    Going {
        /// The unit.
        name: String,
    },
    /// The machine is going down.
    #[error("the machine is going down")]
    GoingDown,
    /// STATE did not take it.
    #[error(transparent)]
    Store(#[from] UnitStoreProblem),
}

/// Something asked by a person.
#[derive(Debug)]
pub(super) enum Ask {
    Put(Box<Unit>),
    Load(String),
    Start(String),
    Restart(String),
    Stop(String),
    Unload(String),
    Remove(String),
}

impl Ask {
    /// The unit that it would change.
    pub(super) fn changes(&self) -> &str {
        match self {
            Self::Put(unit) => &unit.name,
            Self::Load(name)
            | Self::Start(name)
            | Self::Restart(name)
            | Self::Stop(name)
            | Self::Unload(name)
            | Self::Remove(name) => name,
        }
    }
}

/// A question of somebody who changes nothing. It is answered while the supervisor waits for the disk, too.
#[derive(Debug)]
pub(super) enum Look {
    Unit(String, oneshot::Sender<Option<UnitStatus>>),
    All(oneshot::Sender<Vec<UnitStatus>>),
    Definition(String, oneshot::Sender<Option<Unit>>),
    Documents(oneshot::Sender<Documents>),
}

/// What the supervisor hears.
#[derive(Debug)]
pub(super) enum Message {
    Ask(Ask, oneshot::Sender<Result<UnitStatus, Refusal>>),
    /// About the run with this number.
    Happened {
        name: String,
        run: u64,
        event: Event,
    },
    /// About an image, which was the unit's when it was asked for.
    Image {
        name: String,
        image: String,
        event: Event,
    },
    /// What the image is now could not be asked for, and what is here is used.
    Unasked {
        name: String,
        image: String,
        why: String,
    },
    /// A shim was started for the run with this number, or could not be.
    Launched {
        name: String,
        run: u64,
        result: Result<Box<Shim>, String>,
    },
    TimerRang {
        name: String,
        timer: u64,
    },
    /// The calendar went back while the timer waited for a moment of it.
    ClockSetBack {
        name: String,
        timer: u64,
    },
    StopAll(oneshot::Sender<Vec<String>>),
    Assign(Vec<Assigned>, oneshot::Sender<Result<Vec<NotTaken>, Refusal>>),
    Withhold {
        name: String,
        reason: String,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    RunSystem(Box<SystemUnit>, oneshot::Sender<Result<(), Refusal>>),
    /// Answered when it has stopped.
    StopSystem(String, oneshot::Sender<Result<(), Refusal>>),
}

/// A handle that others speak to the supervisor through.
#[derive(Debug, Clone)]
pub struct Units {
    pub(super) queue: mpsc::Sender<Message>,
    pub(super) looks: mpsc::Sender<Look>,
    pub(super) settled: watch::Receiver<Settled>,
    pub(super) stopping: watch::Receiver<Option<Stopping>>,
    pub(super) changes: watch::Receiver<u64>,
}

/// Where the stop of all units stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Units that are not at rest.
    pub left: u32,
    /// What they take at most, each after those that depend on it.
    pub within: Duration,
}

/// What is known of the units' documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Documents {
    /// Each as it was submitted, and the one that it runs by where that is another. None of the node's own units, which come with
    /// its image and have no volumes.
    pub units: Vec<Unit>,
    /// Why there may be more, for people: then nothing is known to be unused.
    pub unknown: Option<String>,
}

impl Units {
    async fn ask(&self, ask: Ask) -> Result<UnitStatus, Refusal> {
        let (reply, answer) = oneshot::channel();
        // The supervisor ends only with the program.
        self.queue.send(Message::Ask(ask, reply)).await.map_err(|_closed| Refusal::GoingDown)?;
        answer.await.map_err(|_closed| Refusal::GoingDown)?
    }

    /// Keeps a unit; one that runs goes on as it was started.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn put(&self, unit: Unit) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Put(Box::new(unit))).await
    }

    /// A unit's status.
    ///
    /// # Errors
    /// There is no such unit.
    pub async fn get(&self, name: &str) -> Result<UnitStatus, Refusal> {
        let found = self.look(|reply| Look::Unit(name.to_owned(), reply)).await;
        found.ok_or(Refusal::GoingDown)?.ok_or_else(|| Refusal::Unknown { name: name.to_owned() })
    }

    /// A unit as it was submitted.
    ///
    /// # Errors
    /// There is no such unit.
    pub async fn definition(&self, name: &str) -> Result<Unit, Refusal> {
        let found = self.look(|reply| Look::Definition(name.to_owned(), reply)).await;
        found.ok_or(Refusal::GoingDown)?.ok_or_else(|| Refusal::Unknown { name: name.to_owned() })
    }

    /// What units say, before something is removed that one of them may use.
    pub async fn documents(&self) -> Documents {
        let unknown = || Some("the agent goes down".to_owned());
        let nobody = || Documents { units: Vec::new(), unknown: unknown() };
        self.look(Look::Documents).await.unwrap_or_else(nobody)
    }

    /// Gets a unit's image, so that its start does not wait for it; makes an instance of its template.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn load(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Load(name.to_owned())).await
    }

    /// Wants a unit to run.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn start(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Start(name.to_owned())).await
    }

    /// Stops a unit, if it runs, and starts it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn restart(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Restart(name.to_owned())).await
    }

    /// Wants a unit not to run.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn stop(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Stop(name.to_owned())).await
    }

    /// Stops a unit; an instance of a template is forgotten.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn unload(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Unload(name.to_owned())).await
    }

    /// Stops a unit and forgets it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn remove(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Remove(name.to_owned())).await
    }

    /// All units, by name.
    pub async fn list(&self) -> Vec<UnitStatus> {
        self.look(Look::All).await.unwrap_or_default()
    }

    /// Stops everything because the machine goes down; wishes stay as they are. Returns the names of the units
    /// that were still there when the time was over.
    pub async fn stop_all(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        match self.queue.send(Message::StopAll(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Has a unit of the cluster's rest for this reason, also after a restart, until the cluster has it run again ([`Self::assign`]). One
    /// that is not the cluster's is not touched.
    ///
    /// # Errors
    /// STATE did not take it; it is asked to stop all the same.
    pub async fn withhold(&self, name: &str, reason: String) -> Result<(), Refusal> {
        let name = name.to_owned();
        self.tell(|reply| Message::Withhold { name, reason, reply }).await
    }

    /// Takes over the complete set of what the cluster wants on this node: what is not in it and came from the cluster is stopped and
    /// forgotten, and its named volumes stay; what runs by another document than the one in it is stopped with its grace and started anew; what is
    /// as it should be is not touched. Answers with those that this node did not take.
    ///
    /// # Errors
    /// STATE did not take all of it. What it took holds; the same assignment may be asked for again.
    pub async fn assign(&self, wanted: Vec<Assigned>) -> Result<Vec<NotTaken>, Refusal> {
        self.tell(|reply| Message::Assign(wanted, reply)).await
    }

    /// Runs a unit of the node itself, until it is stopped or the machine goes down. One that runs by an equal definition is not
    /// touched, and one by another is replaced.
    ///
    /// # Errors
    /// Its name is none of such a unit, or the machine is going down.
    pub async fn run_system(&self, unit: SystemUnit) -> Result<(), Refusal> {
        self.tell(|reply| Message::RunSystem(Box::new(unit), reply)).await
    }

    /// Stops a unit of the node itself and forgets it, with its log. Returns when it has stopped; at once where there is none.
    ///
    /// # Errors
    /// Its name is none of such a unit.
    pub async fn stop_system(&self, name: &str) -> Result<(), Refusal> {
        let name = name.to_owned();
        self.tell(|reply| Message::StopSystem(name, reply)).await
    }

    /// Nothing where the supervisor has ended, which it does only with the program.
    async fn look<T>(&self, look: impl FnOnce(oneshot::Sender<T>) -> Look) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.looks.send(look(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn tell<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Message,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(message(reply)).await.map_err(|_closed| Refusal::GoingDown)?;
        answer.await.map_err(|_closed| Refusal::GoingDown)?
    }

    /// A number that rises whenever what [`Units::list`] answers may have changed, but for digests of images, which come and go
    /// without a unit. It also rises now and then where nothing has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// The next word on where the stop of all units stands; each has fewer units left.
    pub async fn next_stopping(&mut self) -> Option<Stopping> {
        // The sender lives as long as the program.
        self.stopping.changed().await.ok()?;
        *self.stopping.borrow_and_update()
    }

    /// Where the units stand, as it changes.
    #[must_use]
    pub fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.clone()
    }
}
