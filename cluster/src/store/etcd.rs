//! The store in etcd, over its Unix socket.

use std::path::Path;
use std::time::Duration;

use etcd_client as client;
use etcd_client::{
    CompareOp, ConnectOptions, DeleteOptions, GetOptions, LeaseGrantOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, WatchOptions,
};
use futures_util::stream;
use tonic::transport::Endpoint;

use super::cluster_store::{ClusterStore, Watch};
use super::entry::{Change, Entry, LeaseId, Listing, Revision};
use super::problem::{Refusal, StoreProblem, WatchEnd};
use super::transaction::{Compare, Compared, Operation, Outcome, Transaction, check};

/// Longest wait for an answer: longer than an election takes on the slowest machines, so that one is waited out.
const PATIENCE: Duration = Duration::from_secs(15);
/// Entries of one page of a list: with the biggest records a page stays below what is read of an answer.
const PAGE_ENTRIES: i64 = 128;
/// Biggest answer that is read.
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// Lists that begin again because the store was compacted below them.
const LISTS_MAX: usize = 5;

/// etcd, over its Unix socket. Clones share the connections.
#[derive(Clone)]
pub struct Etcd {
    /// Whose requests wait for a leader while there is none: an election is no reason to give up.
    client: client::Client,
    /// Whose watches end when there is none for long: they would tell of nothing any more, and nobody would know.
    watcher: client::Client,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Etcd").finish_non_exhaustive()
    }
}

/// What an etcd says about raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftStatus {
    /// Its own number.
    pub member: u64,
    /// The number of the leader; `None` while there is none.
    pub leader: Option<u64>,
    /// It learns still, and has no vote.
    pub learner: bool,
}

impl Etcd {
    /// Names the socket. It is connected when it is first used, and again whenever it must be.
    ///
    /// # Errors
    /// The path is none for a socket.
    pub async fn at(socket: &Path) -> Result<Self, StoreProblem> {
        let led = ConnectOptions::new().with_require_leader(true);
        Ok(Self {
            client: client_at(socket, ConnectOptions::new()).await?,
            watcher: client_at(socket, led).await?,
        })
    }

    /// What this etcd says about raft.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn raft(&self) -> Result<RaftStatus, StoreProblem> {
        let mut client = self.client.clone();
        let status = answered(client.status()).await?;
        let member = status.header().map_or(0, client::ResponseHeader::member_id);
        let leader = Some(status.leader()).filter(|leader| *leader != 0);
        Ok(RaftStatus { member, leader, learner: status.is_learner() })
    }

    /// A new lease with a number of our own choice.
    ///
    /// # Errors
    /// There is one, or etcd does not answer.
    pub async fn grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<(), StoreProblem> {
        let options = LeaseGrantOptions::new().with_id(lease.0);
        answered(self.client.clone().lease_grant(seconds(ttl), Some(options))).await.map(drop)
    }

    /// Forgets what happened before a revision.
    ///
    /// # Errors
    /// It is forgotten already, or not there yet, or etcd does not answer.
    pub async fn compact(&self, revision: Revision) -> Result<(), StoreProblem> {
        answered(self.client.clone().compact(revision.0, None)).await.map(drop)
    }

    /// Its client, for what not every store has.
    pub(super) fn client(&self) -> client::Client {
        self.client.clone()
    }

    /// One list, in pages of one moment. `None` where the store was compacted below it.
    async fn list_once(&self, prefix: &[u8]) -> Result<Option<Listing>, StoreProblem> {
        let mut kv = self.client.kv_client().max_decoding_message_size(ANSWER_MAX_BYTES);
        let mut listing = Listing { revision: Revision::NONE, entries: Vec::new() };
        let end = end_of(prefix);
        let mut from = if prefix.is_empty() { vec![0] } else { prefix.to_vec() };
        loop {
            let mut options = GetOptions::new()
                .with_range(end.clone())
                .with_sort(SortTarget::Key, SortOrder::Ascend)
                .with_limit(PAGE_ENTRIES);
            if listing.revision != Revision::NONE {
                options = options.with_revision(listing.revision.0);
            }
            let mut page = match answered(kv.get(from, Some(options))).await {
                Ok(page) => page,
                Err(StoreProblem::Refused(Refusal::Compacted)) => return Ok(None),
                Err(problem) => return Err(problem),
            };
            if listing.revision == Revision::NONE {
                listing.revision = revision_of(page.header());
            }
            let more = page.more();
            listing.entries.extend(page.take_kvs().into_iter().map(entry));
            let Some(last) = listing.entries.last().filter(|_| more) else {
                return Ok(Some(listing));
            };
            from = last.key.clone();
            from.push(0);
        }
    }
}

