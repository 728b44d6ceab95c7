//! A node's API and its secrets before those who have no business with them.

use std::fs;
use std::net::TcpStream;

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::{checker, checkout, said};
use serde_json::Value;

/// Words that nobody but the node's root may read, by where they stand.
const PASSWORD: &str = "registry-word-41f2";
const ENVIRONMENT_FILE: &str = "environment-file-word-92ac";
const SECRET_FILE: &str = "a-secret-in-a-file";
const ENVIRONMENT: &str = "environment-word-7de0";
/// So many silent connections kept everybody out.
const STRANGERS: usize = 80;
/// What of a node holds them.
const PLACES: [&str; 8] = [
    "/run/ferrite",
    "/run/ferrite/units",
    "/run/ferrite/units/keeper",
    "/run/ferrite/units/keeper/bundle",
    "/run/ferrite/lives",
    "/var/lib/ferrite",
    "/var/lib/ferrite/units",
    "/sys/firmware",
];
/// And files of them, each mounted by itself.
const FILES: [&str; 5] = [
    "/run/ferrite/units/keeper/request.json",
    "/run/ferrite/units/keeper/bundle/config.json",
    "/run/ferrite/lives/keeper.json",
    "/var/lib/ferrite/units/keeper.toml",
    "/var/lib/ferrite/config.last-good.toml",
];

#[test]
fn strangers_get_nothing_of_a_node() -> Result<()> {
    let mut node = Node::new("api", Kind::Probed)?;
    node.machine.memory_mib = 1024;
    let path = node.machine.directory.join("cloud-config");
    let config = fs::read_to_string(&path)?;
    let more = format!(
        "\n[env_files]\nshared = '''\nSHARED={ENVIRONMENT_FILE}\n'''\n\n[secrets]\ntoken = \"{SECRET_FILE}\"\n\n[registries.\"registry.example\"]\n\
         username = \"somebody\"\npassword = \"{PASSWORD}\"\n"
    );
    fs::write(&path, format!("{config}{more}"))?;
    node.boot()?;
    let archive = demo::busybox_with_probe()?.display().to_string();
    node.ferrite(&["import", &archive, "--name", "busybox"])?;
    no_unit_reads_a_secret(&mut node, &config)?;
    strangers_do_not_keep_the_operator_out(&node)?;
    refusals_are_as_documented(&node)?;
    a_public_checker_finds_nothing(&node)
}

fn start(node: &Node, name: &str, rest: &str, until: &str) -> Result<()> {
    let file = format!("{name}.toml");
    let unit = format!(
        "name = \"{name}\"\nimage = \"busybox\"\nrestart = \"never\"\nnetwork = \"none\"\n{rest}\n"
    );
    fs::write(node.machine.directory.join(&file), unit)?;
    node.ferrite(&["unit", "start", &file, "--until", until]).map(drop)
}

/// A unit that is given the whole node to look at, and every place by itself, finds none of its secrets.
fn no_unit_reads_a_secret(node: &mut Node, config: &str) -> Result<()> {
    let keeper = format!(
        "command = [\"/bin/ferrite-probe\", \"hang\"]\nenv_files = [\"shared\"]\nsecrets = [\"token\"]\nuser = \"1000\"\n\
         env = {{ OWN = \"{ENVIRONMENT}\" }}"
    );
    start(node, "keeper", &keeper, "running")?;
    let exec = ["unit", "exec", "-e", "MORE=value", "keeper", "--", "/bin/true"];
    node.ferrite(&exec)?;
    // Who joins the container has its file; who looks at the unit has its name.
    let token = ["unit", "exec", "keeper", "--", "/bin/cat", "/run/secrets/token"];
    assert_eq!(node.ferrite(&token)?, SECRET_FILE);
    let listed = ["unit", "exec", "keeper", "--", "/bin/ls", "-ln", "/run/secrets/token"];
    let listed = node.ferrite(&listed)?;
    assert!(listed.starts_with("-r--------") && listed.contains(" 1000 "), "{listed}");
    let status = node.ask(&["unit", "status", "keeper"])?;
    assert_eq!(status["secrets"], serde_json::json!(["token→/run/secrets/token"]));
    assert!(!status.to_string().contains(SECRET_FILE), "{status}");
    a_secret_that_is_absent_is_named(node)?;
    let key = config.split("PRIVATE KEY-----").nth(1).context("find the key")?;
    let key = key.lines().find(|line| line.len() > 20).context("find a line of the key")?;
    let backwards: Vec<String> = [PASSWORD, ENVIRONMENT_FILE, SECRET_FILE, ENVIRONMENT, key]
        .iter()
        .map(|word| word.chars().rev().collect())
        .collect();
    let mut look = vec!["/bin/ferrite-probe", "secrets", "/node"];
    look.extend(backwards.iter().map(String::as_str));
    let mut volumes = vec!["{ host = \"/\", target = \"/node/all\", read_only = true }".to_owned()];
    for (number, path) in PLACES.iter().chain(&FILES).enumerate() {
        volumes.push(format!(
            "{{ host = \"{path}\", target = \"/node/{number}\", read_only = true }}"
        ));
    }
    let rest =
        format!("command = {}\nvolumes = [{}]", serde_json::to_string(&look)?, volumes.join(", "));
    start(node, "spy", &rest, "ended")?;
    let log = node.ferrite(&["unit", "logs", "spy"])?;
    let seen: Value = serde_json::from_str(log.trim()).with_context(|| log.clone())?;
    assert_eq!(seen["found"], serde_json::json!([]), "{seen}");
    assert!(seen["read"].as_u64() > Some(1000) && seen["closed"].as_u64() > Some(10), "{seen}");
    // They are there, and root sees them: the look itself works.
    for folder in ["/run/ferrite", "/var/lib/ferrite"] {
        let mut words = vec!["secrets", folder];
        words.extend(backwards.iter().map(String::as_str));
        let all = node.probe(&words)?;
        assert!(all["found"].as_array().is_some_and(|found| found.len() > 1), "{folder}: {all}");
    }
    Ok(())
}

