//! Units of the node itself: containers whose root is a folder of the image, and which the agent asks for anew at each of its starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ferrite_schema::shim::{BindMount, Network, Request};
use ferrite_schema::unit::{Bytes, NetworkMode, Resources, RestartPolicy, Unit, names};
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};

use crate::ids::IdsProblem;
use crate::launch::Places;

/// What names of the node's own units begin with; no other unit's name does.
pub const PREFIX: char = '+';

/// A unit of the node itself. It has the node's network, may bind the node's own ports, has a range of user IDs of its own, no
/// capabilities, and a root that it cannot write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemUnit {
    /// Name, [`PREFIX`] first: `+etcd`.
    pub name: String,
    /// Its root: a folder of the image with no mount below it.
    pub root: PathBuf,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// What is mounted into it, outer places before those in them. What is `MountSource::Owned` is its root's, whatever that is on the
    /// node: files that it makes there are the node's root's outside.
    pub mounts: Vec<BindMount>,
    /// Most memory, in bytes.
    pub memory_max: Option<u64>,
    /// Signal that asks it to stop.
    pub stop_signal: i32,
    /// Seconds that it gets to stop before it is killed.
    pub stop_grace_s: u32,
}

impl SystemUnit {
    /// What the supervisor goes by; `None` where its name is none of the node's own units.
    pub(crate) fn unit(&self) -> Option<Unit> {
        let rest = self.name.strip_prefix(PREFIX)?;
        let mut unit = bare(&self.name, &self.root.to_string_lossy()).ok()?;
        unit.hostname = Some(rest.to_owned());
        unit.network = NetworkMode::Host;
        unit.read_only_root = true;
        unit.restart = Some(RestartPolicy::Always);
        unit.stop_grace_s = self.stop_grace_s;
        unit.resources.memory = self.memory_max.map(Bytes);
        names::is_unit_name(rest).then_some(unit)
    }

    /// What its shim is asked for.
    ///
    /// # Errors
    /// It has no range of user IDs.
    pub(crate) fn request(&self, places: &Places) -> Result<Request, IdsProblem> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let ids = places.ids.of(&self.name)?;
        let resources = Resources { memory: self.memory_max.map(Bytes), ..Resources::default() };
        Ok(Request {
            unit: self.name.clone(),
            layers: vec![text(&self.root)],
            scratch: text(&places.scratch.join(&self.name)),
            read_only_root: true,
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: self.name.trim_start_matches(PREFIX).to_owned(),
            tty: false,
            stdin: false,
            init: false,
            privileged: false,
            ids: Some(ids),
            far_ids: Vec::new(),
            capabilities: Vec::new(),
            devices: Vec::new(),
            project: Some(u32::from(places.ids.number(&self.name)?)),
            mounts: self.mounts.clone(),
            secrets: Vec::new(),
            resources,
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            network: Network::Host,
            node_ports: true,
            cgroup: format!("{}/{}", places.system_cgroup, self.name),
            shim_cgroup: text(places.shim_cgroup_of(&self.name).path()),
            log_dir: text(&places.logs.join(&self.name)),
            stop_signal: self.stop_signal,
            beside: false,
        })
    }
}

/// A unit that says nothing but its name and where its files are.
fn bare(name: &str, image: &str) -> Result<Unit, serde::de::value::Error> {
    let keys = [("name", name), ("image", image)];
    Unit::deserialize(MapDeserializer::new(keys.into_iter()))
}
