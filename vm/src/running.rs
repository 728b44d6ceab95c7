//! A machine that runs: its QEMU is started, attached to, and ended here.
//!
//! QEMU connects to a socket of ours when it has set everything up (`starter.sock`), so that starting waits
//! for that event or for QEMU's end, whichever comes first, and never polls.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::arguments::{self, NETWORK, QMP_SOCKET, SERIAL_LOG, STARTER_SOCKET, UEFI_VARIABLES};
use crate::console::{Console, ConsoleError};
use crate::deadline::{Deadline, wait_readable};
use crate::disk::Disk;
use crate::host::{Host, HostError};
use crate::machine::{Boot, Lifetime, Machine};
use crate::process::{Identity, Process};
use crate::qmp::{Qmp, QmpError};

/// How long QEMU may take to set itself up; it takes 0.1 s on an idle host.
const SET_UP: Duration = Duration::from_secs(60);
/// How long another QMP client may keep us waiting.
const ATTACH: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed QEMU: it has gigabytes to give back.
const KILL: Duration = Duration::from_secs(60);

const PID_FILE: &str = "pid";
const QEMU_LOG: &str = "qemu.log";

/// Why a machine does not start or cannot be reached.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MachineError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("start machine {name}: it runs already (process {pid})")]
    AlreadyRunning { name: String, pid: i32 },
    #[error("prepare machine directory {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error("start {program}")]
    Spawn { program: String, source: io::Error },
    #[error("start machine {name}: QEMU ended at once and said: {message}")]
    Ended { name: String, message: String },
    #[error("start machine {name}: QEMU was not set up in time")]
    SetUp { name: String },
    #[error("talk to machine in {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("talk to the machine's QEMU")]
    Talk { source: QmpError },
    #[error("watch the machine's process")]
    Watch { source: io::Error },
    #[error("find the host port that leads to port {guest_port} of the guest")]
    FindForward { guest_port: u16 },
    #[error("wait for the machine's end: it still runs")]
    StillRunning,
}

/// A running machine. Dropping it kills a [`Lifetime::Bound`] one and leaves a detached one alone.
#[derive(Debug)]
pub struct Running {
    directory: PathBuf,
    process: Process,
    /// Set in the process that started it.
    child: Option<Child>,
    lifetime: Lifetime,
    qmp: Qmp,
}

impl Running {
    /// Starts `machine`. When this returns, QEMU has taken its ports and opened its disks, and the guest
    /// runs.
    ///
    /// # Errors
    /// It runs already, its directory cannot be used, or QEMU does not accept the description.
    pub fn start(machine: &Machine, host: &Host) -> Result<Self, MachineError> {
        let directory = &machine.directory;
        let prepare = |source| MachineError::Prepare { path: directory.clone(), source };
        if let Some(process) = Process::open_file(&directory.join(PID_FILE)).map_err(prepare)? {
            let pid = process.identity().pid;
            return Err(MachineError::AlreadyRunning { name: machine.name.clone(), pid });
        }
        let arguments = arguments::build(machine, host)?;
        let listener = prepare_directory(machine, host)?;
        let mut child = spawn(machine, host, &arguments)?;
        match set_up(machine, &listener, &child) {
            Ok((process, qmp)) => Ok(Self {
                directory: directory.clone(),
                process,
                child: Some(child),
                lifetime: machine.lifetime,
                qmp,
            }),
            Err(error) => {
                // Whatever is wrong with it, it must not stay behind.
                child.kill().and_then(|()| child.wait()).map_err(prepare)?;
                Err(error)
            }
        }
    }

    /// Takes hold of the detached machine in `directory`; `None` where none runs.
    ///
    /// # Errors
    /// It runs and does not answer.
    pub fn attach(directory: &Path) -> Result<Option<Self>, MachineError> {
        let Some(process) = find(directory)? else { return Ok(None) };
        let connect = |source| MachineError::Connect { path: directory.to_owned(), source };
        // Through a descriptor of the directory, since socket paths must be short.
        let handle = File::open(directory).map_err(connect)?;
        let stream = UnixStream::connect(short_path(&handle, QMP_SOCKET)).map_err(connect)?;
        let qmp = Qmp::negotiate(stream, Deadline::after(ATTACH))
            .map_err(|source| MachineError::Talk { source })?;
        let directory = directory.to_owned();
        Ok(Some(Self { directory, process, child: None, lifetime: Lifetime::Detached, qmp }))
    }

