//! What a node does for its cluster beside its link: that it is there it says all the time, however long this takes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::records::{Assigned, Spec, State};
use tokio::sync::watch;

/// What changes within this time is said at once.
const GATHERED: Duration = Duration::from_millis(100);

/// What runs here, as the link sees it.
pub(super) trait Instances {
    /// What the cluster's instances do.
    fn state(&self, specs: &BTreeMap<UnitName, SpecHash>) -> impl Future<Output = State>;

    /// A number that rises whenever that changes.
    fn changes(&self) -> watch::Receiver<u64>;

    /// From now on these are to run, and no others of the cluster's.
    fn assign(&self, wanted: BTreeMap<UnitName, (Assigned, Spec)>) -> impl Future<Output = ()>;
}

/// What is to be done on the node.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// These are to run. Of several only the last one counts.
    pub(super) apply: Option<BTreeMap<UnitName, (Assigned, Spec)>>,
    /// What runs must be said, …
    pub(super) report: bool,
    /// … and with it what the node is.
    pub(super) register: bool,
}

impl Due {
    /// What is done on the node next; who must register is not there for anybody before it has.
    pub(super) fn next(&mut self, specs: &BTreeMap<UnitName, SpecHash>) -> Option<Errand> {
        if !self.register
            && let Some(wanted) = self.apply.take()
        {
            return Some(Errand::Apply(wanted));
        }
        let look = self.register || std::mem::take(&mut self.report);
        look.then(|| Errand::Look(specs.clone()))
    }
}

/// Something that is done on the node.
pub(super) enum Errand {
    Apply(BTreeMap<UnitName, (Assigned, Spec)>),
    Look(BTreeMap<UnitName, SpecHash>),
}

/// It is done.
pub(super) enum Done {
    Applied,
    Runs(State),
}

pub(super) async fn carry_out<I: Instances>(instances: &I, errand: Errand) -> Done {
    match errand {
        Errand::Apply(wanted) => {
            instances.assign(wanted).await;
            Done::Applied
        }
        Errand::Look(specs) => {
            // A start alone is some changes within a moment.
            tokio::time::sleep(GATHERED).await;
            Done::Runs(instances.state(&specs).await)
        }
    }
}

/// What became of it; never, where there is none.
pub(super) async fn ended<F: Future>(errand: Pin<&mut Option<F>>) -> F::Output {
    match errand.as_pin_mut() {
        Some(errand) => errand.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_must_register_does_before_anything_else_and_of_several_assignments_the_last_counts() {
        let mut due = Due::default();
        assert!(due.next(&BTreeMap::new()).is_none());
        due.apply = Some(BTreeMap::new());
        (due.report, due.register) = (true, true);
        assert!(matches!(due.next(&BTreeMap::new()), Some(Errand::Look(_))));
        due.register = false;
        assert!(matches!(due.next(&BTreeMap::new()), Some(Errand::Apply(_))));
        assert!(matches!(due.next(&BTreeMap::new()), Some(Errand::Look(_))));
        assert!(due.next(&BTreeMap::new()).is_none());
    }
}
