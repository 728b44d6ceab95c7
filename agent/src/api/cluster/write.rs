//! Writing with a comparison: what was read is what is changed, or it is read again.

use axum::http::StatusCode;
use ferrite_cluster::keys::{Key, PREFIX};
use ferrite_cluster::records::{Record, Refused, encode};
use ferrite_cluster::store::{
    ClusterStore, Compare, Listing, Operation, Outcome, Revision, Transaction,
};

use super::picture::Picture;
use crate::api::error::Failure;

/// How often a change is made anew that somebody else's came before.
const TRIES: usize = 8;

/// Makes a transaction of what is there, and again where somebody was faster. What the store does not answer is told, not
/// tried again: it may have been carried out. Answers with what is there then.
pub(super) async fn change<S: ClusterStore>(
    store: &S,
    make: impl Fn(&Picture) -> Result<Option<Transaction>, Failure>,
) -> Result<Picture, Failure> {
    let listing = change_listing(store, |listing| make(&Picture::of(listing))).await?;
    Ok(Picture::of(&listing))
}

/// The same, where more must be known than a picture shows.
pub(super) async fn change_listing<S: ClusterStore>(
    store: &S,
    make: impl Fn(&Listing) -> Result<Option<Transaction>, Failure>,
) -> Result<Listing, Failure> {
    for _ in 0..TRIES {
        let before = store.list(PREFIX.as_bytes()).await?;
        let Some(transaction) = make(&before)? else { return Ok(before) };
        match store.transact(transaction).await? {
            Outcome::Done(_) => return Ok(store.list(PREFIX.as_bytes()).await?),
            Outcome::Failed(_) => {}
        }
    }
    let why = "others change the same all the time: try again";
    Err(Failure::new(StatusCode::CONFLICT, why))
}

/// Writes one record that was last changed by `known`.
pub(super) fn put<R: Record>(
    key: &Key,
    record: &R,
    known: Revision,
) -> Result<Transaction, Failure> {
    let value = encode(key, record).map_err(refused)?;
    Ok(Transaction {
        compares: vec![Compare::mod_revision(key.bytes(), known)],
        operations: vec![Operation::Put { key: key.bytes(), value, lease: None }],
    })
}

/// A record must not have what was asked for.
pub(super) fn refused(refused: Refused) -> Failure {
    let why = format!("{}: {}", refused.field, refused.why);
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}
