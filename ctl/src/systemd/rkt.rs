//! `rkt run …` as a unit.

use ferrite_schema::document::Problem;
use ferrite_schema::unit::{NetworkMode, Port, Protocol, Volume};

use super::docker;
use super::docker_places;
use super::draft::{Draft, unknown};
use super::environment::Environment;
use super::flags::Fate::{Carried, Lost, NotNeeded};
use super::flags::{self, Fate, Flag, Given, switch, value};
use super::ini::problem;
use super::values::docker_bytes;
use super::words::Word;

const TRUST: &str = "the node's `[[signatures]]` say whose images it runs";
const STAGE: &str = "there is one way in which containers are set apart: see docs/isolation.md";
const NAMES: &str = "names are answered by the node, which knows all services";
const LOGS: &str = "`ferrite unit logs` keeps what it writes";

const RUN: [Flag; 57] = [
    value("insecure-options", NotNeeded(TRUST)),
    switch("insecure-skip-verify", NotNeeded(TRUST)),
    switch("trust-keys-from-https", NotNeeded(TRUST)),
    value("signature", NotNeeded(TRUST)),
    value("uuid-file-save", NotNeeded("the node knows its containers")),
    value("pull-policy", NotNeeded("an image is fetched when it is not there")),
    switch("no-store", NotNeeded("an image is fetched when it is not there")),
    switch("store-only", NotNeeded("an image is fetched when it is not there")),
    switch("local", NotNeeded("an image is fetched when it is not there")),
    value("dir", NotNeeded("the node knows where its containers are")),
    value("local-config", NotNeeded("the node has one configuration")),
    value("system-config", NotNeeded("the node has one configuration")),
    value("user-config", NotNeeded("the node has one configuration")),
    switch("debug", NotNeeded(LOGS)),
    switch("no-overlay", NotNeeded(STAGE)),
    switch("mds-register", NotNeeded(NAMES)),
    value("stage1-path", NotNeeded(STAGE)),
    value("stage1-url", NotNeeded(STAGE)),
    value("stage1-name", NotNeeded(STAGE)),
    value("stage1-hash", NotNeeded(STAGE)),
    value("stage1-from-dir", NotNeeded(STAGE)),
    value("stage1-init-args", NotNeeded(STAGE)),
    value("stage1-systemd-seccomp", NotNeeded(STAGE)),
    value("name", NotNeeded("the container is called as its unit")),
    value("annotation", Lost("use `labels`")),
    value("user-annotation", Lost("use `labels`")),
    value("user-label", Lost("use `labels`")),
    value("volume", Carried),
    value("mount", Carried),
    value("port", Carried),
    value("net", Carried),
    switch("private-net", NotNeeded("a unit has a network of its own")),
    value("dns", Lost(NAMES)),
    value("dns-domain", Lost(NAMES)),
    value("dns-opt", Lost(NAMES)),
    value("dns-search", Lost(NAMES)),
    value("hosts-entry", Lost(NAMES)),
    value("hostname", Carried),
    value("set-env", Carried),
    value("environment", Carried),
    value("set-env-file", Lost("no file of the machine is read: use `env_files`")),
    switch("inherit-env", Carried),
    value("exec", Carried),
    value("user", Carried),
    value("group", Carried),
    value("supplementary-gids", Lost("a unit's groups are its image's")),
    value("working-dir", Carried),
    value("memory", Carried),
    value("cpu", Carried),
    value("cpu-shares", Lost("use `resources.cpu_weight`")),
    value("oom-score-adj", Lost(STAGE)),
    value("cap-retain", Carried),
    value("caps-retain", Carried),
    value("caps-remove", Carried),
    value("seccomp", Lost("units have Ferrite's own filter of system calls")),
    switch("readonly-rootfs", Carried),
    switch("interactive", NotNeeded("a service's standard input is empty")),
];

/// A volume that a mount may name.
struct Source {
    name: String,
    host: Option<String>,
    read_only: bool,
}

