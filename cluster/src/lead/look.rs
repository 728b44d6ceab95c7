//! The store's content as the engine would know it, for whoever only looks.

use std::collections::BTreeMap;

use super::intake::{Intake, Tiding};
use crate::engine::{Event, Presence, World};
use crate::keys::Key;
use crate::presence::Sign;
use crate::store::Listing;

/// What a listing of the whole store says.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The engine's world. A machine without `alive` is lost in it: for how long it has been silent a listing does not say.
    pub world: World,
    /// What cannot be understood, and why.
    pub refused: BTreeMap<Key, String>,
}

/// Takes in a listing of the whole store. Nothing is decided.
#[must_use]
pub fn look(listing: &Listing) -> Looked {
    let mut intake = Intake::default();
    let events = intake.begin(&listing.entries).into_iter().filter_map(|tiding| match tiding {
        Tiding::Event(event) => Some(event),
        Tiding::Sign(Sign::Appeared(id)) => Some(Event::Presence(id, Presence::Alive)),
        Tiding::Sign(Sign::Vanished(id)) => Some(Event::Presence(id, Presence::Lost)),
        Tiding::Sign(_) | Tiding::Leader(_) => None,
    });
    let events: Vec<Event> = events.collect();
    Looked { world: World::of(&events), refused: intake.refused().clone() }
}
