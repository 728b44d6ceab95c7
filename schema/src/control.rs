//! What programs say to PID 1 over its control socket: one [`Request`] per packet, one [`Response`] back.

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::slot::Slot;
use serde::{Deserialize, Serialize};

use crate::timeline::{Span, Timeline};

/// Largest packet in either direction.
pub const PACKET_MAX_BYTES: usize = 128 * 1024;

/// How the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownMode {
    /// Switch the power off.
    Poweroff,
    /// Reset the machine.
    Reboot,
}

/// Something asked of PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// What runs, since when, from which slot.
    Status,
    /// The agent is up and the node is as it should be; an unproven slot becomes successful.
    Ready,
    /// Adds a step of the sender's to the boot timeline.
    Span {
        /// The step.
        span: Span,
    },
    /// The boot timeline so far.
    Timeline,
    /// Stops everything in order and goes down.
    Shutdown {
        /// How.
        mode: ShutdownMode,
        /// Who asked, for the log.
        reason: String,
    },
    /// The agent stops units on the way down. PID 1 waits so long from now on, as long as fewer are left each time.
    Stopping {
        /// Units that have not stopped yet.
        left: u32,
        /// Seconds that they take at most.
        within_s: u64,
    },
    /// Sets the running slot successful.
    MarkGood,
    /// Makes the *other* slot the next to boot, on trial, after checking its header's signature.
    Stage,
    /// Gives up the running slot: the other one, if it can boot, is next.
    Rollback,
    /// Restarts, and has the next boot do something about STATE before it is mounted.
    State {
        /// What.
        order: StateOrder,
    },
}

/// What is to be done about STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateOrder {
    /// Make it anew, EMPTY: configuration, images, volumes and units of this node are gone.
    Recreate,
    /// Check and repair it, however hopeless it looks and however often that was tried.
    Check,
}

/// PID 1's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// Done, or queued.
    Done,
    /// It was so already.
    AlreadySo,
    /// Not done; nothing was changed.
    Refused {
        /// One sentence for a person.
        reason: String,
    },
    /// Answer to [`Request::Status`].
    Status(Status),
    /// Answer to [`Request::Timeline`].
    Timeline(Timeline),
}

/// State of the machine as PID 1 sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Slot that the running root comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = String, examples("A")))]
    pub slot: Slot,
    /// Both slots.
    pub slots: Vec<SlotStatus>,
    /// Set once [`Request::Ready`] arrived.
    pub ready: bool,
    /// Set while going down.
    pub shutting_down: bool,
    /// Supervised services.
    pub services: Vec<ServiceStatus>,
    /// STATE was made anew during this boot, empty; says why.
    pub state_recreated: Option<String>,
    /// STATE could not be used, and the node is in its rescue state: why, and what to do.
    #[serde(default)]
    pub rescue: Option<String>,
    /// Other things that went wrong during this boot and that a person should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A slot on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotStatus {
    /// Which.
    #[cfg_attr(feature = "openapi", schema(value_type = String, examples("A")))]
    pub slot: Slot,
    /// Its GPT attributes: `priority`, `tries`, `successful`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub attributes: SlotAttributes,
    /// Version in the slot; `None` where the header is empty or not signed by a trusted key.
    pub version: Option<String>,
    /// Why there is no version.
    pub problem: Option<String>,
}

/// A supervised service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceStatus {
    /// Name.
    pub name: String,
    /// `running`, `backing-off` or `stopped`.
    pub state: ServiceState,
    /// Process ID while it runs.
    pub pid: Option<i32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How the last run ended, for a person: `exit status 1`, `killed by SIGKILL`.
    pub last_exit: Option<String>,
    /// Milliseconds until the next start, while backing off.
    pub backoff_ms: Option<u64>,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Its process is alive.
    Running,
    /// It ended and is started again after a delay.
    BackingOff,
    /// It ended and stays so: the machine is going down.
    Stopped,
}
