//! The cluster's own record: a store that has nothing gets it with the first ones, and every member reads it before it serves.

use std::time::Duration;

use ferrite_cluster::keys::{Key, PREFIX};
use ferrite_cluster::records::{
    Cluster as Record, ClusterNetwork, LEVEL, Refused, Rest, Timings, Token, decode, encode,
};
use ferrite_cluster::store::{ClusterStore, Compare, Entry, Operation, Transaction};
use ferrite_schema::cluster::ClusterId;
use ferrite_schema::cluster_network::{ClusterIpv4, ClusterIpv6};
use ferrite_schema::node_config::ClusterNetworkConfig;

use super::Terms;

/// What this node would begin a cluster with.
#[derive(Debug, Clone)]
pub(super) struct Begins {
    pub(super) id: ClusterId,
    /// How many members it expects.
    pub(super) expect: u8,
    pub(super) timings: Timings,
    /// What its network is to be.
    pub(super) network: ClusterNetworkConfig,
    /// Digest of the token that lets machines in.
    pub(super) token: Option<String>,
    /// The latest epoch that it has heard of; 1 where it has heard of none.
    pub(super) epoch_heard: u64,
}

/// Times of a new cluster: an emulated processor is slower than any network.
pub(super) fn timings() -> Timings {
    let emulated = ferrite_sys::hypervisor::is_emulated();
    let (heartbeat_ms, election_ms, ttl_s) =
        if emulated { (250, 2500, 12) } else { (100, 1000, 5) };
    Timings { heartbeat_ms, election_ms, ttl_s, rest: Rest::new() }
}

