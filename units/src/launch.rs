//! From a unit and its image to a request that a shim can carry out without looking anything up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ferrite_schema::node_config::ContainersConfig;
use ferrite_schema::shim::{Network, Request};
use ferrite_schema::unit::{NetworkMode, Unit};
use ferrite_store::access::Unusable;
use ferrite_store::config::ImageConfig;
use ferrite_store::layer::Layers;
use ferrite_store::pull::Puller;
use ferrite_store::store::Lease;
use nix::sys::signal::Signal;

use crate::ids::{IdsProblem, Ranges};
use crate::rights::{self, Refused};

/// Linux's limit for a hostname.
const HOSTNAME_MAX_BYTES: usize = 64;

/// A unit cannot be started as it is.
#[derive(Debug, thiserror::Error)]
pub enum Prepare {
    /// Its image cannot be used as it is on this node.
    #[error(transparent)]
    Image(#[from] Unusable),
    /// Neither unit nor image says what to run.
    #[error("neither the unit nor image {image} says which program to run")]
    NoProgram {
        /// Reference.
        image: String,
    },
    /// It asks for what it cannot have.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has no range of user IDs.
    #[error(transparent)]
    Ids(#[from] IdsProblem),
}

/// Folders that containers live in.
#[derive(Debug, Clone)]
pub struct Places {
    /// Run folders of units; a tmpfs.
    pub run: PathBuf,
    /// What containers write to their roots.
    pub scratch: PathBuf,
    /// Logs.
    pub logs: PathBuf,
    /// The cgroup that shims live in.
    pub shim_cgroup: PathBuf,
    /// The cgroup that units live in, below the cgroup root.
    pub unit_cgroup: String,
    /// The cgroup that the node's own units live in, below the cgroup root and not below the units'.
    pub system_cgroup: String,
    /// Named volumes.
    pub volumes: PathBuf,
    /// Ranges of user IDs.
    pub ids: Ranges,
    /// What the node lets units ask for.
    pub allowed: ContainersConfig,
}

/// A request, and what keeps its layers until it stands in the shim's run folder.
#[derive(Debug)]
pub struct Prepared {
    /// What the shim is asked for.
    pub request: Request,
    /// To be given back once the request is written.
    pub lease: Lease,
}

/// Looks up everything that the shim needs. Reads files.
///
/// # Errors
/// The unit cannot be started now.
pub fn prepare(
    unit: &Unit,
    puller: &Puller,
    layers: &Layers,
    places: &Places,
) -> Result<Prepared, Prepare> {
    rights::check(unit, &places.allowed)?;
    let opened = puller.open(&unit.image)?;
    let folders = opened.folders(layers)?.iter().map(|folder| text(folder)).collect();
    let request = request(unit, &opened.config, folders, places)?;
    Ok(Prepared { request, lease: opened.lease })
}

fn request(
    unit: &Unit,
    config: &ImageConfig,
    folders: Vec<String>,
    places: &Places,
) -> Result<Request, Prepare> {
    let args = program(unit, config);
    if args.is_empty() {
        return Err(Prepare::NoProgram { image: unit.image.clone() });
    }
    let said = |text: Option<&str>| text.map(str::to_owned);
    let cwd = unit.workdir.clone().or(said(config.working_dir().filter(|cwd| !cwd.is_empty())));
    let user = unit.user.clone().or_else(|| said(config.user()));
    let signal = unit.stop_signal.clone().or_else(|| said(config.stop_signal()));
    let shares_users = unit.privileged || unit.host_user_namespace.is_some();
    // Its root is counted and bounded by the number of its range, whether it uses the range or not.
    let project = u32::from(places.ids.number(&unit.name)?);
    let ids = if shares_users { None } else { Some(places.ids.of(&unit.name)?) };
    Ok(Request {
        unit: unit.name.clone(),
        layers: folders,
        scratch: text(&places.scratch.join(&unit.name)),
        args,
        env: environment(unit, config),
        cwd: cwd.unwrap_or_else(|| "/".to_owned()),
        user: user.unwrap_or_default(),
        hostname: hostname_of(unit),
        read_only_root: unit.read_only_root,
        tty: unit.tty,
        stdin: unit.stdin,
        privileged: unit.privileged,
        ids,
        capabilities: rights::capabilities(unit)?,
        devices: unit.devices.clone(),
        project: Some(project),
        mounts: rights::mounts(unit, &places.volumes)?,
        resources: unit.resources.clone(),
        sysctls: unit.sysctls.clone(),
        ulimits: unit.ulimits.clone(),
        network: match unit.network {
            NetworkMode::Host => Network::Host,
            // The supervisor puts its connection here.
            NetworkMode::Bridge | NetworkMode::None => Network::None,
        },
        node_ports: false,
        cgroup: format!("{}/{}", places.unit_cgroup, unit.name),
        shim_cgroup: text(&places.shim_cgroup),
        log_dir: text(&places.logs.join(&unit.name)),
        // The supervisor knows.
        beside: false,
        stop_signal: signal
            .and_then(|signal| signal_number(&signal))
            .unwrap_or(Signal::SIGTERM as i32),
    })
}

/// What a person should know about a unit whatever it does: the isolation that it gives up, and why.
#[must_use]
pub fn notes(unit: &Unit) -> Vec<String> {
    let mut notes = Vec::new();
    if unit.privileged {
        notes.push(
            "privileged: it has every capability and device of the node, and nothing keeps it from taking the node over"
                .to_owned(),
        );
    }
    if let Some(why) = &unit.host_user_namespace {
        notes.push(format!("it shares the node's user namespace, its root is the node's: {why}"));
    }
    if unit.network == NetworkMode::Host {
        notes.push(
            "it shares the node's network, and with it the cloud's metadata service, if there is one"
                .to_owned(),
        );
    } else if unit.metadata_service {
        notes.push(
            "it reaches the cloud's metadata service, and what the machine may do there".to_owned(),
        );
    }
    notes
}

/// Our paths are ASCII: digests and checked names below constants.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// As Docker does: an entrypoint of the unit's own also drops the image's command.
fn program(unit: &Unit, config: &ImageConfig) -> Vec<String> {
    let mut args = match &unit.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => config.entrypoint().to_vec(),
    };
    match (&unit.command, &unit.entrypoint) {
        (Some(command), _) => args.extend(command.iter().cloned()),
        (None, None) => args.extend(config.cmd().iter().cloned()),
        (None, Some(_)) => {}
    }
    args.extend(unit.args.iter().cloned());
    args
}

fn environment(unit: &Unit, config: &ImageConfig) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = config
        .env()
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    all.extend(unit.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The hostname that a unit has inside.
#[must_use]
pub fn hostname_of(unit: &Unit) -> String {
    unit.hostname.clone().unwrap_or_else(|| hostname(&unit.name))
}

/// Names of units may hold `_` and `.`, which a hostname does not.
fn hostname(name: &str) -> String {
    name.chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(HOSTNAME_MAX_BYTES)
        .collect()
}

/// `SIGTERM`, `TERM` or `15`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    let named = if text.starts_with("SIG") { text.to_owned() } else { format!("SIG{text}") };
    let number = match named.parse::<Signal>() {
        Ok(signal) => signal as i32,
        Err(_) => text.parse().ok()?,
    };
    Signal::try_from(number).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entrypoint: &str, cmd: &str) -> ImageConfig {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"history":[],
            "config":{{"Env":["A=1","B=2"],"Entrypoint":{entrypoint},"Cmd":{cmd}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn unit(more: &str) -> Unit {
        ferrite_schema::unit::parse(&format!("name = \"u\"\nimage = \"i\"\n{more}")).unwrap()
    }

    #[test]
    fn the_unit_replaces_what_it_names() {
        let config = config(r#"["/e"]"#, r#"["c"]"#);
        for (more, expected) in [
            ("", vec!["/e", "c"]),
            ("command = [\"d\"]", vec!["/e", "d"]),
            ("entrypoint = [\"/f\"]", vec!["/f"]),
            ("entrypoint = []\ncommand = [\"/g\"]", vec!["/g"]),
        ] {
            assert_eq!(program(&unit(more), &config), expected, "{more}");
        }
        let env = environment(&unit("env = { B = \"3\" }"), &config);
        assert_eq!(env, BTreeMap::from([("A".into(), "1".into()), ("B".into(), "3".into())]));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("QUIT", Some(3)),
            ("9", Some(9)),
            ("0", None),
            ("SIGWHAT", None),
            ("99", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }

    #[test]
    fn hostnames_are_clean() {
        assert_eq!(hostname("a_b.c-1"), "a-b-c-1");
    }
}
