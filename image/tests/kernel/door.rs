//! The way into the tools' root, really gone: with a shell of this computer's in the place of a compiler.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ferrite_image::kernel::door::{Door, RunStep};
use ferrite_image::kernel::recipe::Step;
use ferrite_image::kernel::shelf::Shelf;
use ferrite_image::packages::cache::Cache;

const PROGRAMS: [&str; 3] = ["/usr/bin/bash", "/usr/bin/env", "/usr/bin/sleep"];

/// A root with a few programs and what they are linked with.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for folder in ["dev", "build"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let linked = Command::new("ldd").args(PROGRAMS).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`; `PROGRAM:` above them.
    let libraries =
        linked.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    for file in PROGRAMS.into_iter().chain(libraries) {
        let place = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(file, place).unwrap();
    }
    root
}

fn shell(script: &str) -> Step {
    Step { words: ["/usr/bin/bash", "-c", script].map(str::to_owned).into() }
}

/// What a step says, whose log is `log` beside the root.
fn run(root: &Path, step: &Step) -> (Result<(), RunStep>, Vec<String>) {
    let environment = [("HOME", "/build".to_owned()), ("TZ", "UTC".to_owned())];
    let (log, mut lines) = (root.with_file_name("log"), Vec::new());
    let result = Door::Namespaces.run((root, &environment), step, &log, &mut |line| {
        lines.push(line.to_owned());
    });
    (result, lines)
}

#[test]
fn a_step_sees_the_root_its_environment_and_three_devices_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let (result, lines) = run(&root, &Step { words: vec!["/usr/bin/env".to_owned()] });
    result.unwrap();
    assert_eq!(lines, ["HOME=/build", "TZ=UTC"]);
    let (result, lines) = run(
        &root,
        &shell(
            "for device in null zero urandom; do [ -c /dev/$device ] && echo $device; done; echo x >/dev/null; echo /*; echo $UID",
        ),
    );
    result.unwrap();
    let [devices @ .., top, user] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(devices, ["null", "zero", "urandom"]);
    assert!(!top.contains("/home") && top.contains("/build"), "{top}");
    assert_eq!(user, "0");
    // All of it is kept, of both.
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.starts_with("HOME=/build\n") && log.ends_with("\n0\n"), "{log}");
}

#[test]
fn a_step_reaches_nobody_over_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected");
    // Outside it is a matter of course.
    let outside = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "connected\n");

    let folder = tempfile::tempdir().unwrap();
    let (result, lines) = run(&root(folder.path()), &shell(&script));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("Network is unreachable"), "{error}");
    assert!(!lines.contains(&"connected".to_owned()), "{lines:?}");
}

#[test]
fn a_step_that_fails_is_told_with_its_status_and_its_last_lines() {
    let folder = tempfile::tempdir().unwrap();
    let script = "for number in {1..40}; do echo line $number; done; echo why >&2; exit 3";
    let (result, lines) = run(&root(folder.path()), &shell(script));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(error.ends_with("line 39\nline 40\nwhy"), "{error}");
    assert!(!error.contains("line 20"), "{error}");
    assert_eq!(lines.len(), 41);
}

/// Names the folder to the process that is to be killed.
const VICTIM: &str = "FERRITE_TEST_DOOR_VICTIM";

#[test]
fn whoever_is_killed_takes_the_step_along() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let folder = PathBuf::from(folder);
        // Its lock is held by every process that a build starts.
        let _place = shelf(&folder).begin("kernel", || panic!("nobody is there")).unwrap();
        let step = shell("echo begun; sleep 60; echo ended >/build/ended");
        let (root, log) = (folder.join("root"), folder.join("log"));
        Door::Namespaces.run((&root, &[]), &step, &log, &mut |line| println!("{line}")).unwrap();
        unreachable!("nobody killed it");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "door::whoever_is_killed_takes_the_step_along", "--nocapture"])
        .env(VICTIM, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("begun")));
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Waits for the last of them; one that lived on would have ended its work by then.
    drop(shelf(folder.path()).begin("kernel", || {}).unwrap());
    assert!(!root.join("build/ended").exists(), "the step went on without who began it");
}

fn shelf(folder: &Path) -> Shelf {
    Shelf::of(&Cache::open(folder.join("cache")).unwrap())
}
