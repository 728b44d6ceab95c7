//! The records that a new cluster begins with.

use ferrite_cluster::keys::Key;
use ferrite_cluster::records::{Cluster as Record, LEVEL, Networks, Rest, Timings, Token, encode};
use ferrite_cluster::store::{Compare, Operation, Transaction};

use super::Cluster;

/// Networks that nodes get theirs from.
const IPV4: &str = "10.112.0.0/12";

/// Times of a new cluster: an emulated processor is slower than any network.
pub(super) fn timings() -> Timings {
    let emulated = ferrite_sys::hypervisor::is_emulated();
    let (heartbeat_ms, election_ms, ttl_s) =
        if emulated { (250, 2500, 12) } else { (100, 1000, 5) };
    Timings { heartbeat_ms, election_ms, ttl_s, rest: Rest::new() }
}

/// What a new cluster begins with; nothing is done where there is one.
pub(super) fn records(cluster: &Cluster) -> Result<Transaction, String> {
    let said = |refused: ferrite_cluster::records::Refused| ferrite_schema::chain(&refused);
    let expect = cluster.config.member.as_ref().map_or(1, |member| member.expect);
    let record = Record {
        id: cluster.id().to_string(),
        epoch: 1,
        networks: Networks { ipv4: IPV4.to_owned(), ipv6: own_ipv6(cluster), rest: Rest::new() },
        // Even numbers tolerate no more than the odd one below.
        member_target: (expect - 1) / 2 * 2 + 1,
        timings: timings(),
        level: LEVEL,
        rest: Rest::new(),
    };
    let put = |key: &Key, value| Operation::Put { key: key.bytes(), value, lease: None };
    let mut operations = vec![put(&Key::Cluster, encode(&Key::Cluster, &record).map_err(said)?)];
    let digest = crate::join::work::token_digest(&cluster.config);
    if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
        let key = Key::Token(digest);
        operations.push(put(&key, encode(&key, &Token::default()).map_err(said)?));
    }
    Ok(Transaction { compares: vec![Compare::absent(Key::Cluster.bytes())], operations })
}

/// A `/48` of the cluster's own (RFC 4193), by its ID, which was drawn.
fn own_ipv6(cluster: &Cluster) -> String {
    let id = cluster.id().as_str();
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or("0").to_owned();
    format!("fd{}:{}:{}::/48", part(0, 2), part(2, 6), part(6, 10))
}