impl ClusterStore for Etcd {
    async fn get(&self, key: &[u8]) -> Result<(Revision, Option<Entry>), StoreProblem> {
        let mut kv = self.client.kv_client().max_decoding_message_size(ANSWER_MAX_BYTES);
        let mut found = answered(kv.get(key, None)).await?;
        Ok((revision_of(found.header()), found.take_kvs().pop().map(entry)))
    }

    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreProblem> {
        for _ in 0..LISTS_MAX {
            if let Some(listing) = self.list_once(prefix).await? {
                return Ok(listing);
            }
        }
        Err(StoreProblem::Unavailable { why: "it is compacted faster than it is read".to_owned() })
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, StoreProblem> {
        let mut watch = self.watcher.watch_client().max_decoding_message_size(ANSWER_MAX_BYTES);
        let start = if prefix.is_empty() { vec![0] } else { prefix.to_vec() };
        let options = WatchOptions::new().with_range(end_of(prefix)).with_start_revision(from.0);
        let stream = answered(watch.watch(start, Some(options))).await?;
        Ok(Box::pin(stream::unfold(Some(stream), next)))
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreProblem> {
        // etcd looks for the same; a key that is empty means something else in its API.
        check(&transaction)?;
        let compares: Vec<client::Compare> =
            transaction.compares.into_iter().map(compare).collect();
        let operations: Vec<TxnOp> = transaction.operations.into_iter().map(operation).collect();
        let txn = Txn::new().when(compares).and_then(operations);
        let answer = answered(self.client.clone().txn(txn)).await?;
        let revision = revision_of(answer.header());
        Ok(if answer.succeeded() { Outcome::Done(revision) } else { Outcome::Failed(revision) })
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreProblem> {
        let granted = answered(self.client.clone().lease_grant(seconds(ttl), None)).await?;
        Ok(LeaseId(granted.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreProblem> {
        // The library asks once itself, and has nothing but this text for what it then hears.
        match answered(self.client.clone().lease_keep_alive(lease.0)).await {
            Ok(_) => Ok(()),
            Err(StoreProblem::Unavailable { why }) if why.ends_with(LEASE_GONE) => {
                Err(Refusal::NoLease.into())
            }
            Err(problem) => Err(problem),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreProblem> {
        answered(self.client.clone().lease_revoke(lease.0)).await.map(drop)
    }
}

/// A client of the etcd with this socket, which is connected when it is first used.
pub(super) async fn client_at(
    socket: &Path,
    options: ConnectOptions,
) -> Result<client::Client, StoreProblem> {
    let unavailable = |why: String| StoreProblem::Unavailable { why };
    let path =
        socket.to_str().ok_or_else(|| unavailable("its socket's path is no text".to_owned()))?;
    let endpoint = Endpoint::from_shared(format!("unix://{path}"))
        .map_err(|error| unavailable(ferrite_schema::chain(&error)))?;
    let channel = client::Channel::Tonic(endpoint.connect_lazy());
    client::Client::from_channel(channel, Some(options)).await.map_err(problem)
}

/// The next changes of a watch; nothing after its end.
async fn next(
    stream: Option<client::WatchStream>,
) -> Option<(Result<Vec<Change>, WatchEnd>, Option<client::WatchStream>)> {
    let mut stream = stream?;
    loop {
        let end = match stream.message().await {
            Ok(Some(message)) if message.compact_revision() > 0 => {
                WatchEnd::Compacted { oldest: Revision(message.compact_revision()) }
            }
            Ok(Some(message)) if message.canceled() => {
                WatchEnd::CutOff { why: message.cancel_reason().to_owned() }
            }
            Ok(Some(message)) => {
                let changes: Vec<Change> = message.events().iter().filter_map(change).collect();
                if changes.is_empty() {
                    continue;
                }
                return Some((Ok(changes), Some(stream)));
            }
            Ok(None) => WatchEnd::CutOff { why: "etcd hung up".to_owned() },
            Err(error) => WatchEnd::CutOff { why: error.to_string() },
        };
        return Some((Err(end), None));
    }
}

fn change(event: &client::Event) -> Option<Change> {
    let kv = event.kv()?;
    Some(match event.event_type() {
        client::EventType::Put => Change::Put(entry(kv.clone())),
        client::EventType::Delete => {
            Change::Delete { key: kv.key().to_vec(), revision: Revision(kv.mod_revision()) }
        }
    })
}

fn entry(kv: client::KeyValue) -> Entry {
    let (create_revision, mod_revision) =
        (Revision(kv.create_revision()), Revision(kv.mod_revision()));
    let (version, lease) = (kv.version(), Some(LeaseId(kv.lease())).filter(|lease| lease.0 != 0));
    let (key, value) = kv.into_key_value();
    Entry { key, value, create_revision, mod_revision, version, lease }
}

fn compare(compare: Compare) -> client::Compare {
    let Compare { key, what, is } = compare;
    match what {
        Compared::ModRevision => client::Compare::mod_revision(key, CompareOp::Equal, is.0),
        Compared::CreateRevision => client::Compare::create_revision(key, CompareOp::Equal, is.0),
    }
}

fn operation(operation: Operation) -> TxnOp {
    match operation {
        Operation::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key, value, options)
        }
        Operation::Delete { key } => TxnOp::delete(key, None::<DeleteOptions>),
    }
}

/// The first key that does not start with `prefix` and comes after all that do; one zero byte where there is none.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last.saturating_add(1));
            return end;
        }
    }
    vec![0]
}

fn revision_of(header: Option<&client::ResponseHeader>) -> Revision {
    header.map_or(Revision::NONE, |header| Revision(header.revision()))
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1)
}

/// The answer, if it comes in time.
pub(super) async fn answered<T>(
    request: impl Future<Output = Result<T, client::Error>>,
) -> Result<T, StoreProblem> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(problem),
        Err(_) => {
            let why = format!("it has not answered for {} s", PATIENCE.as_secs());
            Err(StoreProblem::Unavailable { why })
        }
    }
}

