//! `ferrite service …`: the cluster's services, as its members know them and as a node answers for them.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_schema::api::{ServiceAnswers, ServiceInstance};

use crate::cli::ServiceCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, OutputError, columns, printable, seconds};
use crate::session::Session;

pub(super) fn run(command: ServiceCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = session.context()?;
    if context.cluster.is_none() {
        return Err(Failure::NoCluster { context: context.name });
    }
    match command {
        ServiceCommand::List => list(&Client::new(&context)?, session),
        ServiceCommand::Resolve { name } => resolve(&name, session),
        ServiceCommand::Watch { names } => watch(&names, session),
    }
}

/// What members know. Where none answers, what a node knew last is better than nothing, and is said to be that.
fn list(client: &Client, session: &mut Session<'_>) -> Result<(), Failure> {
    let known = session.wait_for(async { Ok(client.services().await?) });
    let services = match known {
        Ok(services) => services,
        Err(failure) => {
            let Ok(last) = last(session) else { return Err(failure) };
            let (node, age) = (printable(&last.node), age(&last, now_s()));
            let why = printable(&ferrite_schema::chain(&failure));
            note(session, &format!("{why}; {node} answers {age}:"));
            last.services.into_values().flatten().collect()
        }
    };
    session.show(&services, |services| table(services))
}

fn resolve(name: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let answers = last(session)?;
    let Some(instances) = answers.services.get(name) else {
        return Err(Failure::NoService { name: name.to_owned(), node: answers.node });
    };
    if answers.as_of_s.is_some() {
        let (node, age) = (printable(&answers.node), age(&answers, now_s()));
        note(session, &format!("{node} hears nothing of its cluster and answers {age}:"));
    }
    session.show(instances, |instances| match &instances[..] {
        [] => format!("{} is known, and no instance of it is ready", printable(name)),
        some => table(some),
    })
}

/// For people, whatever form the answer has for programs.
fn note(session: &mut Session<'_>, sentence: &str) {
    // Nobody is left to hear that standard error is gone.
    drop(writeln!(session.err, "{sentence}"));
}

fn watch(names: &[String], session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let format = session.globals.output;
    let mut shown: Option<String> = None;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut lines = client.service_answers(true).await?;
        while let Some(mut answers) = lines.next().await? {
            answers.services.retain(|name, _| names.is_empty() || names.contains(name));
            let text = text(&answers, format, now_s())?;
            // What changed may be of others.
            if shown.as_ref() != Some(&text) {
                write(session.out, &text)?;
                shown = Some(text);
            }
        }
        Ok(())
    })
}

/// What a node answers now.
fn last(session: &Session<'_>) -> Result<ServiceAnswers, Failure> {
    let client = session.client()?;
    session.wait_for(async {
        let mut lines = client.service_answers(false).await?;
        lines.next().await?.ok_or(Failure::NoAnswers)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How old the answers are, in words.
fn age(answers: &ServiceAnswers, now_s: u64) -> String {
    match answers.as_of_s {
        None => "what it hears now".to_owned(),
        Some(as_of_s) => {
            format!("what it heard last, {} ago", seconds(now_s.saturating_sub(as_of_s)))
        }
    }
}

fn text(answers: &ServiceAnswers, format: Format, now_s: u64) -> Result<String, OutputError> {
    match format {
        Format::Json => {
            serde_json::to_string(answers).map_err(|source| OutputError::Json { source })
        }
        Format::Yaml => {
            let text =
                serde_saphyr::to_string(answers).map_err(|source| OutputError::Yaml { source })?;
            Ok(format!("---\n{}", text.trim_end()))
        }
        Format::Table => Ok(lines(answers, now_s)),
    }
}

/// A line for each service.
fn lines(answers: &ServiceAnswers, now_s: u64) -> String {
    let mut lines = Vec::new();
    if answers.as_of_s.is_some() {
        lines.push(format!("{} answers {}", printable(&answers.node), age(answers, now_s)));
    }
    for (service, instances) in &answers.services {
        let each = instances.iter().map(|one| {
            let (instance, machine) = (printable(&one.instance), printable(&one.machine_name));
            format!("{instance} on {machine} ({})", printable(&one.addresses.join(" ")))
        });
        let each = each.collect::<Vec<_>>().join(", ");
        let each = if each.is_empty() { "no instance is ready".to_owned() } else { each };
        lines.push(format!("{}: {each}", printable(service)));
    }
    if lines.is_empty() {
        lines.push("no services".to_owned());
    }
    lines.join("\n")
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), OutputError> {
    let attempt = |out: &mut dyn Write| -> io::Result<()> {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    };
    attempt(out).map_err(|source| OutputError::Write { source })
}

/// A line for each instance that serves.
fn table(services: &[ServiceInstance]) -> String {
    let rows: Vec<[String; 6]> = services
        .iter()
        .map(|one| {
            [
                one.service.clone(),
                one.instance.clone(),
                one.machine_name.clone(),
                one.addresses.join(" "),
                one.ports.join(" "),
                if one.ready { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no services: every unit of the cluster that runs is one".to_owned();
    }
    columns(["SERVICE", "INSTANCE", "MACHINE", "ADDRESS", "PORTS", "READY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_line_and_old_answers_say_so() {
        let instance = ServiceInstance {
            service: "web".to_owned(),
            instance: "web@1".to_owned(),
            machine: "a".repeat(32),
            machine_name: "dev-1\u{1b}[2J".to_owned(),
            addresses: vec!["10.112.1.2".to_owned(), "fd00::2".to_owned()],
            ports: Vec::new(),
            ready: true,
        };
        let mut answers = ServiceAnswers {
            node: "dev-2".to_owned(),
            as_of_s: None,
            services: [("db".to_owned(), Vec::new()), ("web".to_owned(), vec![instance])].into(),
        };
        let said = lines(&answers, 100);
        assert!(said.starts_with("db: no instance is ready\nweb: web@1 on dev-1"), "{said}");
        assert!(said.ends_with("(10.112.1.2 fd00::2)") && !said.contains('\u{1b}'), "{said}");
        answers.as_of_s = Some(35);
        let said = lines(&answers, 100);
        assert!(said.starts_with("dev-2 answers what it heard last, 1m 5s ago\n"), "{said}");
        answers.services.clear();
        answers.as_of_s = None;
        assert_eq!(lines(&answers, 100), "no services");
        assert_eq!(text(&answers, Format::Json, 0).unwrap(), r#"{"node":"dev-2","services":{}}"#);
    }
}
