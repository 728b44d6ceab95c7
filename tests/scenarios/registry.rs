//! A real registry, with TLS of a private authority and passwords, serves a node.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use ferrite_tests::agent_death::Ambush;
use ferrite_tests::cutter::Cutter;
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::programs::{said, succeed};
use ferrite_tests::registry::{HOST, PASSWORD, Registry, certificates};
use ferrite_tests::units;
use rcgen::KeyPair;

fn refuses(node: &Node, name: &str, expected: &str) -> Result<()> {
    let output = node.ferrite_output(&["pull", name])?;
    let words = said(&output);
    ensure!(output.status.code() == Some(1), "{words}");
    ensure!(words.contains(expected), "{expected:?} is not in {words}");
    Ok(())
}

#[test]
fn a_node_pulls_from_a_registry_with_tls_and_passwords() -> Result<()> {
    let (registry, ca) = Registry::guarded()?;
    let (busybox, large) = (demo::busybox()?, demo::busybox_with_probe()?);
    registry.push(&large, "team/large:1")?;
    let blob = registry.largest_blob()?;
    let blob_bytes = fs::metadata(&blob)?.len();
    registry.push(&busybox, "team/app:1")?;
    // Each connection ends after a third of the large blob.
    let cutter = Cutter::start(registry.port, usize::try_from(blob_bytes / 3)?)?;
    // Two more ways to the same registry, with settings that are wrong.
    let all = usize::MAX;
    let (wrong_password, wrong_ca) =
        (Cutter::start(registry.port, all)?, Cutter::start(registry.port, all)?);
    let mut node = Node::new("registry", Kind::Probed)?;
    let mut config =
        OpenOptions::new().append(true).open(node.machine.directory.join("cloud-config"))?;
    let other_ca = {
        let folder = tempfile::tempdir()?;
        certificates(folder.path())?
    };
    for (port, ca, password) in [
        (registry.port, &ca, PASSWORD),
        (cutter.port, &ca, PASSWORD),
        (wrong_password.port, &ca, "other"),
        (wrong_ca.port, &other_ca, PASSWORD),
    ] {
        config.write_all(Registry::settings(port, ca, password).as_bytes())?;
    }
    let keys = [KeyPair::generate()?, KeyPair::generate()?];
    for (repository, key) in
        [("closed/signed", Some(0)), ("closed/other", Some(1)), ("closed/plain", None)]
    {
        registry.push(&busybox, &format!("{repository}:1"))?;
        if let Some(key) = key {
            registry.sign(repository, &keys[key])?;
        }
    }
    write!(
        config,
        "\n[[signatures]]\nname = \"{HOST}:{}/closed/*\"\npolicy = \"signed\"\nkeys = ['''\n{}''']\n",
        registry.port,
        keys[0].public_key_pem()
    )?;
    node.boot()?;
    let name = |port: u16, rest: &str| format!("{HOST}:{port}/team/{rest}");

    let app = name(registry.port, "app:1");
    node.ferrite(&["pull", &app])?;
    let images = node.ask(&["images"])?;
    ensure!(
        images[0]["name"] == app.as_str() && images[0]["own_bytes"].as_u64() > Some(0),
        "{images}"
    );

    refuses(&node, &name(registry.port, "app:2"), "the registry does not have it")?;
    refuses(&node, &name(wrong_password.port, "app:1"), "refuses the user or the password")?;
    refuses(&node, &name(wrong_ca.port, "app:1"), "check the certificate")?;
    // A broken download is continued, not begun anew.
    node.ferrite(&["pull", &name(cutter.port, "large:1")])?;
    let passed = cutter.passed_bytes.load(Ordering::Relaxed);
    ensure!(passed < blob_bytes * 2, "{passed} bytes were sent for a blob of {blob_bytes}");

    // Archives that other tools read.
    for (format, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let file = node.machine.directory.join(format!("{format}.tar"));
        let path = file.display().to_string();
        node.ferrite(&["images", "export", &app, "-f", &path, "--format", format])?;
        let mut inspect = Command::new("skopeo");
        let seen =
            succeed(inspect.args(["inspect", "--config"]).arg(format!("{transport}:{path}")))?;
        ensure!(seen.contains("diff_ids"), "{seen}");
    }

    // A blob that is not what its digest says is refused; the node has forgotten the good one first.
    for image in [&name(cutter.port, "large:1"), &app] {
        node.ferrite(&["images", "remove", image])?;
    }
    let good = fs::read(&blob)?;
    let mut bytes = good.clone();
    bytes[1000] ^= 1;
    fs::write(&blob, bytes)?;
    refuses(&node, &name(registry.port, "large:1"), "has the digest")?;
    fs::write(&blob, good)?;

    // On demand, when a unit starts.
    let unit = node.machine.directory.join("app.toml");
    fs::write(
        &unit,
        format!(
            "name = \"app\"\nimage = \"{app}\"\ncommand = [\"echo\", \"pulled\"]\noneshot = true\n"
        ),
    )?;
    node.ferrite(&["unit", "start", &unit.display().to_string(), "--until", "ended"])?;
    ensure!(node.ferrite(&["unit", "logs", "app"])?.contains("pulled"));
    let refused = node.ferrite_output(&["images", "remove", &app])?;
    ensure!(refused.status.code() == Some(7), "{}", said(&refused));
    only_signed_images_are_taken(&node, &format!("{HOST}:{}/closed", registry.port))?;
    let image = name(cutter.port, "large:1");
    a_killed_agent_begins_no_image_twice(&mut node, &image)?;
    a_killed_agent_imports_nothing_by_half(&mut node, &image)?;
    // Its layers are in use from here on.
    registry.push(&large, "team/app:1")?;
    a_tag_that_moved_is_seen_by_who_asks(&node, &app)?;
    later_rules_hold_for_what_is_here(&mut node)
}

