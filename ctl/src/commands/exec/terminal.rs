//! This computer's terminal.

use std::io;

use rustix::termios::{self, OptionalActions, Termios};

/// Its size, columns and rows; nothing where neither of our streams is one.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(io::stdin())
        .or_else(|_errno| termios::tcgetwinsize(io::stdout()))
        .ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Standard input passes every key on, until this is dropped.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Changes it; nothing where standard input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}
