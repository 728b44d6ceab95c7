//! The making of a container.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ferrite_files::removal;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::arguments::{Arguments, Usage};
use super::containers::{COMPLETED, is_plain, remove};
use super::problem::VerbProblem;
use super::{devices, specification};
use crate::limits::allow_specified;
use crate::seccomp::Program;
use crate::workload::Workload;

/// Folder of compiled filters of system calls.
pub(super) const FILTERS: &str = ".filters";

/// How a container is to be made.
#[derive(Default)]
pub(super) struct Create {
    bundle: PathBuf,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    no_pivot: bool,
    preserve_fds: i32,
    pub(super) detach: bool,
    pub(super) keep: bool,
}

/// What a command line asks for, and the container's name.
pub(super) fn parse(arguments: &mut Arguments) -> Result<(Create, String), Usage> {
    let mut create = Create { bundle: ".".into(), ..Create::default() };
    let mut id = None;
    loop {
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "-b" | "--bundle" => create.bundle = arguments.value(&option)?.into(),
                "--console-socket" => create.console = Some(arguments.value(&option)?.into()),
                "--pid-file" => create.pid_file = Some(arguments.value(&option)?.into()),
                "--preserve-fds" => create.preserve_fds = arguments.number(&option)?,
                "--no-pivot" => create.no_pivot = true,
                "-d" | "--detach" => create.detach = true,
                "--keep" => create.keep = true,
                "--no-new-keyring" | "--no-subreaper" => {}
                _ => return Err(Usage::UnknownOption { option }),
            }
        }
        match (arguments.optional_word(), &id) {
            (Some(word), None) => id = Some(word),
            (Some(word), Some(_)) => return Err(Usage::Invalid { what: "option", word }),
            (None, _) => break,
        }
    }
    let id = id.ok_or(Usage::Missing { what: "ID" })?;
    if is_plain(&id) { Ok((create, id)) } else { Err(Usage::Invalid { what: "ID", word: id }) }
}

/// Makes the container; its program waits to be started.
pub(super) fn make(
    create: &Create,
    root: &str,
    id: &str,
    detach: bool,
) -> Result<Container, VerbProblem> {
    let file = |path: &Path| {
        let path = path.to_owned();
        |source| VerbProblem::File { path, source }
    };
    private_folders(Path::new(root)).map_err(file(Path::new(root)))?;
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::Linux)
        .with_pid_file(create.pid_file.as_ref())?
        .with_console_socket(create.console.as_ref())
        .with_root_path(root)?
        .with_preserved_fds(create.preserve_fds)
        .validate_id()?;
    let bundle = fs::canonicalize(&create.bundle).map_err(file(&create.bundle))?;
    let completed = Path::new(root).join(COMPLETED).join(id);
    let spec = specification::complete(&bundle, id)?;
    let first = First::make(&completed)?;
    let mut alone = spec.clone();
    let filter = Program::take(&mut alone, &Path::new(root).join(FILTERS))?;
    alone.save(first.0.join("config.json"))?;
    if let Some(limits) = spec.process().as_ref().and_then(|process| process.rlimits().as_ref()) {
        // Within a user namespace it would be too late: root there may not raise them.
        allow_specified(limits)?;
    }
    let mut container = builder
        .with_executor(Workload::new(filter, None))
        .as_init(&first.0)
        .with_systemd(false)
        .with_detach(detach)
        .with_no_pivot(create.no_pivot)
        .build()?;
    container.state.bundle = bundle;
    let finish = || -> Result<(), VerbProblem> {
        container.save()?;
        spec.save(completed.join("config.json"))?;
        devices::enforce(&spec)?;
        Ok(())
    };
    if let Err(problem) = finish() {
        // Never run with less than was asked for.
        drop(remove(&mut container, root, true));
        return Err(problem);
    }
    Ok(container)
}

/// Makes folders that nobody else looks into: specifications may hold secrets.
fn private_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Folder with the specification of a container's first process, which installs its filter itself. Nobody else reads
/// it: until the whole one is written, nothing joins the container.
struct First(PathBuf);

impl First {
    fn make(completed: &Path) -> Result<Self, VerbProblem> {
        let path = completed.join(format!("first-{}", std::process::id()));
        match private_folders(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(VerbProblem::File { path, source }),
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // What is left goes with the container; where none was made, nothing is.
        drop(removal::remove(&self.0));
        drop(self.0.parent().map(fs::remove_dir));
    }
}