/// Takes in the words of `rkt run`.
///
/// # Errors
/// The pod has no image, or several, or it cannot be told what is meant.
pub(crate) fn take(
    draft: &mut Draft<'_>,
    words: &[Word],
    environment: &Environment,
    line: usize,
) -> Result<(), Problem> {
    if let Some(word) = words.iter().find(|word| word.text == "---") {
        return Err(problem(
            word.line,
            "a unit has one container: make a unit of each image of the pod; they reach one another by name",
        ));
    }
    let pod = words.iter().find(|word| word.text.starts_with("--pod-manifest"));
    if let Some(word) = pod {
        return Err(problem(
            word.line,
            "the pod's manifest is not read: name its image behind the options",
        ));
    }
    let parsed = flags::parse("rkt run", &RUN, words, true)?;
    docker::unknown_options(draft, &parsed);
    let split = parsed.rest.iter().position(|word| word.text == "--").unwrap_or(parsed.rest.len());
    let (images, arguments) = parsed.rest.split_at(split);
    image(draft, images, line)?;
    draft.unit.args = arguments.iter().skip(1).map(|word| word.text.clone()).collect();
    draft.mark("args", arguments.first().map_or(line, |word| word.line));
    for word in arguments {
        if let Some(open) = draft.open_in(&word.text) {
            let why = format!(
                "{}; it stands in `args` as it is: write the value in its place",
                unknown(open)
            );
            draft.findings.lost(word.line, word.text.clone(), why);
        }
    }
    let sources = sources(draft, &parsed.given);
    for given in &parsed.given {
        match given.flag.fate {
            Fate::Lost(why) => draft.odd(given, why),
            Fate::NotNeeded(why) if given.flag.long.starts_with("insecure") => {
                draft.findings.not_needed(given.line, given.shown(), why);
            }
            Fate::NotNeeded(_) => {}
            Fate::Carried => carried(draft, given, environment, &sources),
        }
    }
    docker_places::settle(draft);
    Ok(())
}

fn image(draft: &mut Draft<'_>, images: &[Word], line: usize) -> Result<(), Problem> {
    let image = match images {
        [image] => image,
        [] => return Err(problem(line, "`rkt run` names no image: put it behind the options")),
        [_, second, ..] => {
            return Err(problem(
                second.line,
                "a unit has one container: make a unit of each image; they reach one another by name",
            ));
        }
    };
    let (docker, name) = match image.text.strip_prefix("docker://") {
        Some(name) => (true, name),
        None => (false, image.text.as_str()),
    };
    if name.contains("://")
        || name.starts_with("sha512-")
        || name.ends_with(".aci")
        || name.starts_with('/')
    {
        let why = format!(
            "`{name}` is an image of rkt's own kind: name one of a registry, as `rkt run docker://NAME` would"
        );
        return Err(problem(image.line, why));
    }
    if let Some(open) = draft.open_in(name) {
        let why =
            format!("the image's name is not known: {}; write the value itself", unknown(open));
        return Err(problem(image.line, why));
    }
    if !docker {
        let why = "rkt found images of its own kind by such a name: see that a registry has one of this name";
        draft.findings.changed(image.line, image.text.clone(), why);
    }
    // rkt's labels stand behind a comma; what is not a version is not in a reference.
    let name = name.split(',').next().unwrap_or(name);
    draft.unit.image = name.to_owned();
    draft.mark("image", image.line);
    Ok(())
}

/// `name,kind=host,source=/x,readOnly=true`
fn sources(draft: &mut Draft<'_>, given: &[Given]) -> Vec<Source> {
    let mut all = Vec::new();
    for given in given.iter().filter(|given| given.flag.long == "volume") {
        if !draft.knows(given) {
            continue;
        }
        let mut parts = given.value.split(',');
        let name = parts.next().unwrap_or_default();
        let name = name.strip_prefix("name=").unwrap_or(name).to_owned();
        let pairs: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let find = |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let host = find("source").map(str::to_owned);
        if let Some(path) = &host {
            let why = format!(
                "`{path}` is a path of the node, whose own files are read-only and where only what is below /var is kept"
            );
            draft.findings.changed(given.line, given.shown(), why);
        }
        all.push(Source { name, host, read_only: find("readOnly") == Some("true") });
    }
    all
}

