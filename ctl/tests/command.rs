//! Runs the command as people do: what it answers, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "what a test needs may fail loudly")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ferrite_ctl::cli::BootMethod;
use ferrite_ctl::cluster::record::Record;
use ferrite_vm::process::Identity;
use ferrite_vm::switch::topology::Network;
use tempfile::TempDir;

/// A user without anything: no contexts, no keys.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        std::fs::write(self.home.path().join(name), content).unwrap();
        self.path(name)
    }

    fn runs(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ferrite"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs it, asserts the exit code, and returns standard output and standard error.
    fn ends(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.runs(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        (out, err)
    }

    /// Runs it and asserts that it ends with `code`, says `words` on standard error and nothing on standard
    /// output.
    fn fails(&self, arguments: &[&str], code: i32, words: &str) {
        let (out, err) = self.ends(arguments, code);
        assert!(err.contains(words), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
    }

    /// A context whose node does not exist.
    fn has_context(&self, endpoint: &str) {
        let folder = self.home.path().join(".config/ferrite/contexts");
        std::fs::create_dir_all(&folder).unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let text = format!(
            "name = \"dev\"\nendpoint = \"{endpoint}\"\nca = '''{certificate}'''\n\
             certificate = '''{certificate}'''\nkey = '''{key}'''\n"
        );
        std::fs::write(folder.join("dev.toml"), text).unwrap();
        self.ends(&["context", "use", "dev"], 0);
    }
}

#[test]
fn wrong_command_lines_end_with_2() {
    let user = User::new();
    for arguments in [
        &[][..],
        &["unit"],
        &["unit", "start"],
        &["unit", "strat", "hello"],
        &["import"],
        &["images", "remove"],
        &["images", "export", "x", "-f", "x.tar", "--format", "zip"],
        &["boot", "-o", "xml"],
        &["unit", "stop", "hello", "--timeout", "soon"],
        &["unit", "start", "x", "--no-wait", "--until", "ended"],
        &["image", "build", "--add", "relative=file"],
        &["completions", "tcl"],
        &["unit", "cp", "here", "there"],
        &["unit", "cp", "a:/b", "c:/d"],
        &["help", "nonsense"],
        &["context", "use", "nobody"],
        &["context", "use", "../../etc/passwd"],
        &["keys", "new", "a/b"],
        &["keys", "new", "development"],
        &["machine", "status"],
        &["--context", "nobody", "machine", "status"],
    ] {
        let output = user.runs(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_ne!(output.stderr, b"", "{arguments:?}");
    }
}

#[test]
fn help_is_there_for_every_command() {
    let user = User::new();
    let (out, _) = user.ends(&["--help"], 0);
    for command in [
        "image",
        "keys",
        "cluster",
        "config",
        "import",
        "images",
        "pull",
        "unit",
        "machine",
        "slot",
        "boot",
        "context",
        "completions",
    ] {
        assert!(out.contains(&format!("  {command} ")), "{out}");
        user.ends(&["help", command], 0);
        user.ends(&[command, "--help"], 0);
    }
    let (out, _) = user.ends(&["help", "exit-codes"], 0);
    assert_eq!(out.lines().filter(|line| line.starts_with("  ")).count(), 8, "{out}");
    for command in ["start", "logs", "exec", "attach", "cp"] {
        let (out, _) = user.ends(&["help", "unit", command], 0);
        assert!(out.contains("Examples:"), "{out}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (out, _) = User::new().ends(&["completions", shell], 0);
        assert!(out.contains("poweroff") && out.contains("mark-good"), "{shell}");
    }
}

#[test]
fn a_bad_unit_is_shown_with_its_place() {
    let user = User::new();
    let unit = user.file("hello.toml", "name = \"hello\"\nimage = \"x\"\nrestrat = \"never\"\n");
    let (_, err) = user.ends(&["unit", "verify", &unit], 3);
    assert!(err.contains("hello.toml:3:1: unknown field `restrat`"), "{err}");
    assert!(err.contains("unknown field `restrat`; did you mean `restart`?"), "{err}");
    assert!(err.contains("3 | restrat = \"never\"\n  | ^"), "{err}");
    // Found before a node is even looked for.
    user.fails(&["unit", "start", &unit], 3, "did you mean `restart`?");
}

#[test]
fn a_systemd_unit_becomes_a_file_that_verify_takes() {
    let user = User::new();
    let text = "[Service]\nExecStart=/usr/bin/docker run --rm -p 80:80 --dns 8.8.8.8 nginx\n[X-Fleet]\nMachineMetadata=a=b\n";
    let (unit, to) = (user.file("web.service", text), user.path("web.toml"));
    let (out, err) = user.ends(&["unit", "import", &unit], 0);
    assert!(out.starts_with("name = \"web\"\nimage = \"nginx\"\n"), "{out}");
    assert!(err.contains("web.service:2: not carried over: --dns 8.8.8.8: "), "{err}");
    let (out, _) = user.ends(&["unit", "import", &unit, "-f", &to], 0);
    assert_eq!(out, format!("{to}: written\n"));
    user.ends(&["unit", "verify", &to], 0);
    user.fails(&["unit", "import", &unit, "-f", &to], 1, "it exists already");
    user.ends(&["unit", "import", &unit, "--name", "other", "-f", &to, "--force"], 0);
    assert!(std::fs::read_to_string(&to).unwrap().starts_with("name = \"other\""));
    let (out, _) = user.ends(&["unit", "import", &unit, "-o", "json"], 0);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["unit"]["name"], &shown["findings"][0]["line"]), (&"web".into(), &2.into()));
    let bad = user.file("bad.service", "[Service]\nExecStart=/bin/node app.js\n");
    user.fails(&["unit", "import", &bad], 3, "bad.service:2:1: `node` runs on the machine itself");
    user.fails(&["unit", "import", "-"], 2, "--name");
    let announcer =
        "[Unit]\nBindsTo=web.service\n[Service]\nExecStart=/bin/sh -c 'etcdctl set /web x'\n";
    let announcer = user.file("announce.service", announcer);
    let (out, err) = user.ends(&["unit", "import", &announcer], 0);
    assert!(out.is_empty() && err.contains(":4: not needed: the whole unit: "), "{out}{err}");
    assert!(err.contains("other units find `web` by its name"), "{err}");
}

#[test]
fn several_files_are_all_judged() {
    let user = User::new();
    let good = user.file("good.toml", "#cloud-config\nhostname = \"a\"\n");
    let bad = user.file("bad.toml", "hostname = \"a\"\n");
    let worse = user.file("worse.toml", "#cloud-config\nhostnam = \"a\"\n");
    let (out, err) = user.ends(&["config", "validate", &good, &bad, &worse], 3);
    assert_eq!(out, format!("{good}: valid\n"));
    assert!(err.contains("bad.toml:1:1") && err.contains("worse.toml:2:1"), "{err}");
    assert!(err.contains("2 of 3 files are not valid"), "{err}");
    let (out, _) = user.ends(&["config", "validate", &good, &worse, "-o", "json"], 3);
    let verdicts: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(verdicts[0]["valid"], true);
    assert_eq!((&verdicts[1]["line"], &verdicts[1]["column"]), (&2.into(), &1.into()));
}

#[test]
fn a_new_cluster_is_made_whole_and_never_replaces_anything() {
    let user = User::new();
    let new = |name: &str, more: &[&str], code: i32| {
        let first = ["config", "new", "--cluster", name, "--nodes", "2", "--join", "10.0.0.1"];
        user.ends(&[&first[..], more].concat(), code)
    };
    let (out, _) = new("dev", &["--members", "1"], 0);
    for said in [
        "dev/root.key: the root's key",
        "dev/dev-1.toml: for node dev-1 alone (may become",
        "delete them",
    ] {
        assert!(out.contains(said), "{out}");
    }
    user.ends(
        &["config", "validate", &user.path("dev/dev-1.toml"), &user.path("dev/dev-2.toml")],
        0,
    );
    let (out, _) = user.ends(&["context", "list"], 0);
    assert!(out.contains("dev") && out.contains("https://10.0.0.1:7443"), "{out}");
    let key = std::fs::read(user.path("dev/root.key")).unwrap();
    let (_, err) = new("dev", &[], 1);
    assert!(err.contains("there is one already") && err.contains("another name"), "{err}");
    let (_, err) = new("prod", &[&user.path("dev")], 1);
    assert!(err.contains("it exists already") && err.contains("name another folder"), "{err}");
    assert_eq!(std::fs::read(user.path("dev/root.key")).unwrap(), key);
    assert!(!Path::new(&user.path(".config/ferrite/contexts/prod.toml")).exists());
    let (out, _) = new("prod", &["-o", "json"], 0);
    assert!(out.contains("\"may_become_member\": true") && !out.contains("PRIVATE"), "{out}");
}

#[test]
fn what_makes_no_cluster_is_a_wrong_command_line() {
    let user = User::new();
    for (arguments, words) in [
        (&["--cluster", "Dev", "--nodes", "3"][..], "use lower-case letters"),
        (&["--cluster", "dev"], "--nodes"),
        (&["--cluster", "dev", "--nodes", "0"], "1 to 100"),
        (&["--cluster", "dev", "--nodes", "3", "--members", "4"], "not more than there are"),
        (&["--cluster", "dev", "--nodes", "3", "--join", "10.0.514"], "is no address"),
        (&["--cluster", "dev", "--nodes", "3", "--hostname", "a"], "cannot be used with"),
        (&["--nodes", "3"], "--cluster"),
    ] {
        user.fails(&[&["config", "new"], arguments].concat(), 2, words);
    }
    assert_eq!(std::fs::read_dir(user.home.path()).unwrap().count(), 0);
}

#[test]
fn what_would_change_nothing_of_a_cluster_that_is_there_is_refused() {
    let user = User::new();
    let cluster = user.home.path().join(".local/share/ferrite/clusters/dev");
    std::fs::create_dir_all(cluster.join("dev-2")).unwrap();
    let founded = cluster.join("founded").display().to_string();
    let founds = ["config", "new", "--cluster", "dev", "--nodes", "3", "--members", "2"];
    user.ends(&[&founds[..], &["--join", "10.0.0.1", &founded]].concat(), 0);
    let nodes = ["dev-1", "dev-2", "dev-3"];
    let record = Record {
        name: "dev".to_owned(),
        nodes: nodes.map(str::to_owned).to_vec(),
        image: "gone".into(),
        boot: BootMethod::Direct,
        cpus: 1,
        memory_mib: 512,
        network: Some(Network::of(&nodes, 1)),
        published: Vec::new(),
    };
    std::fs::write(cluster.join("cluster.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    let members = ["cluster", "up", "--nodes", "3", "--members"];
    for words in ["nodes that may run etcd: it is 2", "`ferrite etcd members --target N`"] {
        user.fails(&[&members[..], &["3"]].concat(), 2, words);
    }
    for network in [&["--ipv6-only"][..], &["--transport", "routes"]] {
        let words = [&["cluster", "up", "--nodes", "3"], network].concat();
        user.fails(&words, 2, "it is chosen when the cluster is made");
    }
    // This process stands for the machine of one of them.
    let here = Identity::of(std::process::id().try_into().unwrap()).unwrap();
    std::fs::write(cluster.join("dev-2/pid"), here.to_text()).unwrap();
    let clock = ["--clock", "2031-01-01T00:00:00"];
    for (arguments, words) in [
        (&["cluster", "up"][..], "dev-2 is on, and a clock is set when"),
        (&["cluster", "up"], "`ferrite cluster down dev` first"),
        (&["cluster", "up", "dev-2"], "`ferrite cluster down dev-2` first"),
        // So many may run it already: that is no reason.
        (&[&members[..], &["2"]].concat(), "set the clock of \"dev\""),
    ] {
        user.fails(&[arguments, &clock].concat(), 2, words);
    }
}

#[test]
fn a_new_config_is_valid_and_never_replaces_a_file() {
    let user = User::new();
    let path = user.path("node.toml");
    user.ends(&["config", "new", "--hostname", "web-1", &path], 0);
    user.ends(&["config", "validate", &path], 0);
    user.fails(&["config", "new", &path], 1, "it exists already");
    user.ends(&["config", "new", "--force", &path], 0);
    user.fails(&["config", "new", &user.path("no/folder/x.toml")], 1, "No such file");
}

#[test]
fn what_is_no_image_is_refused() {
    let user = User::new();
    let text = user.file("text.raw", "this is not a disk");
    let empty = user.file("empty.raw", "");
    let absent = user.path("absent.raw");
    for command in ["inspect", "verify"] {
        for file in [&text, &empty, &absent] {
            user.fails(&["image", command, file], 3, "error: ");
        }
    }
    for (file, words) in [
        (&text, "it is not a tar archive"),
        (&empty, "it is not a tar archive"),
        (&absent, "No such file"),
        (&user.path("."), "it is a folder"),
    ] {
        user.fails(&["import", file, "--name", "x"], 3, words);
    }
}

#[test]
fn an_image_is_not_built_without_its_programs() {
    let user = User::new();
    let arguments = ["image", "build", "--binaries", "nowhere", "--out", "image"];
    user.fails(&arguments, 6, "find the program nowhere/ferrite-init");
    assert!(!Path::new(&user.path("image")).exists(), "nothing is left behind");
}

#[test]
fn a_new_key_is_listed_and_never_replaced() {
    let user = User::new();
    user.ends(&["keys", "new", "release"], 0);
    let (out, _) = user.ends(&["keys", "list", "-o", "json"], 0);
    let keys: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(keys[0]["name"], "release");
    assert_eq!(keys[0]["public"].as_str().unwrap().len(), 64);
    user.fails(&["keys", "new", "release"], 1, "exists already");
    let text = user.file("bad.pub", "not a key");
    user.fails(&["image", "inspect", "x", "--trust", &text], 3, "64 hexadecimal digits");
}

#[test]
fn a_node_that_does_not_run_is_told_from_one_that_is_not_known() {
    let user = User::new();
    user.fails(&["machine", "status"], 2, "`ferrite cluster up` starts a node");
    // Port 9 of this computer: nobody listens there.
    user.has_context("https://127.0.0.1:9");
    user.fails(&["machine", "status"], 5, "`ferrite cluster up` starts it");
    for arguments in [&["unit", "list"][..], &["images"], &["boot"], &["slot", "status"]] {
        user.fails(arguments, 5, "connect to node \"dev\" at 127.0.0.1:9");
    }
    let (out, _) = user.ends(&["context", "list", "-o", "yaml"], 0);
    assert!(out.contains("name: dev") && out.contains("current: true"), "{out}");
    assert!(!out.contains("PRIVATE"), "a key is never shown");
}

#[test]
fn a_damaged_context_is_not_valid() {
    let user = User::new();
    user.has_context("http://127.0.0.1:9");
    user.fails(&["machine", "status"], 3, "it must look like https://HOST:PORT");
    user.file(".config/ferrite/contexts/dev.toml", "name = 1\n");
    user.fails(&["machine", "status"], 3, "line 1, column 8");
}
