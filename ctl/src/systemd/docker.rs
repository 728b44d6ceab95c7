//! `docker run …` (and podman's) as a unit.

use ferrite_schema::document::Problem;
use ferrite_schema::unit::names::CAPABILITIES;

use super::docker_bounds as bounds;
use super::docker_flags::RUN;
use super::docker_places as places;
use super::draft::{Draft, unknown};
use super::environment::Environment;
use super::flags::{self, Fate, Given, Parsed};
use super::ini::problem;
use super::words::Word;

/// What of a `docker run` is about the life of its container.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// The line of `--detach`: Docker's client did not wait for the container.
    pub(crate) detached: Option<usize>,
    /// Docker was to start it again.
    pub(crate) restart: Option<Given>,
}

/// Takes in the words behind `docker run`.
///
/// # Errors
/// No image is named, what is named is not known, or it cannot be told what is meant.
pub(crate) fn take(
    draft: &mut Draft<'_>,
    words: &[Word],
    environment: &Environment,
    line: usize,
) -> Result<Ran, Problem> {
    let parsed = flags::parse("docker run", &RUN, words, false)?;
    let mut ran = Ran::default();
    unknown_options(draft, &parsed);
    // The period says what a quota means that may stand behind it.
    let late = |given: &&Given| given.flag.long == "cpu-period";
    let first = parsed.given.iter().filter(|given| !late(given));
    for given in first.chain(parsed.given.iter().filter(late)) {
        match given.flag.fate {
            Fate::Lost(why) if given.flag.takes_value || given.is_on() => draft.odd(given, why),
            Fate::NotNeeded(why) => {
                let quiet = matches!(given.flag.long, "rm" | "sig-proxy" | "attach");
                if !quiet {
                    draft.findings.not_needed(given.line, given.shown(), why);
                }
            }
            Fate::Lost(_) => {}
            Fate::Carried => carried(draft, given, environment, &mut ran),
        }
    }
    places::settle(draft);
    bounds::settle(draft, line);
    image(draft, &parsed.rest, line)?;
    Ok(ran)
}

/// Says which options are passed over.
pub(crate) fn unknown_options(draft: &mut Draft<'_>, parsed: &Parsed) {
    for word in &parsed.unknown {
        let why = "this option is not known here: see whether the unit needs it";
        draft.findings.lost(word.line, word.text.clone(), why);
    }
}

/// The image, and what it is to run instead of its command.
fn image(draft: &mut Draft<'_>, rest: &[Word], line: usize) -> Result<(), Problem> {
    let Some((image, command)) = rest.split_first() else {
        return Err(problem(line, "`docker run` names no image: put it behind the options"));
    };
    if let Some(open) = draft.open_in(&image.text) {
        let why =
            format!("the image's name is not known: {}; write the value itself", unknown(open));
        return Err(problem(image.line, why));
    }
    draft.unit.image = image.text.clone();
    draft.mark("image", image.line);
    if !command.is_empty() {
        draft.unit.command = Some(command.iter().map(|word| word.text.clone()).collect());
        draft.mark("command", command.first().map_or(line, |word| word.line));
    }
    for word in command {
        if let Some(open) = draft.open_in(&word.text) {
            let why = format!(
                "{}; it stands in `command` as it is: write the value in its place",
                unknown(open)
            );
            draft.findings.lost(word.line, word.text.clone(), why);
        }
    }
    Ok(())
}

fn carried(draft: &mut Draft<'_>, given: &Given, environment: &Environment, ran: &mut Ran) {
    match given.flag.long {
        "detach" if given.is_on() => ran.detached = Some(given.line),
        "restart" => ran.restart = Some(given.clone()),
        "env" => variable(draft, given, environment),
        "env-file" => {
            let why = "no file of the machine is read: put it into `[env_files]` of the nodes' configuration under a name, and name it in `env_files`";
            draft.odd(given, why);
        }
        "interactive" => draft.findings.not_needed(
            given.line,
            given.shown(),
            "a service's standard input is empty; `stdin = true` keeps it open for `ferrite unit attach`",
        ),
        "name" => own_name(draft, given),
        "privileged" => draft.unit.privileged = given.is_on(),
        "read-only" => draft.unit.read_only_root = given.is_on(),
        "tty" => draft.unit.tty = given.is_on(),
        "publish" | "publish-all" | "volume" | "mount" | "tmpfs" | "shm-size" | "link" | "net"
        | "network" => places::take(draft, given),
        "memory" | "memory-reservation" | "memory-swap" | "cpus" | "cpu-quota" | "cpu-period"
        | "cpu-shares" | "pids-limit" | "blkio-weight" | "storage-opt" | "ulimit"
        | "stop-timeout" | "health-cmd" | "healthcheck-command" | "health-interval"
        | "health-timeout" | "health-retries" | "health-start-period" => bounds::take(draft, given),
        _ => plain(draft, given),
    }
}

