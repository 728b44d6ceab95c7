//! The container's program: where it is looked for, how it is executed, and why it is not. The kernel decides all three;
//! what is here only asks it early enough to tell a person.

mod needs;
mod reason;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use ferrite_sys::execute::Execution;
use ferrite_sys::reaper::{self, Reaper};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::seccomp::{Program, ProgramProblem};

pub(crate) use reason::{Speaker, channel};

/// Where programs are looked for without a `PATH`, as the C library does.
const SYSTEM_PATH: &str = "/bin:/usr/bin";

/// A program is not executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unexecuted {
    #[error("start nothing: no program was named")]
    Unnamed,
    #[error("start {program}: word {number} of the command holds a NUL character")]
    Word { program: String, number: usize },
    #[error("set variable {number} of the environment: it has no name before its `=`")]
    Nameless { number: usize },
    #[error("set {name:?} in the environment: it holds a NUL character")]
    Variable { name: String },
    #[error("find {program}: there is no such program in any folder of PATH ({path})")]
    Absent { program: String, path: String },
    #[error("start {path}{need}")]
    Refused { path: String, need: String, source: io::Error },
    #[error(transparent)]
    Filter(#[from] ProgramProblem),
    #[error("start the program beside an init")]
    Init(#[source] io::Error),
}

/// A program as a person names it, and the names under which the kernel is to look for it.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    words: &'a [String],
    program: &'a str,
    path: String,
    candidates: Vec<String>,
}

impl<'a> Command<'a> {
    /// The program that `words` begin with: at its path where the word is one, else in each folder of the environment's
    /// `PATH`.
    pub(crate) fn new(words: &'a [String], environment: &[String]) -> Result<Self, Unexecuted> {
        let program = words.first().filter(|word| !word.is_empty()).ok_or(Unexecuted::Unnamed)?;
        if let Some(index) = words.iter().position(|word| word.contains('\0')) {
            let program = program.replace('\0', "\\0");
            return Err(Unexecuted::Word { program, number: index + 1 });
        }
        let mut paths = environment.iter().filter_map(|pair| pair.strip_prefix("PATH="));
        let path = paths.next_back().unwrap_or(SYSTEM_PATH).to_owned();
        let candidates = candidates(program, &path);
        Ok(Self { words, program, path, candidates })
    }

    /// Asks the kernel whether the program could be executed by who asks.
    pub(crate) fn look(&self) -> Result<(), Unexecuted> {
        let mut refused: Option<(&String, Errno, bool)> = None;
        for candidate in &self.candidates {
            let Err(errno) = executable(candidate) else { return Ok(()) };
            // The first thing of that name, over a name that leads to nothing.
            let is_there = Path::new(candidate).exists();
            if refused.is_none_or(|(_, _, before)| is_there && !before) {
                refused = Some((candidate, errno, is_there));
            }
        }
        let (candidate, errno, _) = refused.ok_or(Unexecuted::Unnamed)?;
        Err(self.refused(Some(candidate), errno))
    }

    /// As the kernel takes it.
    pub(crate) fn execution(&self, environment: &[String]) -> Result<Execution, Unexecuted> {
        let text = |word: &String| CString::new(word.as_bytes());
        let list = |words: &[String]| words.iter().map(text).collect::<Result<Vec<_>, _>>();
        for (index, pair) in environment.iter().enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.is_empty() {
                return Err(Unexecuted::Nameless { number: index + 1 });
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(Unexecuted::Variable { name: name.to_owned() });
            }
        }
        let unnamed = |_nul| Unexecuted::Unnamed;
        Ok(Execution::new(
            list(&self.candidates).map_err(unnamed)?,
            list(self.words).map_err(unnamed)?,
            list(environment).map_err(unnamed)?,
        ))
    }

    /// What a person is told of the kernel's reason; where it is not known which candidate it is about, of the first
    /// that is there.
    pub(crate) fn refused(&self, candidate: Option<&str>, errno: Errno) -> Unexecuted {
        let exists = |path: &&str| Path::new(path).exists();
        let there = || self.candidates.iter().map(String::as_str).find(exists);
        let named = candidate.filter(exists).or_else(there);
        if named.is_none() && !self.program.contains('/') {
            return Unexecuted::Absent {
                program: self.program.to_owned(),
                path: self.path.clone(),
            };
        }
        let path = named.unwrap_or(self.program).to_owned();
        let need = needs::of(Path::new(&path), errno);
        Unexecuted::Refused { path, need, source: errno.into() }
    }
}

fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    // An empty entry is the working directory.
    let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
    folders.map(|folder| format!("{}/{program}", folder.trim_end_matches('/'))).collect()
}

/// The kernel lets this process execute that file.
fn executable(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile => rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
        _ => Err(Errno::ACCESS),
    }
}

/// Pairs of an environment by their names, in the order in which these come first; the last of several counts.
pub(crate) fn environment<'a>(pairs: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = format!("{name}={value}");
        match places.get(name).and_then(|place| found.get_mut(*place)) {
            Some(slot) => *slot = text,
            None => {
                places.insert(name, found.len());
                found.push(text);
            }
        }
    }
    found
}

/// What a container's process does at last: behind its filter, where it has one, it executes its program, or has a child do that
/// and becomes its init.
#[derive(Clone)]
pub(crate) struct Workload {
    filter: Option<Program>,
    init: Option<Rc<Reaper>>,
    /// To whom made the container, if it listens.
    said: Option<Speaker>,
    /// What libcontainer adds to the specification's environment.
    added: RefCell<Vec<String>>,
}

impl Workload {
    pub(crate) fn new(filter: Option<Program>, said: Option<Speaker>) -> Self {
        Self { filter, init: None, said, added: RefCell::default() }
    }

    /// The same with an init for the program.
    pub(crate) fn below(self, init: Option<Reaper>) -> Self {
        Self { init: init.map(Rc::new), ..self }
    }

    fn environment(&self, process: &Process) -> Vec<String> {
        let own = process.env().as_deref().unwrap_or_default();
        environment(own.iter().chain(self.added.borrow().iter()))
    }

    fn look(&self, spec: &Spec) -> Result<(), Unexecuted> {
        let Some(process) = spec.process() else { return Ok(()) };
        let Some(words) = process.args().as_deref() else { return Ok(()) };
        let environment = self.environment(process);
        let command = Command::new(words, &environment)?;
        command.execution(&environment)?;
        command.look()
    }

    /// Comes back only where it does not work.
    fn execute(&self, spec: &Spec) -> Result<(), Unexecuted> {
        let process = spec.process().as_ref().ok_or(Unexecuted::Unnamed)?;
        let environment = self.environment(process);
        let words = process.args().as_deref().unwrap_or_default();
        let command = Command::new(words, &environment)?;
        let execution = command.execution(&environment)?;
        if let Some(filter) = &self.filter {
            filter.install()?;
        }
        if let Some(init) = &self.init {
            reaper::leave_to(init).map_err(|errno| Unexecuted::Init(errno.into()))?;
        }
        let refused = execution.execute();
        let candidate = refused.candidate.and_then(|path| path.to_str().ok());
        Err(command.refused(candidate, refused.errno))
    }
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        self.execute(spec).map_err(|problem| {
            let reason = ferrite_schema::chain(&problem);
            if !self.said.as_ref().is_some_and(|said| said.say(&reason)) {
                // Whoever made the container no longer listens; what is left to write to is the container's own.
                drop(writeln!(io::stderr(), "not started: {reason}"));
            }
            ExecutorError::Execution(Box::new(problem))
        })
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.look(spec).map_err(|problem| {
            let reason = ferrite_schema::chain(&problem);
            // Listener by whoever makes the container, on whichever way it listens.
            tracing::error!("{reason}");
            if let Some(said) = &self.said {
                said.say(&reason);
            }
            ExecutorValidationError::ArgValidationError(reason)
        })
    }

    /// The environment is given to the kernel as it is specified: this process keeps its own.
    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let sorted: BTreeMap<String, String> = envs.into_iter().collect();
        let pairs = sorted.into_iter().map(|(name, value)| format!("{name}={value}"));
        *self.added.borrow_mut() = pairs.collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
