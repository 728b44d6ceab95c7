//! Checks a Ferrite machine from the inside and answers in JSON. It runs as a container's entrypoint, or on the
//! node itself in the place of the agent.
//!
//! Responsible for: looking, misbehaving on request, saying what it saw.
//! Never does: judge. What is right is for the test on the host to say.

mod ambush;
mod attacks;
mod confinement;
mod filter;
mod identity;
mod kernel;
mod leaks;
mod load;
mod network;
mod orphans;
mod processes;
mod reach;
mod records;
mod requests;
mod root;
mod secrets;
mod serve;
mod stamp;
mod take;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::requests::Request;

/// Exit status of a probe that was called wrongly or could not look.
const TROUBLE: u8 = 99;

fn main() -> ExitCode {
    let arguments = requests::arguments();
    let outcome = requests::parse(&arguments).and_then(|request| run(&request));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let line = serde_json::json!({ "trouble": error.to_string(), "arguments": arguments });
            drop(writeln!(io::stderr(), "{line}"));
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(request: &Request) -> io::Result<ExitCode> {
    match request {
        Request::Identity => answer(&identity::look()?),
        Request::Confinement => answer(&confinement::look()?),
        Request::Open { path } => answer(&confinement::open(path)),
        Request::Hunt { enough, wanted, seen } => answer(&attacks::hunt(enough, wanted, seen)?),
        Request::Ambush { path } => ambush::lie(path),
        Request::Swap { folder, targets } => attacks::swap(folder, targets),
        Request::Kernel => answer(&kernel::look()?),
        Request::Leaks => answer(&leaks::look()?),
        Request::Processes => answer(&processes::look()?),
        Request::Ports => answer(&network::ports()?),
        Request::WriteRoot { path } => answer(&root::try_to_write(path)),
        Request::Executables { folder } => answer(&root::executables(folder)?),
        Request::Orphans { count, batch } => answer(&orphans::make(*count, *batch)?),
        Request::OrphanParent { count } => orphans::parent(*count),
        Request::Orphan => orphans::orphan(),
        Request::SyncWriter { folder } => records::write_forever(folder),
        Request::SyncCheck { folder } => answer(&records::check(folder)?),
        Request::Greet { port } => reach::greet(*port),
        Request::Reach { targets } => answer(&reach::reach(targets)),
        Request::Take { targets } => answer(&take::take(targets)?),
        Request::Traces => answer(&reach::traces()?),
        Request::Listen { port } => network::listen(*port),
        Request::Spew { count } => load::spew(*count),
        Request::IgnoreTerm => load::ignore_term(),
        Request::AwaitTerm { folder } => load::await_term(folder.as_deref()),
        Request::Hang => load::hang(),
        Request::Exit { code } => Ok(ExitCode::from(*code)),
        Request::Stamp { event } => stamp::stamp(event),
        Request::Beside { program } => serve::beside(program),
        Request::Secrets { folder, words } => answer(&secrets::look(folder, words)),
        Request::Serve => serve::serve(),
        Request::Kill { pid, signal } => answer(&serve::kill(*pid, *signal)?),
        Request::FreezeInit => answer(&serve::freeze_init()?),
        Request::PanicKernel => answer(&serve::panic_kernel()?),
        Request::SetClock { epoch_s } => answer(&serve::set_clock(*epoch_s)?),
        Request::List { folder } => answer(&serve::list(folder)?),
        Request::Read { path } => answer(&serve::read(path)?),
        Request::Write { path, text } => answer(&serve::write(path, text)?),
    }
}

/// Writes one JSON document as one line.
fn answer(value: &impl Serialize) -> io::Result<ExitCode> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
