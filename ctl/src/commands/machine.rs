//! `ferrite machine`.

use ferrite_schema::api::Machine;

use crate::cli::{MachineCommand, StateCommand};
use crate::client::Down;
use crate::failure::Failure;
use crate::output::{facts, seconds};
use crate::session::Session;

mod machines;
mod reset;

pub(super) fn run(command: &MachineCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    // What is lost or interrupted is that of one machine.
    let client = match command {
        MachineCommand::List
        | MachineCommand::Cordon { .. }
        | MachineCommand::Uncordon { .. }
        | MachineCommand::Forget { .. }
        | MachineCommand::Metadata { .. } => return machines::run(command, session),
        MachineCommand::Reset { of, at, yes } => {
            return reset::run((of.as_deref(), at.as_ref()), *yes, session);
        }
        MachineCommand::Status => session.client()?,
        MachineCommand::Reboot | MachineCommand::Poweroff | MachineCommand::State(_) => {
            session.client_of_one()?
        }
    };
    match command {
        // Done above.
        MachineCommand::List
        | MachineCommand::Cordon { .. }
        | MachineCommand::Uncordon { .. }
        | MachineCommand::Forget { .. }
        | MachineCommand::Reset { .. }
        | MachineCommand::Metadata { .. } => Ok(()),
        MachineCommand::Status => {
            let machine = session.wait_for(async { Ok(client.machine().await?) })?;
            session.show(&machine, table)
        }
        MachineCommand::Reboot => {
            session.wait_for(async { Ok(client.down(Down::Reboot).await?) })?;
            session.say("the machine stops its units and restarts")
        }
        MachineCommand::Poweroff => {
            session.wait_for(async { Ok(client.down(Down::Poweroff).await?) })?;
            session.say("the machine stops its units and switches itself off")
        }
        MachineCommand::State(StateCommand::Check) => {
            session.wait_for(async { Ok(client.down(Down::CheckState).await?) })?;
            session.say("the machine restarts and checks STATE before it is used")
        }
        MachineCommand::State(StateCommand::Recreate { yes: false }) => {
            let machine = session.wait_for(async { Ok(client.machine().await?) })?;
            let lost = "units, images, volumes and logs on it".to_owned();
            Err(Failure::Unconfirmed { hostname: machine.hostname, lost })
        }
        MachineCommand::State(StateCommand::Recreate { yes: true }) => {
            session.wait_for(async { Ok(client.down(Down::RecreateState).await?) })?;
            session.say("the machine restarts and makes STATE anew, EMPTY")
        }
    }
}

fn table(machine: &Machine) -> String {
    let ready = match (&machine.rescue, machine.ready) {
        (Some(_), _) => "no: rescue state",
        (None, true) => "yes",
        (None, false) => "not yet",
    };
    let mut rows = vec![
        ("hostname", machine.hostname.clone()),
        ("id", machine.id.clone()),
        ("ready", ready.to_owned()),
        ("version", format!("{} ({})", machine.version, machine.variant)),
        ("kernel", machine.kernel.clone()),
        ("slot", machine.slot.clone()),
        ("up", seconds(machine.uptime_s)),
    ];
    rows.extend(machine.warnings.iter().map(|warning| ("warning", warning.clone())));
    facts(&rows)
}

#[cfg(test)]
mod tests {
    use super::table;
    use ferrite_schema::api::Machine;

    #[test]
    fn every_warning_is_seen() {
        let machine = Machine {
            id: "0123".to_owned(),
            hostname: "node-1".to_owned(),
            version: "0.1.0".to_owned(),
            variant: "cloud".to_owned(),
            kernel: "6.12".to_owned(),
            slot: "A".to_owned(),
            rescue: None,
            ready: true,
            uptime_s: 61,
            warnings: vec!["STATE was made anew".to_owned(), "no [api]".to_owned()],
        };
        assert_eq!(
            table(&machine),
            "hostname  node-1\nid        0123\nready     yes\nversion   0.1.0 (cloud)\n\
             kernel    6.12\nslot      A\nup        1m 1s\n\
             warning   STATE was made anew\nwarning   no [api]"
        );
        let why = "STATE could not be used: it holds LUKS".to_owned();
        let rescue = Machine { ready: false, rescue: Some(why), ..machine };
        assert!(table(&rescue).contains("ready     no: rescue state\n"), "{}", table(&rescue));
    }
}