/// At the next start of a unit that wants to know; others go on with what is here.
fn a_tag_that_moved_is_seen_by_who_asks(node: &Node, image: &str) -> Result<()> {
    let digest = |name: &str, more: &str| -> Result<String> {
        let file = node.machine.directory.join(format!("{name}.toml"));
        let unit = format!(
            "name = \"{name}\"\nimage = \"{image}\"\ncommand = [\"true\"]\nrestart = \"never\"\n{more}\n"
        );
        fs::write(&file, unit)?;
        node.ferrite(&["unit", "start", &file.display().to_string(), "--until", "ended"])?;
        Ok(node.ask(&["unit", "status", name])?["image_digest"].to_string())
    };
    let before = digest("asks-not", "")?;
    ensure!(digest("never-asks", "pull = \"never\"")? == before);
    let after = digest("asks", "pull = \"always\"")?;
    ensure!(after != before, "{after}");
    ensure!(digest("asks-again", "pull = \"always\"")? == after);
    let file = node.machine.directory.join("absent.toml");
    let unit = format!(
        "name = \"absent\"\nimage = \"{image}-x\"\npull = \"never\"\nrestart = \"never\"\n"
    );
    fs::write(&file, unit)?;
    let refused = node.ferrite_output(&["unit", "start", &file.display().to_string()])?;
    ensure!(!refused.status.success(), "{}", said(&refused));
    let why = node.ferrite(&["unit", "why", "absent"])?;
    ensure!(why.contains("is not on this node") && why.contains("`pull = \"never\"`"), "{why}");
    Ok(())
}

/// Where the node's rule wants a signature by one of its keys.
fn only_signed_images_are_taken(node: &Node, place: &str) -> Result<()> {
    let refuses = |image: &str, why: &str| {
        let output = node.ferrite_output(&["pull", image])?;
        ensure!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
        Ok(())
    };
    refuses(&format!("{place}/plain:1"), "wants a signature, and it has none")?;
    refuses(&format!("{place}/other:1"), "no key of the rule made the one it has")?;
    let unit = |name: &str, repository: &str| {
        let image =
            format!("image = \"{place}/{repository}:1\"\ncommand = [\"echo\", \"trusted\"]");
        let file = format!("{name}.toml");
        let text = format!("name = \"{name}\"\n{image}\nrestart = \"never\"\nnetwork = \"none\"\n");
        fs::write(node.machine.directory.join(&file), text)?;
        Ok::<String, std::io::Error>(file)
    };
    node.ferrite_output(&["unit", "start", &unit("unsigned", "plain")?, "--until", "ended"])?;
    let why = node.ferrite(&["unit", "why", "unsigned"])?;
    ensure!(why.contains("wants a signature"), "{why}");
    node.ferrite(&["pull", &format!("{place}/signed:1")])?;
    node.ferrite(&["unit", "start", &unit("signed", "signed")?, "--until", "ended"])?;
    let log = node.ferrite(&["unit", "logs", "signed"])?;
    ensure!(log.contains("trusted"), "{log}");
    Ok(())
}

/// The agent is killed while it downloads an image for a unit, and once more while it unpacks it: the unit runs once,
/// and nothing half done is left.
fn a_killed_agent_begins_no_image_twice(node: &mut Node, image: &str) -> Result<()> {
    let text = format!(
        "name = \"large\"\nimage = \"{image}\"\ncommand = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 0\n"
    );
    fs::write(node.machine.directory.join("large.toml"), text)?;
    // What refused downloads left is used up by one that succeeds.
    node.ferrite(&["pull", image])?;
    node.ferrite(&["images", "remove", image])?;
    for moment in ["/var/lib/ferrite/images/partial/*", "/var/lib/ferrite/layers/tmp-*"] {
        let ambush = Ambush::lie(node, moment)?;
        // Its connection may break with the agent.
        node.ferrite_output(&["unit", "start", "large.toml", "--no-wait"])?;
        ambush.spring(node).context(moment)?;
        // The wish was kept; this waits for what the agent's successor makes of it.
        node.ferrite(&["unit", "start", "large"])?;
        let status = node.ask(&["unit", "status", "large"])?;
        ensure!(
            (&status["state"], &status["restarts"]) == (&"running".into(), &0.into()),
            "{status}"
        );
        let shims = node.probe(&["processes"])?.to_string().matches("\"ferrite-shim\"").count();
        ensure!(shims == 1, "{shims} containers");
        nothing_half_done_is_left(node)?;
        node.ferrite(&["unit", "destroy", "large"])?;
        node.ferrite(&["images", "remove", image])?;
    }
    Ok(())
}

