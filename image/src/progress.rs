//! How long work tells somebody how far it is.

/// Somebody who is told about long work. Every call is cheap and may come often.
pub trait Progress {
    /// Something that a person should read now, before long work begins.
    fn say(&mut self, what: &str);
    /// A step begins; `what` says it in a few words (`fetch packages`).
    fn begin(&mut self, what: &str);
    /// `done` of `total` bytes or pieces of the step are done.
    fn advance(&mut self, done: u64, total: u64);
    /// The step is over; `note` is its result in a few words (`12 of 12 from the cache`).
    fn end(&mut self, note: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn say(&mut self, _what: &str) {}
    fn begin(&mut self, _what: &str) {}
    fn advance(&mut self, _done: u64, _total: u64) {}
    fn end(&mut self, _note: &str) {}
}
