//! A node's end of what a relay streams to it: snapshots, and what changed since.

use std::collections::BTreeSet;

use super::message::{
    AssignmentDelta, AssignmentSnapshot, CatalogueDelta, CatalogueSnapshot, PeersPiece,
    PeersSnapshot, RevokedPiece,
};
use crate::catalogue::Catalogue;

/// Most of what comes in pieces that is kept before the last of them is here: instances, or machines. More than a cluster has.
const COMING_MAX: usize = 200_000;

/// Something was missed: the node asks for a snapshot, by connecting again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what changed since revision {base} was sent, and revision {have:?} is here")]
pub struct Behind {
    /// What the changes start from.
    pub base: i64,
    /// What is here.
    pub have: Option<i64>,
}

/// What a node has of the stream. What is here stays, however long nothing comes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Follower {
    /// All that it is to run; absent until a relay said so.
    pub assignment: Option<AssignmentSnapshot>,
    /// The catalogue; absent until a relay said so.
    pub catalogue: Option<CatalogueSnapshot>,
    /// What comes in pieces, up to the last of them.
    catalogue_coming: Option<CatalogueSnapshot>,
    peers_coming: Option<PeersSnapshot>,
    revoked_coming: Option<BTreeSet<String>>,
    /// Instances of the catalogue that is coming, besides those of its first piece.
    further: usize,
}

impl Follower {
    /// Takes in a snapshot. One that is older than what is here counts for nothing within an epoch: `false`.
    pub fn assignment(&mut self, snapshot: AssignmentSnapshot) -> bool {
        let newer = self.assignment.as_ref().is_none_or(|here| here.revision <= snapshot.revision);
        if newer {
            self.assignment = Some(snapshot);
        }
        newer
    }

    /// Takes in what changed.
    ///
    /// # Errors
    /// It does not start from what is here; nothing is taken in.
    pub fn assignment_delta(&mut self, delta: AssignmentDelta) -> Result<(), Behind> {
        let have = self.assignment.as_ref().map(|here| here.revision);
        let Some(here) = self.assignment.as_mut().filter(|here| here.revision == delta.base) else {
            return Err(Behind { base: delta.base, have });
        };
        for name in &delta.removed {
            here.instances.remove(name);
        }
        here.instances.extend(delta.put);
        here.revision = delta.revision;
        Ok(())
    }

    /// Takes in a catalogue, whichever relay it is from; `false` where it is the beginning of one, so that what is here stays.
    pub fn catalogue(&mut self, snapshot: CatalogueSnapshot) -> bool {
        let whole = !snapshot.more;
        if whole {
            self.catalogue_coming = None;
            self.catalogue = Some(snapshot);
        } else {
            self.catalogue_coming = Some(snapshot);
            self.further = 0;
        }
        whole
    }

    /// Takes in what changed of it; `false` where more of that is to come, so that what is here stays.
    ///
    /// # Errors
    /// It does not start from what is here, or from what is coming, or has no end; nothing is taken in.
    pub fn catalogue_delta(&mut self, delta: CatalogueDelta) -> Result<bool, Behind> {
        if delta.more && self.catalogue_coming.is_none() {
            self.catalogue_coming.clone_from(&self.catalogue);
            self.further = 0;
        }
        self.further +=
            delta.further.values().map(|instances| instances.len().max(1)).sum::<usize>();
        let too_many = delta.more && self.further > COMING_MAX;
        let here = self.catalogue_coming.as_mut().or(self.catalogue.as_mut());
        let have = here.as_ref().map(|here| here.revision);
        let Some(here) = here.filter(|here| here.revision == delta.base && !too_many) else {
            self.catalogue_coming = None;
            return Err(Behind { base: delta.base, have });
        };
        here.catalogue.apply(delta.delta);
        for (name, instances) in delta.further {
            here.catalogue.services.entry(name).or_default().extend(instances);
        }
        if delta.more {
            return Ok(false);
        }
        here.revision = delta.revision;
        if let Some(mut whole) = self.catalogue_coming.take() {
            whole.more = false;
            self.catalogue = Some(whole);
        }
        Ok(true)
    }

    /// Takes in who is in the cluster's network, or a piece of it; answers with all of it once that is here. A piece that goes on
    /// with nothing counts for nothing, and so does one that goes on for too long.
    pub fn peers(&mut self, piece: PeersPiece) -> Option<PeersSnapshot> {
        let whole = match (piece.further, self.peers_coming.take()) {
            (false, _) => piece.peers,
            (true, Some(mut coming)) => {
                coming.peers.extend(piece.peers.peers);
                coming
            }
            (true, None) => return None,
        };
        if piece.more && whole.peers.len() <= COMING_MAX {
            self.peers_coming = Some(whole);
            return None;
        }
        (!piece.more).then_some(whole)
    }

    /// Takes in certificates that open nothing any more, or a piece of them; answers with all of them once they are here. A piece that
    /// goes on with nothing counts for nothing. One that goes on for too long counts as all: what is revoked is not let in
    /// because there is much of it.
    pub fn revoked(&mut self, piece: RevokedPiece) -> Option<BTreeSet<String>> {
        let whole = match (piece.further, self.revoked_coming.take()) {
            (false, _) => piece.serials,
            (true, Some(mut coming)) => {
                coming.extend(piece.serials);
                coming
            }
            (true, None) => return None,
        };
        if piece.more && whole.len() <= COMING_MAX {
            self.revoked_coming = Some(whole);
            return None;
        }
        Some(whole)
    }

    /// The cluster was restored from a backup: what is here may be from a future that never was. What runs goes on; the next
    /// snapshot counts, whatever its revision.
    pub fn new_epoch(&mut self) {
        if let Some(assignment) = &mut self.assignment {
            assignment.revision = 0;
        }
        self.catalogue = None;
        self.catalogue_coming = None;
        self.peers_coming = None;
        self.revoked_coming = None;
    }

    /// What it answers from.
    #[must_use]
    pub fn services(&self) -> Option<&Catalogue> {
        self.catalogue.as_ref().map(|here| &here.catalogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{SpecHash, UnitName};
    use crate::records::{Assigned, Cause, Rest, Target};

    fn name(text: &str) -> UnitName {
        text.parse().unwrap()
    }

    fn assigned() -> Assigned {
        Assigned {
            spec: SpecHash::of(b""),
            target: Target::Launched,
            cause: Cause::Wanted,
            fired_s: None,
            rest: Rest::new(),
        }
    }

    #[test]
    fn changes_count_from_what_is_here_and_from_nothing_else() {
        let mut follower = Follower::default();
        let delta = |base, revision| AssignmentDelta {
            base,
            revision,
            put: [(name("b"), assigned())].into(),
            removed: vec![name("a")],
        };
        let behind = follower.assignment_delta(delta(5, 6)).unwrap_err();
        assert_eq!(behind, Behind { base: 5, have: None });
        let snapshot =
            AssignmentSnapshot { revision: 5, instances: [(name("a"), assigned())].into() };
        assert!(follower.assignment(snapshot.clone()));
        assert!(follower.assignment_delta(delta(4, 6)).is_err());
        assert_eq!(follower.assignment, Some(snapshot.clone()));
        follower.assignment_delta(delta(5, 6)).unwrap();
        let here = follower.assignment.clone().unwrap();
        assert_eq!((here.revision, here.instances.into_keys().collect()), (6, vec![name("b")]));
        // A relay that lags behind says nothing new; after a restore it does.
        assert!(!follower.assignment(snapshot.clone()));
        follower.new_epoch();
        assert!(follower.assignment(snapshot));
    }
}
