//! The boot timeline: which step ran when.

use serde::{Deserialize, Serialize};

/// Who ran a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Firmware and boot loader, before the kernel.
    Firmware,
    /// The kernel, up to PID 1's first instruction.
    Kernel,
    /// PID 1 in the initramfs.
    Initramfs,
    /// PID 1 in the root file system.
    Init,
    /// The agent.
    Agent,
}

/// A step of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span {
    /// Who ran it.
    pub phase: Phase,
    /// What was done: a few words.
    pub name: String,
    /// Start, in microseconds since the kernel started (`CLOCK_BOOTTIME`); negative for what was before it.
    pub start_us: i64,
    /// End, same clock.
    pub end_us: i64,
    /// Anything worth knowing, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A whole boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timeline {
    /// Steps in the order of their start.
    pub spans: Vec<Span>,
    /// When the node was ready, same clock; `None` until then.
    pub ready_us: Option<i64>,
    /// Time-stamp counter at PID 1's first instruction, since reset.
    pub init_tsc: Option<u64>,
    /// Time-stamp counter when the node was ready.
    pub ready_tsc: Option<u64>,
}
