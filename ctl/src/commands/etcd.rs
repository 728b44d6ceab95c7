//! `ferrite etcd …`: etcd itself, for the cluster's admins.

mod members;
mod proxy;
mod recover;
mod snapshot;
mod status;

use crate::cli::EtcdCommand;
use crate::client::{Client, Which};
use crate::failure::Failure;
use crate::session::Session;

pub(super) fn run(command: &EtcdCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = session.context()?;
    if context.cluster.is_none() {
        return Err(Failure::NoCluster { context: context.name });
    }
    match command {
        EtcdCommand::Status => status::run(&context, session),
        EtcdCommand::Members { target } => members::run(target.as_deref(), session),
        EtcdCommand::Snapshot { file, force, without_quorum } => {
            let (client, which) = asked(*without_quorum, session)?;
            snapshot::run(&client, which, &snapshot::Into { file, force: *force }, session)
        }
        EtcdCommand::Recover { yes, timeout } => recover::run(&context, *yes, *timeout, session),
        EtcdCommand::Proxy { port, without_quorum } => {
            let (client, which) = asked(*without_quorum, session)?;
            proxy::run(&client, which, *port, session)
        }
    }
}

/// Who is asked, and which etcd may answer: of a machine that was chosen its own, however it is.
fn asked(without_quorum: bool, session: &Session<'_>) -> Result<(Client, Which), Failure> {
    let any = without_quorum || session.globals.machine.is_some();
    Ok((session.client()?, if any { Which::Any } else { Which::Serving }))
}
