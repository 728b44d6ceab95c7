use proptest::prelude::*;

use super::*;

const HEAD: &str = "name = \"a\"\nimage = \"b\"\n";

fn check_text(text: &str, expected: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), expected);
}

/// The place, and words of the message.
fn refused(more: &str, line: usize, column: usize, words: &str) {
    let problem = parse(&format!("{HEAD}{more}\n")).unwrap_err();
    assert_eq!((problem.line, problem.column), (line + 2, column), "{more}: {problem}");
    assert!(problem.message.contains(words), "{more}: {problem}");
}

fn accepted(more: &str) -> Unit {
    parse(&format!("{HEAD}{more}\n")).unwrap_or_else(|problem| panic!("{more}: {problem}"))
}

#[test]
fn names_that_could_be_paths_are_refused_where_they_stand() {
    for name in ["", "..", "a/b", ".hidden", "a b", "@1", "a@b@c", &"a".repeat(65)] {
        let problem = parse(&format!("image = \"b\"\nname = \"{name}\"\n")).unwrap_err();
        assert_eq!((problem.line, problem.column), (2, 1), "{name}");
        assert!(problem.message.starts_with("name: use letters, digits"), "{problem}");
    }
    for name in ["a-b_c.1", "web@", "web@1", "web@eu-1.x"] {
        parse(&format!("image = \"b\"\nname = \"{name}\"\n")).unwrap();
    }
}

#[test]
fn values_that_the_kernel_would_cut_are_refused() {
    check_text(
        "name = \"a\"\nimage = \"b\"\n[env]\n\"A=B\" = \"\"\n",
        "line 4, column 1: env.A=B: a variable has a name, without `=`, and no NUL character",
    );
    check_text(
        "name = \"a\"\nimage = \"b\"\n  stop_grace_s = 100000\n",
        "line 3, column 3: stop_grace_s: use at most 86400, a day",
    );
}

#[test]
fn programs_and_files() {
    refused("command = [\"a\", \"b\\u0000\"]", 1, 17, "command[2]: a word holds a NUL");
    refused("entrypoint = []\ncommand = []", 2, 1, "name a program");
    refused("pre_start = [[\"a\"], []]", 1, 21, "pre_start[2]: name a program");
    refused("post_stop = [[\"\"]]", 1, 14, "name a program");
    refused("workdir = \"srv\"", 1, 1, "absolute");
    refused("env_files = [\"a\", \"a\"]", 1, 19, "twice");
    refused("env_files = [\"\"]", 1, 14, "[env_files]");
    accepted("entrypoint = []\ncommand = [\"/bin/x\"]\nworkdir = \"/srv\"");
}

#[test]
fn labels_have_names_and_values_of_a_line() {
    for name in ["a b", "-a", "a-", "\u{e4}", ""] {
        refused(&format!("[labels]\n\"{name}\" = \"x\""), 2, 1, "a label's name");
    }
    refused("[labels]\na = \"x\\ny\"", 2, 1, "one line");
    accepted("[labels]\n\"example.org/tier\" = \"front\"\nempty = \"\"");
}

#[test]
fn an_init_is_a_process_too() {
    assert!(accepted("init = true").init && !accepted("").init);
    accepted("init = true\nresources = { pids_max = 2 }");
    refused("init = true\n[resources]\npids_max = 1", 3, 1, "use at least 2");
    accepted("[resources]\npids_max = 1");
}

#[test]
fn users_and_hostnames() {
    for user in ["", "a:b:c", ":1", "a b", "a/b"] {
        refused(&format!("user = \"{user}\""), 1, 1, "`user:group`");
    }
    refused("user = \"4294967295\"", 1, 1, "4294967295 is no ID: use 0 to 4294967294");
    refused("user = \"1:4294967296\"", 1, 1, "no ID");
    accepted("user = \"1000680000:4294967294\"");
    accepted("user = \"65535:65535\"");
    accepted("user = \"www-data\"");
    accepted("user = \"70000\"\nhost_user_namespace = \"it reads /proc of the node\"");
    for hostname in ["-a", "a_b", "a..b", "", &"a".repeat(65)] {
        refused(&format!("hostname = \"{hostname}\""), 1, 1, "hostname");
    }
    accepted("hostname = \"web-1.example\"");
}

