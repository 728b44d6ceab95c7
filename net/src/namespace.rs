//! Tests that need a network of their own run in namespaces, as whoever runs them.

use std::process::Command;

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