fn a_secret_that_is_absent_is_named(node: &Node) -> Result<()> {
    let unit = "name = \"lost\"\nimage = \"busybox\"\nrestart = \"never\"\nnetwork = \"none\"\n\
                command = [\"/bin/true\"]\nsecrets = [\"absent\"]\n";
    fs::write(node.machine.directory.join("lost.toml"), unit)?;
    let started = node.ferrite_output(&["unit", "start", "lost.toml", "--until", "ended"])?;
    assert!(!started.status.success());
    let why = node.ferrite(&["unit", "why", "lost"])?;
    assert!(why.contains("the node's configuration has no [secrets] absent"), "{why}");
    Ok(())
}

fn strangers_do_not_keep_the_operator_out(node: &Node) -> Result<()> {
    let strangers: Vec<TcpStream> =
        (0..STRANGERS).map(|_| node.connect()).collect::<Result<_>>()?;
    assert_eq!(node.ask(&["machine", "status"])?["hostname"], "node");
    drop(strangers);
    Ok(())
}

fn refusals_are_as_documented(node: &Node) -> Result<()> {
    for (words, path, status, header) in [
        (&["-X", "PATCH"][..], "/v1/machine", 405, "allow: GET"),
        (&["-X", "DELETE"], "/v1/units", 405, "allow: GET"),
        (&["-X", "TRACE"], "/v1/units/keeper/start", 405, "allow: POST"),
        (&["-X", "GET"], "/v1/nothing", 404, ""),
        (&["-X", "GET"], "/v1/events?follow=perhaps", 400, ""),
        (&["-X", "GET"], "/v1/events?unknown=1", 400, ""),
        (&["-X", "GET"], "/v1/events?since_us=-1", 400, ""),
        (&["-X", "GET"], "/v1/events?since_us=1&since_us=2", 400, ""),
        (&["-X", "DELETE"], "/v1/images", 400, ""),
        (&["-X", "GET"], "/v1/units/%ff", 400, ""),
        (&["-X", "PUT", "--data", "{}"], "/v1/units/a", 415, ""),
        (&["-X", "PUT", "--json", "{}"], "/v1/units/a", 400, ""),
        (&["-X", "PUT", "--json", "{\"name\":\"b\",\"image\":\"c\"}"], "/v1/units/a", 409, ""),
    ] {
        let answer = node.curl(&[&["--include"], words].concat(), path)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
        let head = head.to_ascii_lowercase();
        let what = format!("{words:?} {path}: {answer}");
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{what}");
        assert!(head.contains("content-type: application/json"), "{what}");
        assert!(head.contains(&header.to_ascii_lowercase()), "{what}");
        let error: Value = serde_json::from_str(body).with_context(|| what.clone())?;
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
    }
    Ok(())
}

/// schemathesis asks for everything that the document promises and for what it does not, and complains of nothing.
fn a_public_checker_finds_nothing(node: &Node) -> Result<()> {
    let [ca, certificate, key] = node.credentials()?;
    let mut checker = checker("schemathesis")?;
    checker.current_dir(&node.machine.directory).arg("--config-file");
    checker.arg(checkout().join("tests/schemathesis.toml")).arg("run");
    checker.arg(checkout().join("docs/openapi.json")).args(["--url", &node.endpoint()?]);
    checker.arg("--tls-verify").arg(ca).arg("--request-cert").arg(certificate);
    checker.arg("--request-cert-key").arg(key);
    let output = checker.output().context("run schemathesis")?;
    assert!(output.status.success(), "{}", said(&output));
    Ok(())
}
