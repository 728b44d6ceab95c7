//! Whether a machine may belong to the cluster: a pure function of what it says and of what is known.
//!
//! A key that the cluster has seen is worth more than any token: a machine that it knows renews with it, however long it
//! was away, and nobody else is let in under its ID. A token is for machines that nobody knows.

use ferrite_schema::cluster::ClusterId;
use ferrite_schema::join::{JoinRequest, RefusalReason};

use super::knowledge::Known;

/// What is done about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A machine that is new here gets its first certificate; the token lets one machine less in.
    Issue,
    /// A machine that is known gets another one.
    Renew,
    /// It gets none.
    Refuse(RefusalReason),
}

/// Decides. `key` is the digest of the key that the request is signed with.
#[must_use]
pub fn decide(
    ours: &ClusterId,
    request: &JoinRequest,
    key: &str,
    known: &Known,
    now_s: u64,
) -> Decision {
    use RefusalReason::{
        Clone, OtherCluster, OtherKey, Revoked, TokenExpired, TokenUsedUp, WrongToken,
    };
    if request.cluster != *ours {
        return Decision::Refuse(OtherCluster);
    }
    if known.forgotten {
        return Decision::Refuse(Revoked);
    }
    let other_boot = known.alive.as_ref().is_some_and(|boot| *boot != request.boot);
    let Some(machine) = &known.machine else {
        return match &known.token {
            _ if other_boot => Decision::Refuse(Clone),
            None => Decision::Refuse(WrongToken),
            Some(token) if token.until_s.is_some_and(|until_s| until_s < now_s) => {
                Decision::Refuse(TokenExpired)
            }
            Some(token) if token.uses_left == Some(0) => Decision::Refuse(TokenUsedUp),
            Some(_) => Decision::Issue,
        };
    };
    if machine.issued.iter().any(|issued| known.revoked.contains(&issued.serial)) {
        return Decision::Refuse(Revoked);
    }
    // What it is made of may change while it is off; that of a machine that is on does not.
    let other_hardware = known.alive.is_some() && machine.hardware != request.hardware;
    if other_boot || other_hardware {
        return Decision::Refuse(Clone);
    }
    if machine.key != key { Decision::Refuse(OtherKey) } else { Decision::Renew }
}

/// What a refused machine is told: what is wrong, and what somebody can do about it.
#[must_use]
pub fn sentence(reason: RefusalReason, request: &JoinRequest, cluster: &str) -> String {
    let JoinRequest { machine, cluster: asked, .. } = request;
    match reason {
        RefusalReason::OtherCluster => format!(
            "this is cluster {cluster}, and machine {machine} asks for cluster {asked}: correct `join` or `id` in its [cluster]"
        ),
        RefusalReason::WrongToken if request.token.is_none() => format!(
            "machine {machine} is new here and shows no token: give it a `token` of cluster {cluster} in [cluster]"
        ),
        RefusalReason::WrongToken => format!(
            "cluster {cluster} does not know the token of machine {machine}: give it a `token` that is good in [cluster]"
        ),
        RefusalReason::TokenUsedUp => format!(
            "the token of machine {machine} has let in as many machines as it was for: make another one, and give it to the machine in [cluster]"
        ),
        RefusalReason::TokenExpired => format!(
            "the token of machine {machine} has expired: make another one, and give it to the machine in [cluster]"
        ),
        RefusalReason::Clone => format!(
            "machine {machine} is alive, and this is another one with its ID: a copy of its disk. Make STATE of the copy anew (`ferrite machine state recreate`); a machine that has just been restarted is let in within seconds"
        ),
        RefusalReason::OtherKey => format!(
            "machine {machine} belongs to cluster {cluster} with another key: if it has lost its key, remove the machine from the cluster, or make its STATE anew"
        ),
        RefusalReason::Revoked => format!(
            "the certificate of machine {machine} was revoked, or cluster {cluster} has forgotten the machine: make its STATE anew (`ferrite machine reset`), so that it comes as another machine with a token"
        ),
        RefusalReason::BadRequest => format!("the request of machine {machine} is not understood"),
        RefusalReason::Unavailable => format!("cluster {cluster} cannot be asked now: try again"),
        RefusalReason::Unknown => format!("cluster {cluster} refuses machine {machine}"),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
