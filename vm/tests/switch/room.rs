//! Rooms: network namespaces whose one network card hangs on the switch, through QEMU's own end of a cable. As
//! whoever runs the tests: in a user namespace.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use ferrite_vm::host::Host;

use ferrite_vm::switch::cable_socket;
use ferrite_vm::switch::topology::Network;

use super::wire::SOON;

/// Set in the test's second self, which runs in the namespaces.
const INSIDE: &str = "FERRITE_TEST_INSIDE";

/// Runs `test`, whose full name is `name`, as root of a user and a network namespace and the first process of its
/// own, in a process of its own: whatever it starts ends with it.
pub(crate) fn inside(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        test();
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child", "--mount-proc"]).arg(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", tools().display()));
    let output = command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

/// Where `scripts/checkers` puts the judges that are not installed: in cargo's target folder, four above the tests.
fn tools() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let tools = tests.ancestors().nth(4).unwrap().join("checkers/tools");
    assert!(tools.is_dir(), "{} is missing: scripts/checkers makes it", tools.display());
    tools
}

/// Runs a command that must succeed, and returns what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) struct Room {
    holder: Child,
    qemu: Child,
}

impl Room {
    /// A room whose `eth0` is the network card of a machine.
    pub(crate) fn new(network: &Network, folder: &Path, machine: &str) -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "ip link set lo up; echo there; exec sleep infinity"]);
        let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
        let mut there = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut there).unwrap();
        let mac = network.mac(network.port(machine).unwrap()).to_string();
        for words in [
            &["tuntap", "add", "dev", "eth0", "mode", "tap"][..],
            &["link", "set", "eth0", "address", &mac],
        ] {
            run(command(&holder, &[&["ip"], words].concat()).stdin(Stdio::null()));
        }
        let qemu = start_qemu(&holder, folder, machine);
        Self { holder, qemu }
    }

    /// Kills its QEMU, and starts another.
    pub(crate) fn restart(&mut self, folder: &Path, machine: &str) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
        self.qemu = start_qemu(&self.holder, folder, machine);
    }

    /// A command in it.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        command(&self.holder, words)
    }

    /// Runs a command in it that must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words))
    }

    /// Asks an address whether it is there, until it is: `ping` by itself gives up when nobody answers ARP for three
    /// seconds, which is not long for a computer that does much else.
    pub(crate) fn reaches(&self, address: &str, more: &[&str]) {
        let begin = Instant::now();
        let words = [&["ping", "-c", "1", "-W", "5"], more, &[address]].concat();
        loop {
            let output = self.try_run(&words);
            if output.status.success() {
                return;
            }
            assert!(begin.elapsed() < 2 * SOON, "{address} is not reached: {output:?}");
        }
    }

    /// Runs a command in it, however it ends.
    pub(crate) fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Puts its network card up, with the addresses that DHCP would give it.
    pub(crate) fn addressed(self, network: &Network, machine: &str) -> Self {
        let address = format!("{}/24", network.ipv4(network.port(machine).unwrap()));
        self.run(&["ip", "address", "add", &address, "dev", "eth0"]);
        self.run(&["ip", "link", "set", "eth0", "up"]);
        let gateway = network.ipv4(network.port("gateway").unwrap()).to_string();
        self.run(&["ip", "route", "add", "default", "via", &gateway]);
        self
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.holder] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn command(holder: &Child, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    let pid = holder.id().to_string();
    command.args(["--net", "--target", &pid, "--"]).args(words);
    command
}

/// No machine: only its network card's two backends, joined.
fn start_qemu(holder: &Child, folder: &Path, machine: &str) -> Child {
    let host = Host::probe().unwrap();
    let cable = format!(
        "stream,id=cable,server=off,addr.type=unix,addr.path={},{}",
        cable_socket(folder, machine).display(),
        host.version.reconnect_option()
    );
    let mut qemu = command(holder, &[host.qemu.to_str().unwrap()]);
    qemu.args(["-machine", "none", "-nodefaults", "-display", "none", "-netdev", &cable]);
    qemu.args(["-netdev", "tap,id=card,ifname=eth0,script=no,downscript=no,vnet_hdr=off"]);
    qemu.args(["-netdev", "hubport,id=hub0,hubid=0,netdev=cable"]);
    qemu.args(["-netdev", "hubport,id=hub1,hubid=0,netdev=card"]);
    qemu.spawn().unwrap()
}
