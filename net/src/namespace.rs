//! Tests that need a network of their own run in namespaces, as whoever runs them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// Set in the test's second self, which runs in the namespaces.
const INSIDE: &str = "FERRITE_TEST_INSIDE";

/// Runs `test`, whose full name is `name`, as root of a user and a network namespace and the first process of its
/// own, in a process of its own: whatever it starts ends with it.
pub(crate) fn inside(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return;
    }
    let name = name.trim_start_matches("ferrite_net::");
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child", "--mount-proc"]).arg(program);
    let output = command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

/// Another network namespace.
pub(crate) struct Room(Child);

impl Room {
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "echo there; exec sleep infinity"]);
        let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
        let mut there = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut there).unwrap();
        let room = Self(holder);
        room.ip("link set lo up");
        room
    }

    /// The process that holds it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A command in it.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.pid().to_string();
        command.args(["--net", "--target", &pid, "--"]).args(words);
        command
    }

    pub(crate) fn ip(&self, words: &str) {
        let words: Vec<&str> = ["ip"].into_iter().chain(words.split(' ')).collect();
        let output = self.command(&words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// Does something in it, on a thread of its own that sees its interfaces below `/sys` too.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let moved = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            setns(there, CloneFlags::CLONE_NEWNET).unwrap();
            show_interfaces();
            work()
        };
        std::thread::scope(|scope| scope.spawn(moved).join().unwrap())
    }

    /// Lays a cable from `here` in the test's network to `there` in this one, both up.
    pub(crate) fn cable(&self, here: &str, there: &str) {
        ip(&format!("link add {here} type veth peer name {there} netns {}", self.pid()));
        ip(&format!("link set {here} up"));
        self.ip(&format!("link set {there} up"));
    }
}

/// Lets `/sys` tell of the interfaces of this network namespace.
pub(crate) fn show_interfaces() {
    let mounted = Command::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]).status().unwrap();
    assert!(mounted.success());
}

/// Whether `address`, at the port behind a slash or else at 9, is reached from a room: there somebody refuses, at least.
pub(crate) fn reaches(room: &Room, address: &str) -> bool {
    let (address, port) = address.split_once('/').unwrap_or((address, "9"));
    let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
    let mut command = room.command(&["timeout", "3", "bash", "-c", &connect]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let nobody = output.status.code() == Some(124) || said.contains("No route to host");
    assert!(nobody || said.contains("refused"), "{said}");
    !nobody
}

/// Runs `ip` in the test's own network.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {words}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
