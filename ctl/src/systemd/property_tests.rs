//! Whatever is in a file, there is an answer, and what comes out is a unit that nodes take.

use proptest::prelude::*;

use super::*;

const WORDS: &[&str] = &[
    "[Unit]\n",
    "[Service]\n",
    "[X-Fleet]\n",
    "[Install]\n",
    "[",
    "\n",
    "\r\n",
    " \\\n",
    "\\",
    "=",
    "\"",
    "'",
    ";",
    "#",
    "%",
    "%i",
    "%n",
    "%%",
    "$",
    "${A}",
    "$A",
    "$$",
    "Environment=",
    "A=b",
    "EnvironmentFile=",
    "ExecStart=",
    "ExecStartPre=-",
    "ExecStop=",
    "ExecStartPost=",
    "/usr/bin/docker ",
    "docker run ",
    "rkt run ",
    "/bin/sh -c ",
    "etcdctl set ",
    "--rm ",
    "-d ",
    "-p ",
    "80:80 ",
    "${A}:80:80 ",
    "-v ",
    "/a:/b:ro ",
    "data:/data ",
    "--mount ",
    "type=tmpfs,target=/x ",
    "-e ",
    "--env-file=x ",
    "--name ",
    "--ulimit ",
    "nofile=-1:5 ",
    "-m ",
    "512m ",
    "--cpus ",
    "0.5 ",
    "--label ",
    "--health-cmd ",
    "--unknown ",
    "--unknown=1 ",
    "--net=host ",
    "--volume ",
    "data,kind=host,source=/x ",
    "--port=80-tcp:80 ",
    "-- ",
    "--- ",
    "docker://a/b:1 ",
    "nginx ",
    "busybox ",
    "Restart=",
    "always",
    "Type=oneshot\n",
    "RestartSec=5\n",
    "TimeoutStopSec=",
    "5min 3s",
    "After=",
    "Requires=",
    "BindsTo=",
    "db.service ",
    "x@%i.service ",
    "MachineMetadata=",
    "Conflicts=",
    "Global=true\n",
    "MachineOf=",
    "StartLimitBurst=",
    "9",
    "ä",
    "\u{0}",
    "\t",
];

/// Pieces of which unit files are made, good and bad.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => proptest::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn judged(name: &str, text: &str) -> Result<(), TestCaseError> {
    let name = Name::of(name).unwrap();
    if let Ok(Outcome::Unit(imported)) = import(&name, text, None) {
        let read = ferrite_schema::unit::parse(&imported.document);
        prop_assert_eq!(read.as_ref(), Ok(&imported.unit));
        prop_assert!(ferrite_schema::unit::check(&imported.unit).is_ok());
        let lines = text.lines().count().max(1);
        prop_assert!(imported.findings.iter().all(|one| (1..=lines).contains(&one.line)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>(), template in any::<bool>()) {
        judged(if template { "web@.service" } else { "web" }, &text)?;
        drop(timer(&text));
    }

    #[test]
    fn pieces_of_units_are_answered(
        pieces in proptest::collection::vec(piece(), 0..40),
        name in proptest::sample::select(vec!["web", "web@", "web@1"]),
    ) {
        let text = format!("[Service]\n{}", pieces.concat());
        judged(name, &text)?;
        drop(timer(&text.replace("Service", "Timer")));
    }

    #[test]
    fn options_of_docker_are_answered(
        pieces in proptest::collection::vec(piece(), 0..12),
        name in proptest::sample::select(vec!["web", "web@", "web@1"]),
    ) {
        judged(name, &format!("[Service]\nExecStart=docker run {} nginx\n", pieces.concat().replace('\n', " ")))?;
        judged(name, &format!("[Service]\nExecStart=rkt run {} docker://nginx\n", pieces.concat().replace('\n', " ")))?;
    }
}
