//! Units that share another unit's network: what they need of it, and what keeps them from it. Pure but for the look at what the
//! other one was started with.

use std::path::PathBuf;

use ferrite_net::containers::AttachmentFiles;
use ferrite_schema::shim::{BindMount, IdRange, Network, Request, SharedNetwork};
use ferrite_schema::unit::{NetworkMode, Unit};

use crate::shims;

/// A network that is to be shared: that of a run of another unit.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Whose.
    pub(crate) unit: String,
    /// Number of its run.
    pub(crate) run: u64,
    /// Its run folder.
    pub(crate) folder: PathBuf,
}

/// What the one who shares it is given of the other.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The network itself, and the other's `hosts` and `resolv.conf`.
    files: AttachmentFiles,
    /// The other's hostname, which stands in that `hosts`.
    pub(crate) hostname: String,
    /// The other's users.
    ids: Option<IdRange>,
}

/// The network that a start is given.
#[derive(Debug)]
pub(crate) enum Given {
    /// Its own, or the node's.
    Own(AttachmentFiles),
    /// Another unit's.
    Shared(Shared),
}

impl Given {
    /// Lets a request have it.
    pub(crate) fn put_into(self, request: &mut Request) {
        let files = match self {
            Self::Own(files) => files,
            Self::Shared(shared) => {
                // It belongs to the other's user namespace, and in another one nobody may do anything with it.
                if request.ids.is_some() {
                    request.ids = shared.ids;
                }
                shared.files
            }
        };
        request.network = files.network;
        let own = std::mem::replace(&mut request.mounts, files.mounts);
        request.mounts.extend(own);
    }
}

/// It shares the node's user namespace.
fn shares_users(unit: &Unit) -> bool {
    unit.privileged || unit.host_user_namespace.is_some()
}

/// Why a unit cannot share the network of `other`, as that is started; what becomes of either later is not asked.
pub(crate) fn refused(unit: &Unit, other: &Unit) -> Option<String> {
    let name = &other.name;
    match &other.network {
        NetworkMode::Host => {
            return Some(format!(
                "{name} has the node's: write `network = \"host\"` here, too, where this is meant"
            ));
        }
        NetworkMode::Unit(of) => {
            return Some(format!(
                "{name} has that of {of}: write `network = \"unit:{of}\"` here, too"
            ));
        }
        NetworkMode::None => {
            let asks = unit.health.as_ref().filter(|health| health.exec.is_none());
            if asks.is_some() {
                return Some(format!(
                    "{name} has none that the node's health checks come into: use `exec`"
                ));
            }
        }
        NetworkMode::Bridge => {}
    }
    (shares_users(other) && !shares_users(unit)).then(|| {
        format!("{name} shares the node's user namespace, and its network belongs to that: say why in `host_user_namespace` here, too")
    })
}

impl Join {
    /// Reads what the other was started with.
    pub(crate) fn shared(&self) -> Result<Shared, String> {
        let request = shims::request(&self.folder);
        let request = request
            .ok_or_else(|| format!("share the network of {}: it does not run", self.unit))?;
        Ok(self.of(request))
    }

    fn of(&self, request: Request) -> Shared {
        // Those of the network come first: a volume there is the other's own.
        let file =
            |target: &str| request.mounts.iter().find(|mount| mount.target == target).cloned();
        let mounts = ["/etc/hosts", "/etc/resolv.conf"]
            .into_iter()
            .filter_map(file)
            .collect::<Vec<BindMount>>();
        let attachment = match request.network {
            Network::Bridge(attachment) => Some(attachment),
            Network::Host | Network::None | Network::Unit(_) => None,
        };
        let network = Network::Unit(SharedNetwork {
            unit: self.unit.clone(),
            run: self.run,
            folder: self.folder.to_string_lossy().into_owned(),
            cgroup: request.cgroup,
            attachment,
        });
        let files = AttachmentFiles { network, mounts };
        Shared { files, hostname: request.hostname, ids: request.ids }
    }
}

#[cfg(test)]
mod tests {
    use ferrite_schema::shim::MountSource;

    use super::*;

    fn unit(name: &str, more: &str) -> Unit {
        ferrite_schema::unit::parse(&format!("name = \"{name}\"\nimage = \"i\"\n{more}")).unwrap()
    }

