//! `ferrite machine list|cordon|uncordon|forget|metadata`: machines as the cluster has them.

use ferrite_schema::api::{ClusterMachine, MachineChange, MachineState};

use crate::cli::MachineCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::machine::{chosen, short};
use crate::output::{columns, facts};
use crate::session::Session;

pub(super) fn run(command: &MachineCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = session.context()?;
    if context.cluster.is_none() {
        return Err(Failure::NoCluster { context: context.name });
    }
    let client = Client::new(&context)?;
    let machines = session.wait_for(async { Ok(client.machines().await?) })?;
    let cordon = |cordoned| MachineChange { cordoned: Some(cordoned), ..MachineChange::default() };
    let (of, change) = match command {
        MachineCommand::Cordon { of } => (of, cordon(true)),
        MachineCommand::Uncordon { of } => (of, cordon(false)),
        MachineCommand::Forget { of, abandon } => {
            let machine = chosen(&machines, of)?;
            session.wait_for(async { Ok(client.forget_machine(&machine.id, *abandon).await?) })?;
            let said = format!(
                "the cluster knows machine {} no more; what is on its disk is as it was",
                machine.id
            );
            return session.say(&said);
        }
        MachineCommand::Metadata { of, words, forget } => (of, said(words, forget)?),
        _ => return session.show(&machines, |machines| list(machines)),
    };
    let machine = chosen(&machines, of)?;
    if change == MachineChange::default() {
        return session.show(machine, metadata);
    }
    let changed =
        session.wait_for(async { Ok(client.change_machine(&machine.id, &change).await?) })?;
    match command {
        MachineCommand::Metadata { .. } => session.show(&changed, metadata),
        _ => session.show(&changed, |machine| list(std::slice::from_ref(machine))),
    }
}

/// What `KEY=VALUE` and `KEY-` say.
fn said(words: &[String], forget: &[String]) -> Result<MachineChange, Failure> {
    let each = words.iter().map(|word| match (word.split_once('='), word.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(Failure::Metadata { words: word.clone() }),
    });
    let metadata = each.collect::<Result<_, Failure>>()?;
    Ok(MachineChange { cordoned: None, metadata, forget: forget.to_vec() })
}

fn state(machine: &ClusterMachine) -> String {
    let mut words = vec![match machine.state {
        MachineState::Alive => "alive",
        MachineState::Lost => "lost",
    }];
    words.extend(machine.cordoned.then_some("cordoned"));
    words.extend(machine.leader.then_some("leader"));
    words.extend(machine.problem.is_some().then_some("not understood"));
    words.join(", ")
}

fn list(machines: &[ClusterMachine]) -> String {
    let rows: Vec<[String; 7]> = machines
        .iter()
        .map(|machine| {
            let labels = machine.metadata.iter().map(|(key, value)| format!("{key}={value}"));
            let none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            [
                none(machine.name.clone()),
                short(&machine.id),
                state(machine),
                none(machine.addresses.first().cloned().unwrap_or_default()),
                machine.units.to_string(),
                machine.level.to_string(),
                none(labels.collect::<Vec<_>>().join(" ")),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no machines yet: they join when they boot".to_owned();
    }
    columns(["MACHINE", "ID", "STATE", "ADDRESS", "UNITS", "LEVEL", "METADATA"], &rows)
}

fn metadata(machine: &ClusterMachine) -> String {
    let mut rows = vec![("machine", machine.name.clone()), ("id", machine.id.clone())];
    for (key, value) in &machine.metadata {
        let at_run_time = matches!(machine.overrides.get(key), Some(Some(said)) if said == value);
        let whence = if at_run_time { "  (said at run time)" } else { "" };
        rows.push(("metadata", format!("{key}={value}{whence}")));
    }
    let away = machine.overrides.iter().filter(|(_, value)| value.is_none());
    rows.extend(away.map(|(key, _)| ("metadata", format!("{key}-  (taken away at run time)"))));
    facts(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, digit: &str) -> ClusterMachine {
        ClusterMachine {
            id: digit.repeat(32),
            name: name.to_owned(),
            addresses: vec!["10.0.0.1".to_owned()],
            state: MachineState::Alive,
            cordoned: false,
            leader: false,
            eligible: true,
            units: 1,
            level: 1,
            metadata: [("zone".to_owned(), "a".to_owned())].into(),
            overrides: [("zone".to_owned(), Some("a".to_owned())), ("rack".to_owned(), None)]
                .into(),
            cpus_milli: 1000,
            memory_bytes: 1 << 30,
            problem: None,
        }
    }

    #[test]
    fn machines_are_listed_with_what_matters() {
        let lost = ClusterMachine {
            state: MachineState::Lost,
            cordoned: true,
            addresses: Vec::new(),
            metadata: [].into(),
            ..machine("dev-2", "b")
        };
        let bad = ClusterMachine {
            name: String::new(),
            problem: Some("its record cannot be understood".to_owned()),
            units: 0,
            ..lost.clone()
        };
        let leads = ClusterMachine { leader: true, ..machine("dev-1", "a") };
        assert_eq!(
            list(&[leads, lost, ClusterMachine { cordoned: false, ..bad }]),
            "MACHINE  ID        STATE                 ADDRESS   UNITS  LEVEL  METADATA\n\
             dev-1    aaaaaaaa  alive, leader         10.0.0.1  1      1      zone=a\n\
             dev-2    bbbbbbbb  lost, cordoned        -         1      1      -\n\
             -        bbbbbbbb  lost, not understood  -         0      1      -"
        );
    }

    #[test]
    fn metadata_is_said_in_words_that_cannot_be_mistaken() {
        let words =
            |all: &[&str]| -> Vec<String> { all.iter().map(|&one| one.to_owned()).collect() };
        let change = said(&words(&["zone=b", "rack-", "a-=c="]), &words(&["disk"])).unwrap();
        let expected = [
            ("a-".to_owned(), Some("c=".to_owned())),
            ("rack".to_owned(), None),
            ("zone".to_owned(), Some("b".to_owned())),
        ];
        assert_eq!((change.metadata, change.forget), (expected.into(), words(&["disk"])));
        for bad in ["zone", "=b", "-", ""] {
            let said = said(&words(&[bad]), &[]).unwrap_err().to_string();
            assert!(said.contains("KEY=VALUE"), "{said}");
        }
        assert_eq!(
            metadata(&machine("dev-1", "a")),
            format!(
                "machine   dev-1\nid        {}\nmetadata  zone=a  (said at run time)\n\
                 metadata  rack-  (taken away at run time)",
                "a".repeat(32)
            )
        );
    }
}
