//! What a member must know of its cluster to let a machine in, and what it enters when it has. Where that stands is the
//! business of who implements it.

use std::future::Future;
use std::pin::Pin;

use ferrite_schema::cluster::MachineId;
use ferrite_schema::join::ClusterRecord;

/// Something that takes time and may not be possible now.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The cluster cannot be asked now. The words say why, and reach the machine that wants in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ask the cluster: {why}")]
pub struct Unavailable {
    /// Why.
    pub why: String,
}

/// A token, as the cluster keeps it: under its digest (`ferrite_pki::digest`), never itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Machines that it still lets in; any number where absent.
    pub uses_left: Option<u32>,
    /// Its last second, since the epoch; it has no end where absent.
    pub until_s: Option<u64>,
}

/// A machine that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRecord {
    /// Digest of its key.
    pub key: String,
    /// Digest of what it was made of when it last asked.
    pub hardware: String,
    /// Its certificates that are still good.
    pub issued: Vec<Issued>,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Serial number.
    pub serial: String,
    /// Its last second, since the epoch.
    pub until_s: u64,
}

/// What the cluster knows that bears on one request. All of it is of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The token that was shown.
    pub token: Option<TokenRecord>,
    /// The machine that asks.
    pub machine: Option<MachineRecord>,
    /// Boot ID of the machine of that ID, if one is alive.
    pub alive: Option<String>,
    /// The machine that asks was forgotten.
    pub forgotten: bool,
    /// Serial numbers that were revoked; those of other machines need not be there.
    pub revoked: Vec<String>,
    /// Which moment it is of: given back with [`Entry::seen`].
    pub revision: u64,
}

/// What is entered when a machine is let in or renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The machine.
    pub machine: MachineId,
    /// Its record from now on.
    pub record: MachineRecord,
    /// Digest of the token that lets one machine less in now.
    pub spends: Option<String>,
    /// [`Known::revision`] of what it was decided on: nothing of that may have changed.
    pub seen: u64,
}

/// Whether it was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It stands.
    Done,
    /// Something changed since: nothing was entered, and it is to be decided anew.
    Changed,
}

/// The cluster, as far as letting machines in needs it.
pub trait Knowledge: Send + Sync + std::fmt::Debug {
    /// What is known of this machine, and of the token with this digest. The answer must be current (a linearizable read).
    fn look<'a>(&'a self, machine: &'a MachineId, token: Option<&'a str>) -> Later<'a, Known>;

    /// Enters one machine, all or nothing.
    fn enter(&self, entry: Entry) -> Later<'_, Entered>;

    /// What the machine is told of the cluster.
    fn record(&self) -> Later<'_, ClusterRecord>;
}