/// Options whose values stand in the unit nearly as they are.
fn plain(draft: &mut Draft<'_>, given: &Given) {
    if !draft.knows(given) {
        return;
    }
    let text = given.value.clone();
    match given.flag.long {
        "hostname" => set(draft, "hostname", given, |unit| unit.hostname = Some(text)),
        "user" => set(draft, "user", given, |unit| unit.user = Some(text)),
        "workdir" => set(draft, "workdir", given, |unit| unit.workdir = Some(text)),
        "stop-signal" => set(draft, "stop_signal", given, |unit| unit.stop_signal = Some(text)),
        "entrypoint" => set(draft, "entrypoint", given, |unit| {
            unit.entrypoint =
                Some(Some(text).filter(|text| !text.is_empty()).into_iter().collect());
        }),
        "label" => pair(draft, given, "labels"),
        "sysctl" => pair(draft, given, "sysctls"),
        "cap-add" | "cap-drop" => capability(draft, given),
        "device" => device(draft, given),
        "security-opt" => security(draft, given),
        "userns" => user_namespace(draft, given),
        "pid" | "ipc" | "uts" if matches!(text.as_str(), "" | "private" | "shareable") => {}
        "pid" | "ipc" | "uts" => {
            draft.odd(
                given,
                "each unit has its own; with `network = \"host\"` it has the node's network",
            );
        }
        _ => {}
    }
}

fn set(
    draft: &mut Draft<'_>,
    key: &str,
    given: &Given,
    change: impl FnOnce(&mut ferrite_schema::unit::Unit),
) {
    change(&mut draft.unit);
    draft.mark(key, given.line);
}

fn own_name(draft: &mut Draft<'_>, given: &Given) {
    let plain = |text: &str| text.replace("%n", &format!("{}%i", draft.name.as_str()));
    let own = plain(draft.name.as_str());
    let name = plain(given.value.strip_suffix(".service").unwrap_or(&given.value));
    let same = name == own || name == format!("{own}%i");
    let why = match same {
        true => "the container is called as its unit".to_owned(),
        false => format!(
            "the container is called as its unit, and other units reach it as `{}`",
            draft.name.as_str().trim_end_matches('@')
        ),
    };
    draft.findings.not_needed(given.line, given.shown(), why);
}

fn variable(draft: &mut Draft<'_>, given: &Given, environment: &Environment) {
    let (name, value) = match given.value.split_once('=') {
        Some((name, value)) => (name, value),
        None => match environment.get(&given.value) {
            Some(value) => (given.value.as_str(), value),
            None => {
                let why = "its value was taken from the machine's environment: write it as `env = { NAME = \"value\" }`, or bring it with `env_files`";
                return draft.odd(given, why);
            }
        },
    };
    if name.is_empty() {
        return draft.odd(given, "a variable has a name");
    }
    if let Some(open) = draft.open_in(name).or_else(|| draft.open_in(value)) {
        let why = format!(
            "{}; write the value itself, or bring the variable with `env_files`",
            unknown(open)
        );
        return draft.odd(given, why);
    }
    draft.mark(format!("env.{name}"), given.line);
    draft.unit.env.insert(name.to_owned(), value.to_owned());
}

fn pair(draft: &mut Draft<'_>, given: &Given, key: &str) {
    let (name, value) = given.value.split_once('=').unwrap_or((&given.value, ""));
    draft.mark(format!("{key}.{name}"), given.line);
    let table = match key {
        "labels" => &mut draft.unit.labels,
        _ => &mut draft.unit.sysctls,
    };
    table.insert(name.to_owned(), value.to_owned());
}

fn capability(draft: &mut Draft<'_>, given: &Given) {
    let upper = given.value.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
    if name != "ALL" && !CAPABILITIES.contains(&name.as_str()) {
        return draft.odd(given, "Linux has no capability of this name");
    }
    let add = given.flag.long == "cap-add";
    let capabilities = &mut draft.unit.capabilities;
    let (list, other) = match add {
        true => (&mut capabilities.add, &capabilities.drop),
        false => (&mut capabilities.drop, &capabilities.add),
    };
    if other.contains(&name) {
        return draft.odd(given, "it is both added and dropped: decide for one");
    }
    if !list.contains(&name) {
        list.push(name);
    }
    draft.mark("capabilities", given.line);
}

fn device(draft: &mut Draft<'_>, given: &Given) {
    let mut parts = given.value.split(':');
    let node = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(node);
    if inside != node && inside.starts_with('/') {
        return draft.odd(given, "a device has the same path in the container: name that one");
    }
    if !draft.unit.devices.iter().any(|known| known == node) {
        draft.mark(format!("devices.{}", draft.unit.devices.len()), given.line);
        draft.unit.devices.push(node.to_owned());
    }
}

fn security(draft: &mut Draft<'_>, given: &Given) {
    if given.value.starts_with("no-new-privileges") {
        let why = "no program of a unit gains rights, unless `privileged`";
        return draft.findings.not_needed(given.line, given.shown(), why);
    }
    draft.odd(given, "units have Ferrite's own filter of system calls; see docs/isolation.md");
}

fn user_namespace(draft: &mut Draft<'_>, given: &Given) {
    if given.value != "host" {
        let why = "each unit has a user namespace of its own";
        return draft.findings.not_needed(given.line, given.shown(), why);
    }
    draft.unit.host_user_namespace = Some("it had `--userns host` with Docker".to_owned());
    draft.mark("host_user_namespace", given.line);
    let why =
        "say in `host_user_namespace` why it must share the node's user namespace, or drop it";
    draft.findings.changed(given.line, given.shown(), why);
}
