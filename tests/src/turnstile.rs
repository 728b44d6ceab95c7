//! Lets in as many machines at a time as the host has processors for.

use std::sync::{Condvar, Mutex, PoisonError};

static FREE: Mutex<Option<usize>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// A place; given back when it is dropped.
#[derive(Debug)]
pub struct Place(());

/// Waits for a place.
#[must_use]
pub fn enter() -> Place {
    // A scenario that failed in here left the count as it was: it is still right.
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let left =
            free.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        if let Some(rest) = left.checked_sub(1) {
            *free = Some(rest);
            return Place(());
        }
        free = CHANGED.wait(free).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        *free = Some(free.unwrap_or_default() + 1);
        CHANGED.notify_one();
    }
}
