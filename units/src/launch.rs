//! From a unit and its image to a request that a shim can carry out without looking anything up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ferrite_net::naming;
use ferrite_schema::node_config::ContainersConfig;
use ferrite_schema::shim::{Network, Request};
use ferrite_schema::unit::names::signal_number;
use ferrite_schema::unit::{NetworkMode, Unit};
use ferrite_store::access::Unusable;
use ferrite_store::config::ImageConfig;
use ferrite_store::layer::Layers;
use ferrite_store::pull::Puller;
use ferrite_store::store::Lease;
use ferrite_sys::cgroup::Cgroup;
use nix::sys::signal::Signal;

use crate::far_ids::{self, TooMany};
use crate::ids::{IdsProblem, Ranges};
use crate::image_notes;
use crate::rights::{self, Refused};

/// Linux's limit for a hostname.
const HOSTNAME_MAX_BYTES: usize = 64;

/// No environment can hold this.
#[derive(Debug, thiserror::Error)]
pub enum BadVariable {
    /// It has a value only.
    #[error("entry {number} of its `Env` has no name before the `=`")]
    Nameless {
        /// Which one, from 1.
        number: usize,
    },
    /// It would end in its midst.
    #[error(
        "{name:?} in its `Env` holds a NUL character; the unit's `env` may give it another value"
    )]
    Nul {
        /// Its name.
        name: String,
    },
}

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
    /// Its image has no file, and nothing is mounted that could have one.
    #[error(
        "run image {image}: it has no layers, so that there is no file in it and no program (`FROM scratch`, and nothing was added)"
    )]
    NoContent {
        /// Reference.
        image: String,
    },
    /// Its image has a variable that no environment can hold.
    #[error("give it the environment of image {image}: {problem}")]
    Environment {
        /// Reference.
        image: String,
        /// Which one, and why.
        problem: BadVariable,
    },
    /// Its image has a word in its command that no program can be given.
    #[error("run what image {image} says: word {number} of its `{key}` holds a NUL character")]
    Word {
        /// Reference.
        image: String,
        /// `Entrypoint` or `Cmd`.
        key: &'static str,
        /// Which one, from 1.
        number: usize,
    },
    /// Its image names no signal that there is.
    #[error(
        "stop it with {text:?}, as image {image} says: there is no such signal; name another one in the unit's `stop_signal`"
    )]
    StopSignal {
        /// Reference.
        image: String,
        /// What stands in the image.
        text: String,
    },
    /// It asks for what it cannot have.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has no range of user IDs.
    #[error(transparent)]
    Ids(#[from] IdsProblem),
    /// It needs more IDs than it can have.
    #[error(transparent)]
    FarIds(#[from] TooMany),
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
    /// The cgroup below which each unit's shim has one of its own.
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

impl Places {
    /// The cgroup of the unit's shim.
    #[must_use]
    pub fn shim_cgroup_of(&self, unit: &str) -> Cgroup {
        Cgroup::new(self.shim_cgroup.join(unit))
    }
}

/// A request, and what keeps its layers until it stands in the shim's run folder.
#[derive(Debug)]
pub struct Prepared {
    /// What the shim is asked for.
    pub request: Request,
    /// To be given back once the request is written.
    pub lease: Lease,
    /// What a person should know of what the image says.
    pub notes: Vec<String>,
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
    let mut request = request(unit, &opened.config, folders, places)?;
    if request.ids.is_some() {
        let mut far = opened.far_ids(layers)?;
        far_ids::of_user(&request.user, &mut far);
        if !far.is_empty() {
            let range = places.ids.second(&unit.name)?;
            request.far_ids = far_ids::places(&unit.image, &far, range)?;
        }
    }
    let notes = image_notes::of(unit, &opened.config);
    Ok(Prepared { request, lease: opened.lease, notes })
}

fn request(
    unit: &Unit,
    config: &ImageConfig,
    folders: Vec<String>,
    places: &Places,
) -> Result<Request, Prepare> {
    let args = program(unit, config)?;
    if args.is_empty() {
        return Err(Prepare::NoProgram { image: unit.image.clone() });
    }
    if folders.is_empty() && unit.volumes.is_empty() {
        return Err(Prepare::NoContent { image: unit.image.clone() });
    }
    let said = |text: Option<&str>| text.map(str::to_owned);
    let cwd = unit.workdir.clone().or(said(config.working_dir().filter(|cwd| !cwd.is_empty())));
    let user = unit.user.clone().or_else(|| said(config.user()));
    let shares_users = unit.privileged || unit.host_user_namespace.is_some();
    // Its root is counted and bounded by the number of its range, whether it uses the range or not.
    let project = u32::from(places.ids.number(&unit.name)?);
    let ids = if shares_users { None } else { Some(places.ids.of(&unit.name)?) };
    Ok(Request {
        unit: unit.name.clone(),
        layers: folders,
        scratch: text(&places.scratch.join(&unit.name)),
        args,
        env: environment(unit, config)?,
        cwd: cwd.unwrap_or_else(|| "/".to_owned()),
        user: user.unwrap_or_default(),
        hostname: hostname_of(unit),
        read_only_root: unit.read_only_root,
        tty: unit.tty,
        stdin: unit.stdin,
        init: unit.init,
        privileged: unit.privileged,
        ids,
        far_ids: Vec::new(),
        capabilities: rights::capabilities(unit)?,
        devices: unit.devices.clone(),
        project: Some(project),
        mounts: rights::mounts(unit, &places.volumes)?,
        // The supervisor knows them.
        secrets: Vec::new(),
        resources: unit.resources.clone(),
        sysctls: unit.sysctls.clone(),
        ulimits: unit.ulimits.clone(),
        network: match unit.network {
            NetworkMode::Host => Network::Host,
            // The supervisor puts its connection here.
            NetworkMode::Bridge | NetworkMode::None | NetworkMode::Unit(_) => Network::None,
        },
        node_ports: false,
        cgroup: format!("{}/{}", places.unit_cgroup, unit.name),
        shim_cgroup: text(places.shim_cgroup_of(&unit.name).path()),
        log_dir: text(&places.logs.join(&unit.name)),
        // The supervisor knows.
        beside: false,
        stop_signal: stop_signal(unit, config)?,
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
    } else if let Some(other) = unit.network.unit() {
        notes.push(format!(
            "it shares the network of {other}, and its user namespace with it: it stops and starts with that"
        ));
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
fn program(unit: &Unit, config: &ImageConfig) -> Result<Vec<String>, Prepare> {
    let images = |key: &'static str, words: &[String]| {
        let word = |index| Prepare::Word { image: unit.image.clone(), key, number: index + 1 };
        let nul = words.iter().position(|word| word.contains('\0')).map(word);
        nul.map_or_else(|| Ok(words.to_vec()), Err)
    };
    let mut args = match &unit.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => images("Entrypoint", config.entrypoint())?,
    };
    match (&unit.command, &unit.entrypoint) {
        (Some(command), _) => args.extend(command.iter().cloned()),
        (None, None) => args.extend(images("Cmd", config.cmd())?),
        (None, Some(_)) => {}
    }
    args.extend(unit.args.iter().cloned());
    Ok(args)
}

/// The unit's, or the image's; where neither names one, `SIGTERM`.
fn stop_signal(unit: &Unit, config: &ImageConfig) -> Result<i32, Prepare> {
    let images = || config.stop_signal().filter(|text| !text.is_empty());
    let Some(text) = unit.stop_signal.as_deref().or_else(images) else {
        return Ok(Signal::SIGTERM as i32);
    };
    let unknown = || Prepare::StopSignal { image: unit.image.clone(), text: text.to_owned() };
    signal_number(text).ok_or_else(unknown)
}

/// The image's and the unit's. As with Docker, an entry of the image's that is no pair is left out.
fn environment(unit: &Unit, config: &ImageConfig) -> Result<BTreeMap<String, String>, Prepare> {
    let bad = |problem| Prepare::Environment { image: unit.image.clone(), problem };
    let mut all = unit.env.clone();
    for (index, pair) in config.env().iter().enumerate() {
        let Some((name, value)) = pair.split_once('=') else { continue };
        if name.is_empty() {
            return Err(bad(BadVariable::Nameless { number: index + 1 }));
        }
        if unit.env.contains_key(name) {
            continue;
        }
        if pair.contains('\0') {
            return Err(bad(BadVariable::Nul { name: name.to_owned() }));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// The hostname that a unit has inside.
#[must_use]
pub fn hostname_of(unit: &Unit) -> String {
    let made = || naming::hostname(&unit.name).chars().take(HOSTNAME_MAX_BYTES).collect();
    unit.hostname.clone().unwrap_or_else(made)
}

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod tests {
    use super::*;

    fn saying(what: &str) -> ImageConfig {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"history":[],
            "config":{{{what}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn config(entrypoint: &str, cmd: &str) -> ImageConfig {
        saying(&format!(r#""Env":["A=1","B=2"],"Entrypoint":{entrypoint},"Cmd":{cmd}"#))
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
            assert_eq!(program(&unit(more), &config).unwrap(), expected, "{more}");
        }
        let env = environment(&unit("env = { B = \"3\" }"), &config).unwrap();
        assert_eq!(env, BTreeMap::from([("A".into(), "1".into()), ("B".into(), "3".into())]));
    }

    #[test]
    fn what_an_image_says_that_cannot_be_is_named() {
        let said = |what: &str, more: &str| {
            let (config, unit) = (saying(what), unit(more));
            let found = environment(&unit, &config).map(drop);
            let found = found.and_then(|()| program(&unit, &config).map(drop));
            found.map_err(|problem| problem.to_string()).err().unwrap_or_default()
        };
        let nul = r#""Env":["A=1","B=x\u0000y"]"#;
        for (what, more, expected) in [
            (r#""Env":["A=1","=x"]"#, "", "image i: entry 2 of its `Env` has no name"),
            (r#""Env":["="]"#, "", "entry 1 of its `Env` has no name"),
            (nul, "", "image i: \"B\" in its `Env` holds a NUL"),
            (r#""Env":["B\u0000=x"]"#, "", "\"B\\0\" in its `Env` holds a NUL"),
            (nul, "env = { B = \"1\" }", ""),
            // Neither pair nor nonsense, and left out by Docker, too.
            (r#""Env":["A"]"#, "", ""),
            (r#""Cmd":["a","b\u0000c"]"#, "", "image i says: word 2 of its `Cmd` holds a NUL"),
            (r#""Entrypoint":["\u0000"]"#, "", "word 1 of its `Entrypoint` holds a NUL"),
            (r#""Cmd":["\u0000"]"#, "command = [\"a\"]", ""),
            (r#""Entrypoint":["\u0000"],"Cmd":["\u0000"]"#, "entrypoint = [\"a\"]", ""),
        ] {
            let said = said(what, more);
            assert!(said.contains(expected), "{what} {more}: {said}");
            assert_eq!(said.is_empty(), expected.is_empty(), "{what} {more}: {said}");
        }
    }

    #[test]
    fn a_unit_is_stopped_by_its_own_signal_or_its_images() {
        for (said, more, expected) in [
            ("", "", Ok(15)),
            (r#","StopSignal":"""#, "", Ok(15)),
            (r#","StopSignal":"SIGRTMIN+3""#, "", Ok(37)),
            (r#","StopSignal":"37""#, "", Ok(37)),
            (r#","StopSignal":"quit""#, "", Ok(3)),
            (r#","StopSignal":"SIGRTMIN+3""#, "stop_signal = \"INT\"", Ok(2)),
            // What a unit names, its image need not know.
            (r#","StopSignal":"SIGWHAT""#, "stop_signal = \"INT\"", Ok(2)),
            (r#","StopSignal":"SIGWHAT""#, "", Err("\"SIGWHAT\", as image i says")),
            (r#","StopSignal":"0""#, "", Err("\"0\"")),
        ] {
            let config = saying(&format!(r#""Cmd":["c"]{said}"#));
            let found = stop_signal(&unit(more), &config).map_err(|problem| problem.to_string());
            match expected {
                Ok(number) => assert_eq!(found, Ok(number), "{said} {more}"),
                Err(words) => assert!(found.unwrap_err().contains(words), "{said}"),
            }
        }
    }

    #[test]
    fn hostnames_are_clean() {
        assert_eq!(naming::hostname("a_b.c-1"), "a-b-c-1");
    }
}
