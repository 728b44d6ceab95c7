use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::{ProcessBuilder, SpecBuilder};
use tempfile::TempDir;

use super::*;

/// A folder with one of each kind of file that may stand under a program's name.
struct Kinds(TempDir);

impl Kinds {
    fn new() -> Self {
        let kinds = Self(tempfile::tempdir().unwrap());
        fs::create_dir(kinds.place("folder")).unwrap();
        symlink("nowhere", kinds.place("dangling")).unwrap();
        symlink("circle", kinds.place("circle")).unwrap();
        for (name, text, mode) in [
            ("owners", "#!/bin/sh\nexit 7\n", 0o700),
            ("group", "#!/bin/sh\n", 0o750),
            ("unmarked", "#!/bin/sh\n", 0o644),
            ("garbage", "echo wrong\n", 0o755),
            ("foreign", "\x7fELF\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x28\0", 0o755),
            ("orphan", "#!/no/such/shell\r\n", 0o755),
        ] {
            fs::write(kinds.place(name), text).unwrap();
            fs::set_permissions(kinds.place(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        kinds
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Path of one.
    fn path(&self, name: &str) -> String {
        self.place(name).display().to_string()
    }

    /// A folder in which a program of this name is one of the kinds.
    fn holding(&self, program: &str, kind: &str) -> String {
        let folder = self.place(&format!("with-{kind}"));
        fs::create_dir_all(&folder).unwrap();
        symlink(self.place(kind), folder.join(program)).unwrap_or_default();
        folder.display().to_string()
    }
}

fn spec(words: &[&str], env: &[&str]) -> Spec {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let process = ProcessBuilder::default().args(owned(words)).env(owned(env)).build().unwrap();
    SpecBuilder::default().process(process).build().unwrap()
}

/// What is said before the container's program is executed, and what is said when it is.
fn said(words: &[&str], env: &[&str]) -> (String, String) {
    let workload = Workload::new(None, None);
    let text = |found: Result<(), Unexecuted>| {
        found.map_err(|problem| ferrite_schema::chain(&problem)).err().unwrap_or_default()
    };
    let spec = spec(words, env);
    let look = text(workload.look(&spec));
    // What can be executed takes the place of this test.
    let execute = if look.is_empty() { String::new() } else { text(workload.execute(&spec)) };
    (look, execute)
}

#[test]
fn whoever_may_execute_a_program_is_let() {
    let kinds = Kinds::new();
    let path = ["folder", "dangling", "circle", "unmarked", "owners"]
        .map(|kind| kinds.holding("tool", kind));
    let env = format!("PATH=/nowhere:{}", path.join(":"));
    for (words, env) in [
        (&[kinds.path("owners").as_str()][..], "A=1"),
        (&[kinds.path("group").as_str()], "A=1"),
        // Whatever else has its name stands in nobody's way.
        (&["tool"], env.as_str()),
        (&["sh"], "A=1"),
    ] {
        assert_eq!(said(words, &[env]).0, "", "{words:?}");
    }
}

#[test]
fn what_is_not_executed_is_named_with_the_kernels_reason() {
    let kinds = Kinds::new();
    let absent = "No such file or directory (os error 2)";
    let denied = "Permission denied (os error 13)";
    let path = |kind: &str| format!("PATH=/nowhere:{}", kinds.holding("tool", kind));
    for (word, env, expected) in [
        (kinds.path("absent"), "A=1", format!("start {}: {absent}", kinds.path("absent"))),
        (kinds.path("dangling"), "A=1", format!("start {}: {absent}", kinds.path("dangling"))),
        (kinds.path("unmarked"), "A=1", format!("start {}: {denied}", kinds.path("unmarked"))),
        ("/dev/null".to_owned(), "A=1", format!("start /dev/null: {denied}")),
        (
            kinds.path("owners/x"),
            "A=1",
            format!("start {}: Not a directory (os error 20)", kinds.path("owners/x")),
        ),
        (
            "tool".to_owned(),
            "PATH=/nowhere:/neither",
            "find tool: there is no such program in any folder of PATH (/nowhere:/neither)"
                .to_owned(),
        ),
        (
            "tool".to_owned(),
            "A=1",
            "find tool: there is no such program in any folder of PATH (/bin:/usr/bin)".to_owned(),
        ),
        (
            "tool".to_owned(),
            &path("unmarked"),
            format!("start {}/tool: {denied}", kinds.holding("tool", "unmarked")),
        ),
        (String::new(), "A=1", "start nothing: no program was named".to_owned()),
        (
            "a\0b".to_owned(),
            "A=1",
            "start a\\0b: word 1 of the command holds a NUL character".to_owned(),
        ),
    ] {
        let (look, execute) = said(&[&word], &[env]);
        assert_eq!(look, expected, "{word}");
        assert_eq!(execute, expected, "{word}");
    }
    // To the kernel a folder is one more thing that may not be executed.
    let (look, execute) = said(&[&kinds.path("folder")], &[]);
    assert_eq!(look, format!("start {}: Is a directory (os error 21)", kinds.path("folder")));
    assert_eq!(execute, format!("start {}: {denied}", kinds.path("folder")));
    // What may be executed and is no program of this machine, no shell takes for a script.
    for (kind, expected) in [
        (
            "garbage",
            ", which has no first line such as `#!/bin/sh` and is no program: Exec format error (os error 8)",
        ),
        ("foreign", ", a program for arm: Exec format error (os error 8)"),
        (
            "orphan",
            ", whose interpreter \"/no/such/shell\\r\" is missing: No such file or directory (os error 2)",
        ),
    ] {
        let spec = spec(&[&kinds.path(kind)], &[]);
        let workload = Workload::new(None, None);
        workload.look(&spec).unwrap();
        let problem = workload.execute(&spec).unwrap_err();
        let text = ferrite_schema::chain(&problem);
        assert_eq!(text, format!("start {}{expected}", kinds.path(kind)));
    }
}

#[test]
fn an_environment_that_cannot_be_is_named_and_ends_nothing() {
    for (pair, expected) in [
        ("=x", "set variable 2 of the environment: it has no name before its `=`"),
        ("", "set variable 2 of the environment: it has no name before its `=`"),
        ("A=x\0y", "set \"A\" in the environment: it holds a NUL character"),
    ] {
        assert_eq!(said(&["/bin/sh"], &["B=1", pair]).0, expected);
    }
    assert_eq!(
        said(&["/bin/sh", "x\0"], &[]).0,
        "start /bin/sh: word 2 of the command holds a NUL character"
    );
}

#[test]
fn each_name_is_there_once_with_its_last_value() {
    let pairs = ["B=1", "A=1=2", "C", "B=3", "A="].map(str::to_owned);
    assert_eq!(environment(pairs.iter()), ["B=3", "A=", "C="]);
    let spec = spec(&["x"], &["B=1", "A=2"]);
    let workload = Workload::new(None, None);
    let added = [("A", "2"), ("B", "1"), ("LISTEN_FDS", "1"), ("HOME", "/")];
    let added = added.map(|(name, value)| (name.to_owned(), value.to_owned()));
    workload.setup_envs(added.into_iter().collect()).unwrap();
    let found = workload.environment(spec.process().as_ref().unwrap());
    assert_eq!(found, ["B=1", "A=2", "HOME=/", "LISTEN_FDS=1"]);
}

#[test]
fn whoever_makes_the_container_is_told() {
    let (listener, speaker) = channel().unwrap();
    let workload = Workload::new(None, Some(speaker));
    let spec = spec(&["/no/such/program"], &[]);
    let expected = "start /no/such/program: No such file or directory (os error 2)";
    workload.validate(&spec).unwrap_err();
    assert_eq!(listener.until_now().unwrap(), expected);
    workload.exec(&spec).unwrap_err();
    assert_eq!(listener.to_the_end().unwrap(), expected);
}