#[test]
fn privileges_do_not_contradict_each_other() {
    refused("privileged = true\ncapabilities.add = [\"CHOWN\"]", 2, 1, "every capability already");
    refused("privileged = true\ndevices = [\"/dev/fuse\"]", 2, 1, "every device already");
    refused("host_user_namespace = \" \"\n", 1, 1, "say why");
    refused("devices = [\"/dev/fuse\", \"/etc/passwd\"]", 1, 25, "below /dev");
    refused("devices = [\"/dev/../etc\"]", 1, 12, "below /dev");
    refused("devices = [\"/dev/fuse\", \"/dev/fuse\"]", 1, 25, "twice");
}

#[test]
fn capabilities_are_known_ones() {
    refused(
        "[capabilities]\nadd = [\"CHOWN\", \"NET_ADMN\"]",
        2,
        17,
        "capabilities.add[2]: there is no capability `NET_ADMN`; did you mean `NET_ADMIN`?",
    );
    refused("[capabilities]\nadd = [\"CAP_CHOWN\"]", 2, 8, "without `CAP_`: `CHOWN`");
    refused("[capabilities]\nadd = [\"KILL\"]\ndrop = [\"KILL\"]", 2, 8, "both added and dropped");
    refused("[capabilities]\ndrop = [\"ALL\", \"ALL\"]", 2, 16, "twice");
    accepted("[capabilities]\nadd = [\"NET_BIND_SERVICE\"]\ndrop = [\"ALL\"]");
}

#[test]
fn a_volume_has_one_source_and_a_target_of_its_own() {
    let one = "use an absolute path in the container";
    refused("[[volumes]]\ntarget = \"/a\"", 1, 1, "exactly one of");
    refused("[[volumes]]\nname = \"x\"\nhost = \"/x\"\ntarget = \"/a\"", 3, 1, "exactly one of");
    refused("[[volumes]]\nname = \"x\"\ntarget = \"a\"", 3, 1, one);
    refused("[[volumes]]\nname = \"x\"\ntarget = \"/a/../b\"", 3, 1, one);
    refused("[[volumes]]\nname = \"x\"\ntarget = \"/a/\"", 3, 1, one);
    refused("[[volumes]]\nname = \"x\"\ntarget = \"/proc/sys\"", 3, 1, "not to be covered");
    refused("[[volumes]]\nname = \"x\"\ntarget = \"/\"", 3, 1, "not to be covered");
    refused("[[volumes]]\nname = \"../x\"\ntarget = \"/a\"", 2, 1, "letters");
    refused("[[volumes]]\nname = \"x@1\"\ntarget = \"/a\"", 2, 1, "letters");
    refused("[[volumes]]\nhost = \"x\"\ntarget = \"/a\"", 2, 1, "absolute path of the node");
    refused("[[volumes]]\ntmpfs = 0\ntarget = \"/a\"", 2, 1, "give it a size");
    refused("[[volumes]]\ntmpfs = 4096\nread_only = true\ntarget = \"/a\"", 3, 1, "stays empty");
    refused(
        "[[volumes]]\nname = \"x\"\ntarget = \"/a\"\n[[volumes]]\nname = \"y\"\ntarget = \"/a\"",
        6,
        1,
        "volumes[2].target: another volume has this target",
    );
    accepted(
        "[[volumes]]\nname = \"x\"\ntarget = \"/dev/shm\"\n[[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/t\"",
    );
}

#[test]
fn amounts_are_in_range() {
    for (key, value) in [
        ("cpus", "0"),
        ("cpus", "-1.0"),
        ("cpus", "nan"),
        ("cpus", "1e9"),
        ("cpu_weight", "0"),
        ("io_weight", "10001"),
        ("memory", "\"1KiB\""),
        ("memory_high", "0"),
        ("pids_max", "0"),
        ("disk", "\"1KiB\""),
        ("inodes", "1"),
        ("io_read_per_s", "0"),
        ("io_write_per_s", "0"),
    ] {
        refused(&format!("[resources]\n{key} = {value}"), 2, 1, &format!("resources.{key}: use"));
    }
    refused("[resources]\nmemory = \"8MiB\"\nmemory_high = \"9MiB\"", 3, 1, "which is 8MiB");
    refused("[resources]\nmemory = \"8MiB\"\nmemory_min = \"1GiB\"", 3, 1, "which is 8MiB");
    refused("[resources]\nmemory = \"64MB\"", 2, 10, "64MiB");
    accepted("[resources]\ncpus = 2\nmemory = \"1GiB\"\nmemory_high = \"1GiB\"\npids_max = 1");
}