    /// Its QMP connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Its process: readable, for polling, once it has ended.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its serial console, from the first byte of the log on.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn console(&self) -> Result<Console, ConsoleError> {
        Console::open(&serial_log(&self.directory))
    }

    /// The host's port, on 127.0.0.1, that leads to the guest's.
    ///
    /// # Errors
    /// The machine was not described to forward it.
    pub fn forwarded_port(&mut self, guest_port: u16) -> Result<u16, MachineError> {
        let forwards = self.qmp.forwards().map_err(|source| MachineError::Talk { source })?;
        forwards
            .into_iter()
            .find_map(|(guest, host)| (guest == guest_port).then_some(host))
            .ok_or(MachineError::FindForward { guest_port })
    }

    /// Plugs the network cable in or pulls it out.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn set_network(&mut self, up: bool) -> Result<(), MachineError> {
        let link = serde_json::json!({"name": NETWORK, "up": up});
        self.qmp
            .execute("set_link", &link)
            .map(drop)
            .map_err(|source| MachineError::Talk { source })
    }

    /// Plugs in `disk`, number `index` of the machine's disks, which was described as [`Plugged::Later`].
    ///
    /// [`Plugged::Later`]: crate::disk::Plugged::Later
    ///
    /// # Errors
    /// QEMU refuses: it is there already, or its bus takes nothing at run time.
    pub fn plug(&mut self, disk: &Disk, index: usize) -> Result<(), MachineError> {
        let device = arguments::device(disk, index).into();
        self.qmp
            .execute("device_add", &device)
            .map(drop)
            .map_err(|source| MachineError::Talk { source })
    }

    /// Cuts the power: QEMU is killed at whatever instruction it is. Also the way to end a machine for
    /// good.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&mut self) -> Result<(), MachineError> {
        self.process.kill().map_err(|source| MachineError::Watch { source })?;
        self.wait_end(Deadline::after(KILL))
    }

    /// Waits until QEMU has ended.
    ///
    /// # Errors
    /// It still runs when the deadline passes.
    pub fn wait_end(&mut self, deadline: Deadline) -> Result<(), MachineError> {
        let watch = |source| MachineError::Watch { source };
        if !self.process.wait(deadline).map_err(watch)? {
            return Err(MachineError::StillRunning);
        }
        if let Some(child) = &mut self.child {
            child.wait().map_err(watch)?;
        }
        remove_file(&self.directory.join(PID_FILE)).map_err(watch)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Bound {
            // Nobody is left to tell; the kernel kills it as well when this thread ends.
            drop(self.cut());
        }
    }
}

/// The process of the machine in `directory`, without talking to it; `None` where none runs.
///
/// # Errors
/// Its pid file cannot be read.
pub fn find(directory: &Path) -> Result<Option<Process>, MachineError> {
    Process::open_file(&directory.join(PID_FILE))
        .map_err(|source| MachineError::Connect { path: directory.to_owned(), source })
}

/// The log of a machine's serial console.
#[must_use]
pub fn serial_log(directory: &Path) -> PathBuf {
    directory.join(SERIAL_LOG)
}

fn prepare_directory(machine: &Machine, host: &Host) -> Result<UnixListener, MachineError> {
    let directory = &machine.directory;
    let act = || -> io::Result<UnixListener> {
        for stale in [PID_FILE, QMP_SOCKET, STARTER_SOCKET] {
            remove_file(&directory.join(stale))?;
        }
        let handle = File::open(directory)?;
        UnixListener::bind(short_path(&handle, STARTER_SOCKET))
    };
    let prepare = |source| MachineError::Prepare { path: directory.clone(), source };
    let listener = act().map_err(prepare)?;
    let variables = directory.join(UEFI_VARIABLES);
    if machine.boot == Boot::Uefi && !variables.exists() {
        let template = fs::read(&host.firmware()?.variables).map_err(prepare)?;
        fs::write(&variables, template).map_err(prepare)?;
    }
    Ok(listener)
}

/// Starts QEMU through the one of util-linux's programs that gives it the right lifetime and then becomes
/// QEMU itself, so that the child's ID is QEMU's.
fn spawn(machine: &Machine, host: &Host, arguments: &[String]) -> Result<Child, MachineError> {
    let prepare = |source| MachineError::Prepare { path: machine.directory.clone(), source };
    let log = File::create(machine.directory.join(QEMU_LOG)).map_err(prepare)?;
    let mut command = match machine.lifetime {
        Lifetime::Detached => Command::new("setsid"),
        Lifetime::Bound => {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]);
            command
        }
    };
    command
        .arg(&host.qemu)
        .args(arguments)
        .current_dir(&machine.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|source| MachineError::Spawn { program, source })
}

fn set_up(
    machine: &Machine,
    listener: &UnixListener,
    child: &Child,
) -> Result<(Process, Qmp), MachineError> {
    let deadline = Deadline::after(SET_UP);
    let watch = |source| MachineError::Watch { source };
    let ended = || MachineError::Ended { name: machine.name.clone(), message: complaint(machine) };
    let set_up = || MachineError::SetUp { name: machine.name.clone() };
    // The child is ours and not yet waited for: its ID is taken even if it has ended.
    let pid = i32::try_from(child.id()).map_err(|error| watch(io::Error::other(error)))?;
    let identity = Identity::of(pid).map_err(watch)?;
    let process = Process::open(identity).map_err(watch)?.ok_or_else(ended)?;
    let pid_file = machine.directory.join(PID_FILE);
    fs::write(&pid_file, identity.to_text())
        .map_err(|source| MachineError::Prepare { path: pid_file, source })?;

    match wait_readable(&[listener.as_fd(), process.as_fd()], deadline).map_err(watch)? {
        Some(0) => {}
        Some(_) => return Err(ended()),
        None => return Err(set_up()),
    }
    let (stream, _) = listener.accept().map_err(watch)?;
    remove_file(&machine.directory.join(STARTER_SOCKET)).map_err(watch)?;
    match Qmp::negotiate(stream, deadline) {
        Ok(qmp) => Ok((process, qmp)),
        // Closed before it is negotiated: QEMU found something wrong late. Its complaint is complete only
        // once it has ended.
        Err(QmpError::Closed | QmpError::Talk { .. })
            if process.wait(deadline).map_err(watch)? =>
        {
            Err(ended())
        }
        Err(QmpError::Answer { .. }) => Err(set_up()),
        Err(source) => Err(MachineError::Talk { source }),
    }
}

fn complaint(machine: &Machine) -> String {
    let text = fs::read(machine.directory.join(QEMU_LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { "nothing".to_owned() } else { text }
}

fn short_path(directory: &File, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
