//! Debian's real etcd, as members run it: fetched as image builds fetch it, run through its own loader, without any port.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ferrite_cluster::store::{Etcd, Maintenance};
use ferrite_image::packages::cache::Cache;
use ferrite_image::packages::{PackageStore, Wanted};
use ferrite_image::progress::Silent;
use tempfile::TempDir;

/// Longest that etcd may take to be ready on a busy computer.
const PATIENCE: Duration = Duration::from_secs(120);
/// What etcd says when it is.
const READY: &str = "ready to serve client requests";
/// Lines of its log that a failure shows.
const SHOWN_LINES: usize = 20;
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// An etcd that runs until it is dropped.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
}

/// Folders of the packages that the image takes etcd from.
fn packages() -> (PathBuf, PathBuf) {
    let store = PackageStore { cache: Cache::of_user().unwrap(), mirrors: None, refresh: false };
    let names = ["etcd-server", "libc6"];
    let wanted = Wanted {
        exact: names.map(str::to_owned).into(),
        with_dependencies: BTreeSet::new(),
        kernels: BTreeSet::new(),
    };
    let resolved = store.obtain(&wanted, &mut Silent).unwrap();
    let [etcd, libc] = names.map(|name| {
        let package = resolved.packages.iter().find(|package| package.name == name).unwrap();
        store.unpacked(package).unwrap()
    });
    (etcd, libc)
}

/// Starts an etcd on what is in a folder, and waits until it serves.
fn begin(folder: &TempDir, more: &[&str]) -> Child {
    let (etcd, libc) = packages();
    let libraries = libc.join(LIBRARIES);
    // It ends with this thread, however that ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command.arg(libraries.join("ld-linux-x86-64.so.2")).arg("--library-path").arg(&libraries);
    command.arg(etcd.join("usr/bin/etcd")).current_dir(folder.path()).env_clear();
    command.env("PATH", "/usr/bin:/bin");
    let socket = format!("unix://{}", folder.path().join("etcd.sock").display());
    let flags = [
        ("--name", "alone"),
        ("--data-dir", "data"),
        ("--listen-client-urls", socket.as_str()),
        // Nobody asks at these: etcd wants them written so. The listener for peers is a socket in this folder, too.
        ("--advertise-client-urls", "http://localhost:1"),
        ("--listen-peer-urls", "unix://peer:1"),
        ("--initial-advertise-peer-urls", "http://localhost:1"),
        ("--initial-cluster", "alone=http://localhost:1"),
    ];
    command.args(flags.iter().flat_map(|(flag, value)| [*flag, *value]));
    command.args(["--unsafe-no-fsync", "--enable-grpc-gateway=false"]).args(more);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let (said, hears) = mpsc::channel();
    // The log is read to its end, so that etcd never waits for a reader.
    std::thread::spawn(move || {
        let mut last = VecDeque::new();
        for line in log.lines().map_while(Result::ok) {
            if line.contains(READY) {
                drop(said.send(Ok(())));
            }
            last.push_back(line);
            if last.len() > SHOWN_LINES {
                last.pop_front();
            }
        }
        drop(said.send(Err(Vec::from(last).join("\n"))));
    });
    match hears.recv_timeout(PATIENCE) {
        Ok(Ok(())) => child,
        Ok(Err(log)) => panic!("etcd ended:\n{log}"),
        Err(_) => panic!("etcd is not ready after {PATIENCE:?}"),
    }
}

impl Running {
    /// Starts one, alone in its cluster, and waits until it serves.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Likewise, with more flags.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = begin(&folder, flags);
        Self { child, folder }
    }

    /// Ends it as a power cut does, and starts it again with these flags, too.
    pub(crate) fn start_again(&mut self, flags: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = begin(&self.folder, flags);
    }

    pub(crate) async fn store(&self) -> Etcd {
        Etcd::at(&self.folder.path().join("etcd.sock")).await.unwrap()
    }

    /// Makes it one of two voters, the other of which should be at `url`.
    pub(crate) async fn add_voter(&self, url: &str) {
        let socket = format!("unix://{}", self.folder.path().join("etcd.sock").display());
        let channel = tonic::transport::Endpoint::from_shared(socket).unwrap().connect_lazy();
        let channel = etcd_client::Channel::Tonic(channel);
        let mut client = etcd_client::Client::from_channel(channel, None).await.unwrap();
        client.member_add([url], None).await.unwrap();
    }

    pub(crate) async fn maintenance(&self) -> Maintenance {
        Maintenance::at(&self.folder.path().join("etcd.sock")).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