#[test]
fn sysctls_and_ulimits_are_the_containers_own() {
    refused("[sysctls]\n\"kernel.panic\" = \"1\"", 2, 1, "own namespaces");
    refused("[sysctls]\n\"net..x\" = \"1\"", 2, 1, "with dots");
    refused("network = \"host\"\n[sysctls]\n\"net.core.somaxconn\" = \"1\"", 3, 1, "the node's");
    refused("[sysctls]\n\"net.core.somaxconn\" = \"\"", 2, 1, "a value");
    refused("[ulimits]\nnofiles = 1", 2, 1, "no limit `nofiles`; did you mean `nofile`?");
    refused("[ulimits]\nRLIMIT_NOFILE = 1", 2, 1, "did you mean `nofile`?");
    refused("[ulimits]\nnofile = { soft = 2, hard = 1 }", 2, 12, "which is 1");
    accepted("[sysctls]\n\"kernel.shmmax\" = \"1\"\n[ulimits]\nnproc = 1");
}

#[test]
fn ports_are_published_once_and_only_from_a_bridge() {
    refused("network = \"host\"\nports = [{ host = 80 }]", 2, 1, "every port is the node's");
    refused("network = \"none\"\nports = [{ host = 80 }]", 2, 1, "without a network");
    refused("ports = [{ host = 0 }]", 1, 10, "1 to 65535");
    refused("ports = [{ host = 1, container = 0 }]", 1, 10, "1 to 65535");
    refused("ports = [{ host = 80 }, { host = 80, container = 81 }]", 1, 27, "published already");
    refused(
        "ports = [{ host = 80, address = \"127.0.0.1\" }, { host = 80 }]",
        1,
        50,
        "published already",
    );
    refused("ports = [{ host = 70000 }]", 1, 19, "u16");
    accepted("ports = [{ host = 53 }, { host = 53, protocol = \"udp\" }]");
    accepted("ports = [{ host = 1, address = \"127.0.0.1\" }, { host = 1, address = \"::1\" }]");
}

#[test]
fn a_life_does_not_contradict_itself() {
    refused("oneshot = true\nrestart = \"always\"", 2, 1, "oneshot");
    refused("restart = \"always\"\ntimer.every_s = 5", 1, 1, "timer");
    refused("restart = \"never\"\nstart_limit = { starts = 3 }", 2, 1, "never started again");
    refused("start_limit = { starts = 0 }", 1, 17, "1 to 1000");
    refused("start_limit = { starts = 1, within_s = 0 }", 1, 29, "at least 1");
    refused("[timer]", 1, 2, "`every_s` or `cron`");
    refused("[timer]\nevery_s = 5\ncron = \"* * * * *\"", 3, 1, "not both");
    refused("[timer]\nevery_s = 0", 2, 1, "1 to");
    refused("[timer]\ncron = \"* * *\"", 2, 1, "five");
    assert_eq!(accepted("").restart_policy(), RestartPolicy::Always);
    assert_eq!(accepted("oneshot = true").restart_policy(), RestartPolicy::Never);
    assert_eq!(accepted("timer.every_s = 5").restart_policy(), RestartPolicy::Never);
    accepted(
        "oneshot = true\nrestart = \"on-failure\"\nstart_limit = { starts = 3, within_s = 60 }",
    );
}

#[test]
fn dependencies_are_other_units() {
    refused("after = [\"b\", \"a\"]", 1, 15, "wait for itself");
    refused("requires = [\"a\"]", 1, 13, "wait for itself");
    refused("requires = [\"../x\"]", 1, 13, "no unit's name");
    refused("requires = [\"db@\"]", 1, 13, "such as `db@1`");
    refused("after = [\"b\", \"b\"]", 1, 15, "twice");
    accepted("after = [\"b\"]\nrequires = [\"b\", \"c@1\"]");
}

#[test]
fn stop_signals_are_known_ones() {
    refused("stop_signal = \"SIGTREM\"", 1, 1, "no signal `SIGTREM`; did you mean `TERM`?");
    refused("stop_signal = \"99\"", 1, 1, "no signal");
    for signal in ["SIGQUIT", "QUIT", "3", "SIGRTMIN+3", "37"] {
        accepted(&format!("stop_signal = \"{signal}\""));
    }
}