/// The agent is killed while it takes an image in, and once more while it unpacks it: there is no such image then, and
/// the next import has it whole.
fn a_killed_agent_imports_nothing_by_half(node: &mut Node, image: &str) -> Result<()> {
    node.ferrite(&["pull", image])?;
    node.ferrite(&["images", "export", image, "--file", "large.tar"])?;
    node.ferrite(&["images", "remove", image])?;
    let import = ["import", "large.tar", "--name", "taken-in"];
    for moment in ["/var/lib/ferrite/images/staging/*", "/var/lib/ferrite/layers/tmp-*"] {
        let ambush = Ambush::lie(node, moment)?;
        let output = node.ferrite_output(&import)?;
        ambush.spring(node).context(moment)?;
        ensure!(!output.status.success(), "{}", said(&output));
        let images = node.ask(&["images"])?.to_string();
        ensure!(!images.contains("taken-in"), "{images}");
        node.ferrite(&import)?;
        let images = node.ask(&["images"])?.to_string();
        ensure!(images.contains("taken-in"), "{images}");
        nothing_half_done_is_left(node)?;
        node.ferrite(&["images", "remove", "taken-in"])?;
    }
    Ok(())
}

/// Rules that came after the images: nothing of them starts or leaves after the next boot, which is none the less ready;
/// what a rule wants signed looks for a signature, and says that there is none.
fn later_rules_hold_for_what_is_here(node: &mut Node) -> Result<()> {
    let busybox = demo::busybox()?.display().to_string();
    let zeros = format!("later/app@sha256:{}", "0".repeat(64));
    for name in ["a:", ":1", "http://x/y", "a:b:c", &zeros] {
        let output = node.ferrite_output(&["import", &busybox, "--name", name])?;
        ensure!(!output.status.success(), "{name} was taken: {}", said(&output));
    }
    for name in ["rejected", "unproven"] {
        // Nobody listens there.
        let image = format!("{HOST}:9/{name}/app:1");
        node.ferrite(&["import", &busybox, "--name", &image])?;
        let text = format!(
            "name = \"{name}\"\nimage = \"{image}\"\ncommand = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 0\n"
        );
        fs::write(node.machine.directory.join(format!("{name}.toml")), text)?;
        node.ferrite(&["unit", "start", &format!("{name}.toml")])?;
    }
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    let key = KeyPair::generate()?.public_key_pem();
    let rules = format!(
        "\n[registries.\"{HOST}:9\"]\nplain_http = true\n\
         [[signatures]]\nname = \"{HOST}:9/rejected/*\"\npolicy = \"reject\"\n\
         [[signatures]]\nname = \"{HOST}:9/unproven/*\"\npolicy = \"signed\"\nkeys = ['''\n{key}''']\n"
    );
    let mut config =
        OpenOptions::new().append(true).open(node.machine.directory.join("cloud-config"))?;
    config.write_all(rules.as_bytes())?;
    node.boot()?;
    for (name, words) in [
        ("rejected", &["rejects it", "[[signatures]]"][..]),
        ("unproven", &["wants a signature, and none was asked for", "pulling it again"]),
    ] {
        units::until(node, name, |status| {
            let why = status["why"].as_str().unwrap_or_default();
            status["state"] == "backing-off" && words.iter().all(|word| why.contains(word))
        })?;
        let image = format!("{HOST}:9/{name}/app:1");
        let output = node.ferrite_output(&["images", "export", &image, "-f", "taken.tar"])?;
        ensure!(!output.status.success() && said(&output).contains(words[0]), "{}", said(&output));
    }
    Ok(())
}

fn nothing_half_done_is_left(node: &mut Node) -> Result<()> {
    for folder in ["images/partial", "images/staging"] {
        let left = node.probe(&["list", &format!("/var/lib/ferrite/{folder}")])?;
        ensure!(left.as_array().is_some_and(Vec::is_empty), "{folder} has {left}");
    }
    let layers = node.probe(&["list", "/var/lib/ferrite/layers"])?.to_string();
    ensure!(!layers.contains("tmp-"), "{layers}");
    Ok(())
}
