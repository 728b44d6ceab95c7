//! What every command works with: where it writes, in which form, and the node it talks to.

use std::future::Future;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::Globals;
use crate::client::Client;
use crate::context::Store;
use crate::failure::Failure;
use crate::output::{self, Format};

/// A run of the command.
pub struct Session<'run> {
    /// The options of every command.
    pub globals: &'run Globals,
    /// Standard output.
    pub out: &'run mut dyn Write,
    /// Standard error: progress, remarks, a container's standard error.
    pub err: &'run mut dyn Write,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("globals", &self.globals).finish_non_exhaustive()
    }
}

impl Session<'_> {
    /// The node that the context names.
    ///
    /// # Errors
    /// There is no such context, or it cannot be used.
    pub fn client(&self) -> Result<Client, Failure> {
        let context = Store::of_user()?.choose(self.globals.context.as_deref())?;
        Ok(Client::new(&context)?)
    }

    /// Shows a result in the form that was asked for.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn show<T: Serialize>(
        &mut self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        Ok(output::show(self.out, self.globals.output, value, table)?)
    }

    /// Shows a sentence that matters to people only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn say(&mut self, sentence: &str) -> Result<(), Failure> {
        if self.globals.output == Format::Table {
            output::write_line(self.out, sentence)?;
        }
        Ok(())
    }

    /// Runs something asynchronous to its end, on this thread.
    ///
    /// # Errors
    /// The runtime cannot be started, or the work fails.
    pub fn wait_for<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Failure::Runtime { source })?
            .block_on(work)
    }

    /// Standard error is a terminal, so that progress may be drawn there.
    #[must_use]
    pub fn draws_progress(&self) -> bool {
        io::IsTerminal::is_terminal(&io::stderr())
    }
}