#[test]
fn signals_have_the_names_and_numbers_that_people_use() {
    for (text, number) in [
        ("SIGTERM", Some(15)),
        ("QUIT", Some(3)),
        ("sigint", Some(2)),
        ("SigHup", Some(1)),
        ("9", Some(9)),
        ("+9", Some(9)),
        ("37", Some(37)),
        ("64", Some(64)),
        ("SIGRTMIN", Some(34)),
        ("SIGRTMIN+3", Some(37)),
        ("rtmin+15", Some(49)),
        ("RTMAX-14", Some(50)),
        ("SIGRTMAX", Some(64)),
        ("RTMIN+30", Some(64)),
        ("SIGCLD", Some(17)),
        ("IOT", Some(6)),
        ("POLL", Some(29)),
        ("", None),
        ("0", None),
        ("-1", None),
        ("-9", None),
        ("65", None),
        (" 9", None),
        ("9 ", None),
        ("SIG", None),
        ("SIG9", None),
        ("SIGSIGTERM", None),
        ("SIGWHAT", None),
        ("RTMIN+", None),
        ("RTMIN++3", None),
        ("RTMIN-1", None),
        ("RTMAX+1", None),
        ("RTMIN+31", None),
        ("RTMIN+99999999999", None),
        ("99999999999", None),
    ] {
        assert_eq!(super::names::signal_number(text), number, "{text:?}");
    }
}

#[test]
fn health_is_seen_in_one_way() {
    refused("[health]\ninterval_s = 1", 1, 2, "exactly one of");
    refused("[health]\ntcp = 80\nhttp = \":80/\"", 2, 1, "exactly one of");
    refused("[health]\ntcp = 0", 2, 1, "1 to 65535");
    refused("[health]\nexec = []", 2, 1, "name a program");
    for http in ["8080/", ":x/", "http://a/", ":70000/", ":80/a b"] {
        refused(&format!("[health]\nhttp = \"{http}\""), 2, 1, "\":8080/healthz\"");
    }
    refused("[health]\ntcp = 80\nretries = 0", 3, 1, "use 1 to");
    refused("[health]\ntcp = 80\ninterval_s = 0", 3, 1, "use 1 to");
    refused("[health]\ntcp = 80\ntimeout_s = 9999", 3, 1, "use 1 to");
    refused("oneshot = true\n[health]\ntcp = 80", 2, 2, "oneshot");
    refused("network = \"none\"\n[health]\ntcp = 80", 3, 1, "use `exec`");
    accepted("network = \"none\"\n[health]\nexec = [\"true\"]");
}

#[test]
fn an_unknown_key_of_a_table_is_placed_too() {
    refused("[[volumes]]\nname = \"x\"\ntraget = \"/a\"", 3, 1, "did you mean `target`?");
    refused("ports = [{ host = 1, protcol = \"udp\" }]", 1, 22, "did you mean `protocol`?");
    refused("[health]\ntcp = 1\nretires = 3", 3, 1, "did you mean `retries`?");
    refused("[resources]\nmemroy = 1", 2, 1, "did you mean `memory`?");
    refused("[timer]\nevery = 1", 2, 1, "did you mean `every_s`?");
    refused("network = \"hots\"", 1, 11, "did you mean `host`?");
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}"
}

