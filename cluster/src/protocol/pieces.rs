//! What is too long for a frame, as messages that are not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::frame::FRAME_MAX_BYTES;
use super::message::{
    CatalogueDelta, CatalogueSnapshot, Message, PeersPiece, PeersSnapshot, RevokedPiece,
    Unintelligible, encode,
};
use crate::catalogue::{Catalogue, Delta, Endpoint, Service};
use crate::names::UnitName;

/// What the entries of a piece have together, about; one alone has as much as records let it have, which is far less.
const PIECE_BYTES: usize = 256 << 10;

/// A message's bytes, each piece for a frame of its own: one, unless it is longer than a frame may be and something that grows
/// with the cluster.
///
/// # Errors
/// Never in practice: all that messages have can be JSON.
pub fn encode_in_pieces(message: &Message) -> Result<Vec<Vec<u8>>, Unintelligible> {
    encode_within(message, FRAME_MAX_BYTES, PIECE_BYTES)
}

fn encode_within(
    message: &Message,
    frame_max_bytes: usize,
    piece_bytes: usize,
) -> Result<Vec<Vec<u8>>, Unintelligible> {
    let whole = encode(message)?;
    if whole.len() <= frame_max_bytes {
        return Ok(vec![whole]);
    }
    let pieces = match message {
        Message::Catalogue(snapshot) => catalogue(snapshot, piece_bytes),
        Message::CatalogueDelta(delta) => changes(delta, piece_bytes),
        Message::Peers(peers) => peers_of(peers, piece_bytes),
        Message::Revoked(revoked) => revoked_of(revoked, piece_bytes),
        // All else is bounded by the records that it is made of.
        _ => return Ok(vec![whole]),
    };
    pieces.iter().map(encode).collect()
}

/// What a catalogue is beyond nothing.
fn catalogue(snapshot: &CatalogueSnapshot, piece_bytes: usize) -> Vec<Message> {
    let CatalogueSnapshot { revision, catalogue, more } = snapshot;
    let begins =
        CatalogueSnapshot { revision: *revision, catalogue: Catalogue::default(), more: true };
    let rest = CatalogueDelta {
        base: *revision,
        revision: *revision,
        delta: Catalogue::default().difference(catalogue),
        further: BTreeMap::new(),
        more: *more,
    };
    let rest = changes(&rest, piece_bytes);
    std::iter::once(Message::Catalogue(begins)).chain(rest).collect()
}

/// One instance of a service, the service without any, or that there is none any more.
enum Change<'a> {
    Is(&'a str),
    Has(&'a str, &'a UnitName, &'a Endpoint),
    Gone(&'a str),
}

impl Change<'_> {
    /// What it adds to a piece, about: names may be there twice.
    fn bytes(&self) -> usize {
        match self {
            Self::Is(service) | Self::Gone(service) => bytes_of(service) * 2,
            Self::Has(service, instance, endpoint) => {
                bytes_of(service) + bytes_of(instance) + bytes_of(endpoint)
            }
        }
    }
}

fn changes(whole: &CatalogueDelta, piece_bytes: usize) -> Vec<Message> {
    let changed = whole.delta.changed.iter().flat_map(|(name, service)| {
        let first = if service.is_some() { Change::Is(name) } else { Change::Gone(name) };
        let instances = service.iter().flatten();
        let has = instances.map(|(instance, endpoint)| Change::Has(name, instance, endpoint));
        std::iter::once(first).chain(has)
    });
    let further = whole.further.iter().flat_map(|(name, service)| {
        service.iter().map(|(instance, endpoint)| Change::Has(name, instance, endpoint))
    });
    let mut pieces: Vec<CatalogueDelta> =
        filled(changed.chain(further), piece_bytes, Change::bytes)
            .into_iter()
            .map(|changes| piece(whole, changes))
            .collect();
    if let Some(last) = pieces.last_mut() {
        last.more = whole.more;
    }
    pieces.into_iter().map(Message::CatalogueDelta).collect()
}

/// A piece of these changes.
fn piece(whole: &CatalogueDelta, changes: Vec<Change<'_>>) -> CatalogueDelta {
    let mut delta = Delta::default();
    let mut further: BTreeMap<String, Service> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Gone(name) => drop(delta.changed.insert(name.to_owned(), None)),
            Change::Is(name) => {
                delta.changed.insert(name.to_owned(), Some(Service::new()));
            }
            Change::Has(name, instance, endpoint) => {
                let service = match delta.changed.get_mut(name) {
                    Some(Some(begun)) => begun,
                    Some(None) | None => further.entry(name.to_owned()).or_default(),
                };
                service.insert(instance.clone(), endpoint.clone());
            }
        }
    }
    CatalogueDelta { base: whole.base, revision: whole.revision, delta, further, more: true }
}

fn peers_of(whole: &PeersPiece, piece_bytes: usize) -> Vec<Message> {
    let PeersSnapshot { networks, peers } = &whole.peers;
    let filled = filled(peers.iter(), piece_bytes, |(id, peer)| bytes_of(id) + bytes_of(peer));
    let mut pieces: Vec<PeersPiece> = filled
        .into_iter()
        .map(|peers| {
            let peers = peers.into_iter().map(|(id, peer)| (id.clone(), peer.clone())).collect();
            let peers = PeersSnapshot { networks: networks.clone(), peers };
            PeersPiece { peers, further: true, more: true }
        })
        .collect();
    if let Some(first) = pieces.first_mut() {
        first.further = whole.further;
    }
    if let Some(last) = pieces.last_mut() {
        last.more = whole.more;
    }
    pieces.into_iter().map(Message::Peers).collect()
}

fn revoked_of(whole: &RevokedPiece, piece_bytes: usize) -> Vec<Message> {
    let filled = filled(whole.serials.iter(), piece_bytes, bytes_of);
    let mut pieces: Vec<RevokedPiece> = filled
        .into_iter()
        .map(|serials| {
            let serials = serials.into_iter().cloned().collect();
            RevokedPiece { serials, further: true, more: true }
        })
        .collect();
    if let Some(first) = pieces.first_mut() {
        first.further = whole.further;
    }
    if let Some(last) = pieces.last_mut() {
        last.more = whole.more;
    }
    pieces.into_iter().map(Message::Revoked).collect()
}

/// The entries in their order, as many together as are within the bound, and one at least.
fn filled<T>(
    entries: impl Iterator<Item = T>,
    piece_bytes: usize,
    bytes: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut left_bytes = 0;
    for entry in entries {
        let size_bytes = bytes(&entry);
        match pieces.last_mut() {
            Some(piece) if size_bytes <= left_bytes => piece.push(entry),
            _ => {
                pieces.push(vec![entry]);
                left_bytes = piece_bytes;
            }
        }
        left_bytes = left_bytes.saturating_sub(size_bytes);
    }
    pieces
}

/// As JSON, with what separates it from others.
fn bytes_of(value: &(impl Serialize + ?Sized)) -> usize {
    const AROUND: usize = 16;
    serde_json::to_vec(value).map_or(0, |text| text.len()).saturating_add(AROUND)
}

#[cfg(test)]
#[path = "pieces/tests.rs"]
mod tests;
