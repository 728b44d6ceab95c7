//! `ferrite slot`.

use ferrite_schema::control::{ServiceState, ServiceStatus, SlotStatus, Status};

use crate::cli::SlotCommand;
use crate::client::SlotVerb;
use crate::failure::Failure;
use crate::output::{columns, printable};
use crate::session::Session;

pub(super) fn run(command: &SlotCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let verb = match command {
        SlotCommand::Status => return status(session),
        SlotCommand::MarkGood => SlotVerb::MarkGood,
        SlotCommand::Stage => SlotVerb::Stage,
        SlotCommand::Rollback => SlotVerb::Rollback,
    };
    let client = session.client()?;
    session.wait_for(async { Ok(client.slot(verb).await?) })?;
    status(session)
}

fn status(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let status = session.wait_for(async { Ok(client.slots().await?) })?;
    session.show(&status, table)
}

fn table(status: &Status) -> String {
    let slots: Vec<[String; 7]> = status.slots.iter().map(|slot| slot_row(slot, status)).collect();
    let services: Vec<[String; 5]> = status.services.iter().map(service_row).collect();
    let mut text = columns(
        ["SLOT", "IN USE", "VERSION", "PRIORITY", "TRIES", "SUCCESSFUL", "PROBLEM"],
        &slots,
    );
    if !services.is_empty() {
        text.push_str("\n\n");
        text.push_str(&columns(["SERVICE", "STATE", "PID", "RESTARTS", "LAST END"], &services));
    }
    if let Some(reason) = &status.state_recreated {
        text.push_str(&format!("\n\nSTATE was made anew at this boot: {}", printable(reason)));
    }
    if let Some(reason) = &status.rescue {
        text.push_str(&format!("\n\nrescue state: {}", printable(reason)));
    }
    for warning in &status.warnings {
        text.push_str(&format!("\n\nwarning: {}", printable(warning)));
    }
    if status.shutting_down {
        text.push_str("\n\nthe machine is going down");
    }
    text
}

fn slot_row(slot: &SlotStatus, status: &Status) -> [String; 7] {
    let yes = |condition: bool| if condition { "yes" } else { "" }.to_owned();
    [
        slot.slot.to_string(),
        yes(slot.slot == status.slot),
        slot.version.clone().unwrap_or_else(|| "-".to_owned()),
        slot.attributes.priority.to_string(),
        slot.attributes.tries.to_string(),
        yes(slot.attributes.successful),
        slot.problem.clone().unwrap_or_default(),
    ]
}

fn service_row(service: &ServiceStatus) -> [String; 5] {
    let state = match (service.state, service.backoff_ms) {
        (ServiceState::Running, _) => "running".to_owned(),
        (ServiceState::Stopped, _) => "stopped".to_owned(),
        (ServiceState::BackingOff, Some(wait_ms)) => {
            format!("backing off, starts in {:.1}s", f64_seconds(wait_ms))
        }
        (ServiceState::BackingOff, None) => "backing off".to_owned(),
    };
    [
        service.name.clone(),
        state,
        service.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        service.restarts.to_string(),
        service.last_exit.clone().unwrap_or_default(),
    ]
}

fn f64_seconds(count_ms: u64) -> f64 {
    std::time::Duration::from_millis(count_ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::table;
    use ferrite_layout::attributes::SlotAttributes;
    use ferrite_layout::slot::Slot;
    use ferrite_schema::control::{ServiceState, ServiceStatus, SlotStatus, Status};

    #[test]
    fn slots_and_services() {
        let attributes =
            |priority, tries, successful| SlotAttributes { priority, tries, successful };
        let status = Status {
            slot: Slot::A,
            slots: vec![
                SlotStatus {
                    slot: Slot::A,
                    attributes: attributes(1, 0, true),
                    version: Some("0.1.0".to_owned()),
                    problem: None,
                },
                SlotStatus {
                    slot: Slot::B,
                    attributes: attributes(0, 0, false),
                    version: None,
                    problem: Some("empty".to_owned()),
                },
            ],
            ready: true,
            shutting_down: false,
            services: vec![ServiceStatus {
                name: "agent".to_owned(),
                state: ServiceState::BackingOff,
                pid: None,
                restarts: 3,
                last_exit: Some("killed by SIGKILL".to_owned()),
                backoff_ms: Some(1500),
            }],
            state_recreated: Some("no superblock".to_owned()),
            rescue: None,
            warnings: vec!["the primary partition table was repaired".to_owned()],
        };
        let expected = "\
SLOT  IN USE  VERSION  PRIORITY  TRIES  SUCCESSFUL  PROBLEM
A     yes     0.1.0    1         0      yes
B             -        0         0                  empty

SERVICE  STATE                        PID  RESTARTS  LAST END
agent    backing off, starts in 1.5s       3         killed by SIGKILL

STATE was made anew at this boot: no superblock

warning: the primary partition table was repaired";
        assert_eq!(table(&status), expected);
    }
}
