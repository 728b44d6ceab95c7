//! A node of a scenario: a machine in QEMU with a disk of its own, and the `ferrite` command that talks to it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ferrite_ctl::context::{Context, Store};
use ferrite_ctl::pki;
use ferrite_schema::names;
use ferrite_vm::console::{Console, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::disk::{Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Card, Clock, FwCfg, Lifetime, Machine, Timing};
use ferrite_vm::running::Running;
use serde_json::{Value, json};

use crate::images::{self, Kind};
use crate::programs::{artifacts, program, said, succeed};
use crate::turnstile::{self, Place};

/// Longest that a boot may take on a busy machine without KVM.
pub const BOOT: Duration = Duration::from_secs(180);
/// Longest that anything after a boot may take.
pub const SOON: Duration = Duration::from_secs(90);

/// What PID 1 says when the node is ready.
pub const READY: &str = "ferrite-init: ready";
/// What PID 1 says first.
pub const PID1: &str = "ferrite-init: pid1";

const PROBE_PORT: u16 = 7444;
/// What the kernel calls a file that is not there.
const ABSENT: &str = "No such file or directory";
const CONTEXT: &str = "node";
/// Lines of the console that a failure shows.
const TAIL_LINES: usize = 60;

/// A node. Dropping it ends its machine, and fails the scenario where the console tells of trouble.
#[derive(Debug)]
pub struct Node {
    /// The machine; what is changed here holds from the next boot on.
    pub machine: Machine,
    /// Parts of console lines that look like trouble and are none in this scenario.
    pub expected: Vec<&'static str>,
    host: Host,
    running: Option<Running>,
    console: Console,
    _place: Place,
}

impl Node {
    /// A node for the scenario `name`, which boots `kind` directly from a copy of its disk. Off.
    ///
    /// # Errors
    /// The image cannot be built or QEMU is missing.
    pub fn new(name: &str, kind: Kind) -> Result<Self> {
        let image = images::image(kind)?;
        let place = turnstile::enter();
        let directory = artifacts()?.join(name);
        if directory.exists() {
            #[expect(clippy::disallowed_methods, reason = "the harness's own folder on the host")]
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).arg(image.join("disk.raw"));
        succeed(copy.arg(directory.join("disk.raw")))?;
        let node = Self {
            machine: machine(&image, &directory)?,
            expected: Vec::new(),
            host: Host::probe()?,
            running: None,
            console: Console::open(&ferrite_vm::running::serial_log(&directory))?,
            _place: place,
        };
        node.write_credentials()?;
        Ok(node)
    }

    /// Its disk, a raw image. Not to be touched while the node runs.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.machine.directory.join("disk.raw")
    }

    /// Words at the end of the kernel's command line (direct boot only).
    pub fn append(&mut self, words: &str) {
        if let Boot::Direct { command_line, .. } = &mut self.machine.boot {
            command_line.push(' ');
            command_line.push_str(words);
        }
    }

    /// Says what the probe does in the agent's place, in images that have it there: `exit 3`, `hang`, …
    ///
    /// # Errors
    /// The words cannot be written.
    pub fn agent_does(&mut self, words: &str) -> Result<()> {
        let file = self.machine.directory.join("probe-words");
        fs::write(&file, words)?;
        self.machine.fw_cfg.push(FwCfg { name: "opt/org.ferrite.probe/words".to_owned(), file });
        Ok(())
    }

    /// Switches the power on.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the node runs already");
        let mut running = Running::start(&self.machine, &self.host)?;
        if self.machine.network == Card::User {
            self.write_context(running.forwarded_port(names::API_PORT)?)?;
        }
        self.running = Some(running);
        Ok(())
    }

    /// Plugs in the machine's disk number `index`, one of those that come later.
    ///
    /// # Errors
    /// There is none of that number, the node is off, or QEMU refuses.
    pub fn plug(&mut self, index: usize) -> Result<()> {
        let disk = self.machine.disks.get(index).context("find the disk")?.clone();
        Ok(self.running()?.plug(&disk, index)?)
    }

    /// Switches the power on and waits until the node is ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn boot(&mut self) -> Result<()> {
        self.power_on()?;
        self.wait_for(READY, BOOT).map(drop)
    }

    /// Waits for a console line that contains `pattern`, from where the last wait ended.
    ///
    /// # Errors
    /// It does not come within `duration`.
    pub fn wait_for(&mut self, pattern: &str, duration: Duration) -> Result<String> {
        let deadline = Deadline::after(duration);
        let until = Until { deadline, machine: None, interrupt: None };
        Ok(self.console.wait_for(&[pattern], until)?.1)
    }

    /// Everything that the console said so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn console_text(&self) -> Result<String> {
        let bytes = fs::read(ferrite_vm::running::serial_log(&self.machine.directory))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The machine, which must run.
    ///
    /// # Errors
    /// It is off.
    pub fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("the node is off")
    }

    /// Has the machine's disk move so many bytes a second from now on, and take so many of them to be written; `None` is as
    /// many as it can.
    ///
    /// # Errors
    /// It does not run, or QEMU does not do it.
    pub fn disk_moves(&mut self, any: Option<u64>, written: Option<u64>) -> Result<()> {
        let limits = json!({
            "device": "disk0", "bps": any.unwrap_or(0), "bps_rd": 0, "bps_wr": written.unwrap_or(0),
            "iops": 0, "iops_rd": 0, "iops_wr": 0
        });
        self.running()?.qmp().execute("block_set_io_throttle", &limits)?;
        Ok(())
    }

    /// Cuts the power: QEMU is killed.
    ///
    /// # Errors
    /// It is off, or survives.
    pub fn cut(&mut self) -> Result<()> {
        self.running()?.cut()?;
        self.running = None;
        Ok(())
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// It does not within `duration`.
    pub fn wait_off(&mut self, duration: Duration) -> Result<()> {
        self.running()?.wait_end(Deadline::after(duration))?;
        self.running = None;
        Ok(())
    }

    /// Runs `ferrite` for this node; it must succeed. Returns its standard output.
    ///
    /// # Errors
    /// It fails: the error has everything that it said.
    pub fn ferrite(&self, words: &[&str]) -> Result<String> {
        let output = self.ferrite_output(words)?;
        ensure!(
            output.status.success(),
            "ferrite {words:?} ended with {}:\n{}",
            output.status,
            said(&output)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ferrite` for this node, however it ends.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn ferrite_output(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("ferrite")?);
        command.env("XDG_CONFIG_HOME", &self.machine.directory).env("FERRITE_CONTEXT", CONTEXT);
        command.args(words).current_dir(&self.machine.directory);
        command.output().with_context(|| format!("run ferrite {words:?}"))
    }

    /// Runs `ferrite … -o json` and understands its answer.
    ///
    /// # Errors
    /// It fails or answers otherwise.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let text = self.ferrite(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("understand {text:?}"))
    }

    /// What the API answers to `GET path`, byte for byte, as `curl` sees it.
    ///
    /// # Errors
    /// It answers with an error, or not at all.
    pub fn get(&self, path: &str) -> Result<String> {
        self.curl(&["--fail-with-body"], path)
    }

    /// What the API answers to `curl` with these options, whatever it is.
    ///
    /// # Errors
    /// It does not answer.
    pub fn curl(&self, options: &[&str], path: &str) -> Result<String> {
        let [ca, certificate, key] = self.credentials()?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60"]).args(options);
        curl.arg("--cacert").arg(ca).arg("--cert").arg(certificate).arg("--key").arg(key);
        succeed(curl.arg(format!("{}{path}", self.endpoint()?)))
    }

    /// Where the API is.
    ///
    /// # Errors
    /// The context cannot be read.
    pub fn endpoint(&self) -> Result<String> {
        Ok(Store::at(self.machine.directory.join("ferrite")).load(CONTEXT)?.endpoint)
    }

    /// Files with the authority, the operator's certificate and its key, for other people's programs.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn credentials(&self) -> Result<[PathBuf; 3]> {
        let context = Store::at(self.machine.directory.join("ferrite")).load(CONTEXT)?;
        let texts = [("ca", context.ca), ("cert", context.certificate), ("key", context.key)];
        let files = texts.map(|(name, text)| {
            let file = self.machine.directory.join(format!("operator-{name}.pem"));
            fs::write(&file, text).map(|()| file)
        });
        let [ca, certificate, key] = files;
        Ok([ca?, certificate?, key?])
    }

    /// A connection to the API's port, on which nothing was said yet.
    ///
    /// # Errors
    /// The node is off.
    pub fn connect(&self) -> Result<TcpStream> {
        let endpoint = self.endpoint()?;
        let address = endpoint.strip_prefix("https://").context("find the API's address")?;
        TcpStream::connect(address).context("reach the API's port")
    }

    /// Has the probe's server carry out `words` inside the guest (probed images only).
    ///
    /// # Errors
    /// There is no server, or it could not: the error has what it said.
    pub fn probe(&mut self, words: &[&str]) -> Result<Value> {
        self.probe_within(words, SOON)
    }

    /// Whether the guest has no file of that name. What else may go wrong is an error: a probe that does not answer has
    /// shown nothing.
    ///
    /// # Errors
    /// There is no server, or it cannot look.
    pub fn is_absent(&mut self, path: &str) -> Result<bool> {
        match self.probe(&["read", path]) {
            Ok(_) => Ok(false),
            Err(error) if format!("{error:#}").contains(ABSENT) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Like [`Self::probe`], with a time limit of its own.
    ///
    /// # Errors
    /// See [`Self::probe`].
    pub fn probe_within(&mut self, words: &[&str], duration: Duration) -> Result<Value> {
        let port = self.running()?.forwarded_port(PROBE_PORT)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reach the probe")?;
        stream.set_read_timeout(Some(duration))?;
        writeln!(stream, "{}", serde_json::to_string(words)?)?;
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .with_context(|| format!("probe {words:?}"))?;
        let answer: Value =
            serde_json::from_str(&answer).with_context(|| format!("understand {answer:?}"))?;
        if let Some(trouble) = answer.get("trouble") {
            bail!("probe {words:?}: {trouble}");
        }
        Ok(answer)
    }

    /// Has the probe's server run something that answers in many lines.
    ///
    /// # Errors
    /// There is no server.
    pub fn probe_lines(
        &mut self,
        words: &[&str],
        duration: Duration,
    ) -> Result<BufReader<TcpStream>> {
        let port = self.running()?.forwarded_port(PROBE_PORT)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reach the probe")?;
        stream.set_read_timeout(Some(duration))?;
        writeln!(stream, "{}", serde_json::to_string(words)?)?;
        Ok(BufReader::new(stream))
    }

    fn write_credentials(&self) -> Result<()> {
        let directory = &self.machine.directory;
        let authority = pki::make_authority("test")?;
        let server = pki::make_server(&authority, "node")?;
        let client = pki::make_client(&authority, "tester")?;
        fs::write(directory.join("cloud-config"), cloud_config(&authority.identity, &server))?;
        Store::at(directory.join("ferrite")).save(&Context {
            name: CONTEXT.to_owned(),
            endpoint: String::new(),
            further: Vec::new(),
            ca: authority.identity.certificate,
            certificate: client.certificate,
            key: client.key,
            cluster: None,
        })?;
        Ok(())
    }

    fn write_context(&self, port: u16) -> Result<()> {
        let store = Store::at(self.machine.directory.join("ferrite"));
        let context = store.load(CONTEXT)?;
        Ok(store.save(&Context { endpoint: format!("https://127.0.0.1:{port}"), ..context })?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running = None;
        let tail = self.console.tail(TAIL_LINES).unwrap_or_else(|error| error.to_string());
        if std::thread::panicking() {
            show(&self.machine.directory, &tail);
            return;
        }
        let problems = self.console.problems(&self.expected);
        let found = problems
            .map(|problems| problems.iter().map(|problem| format!("{problem:?}")).collect());
        let found: Vec<String> = found.unwrap_or_else(|error| vec![error.to_string()]);
        if !found.is_empty() {
            show(&self.machine.directory, &tail);
            #[expect(clippy::panic, reason = "this is how a test fails")]
            {
                panic!("the console tells of trouble:\n{}", found.join("\n"));
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failure")]
fn show(directory: &Path, tail: &str) {
    eprintln!("--- console, end of {}/serial.log ---\n{tail}\n---", directory.display());
}

fn machine(image: &Path, directory: &Path) -> Result<Machine> {
    let command_line =
        fs::read_to_string(image.join("cmdline")).context("read the command line")?;
    Ok(Machine {
        name: "ferrite-test".to_owned(),
        directory: directory.to_owned(),
        cpus: 1,
        memory_mib: 512,
        boot: Boot::Direct {
            kernel: image.join(Boot::kernel_in(image)),
            initramfs: Some(image.join("initramfs")),
            command_line: command_line.trim().to_owned(),
        },
        disks: vec![Disk {
            path: directory.join("disk.raw"),
            format: Format::Raw,
            cache: Cache::Unsafe,
            bus: Bus::Virtio,
            sector_bytes: 512,
            plugged: Plugged::AtPowerOn,
        }],
        fw_cfg: vec![FwCfg {
            name: names::FW_CFG_CLOUD_CONFIG_NAME.to_owned(),
            file: directory.join("cloud-config"),
        }],
        network: Card::User,
        forwards: vec![names::API_PORT, PROBE_PORT],
        timing: Timing::Real,
        clock: Clock::Host,
        watchdog: true,
        screen: false,
        lifetime: Lifetime::Bound,
        extra_arguments: Vec::new(),
    })
}

/// A node's configuration with an API.
#[must_use]
pub fn cloud_config(authority: &pki::Identity, server: &pki::Identity) -> String {
    format!(
        "{}\nhostname = \"node\"\n\n[api]\nca = '''\n{}'''\ncertificate = '''\n{}'''\nkey = '''\n{}'''\n",
        ferrite_schema::node_config::MARKER,
        authority.certificate,
        server.certificate,
        server.key
    )
}
