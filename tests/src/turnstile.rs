//! Lets in as many machines at a time as the host has processors for.
//!
//! A scenario takes as many places as it has machines. Who comes first goes first, so that many small ones do not keep a
//! large one out for ever. One that needs more places than there are goes in when nobody else is inside. Who is inside
//! already and wants more waits for nobody: only who holds nothing waits, and so nobody waits for one who waits.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

mod places;

use places::Places;

static PLACES: Mutex<Option<Places<ThreadId>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// Places; given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    holder: ThreadId,
    count: usize,
}

/// Waits for the place of one machine.
#[must_use]
pub fn enter() -> Place {
    enter_with(1)
}

/// Waits for the places of so many machines that run at the same time.
#[must_use]
pub fn enter_with(machines: usize) -> Place {
    // A scenario that failed in here left the count as it was: it is still right.
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let holder = thread::current().id();
    let known = places
        .get_or_insert_with(|| Places::new(thread::available_parallelism().map_or(1, usize::from)));
    let ticket = known.ask(holder, machines);
    while !places.as_mut().is_none_or(|places| places.let_in(ticket)) {
        places = CHANGED.wait(places).unwrap_or_else(PoisonError::into_inner);
    }
    // The next in the line may fit, too.
    CHANGED.notify_all();
    Place { holder, count: machines }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = places.as_mut() {
            places.leave(self.holder, self.count);
        }
        CHANGED.notify_all();
    }
}
