//! Waiting for a unit: its events say when to look at it again.

use std::time::Duration;

use ferrite_schema::api::{Event, EventKind, UnitState, UnitStatus};

use crate::client::{Client, Lines};
use crate::failure::Failure;
use crate::moment::Moment;

/// How often a unit is looked at where the node's events cannot be followed, because too many do so already.
const POLL: Duration = Duration::from_millis(500);

/// Waits until what is seen of the unit is `enough`.
pub(super) async fn until(
    client: &Client,
    status: UnitStatus,
    within: Duration,
    enough: impl Fn(&UnitStatus) -> bool,
) -> Result<UnitStatus, Failure> {
    if enough(&status) {
        return Ok(status);
    }
    let UnitStatus { name, mut state, .. } = status;
    let looks = async {
        // What happens between this and the first look is seen by both.
        let now = Some(Moment::Ago(Duration::ZERO));
        let mut changes = client.events(true, now, Some(&name)).await.ok();
        let ask = async || Ok(client.unit(&name).await?);
        look(ask, async || change(&mut changes).await, &mut state, enough).await
    };
    let looked = tokio::time::timeout(within, looks).await;
    looked.unwrap_or_else(|_elapsed| {
        Err(Failure::UnitDeadline { name: name.clone(), state: state.word().to_owned(), within })
    })
}

/// Waits until the node no longer knows the unit, which it was told to stop and forget.
pub(super) async fn until_gone(
    client: &Client,
    name: &str,
    within: Duration,
) -> Result<(), Failure> {
    let going =
        UnitStatus { name: name.to_owned(), state: UnitState::Stopping, ..UnitStatus::default() };
    match until(client, going, within, is_decided).await {
        Err(Failure::Client(error)) if error.is_unknown() => Ok(()),
        Ok(_) => Err(Failure::Unit {
            name: name.to_owned(),
            what: "was submitted again meanwhile, and stays".to_owned(),
        }),
        Err(failure) => Err(failure),
    }
}

/// A unit that was to stop has stopped, or is to run again by somebody's wish: then there is nothing left to wait for. One that is
/// being forgotten is never seen so: nobody can start it, and when it has stopped it is gone.
pub(super) fn is_decided(status: &UnitStatus) -> bool {
    status.wanted || !is_live(status.state)
}

/// Something of it runs, or is to.
pub(super) const fn is_live(state: UnitState) -> bool {
    match state {
        UnitState::Starting
        | UnitState::Waiting
        | UnitState::Pulling
        | UnitState::Running
        | UnitState::Stopping
        | UnitState::BackingOff
        | UnitState::Scheduled => true,
        UnitState::Loaded | UnitState::Exited | UnitState::Failed => false,
    }
}

/// Asks for the unit after each change until it, the last state of which stays in `seen`, is `enough`.
async fn look(
    ask: impl AsyncFn() -> Result<UnitStatus, Failure>,
    mut change: impl AsyncFnMut(),
    seen: &mut UnitState,
    enough: impl Fn(&UnitStatus) -> bool,
) -> Result<UnitStatus, Failure> {
    loop {
        let status = ask().await?;
        *seen = status.state;
        if enough(&status) {
            return Ok(status);
        }
        change().await;
    }
}

/// Returns when the unit's state may be another one.
async fn change(changes: &mut Option<Lines<Event>>) {
    while let Some(lines) = changes {
        match lines.next().await {
            Ok(Some(event)) if matches!(event.kind, EventKind::State | EventKind::Removed) => {
                return;
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => *changes = None,
        }
    }
    tokio::time::sleep(POLL).await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_unit_is_asked_for_once_and_after_each_change_until_it_is_enough() {
        let states =
            [UnitState::Waiting, UnitState::Starting, UnitState::Running, UnitState::Exited];
        let (asked, changed) = (Cell::new(0), Cell::new(0));
        let mut seen = UnitState::Loaded;
        let ask = async || {
            let state = states[asked.replace(asked.get() + 1)];
            Ok(UnitStatus { state, ..UnitStatus::default() })
        };
        let change = async || changed.set(changed.get() + 1);
        let looks = look(ask, change, &mut seen, |status| status.state == UnitState::Running);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(looks).unwrap().state, UnitState::Running);
        assert_eq!((asked.get(), changed.get(), seen), (3, 2, UnitState::Running));
    }
}