fn carried(draft: &mut Draft<'_>, given: &Given, environment: &Environment, sources: &[Source]) {
    if given.flag.long == "port" {
        return port(draft, given);
    }
    if given.flag.long == "inherit-env" {
        for name in environment.names() {
            if let Some(value) = environment.get(name) {
                draft.unit.env.insert(name.to_owned(), value.to_owned());
            }
        }
        return;
    }
    if given.flag.long == "volume" || !draft.knows(given) {
        return;
    }
    let text = given.value.clone();
    draft.mark(key_of(given.flag.long), given.line);
    match given.flag.long {
        "mount" => mount(draft, given, sources),
        "net" => match text.as_str() {
            "host" => draft.unit.network = NetworkMode::Host,
            "none" => draft.unit.network = NetworkMode::None,
            _ => {}
        },
        "hostname" => draft.unit.hostname = Some(text),
        "set-env" | "environment" => match text.split_once('=') {
            Some((name, value)) => drop(draft.unit.env.insert(name.to_owned(), value.to_owned())),
            None => draft.odd(given, "a variable is NAME=VALUE"),
        },
        "exec" => draft.unit.entrypoint = Some(vec![text]),
        "user" => {
            let before = draft.unit.user.take().unwrap_or_default();
            let group = before.split_once(':').map(|(_, group)| format!(":{group}"));
            draft.unit.user = Some(text + &group.unwrap_or_default());
        }
        "group" => match &mut draft.unit.user {
            Some(user) => *user = format!("{user}:{text}"),
            None => draft.unit.user = Some(format!("0:{text}")),
        },
        "working-dir" => draft.unit.workdir = Some(text),
        "readonly-rootfs" => draft.unit.read_only_root = given.is_on(),
        "memory" => match docker_bytes(&text) {
            Some(bytes) => draft.unit.resources.memory = Some(bytes),
            None => draft.odd(given, "this is no amount of memory"),
        },
        "cpu" => match cpus(&text) {
            Some(cpus) => draft.unit.resources.cpus = Some(cpus),
            None => draft.odd(given, "this is no amount of processors"),
        },
        _ => draft.odd(given, "say it with `capabilities`, names without `CAP_`"),
    }
}

fn key_of(option: &str) -> &'static str {
    match option {
        "mount" => "volumes",
        "net" => "network",
        "hostname" => "hostname",
        "set-env" | "environment" => "env",
        "exec" => "entrypoint",
        "user" | "group" => "user",
        "working-dir" => "workdir",
        _ => "resources",
    }
}

/// `750m` thousandths, or processors.
fn cpus(text: &str) -> Option<f64> {
    let cpus = match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().ok()? / 1000.0,
        None => text.parse().ok()?,
    };
    cpus.is_finite().then_some(cpus)
}

fn mount(draft: &mut Draft<'_>, given: &Given, sources: &[Source]) {
    let pairs: Vec<_> = given.value.split(',').filter_map(|part| part.split_once('=')).collect();
    let find = |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let (Some(name), Some(target)) = (find("volume"), find("target")) else {
        return draft.odd(given, "a mount says `volume=` and `target=`");
    };
    let source = sources.iter().find(|source| source.name == name);
    let host = source.and_then(|source| source.host.clone());
    let volume = Volume {
        name: host.is_none().then(|| name.to_owned()),
        host,
        tmpfs: None,
        target: target.to_owned(),
        read_only: source.is_some_and(|source| source.read_only),
    };
    draft.unit.volumes.push(volume);
}

/// `NAME:[ADDRESS:]PORT`, where the name is the image's for its port; images of Docker have `80-tcp`.
fn port(draft: &mut Draft<'_>, given: &Given) {
    let Some((name, place)) = given.value.split_once(':') else {
        return draft.odd(given, "a port is NAME:PORT");
    };
    let (address, host) = match place.rsplit_once(':') {
        Some((address, host)) => (Some(address), host),
        None => (None, place),
    };
    let (container, protocol) = name.split_once('-').unwrap_or((name, "tcp"));
    let protocol = match protocol {
        "udp" => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    let (Ok(host), Ok(container)) = (host.parse::<u16>(), container.parse::<u16>()) else {
        let why = "the image said which port is called so: publish it by its number, `ports = [{ host = …, container = … }]`";
        return draft.odd(given, why);
    };
    let address = match address.map(str::parse) {
        None => None,
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => {
            draft.findings.changed(
                given.line,
                given.shown(),
                "it is published at all of the node's addresses",
            );
            None
        }
    };
    draft.mark(format!("ports.{}", draft.unit.ports.len()), given.line);
    let container = Some(container).filter(|container| *container != host);
    draft.unit.ports.push(Port { host, container, protocol, address });
}
