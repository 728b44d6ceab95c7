//! `ferrite context`.

use serde::Serialize;

use crate::cli::ContextCommand;
use crate::context::{self, Store};
use crate::failure::Failure;
use crate::output::columns;
use crate::session::Session;

/// A context without its secrets.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    endpoint: String,
    current: bool,
}

pub(super) fn run(command: &ContextCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = Store::of_user()?;
    match command {
        ContextCommand::List => {
            let rows = rows(&store)?;
            session.show(&rows, |rows| table(rows))
        }
        ContextCommand::Add { file, name } => {
            let mut context = context::read(file)?;
            if let Some(name) = name {
                context.name.clone_from(name);
            }
            store.save_new(&context)?;
            store.make_current(&context.name)?;
            session.say(&format!("ferrite talks to {} from now on", context.name))
        }
        ContextCommand::Use { name } => {
            store.make_current(name)?;
            session.say(&format!("ferrite talks to {name} from now on"))
        }
    }
}

fn rows(store: &Store) -> Result<Vec<Row>, Failure> {
    let current = store.current()?;
    let mut rows = Vec::new();
    for name in store.names()? {
        let context = store.load(&name)?;
        let current = current.as_deref() == Some(name.as_str());
        rows.push(Row { name, endpoint: context.endpoint, current });
    }
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no contexts yet: `ferrite cluster up` makes one".to_owned();
    }
    let rows: Vec<[String; 3]> = rows
        .iter()
        .map(|row| {
            let mark = if row.current { "*" } else { "" };
            [mark.to_owned(), row.name.clone(), row.endpoint.clone()]
        })
        .collect();
    columns(["", "NAME", "ENDPOINT"], &rows)
}
