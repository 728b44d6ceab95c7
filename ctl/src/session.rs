//! What every command works with: where it writes, in which form, and the node it talks to.

use std::future::Future;
use std::io::{self, Write};

use ferrite_schema::api::MachineState;
use serde::Serialize;

use crate::cli::Globals;
use crate::client::Client;
use crate::context::{Context, Store};
use crate::failure::Failure;
use crate::machine;
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
    /// The context that was chosen.
    ///
    /// # Errors
    /// There is no such context, or it cannot be read.
    pub fn context(&self) -> Result<Context, Failure> {
        Ok(Store::of_user()?.choose(self.globals.context.as_deref())?)
    }

    /// The node that the context names; of a cluster the machine that was chosen, or else any.
    ///
    /// # Errors
    /// There is no such context, it cannot be used, or there is no such machine.
    pub fn client(&self) -> Result<Client, Failure> {
        let context = self.context()?;
        let client = Client::new(&context)?;
        let Some(what) = &self.globals.machine else { return Ok(client) };
        if context.cluster.is_none() {
            return Err(Failure::NoCluster { context: context.name });
        }
        let machines = self.wait_for(async { Ok(client.machines().await?) })?;
        machine::client(&client, machine::chosen(&machines, what)?)
    }

    /// The node that the context names; of a cluster only the machine that was chosen, for what is better not done to any.
    ///
    /// # Errors
    /// See [`Self::client`]; the context is a cluster's and no machine was chosen.
    pub fn client_of_one(&self) -> Result<Client, Failure> {
        let context = self.context()?;
        if context.cluster.is_some() && self.globals.machine.is_none() {
            return Err(Failure::WhichMachine { context: context.name });
        }
        self.client()
    }

    /// The cluster, where the context is for one and no single machine of it was chosen.
    ///
    /// # Errors
    /// There is no such context, or it cannot be used.
    pub fn cluster(&self) -> Result<Option<Client>, Failure> {
        let context = self.context()?;
        if context.cluster.is_none() || self.globals.machine.is_some() {
            return Ok(None);
        }
        Ok(Some(Client::new(&context)?))
    }

    /// The node that has the container of a unit called `name`, and what the unit is called there: of a cluster the machine of that
    /// instance, or of the only instance of that unit.
    ///
    /// # Errors
    /// There is no such context, it cannot be used, or no machine has such an instance.
    pub fn client_of_unit(&self, name: &str) -> Result<(Client, String), Failure> {
        let Some(cluster) = self.cluster()? else {
            return Ok((self.client()?, name.to_owned()));
        };
        let units = self.wait_for(async { Ok(cluster.cluster_units().await?) })?;
        let instance = machine::only_instance(&units, name)?;
        Ok((machine::client_of(&cluster, instance)?, instance.name.clone()))
    }

    /// The nodes that have what units of these names wrote; of a cluster all instances of each.
    ///
    /// # Errors
    /// See [`Self::client_of_unit`].
    pub fn clients_of_units(&self, names: &[String]) -> Result<Vec<(Client, String)>, Failure> {
        let Some(cluster) = self.cluster()? else {
            return names.iter().map(|name| Ok((self.client()?, name.clone()))).collect();
        };
        let units = self.wait_for(async { Ok(cluster.cluster_units().await?) })?;
        let mut all = Vec::new();
        for name in names {
            let instances = machine::instances(&units, name);
            if instances.is_empty() {
                // It says what is wrong with the name.
                machine::only_instance(&units, name)?;
            }
            for instance in instances {
                all.push((machine::client_of(&cluster, instance)?, instance.name.clone()));
            }
        }
        Ok(all)
    }

    /// The nodes that something is brought to, each with its name: the one of the context, or the machine that was chosen, or else
    /// all machines of the cluster that are there.
    ///
    /// # Errors
    /// See [`Self::client`].
    pub fn everywhere(&self) -> Result<Vec<(Client, String)>, Failure> {
        let Some(cluster) = self.cluster()? else {
            let client = self.client()?;
            return Ok(vec![(client, String::new())]);
        };
        let machines = self.wait_for(async { Ok(cluster.machines().await?) })?;
        let there = machines.iter().filter(|machine| machine.state == MachineState::Alive);
        there
            .map(|machine| Ok((machine::client(&cluster, machine)?, machine.name.clone())))
            .collect()
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