/// What holds in the cluster. A store without any record of ours gets the first ones; where there are others, the cluster's own
/// is gone, and is not made up: with the epoch of a beginning, nodes would take what they know for newer than all that comes.
pub(super) async fn found_or_read<S: ClusterStore>(
    store: &S,
    begins: &Begins,
) -> Result<Terms, String> {
    let said = |error: &(dyn std::error::Error + 'static)| ferrite_schema::chain(error);
    let key = Key::Cluster.bytes();
    let mut entry = store.get(&key).await.map_err(|problem| said(&problem))?.1;
    if entry.is_none() {
        // Nobody but the founder writes before there is this record, so that nothing can come in between.
        let others = store.list(PREFIX.as_bytes()).await.map_err(|problem| said(&problem))?;
        let others = others.entries.iter().filter(|entry| entry.key != key).count();
        if others > 0 {
            return Err(gone(begins, others));
        }
        let founds = first_records(begins).map_err(|refused| said(&refused))?;
        store.transact(founds).await.map_err(|problem| said(&problem))?;
        entry = store.get(&key).await.map_err(|problem| said(&problem))?.1;
    }
    terms(&entry.ok_or("the cluster's record is gone")?, &begins.id)
}

fn terms(entry: &Entry, id: &ClusterId) -> Result<Terms, String> {
    let record: Record =
        decode(&Key::Cluster, &entry.value).map_err(|refused| ferrite_schema::chain(&refused))?;
    if record.id != id.as_str() {
        return Err(format!("its data is of cluster {}, and this is {id}", record.id));
    }
    let ttl = Duration::from_secs(record.timings.ttl_s.max(1).into());
    let election = Duration::from_millis(record.timings.election_ms.into());
    Ok(Terms { epoch: record.epoch, ttl, election })
}

/// What a person is told whose cluster has lost its own record.
fn gone(begins: &Begins, others: usize) -> String {
    let key = Key::Cluster;
    let as_was = encode(&key, &record(begins)).ok();
    let as_was = as_was.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    format!(
        "the cluster's own record, {key}, was deleted, and {others} others are there: nothing is decided and nobody is served until it is back; through `ferrite etcd proxy --without-quorum`, put back what it was: etcdctl put {key} '{as_was}' (with the epoch and the networks of the last `ferrite etcd snapshot`, where they were others)"
    )
}

fn record(begins: &Begins) -> Record {
    Record {
        id: begins.id.to_string(),
        epoch: begins.epoch_heard,
        networks: network(&begins.id, begins.network).stored(),
        // Even numbers tolerate no more than the odd one below.
        member_target: (begins.expect.max(1) - 1) / 2 * 2 + 1,
        timings: begins.timings.clone(),
        level: LEVEL,
        rest: Rest::new(),
    }
}

/// What a new cluster begins with; nothing is done where there is one.
fn first_records(begins: &Begins) -> Result<Transaction, Refused> {
    let put = |key: &Key, value| Operation::Put { key: key.bytes(), value, lease: None };
    let first = Record { epoch: 1, ..record(begins) };
    let mut operations = vec![put(&Key::Cluster, encode(&Key::Cluster, &first)?)];
    if let Some(digest) = begins.token.as_ref().and_then(|digest| digest.parse().ok()) {
        let key = Key::Token(digest);
        operations.push(put(&key, encode(&key, &Token::default())?));
    }
    Ok(Transaction { compares: vec![Compare::absent(Key::Cluster.bytes())], operations })
}

/// What a cluster's network is that is begun with these wishes.
fn network(id: &ClusterId, wanted: ClusterNetworkConfig) -> ClusterNetwork {
    ClusterNetwork {
        ipv4: wanted.ipv4.unwrap_or(ClusterIpv4::USUAL),
        ipv6: wanted.ipv6.unwrap_or_else(|| ClusterIpv6::drawn(id)),
        transport: wanted.transport.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::store::{Memory, Outcome};

    use super::*;

    fn begins() -> Begins {
        Begins {
            id: "ab".repeat(16).parse().unwrap(),
            expect: 4,
            timings: Timings { heartbeat_ms: 1, election_ms: 1, ttl_s: 5, rest: Rest::new() },
            network: ClusterNetworkConfig::default(),
            token: Some("cd".repeat(32)),
            epoch_heard: 1,
        }
    }

    async fn write(store: &Memory, operation: Operation) {
        let write = Transaction { compares: Vec::new(), operations: vec![operation] };
        assert!(matches!(store.transact(write).await.unwrap(), Outcome::Done(_)));
    }

    #[tokio::test]
    async fn an_empty_store_gets_the_first_records_once() {
        let store = Memory::new();
        let terms = found_or_read(&store, &begins()).await.unwrap();
        assert_eq!((terms.epoch, terms.ttl.as_secs()), (1, 5));
        let first = store.list(b"").await.unwrap();
        assert_eq!(first.entries.len(), 2);
        let record: Record = decode(&Key::Cluster, &first.entries[0].value).unwrap();
        assert_eq!((record.member_target, &*record.networks.ipv6), (3, "fdab:abab:abab::/48"));
        found_or_read(&store, &begins()).await.unwrap();
        assert_eq!(store.list(b"").await.unwrap().entries, first.entries);
        let other = Begins { id: "12".repeat(16).parse().unwrap(), ..begins() };
        let said = found_or_read(&store, &other).await.unwrap_err();
        assert!(said.contains("its data is of cluster abab"), "{said}");
    }

    #[tokio::test]
    async fn the_founders_wishes_for_the_network_are_the_clusters_and_later_ones_are_not() {
        let store = Memory::new();
        let wishes = |ipv4: &str, ipv6: &str, transport: &str| ClusterNetworkConfig {
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: Some(ipv6.parse().unwrap()),
            transport: Some(transport.parse().unwrap()),
        };
        let network = wishes("172.16.0.0/16", "fd00:1:2::/48", "routes");
        found_or_read(&store, &Begins { network, ..begins() }).await.unwrap();
        let network = wishes("10.64.0.0/16", "fd00:1:3::/48", "wireguard");
        found_or_read(&store, &Begins { network, ..begins() }).await.unwrap();
        let entry = store.get(&Key::Cluster.bytes()).await.unwrap().1.unwrap();
        let record: Record = decode(&Key::Cluster, &entry.value).unwrap();
        let told = serde_json::to_value(&record.networks).unwrap();
        let expected = serde_json::json!({"ipv4": "172.16.0.0/16", "ipv6": "fd00:1:2::/48", "transport": "routes", "level": 2});
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_record_that_was_deleted_is_not_made_up_and_a_person_is_told_what_to_put_back() {
        let store = Memory::new();
        found_or_read(&store, &begins()).await.unwrap();
        let later = Begins { epoch_heard: 3, ..begins() };
        write(&store, Operation::Delete { key: Key::Cluster.bytes() }).await;
        for _ in 0..2 {
            let said = found_or_read(&store, &later).await.unwrap_err();
            assert!(said.contains("/ferrite/1/cluster, was deleted, and 1 others"), "{said}");
            assert_eq!(store.get(&Key::Cluster.bytes()).await.unwrap().1, None);
        }
        // What it says to put back is what is missing.
        let said = found_or_read(&store, &later).await.unwrap_err();
        let value = said.split("cluster '").nth(1).unwrap().split("' (").next().unwrap();
        let value = value.as_bytes().to_vec();
        write(&store, Operation::Put { key: Key::Cluster.bytes(), value, lease: None }).await;
        assert_eq!(found_or_read(&store, &later).await.unwrap().epoch, 3);
    }
}
