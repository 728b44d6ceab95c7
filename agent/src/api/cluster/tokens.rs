//! Tokens that let machines in, for admins: whoever has one brings machines into the cluster. They are known here by their
//! digests alone; the token itself is drawn by whoever asks, and goes to the machine that it is for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::TokenDigest;
use ferrite_cluster::records::{Rest, Token, decode, encode};
use ferrite_cluster::store::{ClusterStore, Compare, Operation, Outcome, Transaction};
use ferrite_schema::api::{ApiError, JoinToken, NewJoinToken};

use super::write::refused;
use crate::api::error::Failure;
use crate::api::extract::{Document, Path};
use crate::node::Node;

/// Most tokens that are kept: they are read all at once.
const TOKENS_MAX: usize = 1000;
/// Longest that a token lasts. What is to last longer is a second token, later.
const LASTS_MAX_S: u64 = 366 * 24 * 60 * 60;

#[utoipa::path(
    get,
    path = "/v1/cluster/tokens",
    tag = "cluster",
    responses((status = 200, description = "All tokens that were made and not revoked, by digest; for admins alone", body = Vec<JoinToken>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
) -> Result<Json<Vec<JoinToken>>, Failure> {
    Ok(Json(listed(&super::store(&node)?, now_s()).await?))
}

#[utoipa::path(
    put,
    path = "/v1/cluster/tokens/{digest}",
    tag = "cluster",
    params(("digest" = String, Path, description = "SHA-256 of the token")),
    request_body = NewJoinToken,
    responses((status = 200, description = "It lets machines in from now on; for admins alone", body = JoinToken), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn make(
    State(node): State<Arc<Node>>,
    Path(digest): Path<String>,
    Document(body): Document,
) -> Result<Json<JoinToken>, Failure> {
    let store = super::store(&node)?;
    let new: NewJoinToken = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    made(&store, &digest_of(&digest)?, &new, now_s()).await.map(Json)
}

#[utoipa::path(
    delete,
    path = "/v1/cluster/tokens/{digest}",
    tag = "cluster",
    params(("digest" = String, Path, description = "SHA-256 of the token")),
    responses((status = 204, description = "It lets nobody in any more; machines that it has let in stay. For admins alone"), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn revoke(
    State(node): State<Arc<Node>>,
    Path(digest): Path<String>,
) -> Result<StatusCode, Failure> {
    revoked(&super::store(&node)?, &digest_of(&digest)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn digest_of(text: &str) -> Result<TokenDigest, Failure> {
    text.parse().map_err(|bad| Failure::bad_request(format!("{bad}")))
}

fn shown(digest: &TokenDigest, token: &Token, now_s: u64) -> JoinToken {
    let problem = if token.until_s.is_some_and(|until_s| until_s < now_s) {
        Some("expired".to_owned())
    } else {
        (token.uses_left == Some(0)).then(|| "used up".to_owned())
    };
    let (uses_left, until_s) = (token.uses_left, token.until_s);
    JoinToken { digest: digest.to_string(), uses_left, until_s, problem }
}

async fn listed<S: ClusterStore>(store: &S, now_s: u64) -> Result<Vec<JoinToken>, Failure> {
    let mut all = Vec::new();
    for entry in store.list(Key::tokens().as_bytes()).await?.entries {
        // What is below the prefix and is no token's key is shown where all problems are.
        let Ok(key @ Key::Token(_)) = Key::parse(&entry.key) else { continue };
        let Key::Token(digest) = &key else { continue };
        all.push(match decode::<Token>(&key, &entry.value) {
            Ok(token) => shown(digest, &token, now_s),
            Err(refused) => JoinToken {
                digest: digest.to_string(),
                uses_left: None,
                until_s: None,
                problem: Some(format!(
                    "its record cannot be understood: {}: {}",
                    refused.field, refused.why
                )),
            },
        });
    }
    Ok(all)
}

async fn made<S: ClusterStore>(
    store: &S,
    digest: &TokenDigest,
    new: &NewJoinToken,
    now_s: u64,
) -> Result<JoinToken, Failure> {
    if new.uses == 0 || !(1..=LASTS_MAX_S).contains(&new.lasts_s) {
        let why = format!(
            "a token lets in one machine or more, and lasts a second to {} days",
            LASTS_MAX_S / (24 * 60 * 60)
        );
        return Err(Failure::bad_request(why));
    }
    if store.list(Key::tokens().as_bytes()).await?.entries.len() >= TOKENS_MAX {
        let why = format!(
            "the cluster has {TOKENS_MAX} tokens already: revoke some (`ferrite cluster token list`)"
        );
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    let until_s = Some(now_s.saturating_add(new.lasts_s));
    let token = Token { uses_left: Some(new.uses), until_s, rest: Rest::new() };
    let key = Key::Token(digest.clone());
    let value = encode(&key, &token).map_err(refused)?;
    let transaction = Transaction {
        compares: vec![Compare::absent(key.bytes())],
        operations: vec![Operation::Put { key: key.bytes(), value, lease: None }],
    };
    match store.transact(transaction).await? {
        Outcome::Done(_) => Ok(shown(digest, &token, now_s)),
        Outcome::Failed(_) => {
            Err(Failure::new(StatusCode::CONFLICT, format!("there is a token {digest} already")))
        }
    }
}

async fn revoked<S: ClusterStore>(store: &S, digest: &TokenDigest) -> Result<(), Failure> {
    let key = Key::Token(digest.clone()).bytes();
    if store.get(&key).await?.1.is_none() {
        let why =
            format!("the cluster has no token {digest}: `ferrite cluster token list` lists all");
        return Err(Failure::new(StatusCode::NOT_FOUND, why));
    }
    // Whoever was let in meanwhile has it one time less; that changes nothing here.
    let operations = vec![Operation::Delete { key }];
    store.transact(Transaction { compares: Vec::new(), operations }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::store::Memory;

    use super::super::tests::{said, write};
    use super::*;

    const NOW_S: u64 = 1_000_000;

    fn digest(digits: &str) -> TokenDigest {
        digits.repeat(32).parse().unwrap()
    }

    #[tokio::test]
    async fn a_token_is_made_once_listed_and_revoked() {
        let store = Memory::new();
        let new = NewJoinToken { uses: 2, lasts_s: 60 };
        let token = made(&store, &digest("ab"), &new, NOW_S).await.unwrap();
        assert_eq!(
            (token.uses_left, token.until_s, &token.problem),
            (Some(2), Some(NOW_S + 60), &None)
        );
        let (status, why) = said(made(&store, &digest("ab"), &new, NOW_S).await).await;
        assert!(status == 409 && why.contains("already"), "{status} {why}");
        assert_eq!(listed(&store, NOW_S).await.unwrap(), [token]);
        revoked(&store, &digest("ab")).await.unwrap();
        assert_eq!(listed(&store, NOW_S).await.unwrap(), []);
        let (status, why) = said(revoked(&store, &digest("ab")).await).await;
        assert!(status == 404 && why.contains("no token abab"), "{status} {why}");
    }

    #[tokio::test]
    async fn what_lets_nobody_in_is_listed_with_the_reason() {
        let store = Memory::new();
        let at = |digits: &str| format!("join/tokens/{}", digits.repeat(32));
        write(&store, &at("00"), br#"{"uses_left": 0}"#).await;
        write(&store, &at("01"), format!(r#"{{"until_s": {}}}"#, NOW_S - 1).as_bytes()).await;
        write(&store, &at("02"), br#"{"uses_left": "many"}"#).await;
        write(&store, &at("03"), b"{}").await;
        let all = listed(&store, NOW_S).await.unwrap();
        let problems: Vec<&str> =
            all.iter().map(|one| one.problem.as_deref().unwrap_or("none")).collect();
        assert_eq!(problems[..2], ["used up", "expired"]);
        assert!(problems[2].contains("cannot be understood: uses_left"), "{problems:?}");
        assert_eq!(problems[3], "none");
    }

    #[tokio::test]
    async fn a_token_for_nobody_for_ever_or_too_many_of_them_are_refused() {
        let store = Memory::new();
        for (uses, lasts_s) in [(0, 1), (1, 0), (1, LASTS_MAX_S + 1)] {
            let new = NewJoinToken { uses, lasts_s };
            let (status, why) = said(made(&store, &digest("ab"), &new, NOW_S).await).await;
            assert!(status == 400 && why.contains("366 days"), "{status} {why}");
        }
        for number in 0..TOKENS_MAX {
            write(&store, &format!("join/tokens/{number:064x}"), b"{}").await;
        }
        let new = NewJoinToken { uses: 1, lasts_s: 1 };
        let (status, why) = said(made(&store, &digest("ab"), &new, NOW_S).await).await;
        assert!(status == 409 && why.contains("revoke some"), "{status} {why}");
    }
}