fn volume() -> impl Strategy<Value = Volume> {
    let source = prop_oneof![
        word().prop_map(|name| (Some(name), None, None)),
        word().prop_map(|path| (None, Some(format!("/{path}")), None)),
        (1_u64..1 << 40).prop_map(|size| (None, None, Some(Bytes(size)))),
    ];
    (source, word()).prop_map(|((name, host, tmpfs), target)| Volume {
        name,
        host,
        tmpfs,
        target: format!("/{target}"),
        read_only: false,
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    let life = (
        proptest::option::of(prop_oneof![
            Just(RestartPolicy::Always),
            Just(RestartPolicy::OnFailure),
            Just(RestartPolicy::Never)
        ]),
        any::<bool>(),
        0_u32..200_000,
        proptest::option::of(any::<u16>()),
    );
    let container = (
        proptest::option::of(proptest::collection::vec(".{0,12}", 0..4)),
        proptest::collection::btree_map("[A-Z=]{1,4}", ".{0,12}", 0..3),
        proptest::option::of(volume()),
        proptest::option::of(0.0..4.0_f64),
        proptest::option::of(0_u64..1 << 30),
    );
    (word(), "[a-z][a-z0-9]{0,8}", container, life).prop_map(|(name, image, container, life)| {
        let mut unit: Unit = toml::from_str("name = \"x\"\nimage = \"x\"").unwrap();
        (unit.name, unit.image) = (name, image);
        let (command, env, volume, cpus, memory) = container;
        (unit.command, unit.env) = (command, env);
        unit.volumes.extend(volume);
        (unit.resources.cpus, unit.resources.memory) = (cpus, memory.map(Bytes));
        (unit.restart, unit.oneshot, unit.stop_grace_s) = (life.0, life.1, life.2);
        unit.health = life.3.map(|tcp| toml::from_str(&format!("tcp = {tcp}")).unwrap());
        unit
    })
}

proptest! {
    /// What a unit says survives being written and read, and the text is judged as the unit is.
    #[test]
    fn a_written_unit_is_read_as_it_was(unit in unit()) {
        let text = toml::to_string(&unit).unwrap();
        let read: Unit = crate::document::parse(&text).unwrap();
        prop_assert_eq!(&read, &unit);
        prop_assert_eq!(parse(&text).is_ok(), check(&unit).is_ok());
    }

    /// A problem stands in the document, whatever the document is.
    #[test]
    fn every_problem_has_a_place(text in "([a-z_]{0,9}|[ =\\[\\]{}\"\n.,0-9])*") {
        if let Err(problem) = parse(&text) {
            let line = text.split('\n').nth(problem.line - 1);
            prop_assert!(line.is_some_and(|line| problem.column <= line.chars().count() + 1));
        }
    }
}

fn repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn the_examples_are_valid() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(repository("configs/units")).unwrap() {
        let path = entry.unwrap().path();
        let unit = parse(&std::fs::read_to_string(&path).unwrap());
        names.push(unit.unwrap_or_else(|problem| panic!("{}: {problem}", path.display())).name);
    }
    names.sort();
    assert_eq!(names, ["backup", "db", "front", "hello", "web", "worker@"]);
}

/// The keys that `text` may have, as serde names them when it meets one that it does not know.
fn keys(text: &str) -> Vec<String> {
    let message =
        toml::from_str::<Unit>(&format!("{HEAD}{text}")).unwrap_err().message().to_owned();
    let keys: Vec<String> =
        message.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect();
    assert!(keys.len() > 1, "{message}");
    keys
}

#[test]
fn the_reference_page_has_exactly_the_keys_that_there_are() {
    let page = std::fs::read_to_string(repository("docs/units.md")).unwrap();
    let section = |title: &str| {
        let (_, rest) = page.split_once(title).unwrap();
        rest.split("\n#").next().unwrap().to_owned()
    };
    for (title, text) in [
        ("## Keys", "zzz = 1"),
        ("### `[[volumes]]`", "[[volumes]]\nzzz = 1"),
        ("### `[resources]`", "[resources]\nzzz = 1"),
        ("### `[[ports]]`", "[[ports]]\nzzz = 1"),
        ("### `[health]`", "[health]\nzzz = 1"),
    ] {
        let section = section(title);
        let shown: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        assert_eq!(shown, keys(text), "{title}");
    }
    for (key, words) in [
        ("capabilities", keys("[capabilities]\nzzz = 1")),
        ("start_limit", keys("[start_limit]\nzzz = 1")),
        ("timer", keys("[timer]\nzzz = 1")),
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}`"))).unwrap();
        assert!(words.iter().all(|word| row.contains(&format!("`{word}`"))), "{row}: {words:?}");
    }
}

#[test]
fn an_image_is_named_by_a_reference() {
    for image in ["a:", ":1", "http://x/y", "a:b:c", "a@sha256:12", "A", "a b", ""] {
        let problem = parse(&format!("name = \"a\"\nimage = \"{image}\"\n")).unwrap_err();
        assert!(problem.to_string().contains("no reference to an image"), "{image}: {problem}");
    }
    // What a template's values mean shows in an instance.
    parse("name = \"a@\"\nimage = \"nginx:%i\"\n").unwrap();
    assert!(parse("name = \"a@\"\nimage = \"nginx:%i:%i\"\n").is_err());
}