    #[test]
    fn only_a_network_of_its_own_is_shared() {
        let why = |more: &str, other: &str| {
            let unit = unit("proxy", &format!("network = \"unit:web\"\n{more}"));
            refused(&unit, &self::unit("web", other)).unwrap_or_default()
        };
        let shares = "host_user_namespace = \"because\"";
        for (more, other, words) in [
            ("", "", ""),
            ("", "network = \"none\"", ""),
            ("", "network = \"host\"", "web has the node's: write `network = \"host\"`"),
            ("", "network = \"unit:db\"", "web has that of db: write `network = \"unit:db\"`"),
            ("health = { tcp = 80 }", "network = \"none\"", "use `exec`"),
            ("health = { exec = [\"/x\"] }", "network = \"none\"", ""),
            ("", "privileged = true", "web shares the node's user namespace"),
            ("", shares, "web shares the node's user namespace"),
            (shares, "privileged = true", ""),
            ("privileged = true", "", ""),
        ] {
            let found = why(more, other);
            assert!(found.contains(words), "{more} {other}: {found}");
            assert_eq!(found.is_empty(), words.is_empty(), "{more} {other}: {found}");
        }
    }

    fn request(network: &str, ids: &str, mounts: &str) -> Request {
        let text = format!(
            r#"{{"unit":"u","layers":[],"scratch":"/s","read_only_root":false,"args":["/p"],"env":{{}},"cwd":"/",
            "user":"","hostname":"webs","tty":false,"stdin":false,"privileged":false,"ids":{ids},"capabilities":[],
            "devices":[],"mounts":{mounts},"resources":{{}},"sysctls":{{}},"ulimits":{{}},"network":{network},
            "cgroup":"/units/web","shim_cgroup":"/s","log_dir":"/l","stop_signal":15}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn names_files_and_users_are_the_others() {
        let mount = |path: &str, target: &str| {
            format!(r#"{{"source":{{"owned":"{path}"}},"target":"{target}","read_only":true}}"#)
        };
        let mounts = [
            mount("/net/web/hosts", "/etc/hosts"),
            mount("/net/web/resolv.conf", "/etc/resolv.conf"),
            mount("/volumes/own", "/etc/hosts"),
            mount("/volumes/data", "/data"),
        ];
        let bridge =
            r#"{"bridge":{"bridge":"b","link":"l","ipv4":["10.0.0.2",16,"10.0.0.1"],"ipv6":null}}"#;
        let ids = r#"{"first":65536,"count":65536}"#;
        let other = request(bridge, ids, &format!("[{}]", mounts.join(",")));
        let join = Join { unit: "web".to_owned(), run: 7, folder: "/run/web".into() };
        let shared = join.of(other);
        assert_eq!(shared.hostname, "webs");
        let own = mount("/volumes/mine", "/mine");
        let range = r#"{"first":131072,"count":65536}"#;
        let mut request = request("\"none\"", range, &format!("[{own}]"));
        Given::Shared(shared).put_into(&mut request);
        assert_eq!(request.ids, Some(IdRange { first: 65536, count: 65536 }));
        let targets: Vec<_> = request.mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/etc/hosts", "/etc/resolv.conf", "/mine"]);
        assert_eq!(request.mounts[0].source, MountSource::Owned("/net/web/hosts".to_owned()));
        let Network::Unit(network) = &request.network else { panic!("{:?}", request.network) };
        assert_eq!(
            (network.unit.as_str(), network.run, network.cgroup.as_str()),
            ("web", 7, "/units/web")
        );
        assert!(network.attachment.is_some());
    }

    #[test]
    fn one_with_the_nodes_users_keeps_them() {
        let other = request("\"none\"", r#"{"first":65536,"count":65536}"#, "[]");
        let join = Join { unit: "web".to_owned(), run: 7, folder: "/run/web".into() };
        let mut request = request("\"none\"", "null", "[]");
        Given::Shared(join.of(other)).put_into(&mut request);
        assert_eq!(request.ids, None);
    }

    #[test]
    fn one_that_never_ran_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let join = Join { unit: "web".to_owned(), run: 7, folder: folder.path().to_owned() };
        assert_eq!(join.shared().unwrap_err(), "share the network of web: it does not run");
    }
}