/// What etcd's clients know each refusal by: `api/v3rpc/rpctypes/error.go` of etcd 3.5.
const REFUSALS: [(&str, Refusal); 9] = [
    ("etcdserver: requested lease not found", Refusal::NoLease),
    ("etcdserver: lease already exists", Refusal::LeaseExists),
    ("etcdserver: duplicate key given in txn request", Refusal::DuplicateKey),
    ("etcdserver: too many operations in txn request", Refusal::TooManyOperations),
    ("etcdserver: request is too large", Refusal::TooBig),
    ("etcdserver: key is not provided", Refusal::EmptyKey),
    ("etcdserver: mvcc: required revision has been compacted", Refusal::Compacted),
    ("etcdserver: mvcc: required revision is a future revision", Refusal::Future),
    ("etcdserver: mvcc: database space exceeded", Refusal::NoSpace),
];

/// What `etcd-client` says of a lease that etcd does not have, when it is to be kept alive.
const LEASE_GONE: &str = "lease not found";

pub(super) fn problem(error: client::Error) -> StoreProblem {
    if let client::Error::GRpcStatus(status) = &error
        && let Some((_, refusal)) = REFUSALS.iter().find(|(text, _)| *text == status.message())
    {
        return StoreProblem::Refused(refusal.clone());
    }
    StoreProblem::Unavailable { why: ferrite_schema::chain(&error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_prefix_is_its_end() {
        for (prefix, end) in
            [(&b"/a/"[..], &b"/a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
        {
            assert_eq!(end_of(prefix), end, "{prefix:?}");
        }
    }
}
