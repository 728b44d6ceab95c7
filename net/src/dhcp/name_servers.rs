//! The node's name servers: those of all links together, in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrite_files::durable;
use tokio::sync::watch;

use crate::news::Renamed;
use crate::resolv_conf::ResolvConf;

/// Name servers that the resolver of the C library takes; more are ignored by it.
const NAME_SERVERS_MAX: usize = 3;
/// Domains that it searches.
const SEARCH_MAX: usize = 6;

/// What one link brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) servers: Vec<Ipv4Addr>,
    pub(super) search: Vec<String>,
}

/// Everybody's name servers.
#[derive(Debug, Clone)]
pub(crate) struct NameServers {
    file: PathBuf,
    known: Arc<Mutex<Known>>,
    /// Changes with the file.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the links' indexes; the first link comes first.
    links: BTreeMap<u32, Names>,
    /// Those that are of no use at present.
    without_carrier: BTreeSet<u32>,
    /// What an earlier agent left, and links with an address from then whose names are among it perhaps: it counts until
    /// each of them has names again.
    earlier: Names,
    awaited: BTreeSet<u32>,
    /// What the file holds.
    written: Option<String>,
}

impl NameServers {
    pub(crate) fn in_file(file: PathBuf) -> Self {
        // A file of ours: its servers came with leases.
        let of_earlier = std::fs::read_to_string(&file).unwrap_or_default();
        let ResolvConf { servers, search } = ResolvConf::parse(&of_earlier);
        let ipv4 = |server| match server {
            IpAddr::V4(server) => Some(server),
            IpAddr::V6(_) => None,
        };
        let earlier = Names { servers: servers.into_iter().filter_map(ipv4).collect(), search };
        let known = Known { earlier, ..Known::default() };
        Self { file, known: Arc::new(Mutex::new(known)), changes: watch::Sender::new(()) }
    }

    /// Tells whenever they are others.
    pub(crate) fn renamed(&self) -> Renamed {
        self.changes.subscribe()
    }

    /// A link has an address from an earlier agent, and will say what comes with it.
    pub(super) fn await_link(&self, link: u32) {
        self.known().awaited.insert(link);
    }

    /// A link brings other ones, or none any more.
    pub(super) fn set(&self, link: u32, names: Names) -> Result<(), durable::WriteFile> {
        let mut known = self.known();
        known.links.insert(link, names);
        known.awaited.remove(&link);
        self.write(&mut known)
    }

    /// A link has its carrier again, or has lost it. The servers of one without are asked last: more than three are none.
    pub(crate) fn carrier(&self, link: u32, carrier: bool) {
        let mut known = self.known();
        let changed = if carrier {
            known.without_carrier.remove(&link)
        } else {
            known.without_carrier.insert(link)
        };
        // Before there are any, there is nothing to bring into another order.
        if changed && known.links.contains_key(&link) {
            self.tell_of(self.write(&mut known));
        }
    }

    /// A link is gone.
    pub(super) fn forget(&self, link: u32) {
        let mut known = self.known();
        known.without_carrier.remove(&link);
        let awaited = known.awaited.remove(&link);
        if known.links.remove(&link).is_some() || awaited {
            self.tell_of(self.write(&mut known));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for it: the next lease, or the next change, tries again.
    fn tell_of(&self, written: Result<(), durable::WriteFile>) {
        if let Err(error) = written {
            tracing::error!(error = ferrite_schema::chain(&error), "name-servers-not-written");
        }
    }

    fn write(&self, known: &mut Known) -> Result<(), durable::WriteFile> {
        if known.awaited.is_empty() {
            known.earlier = Names::default();
        }
        let text = known.text();
        if known.written.as_ref() == Some(&text) {
            return Ok(());
        }
        durable::write(&self.file, text.as_bytes())?;
        known.written = Some(text);
        self.changes.send_replace(());
        Ok(())
    }
}

impl Known {
    fn text(&self) -> String {
        let (dead, alive): (Vec<_>, Vec<_>) =
            self.links.iter().partition(|(link, _)| self.without_carrier.contains(link));
        let own = alive.into_iter().chain(dead).map(|(_, names)| names);
        text(own.chain([&self.earlier]))
    }
}

fn text<'a>(links: impl Iterator<Item = &'a Names> + Clone) -> String {
    let mut file = ResolvConf::default();
    for server in links.clone().flat_map(|names| &names.servers) {
        let server = IpAddr::from(*server);
        if !file.servers.contains(&server) && file.servers.len() < NAME_SERVERS_MAX {
            file.servers.push(server);
        }
    }
    for domain in links.flat_map(|names| &names.search) {
        if !file.search.contains(domain) && file.search.len() < SEARCH_MAX {
            file.search.push(domain.clone());
        }
    }
    file.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(servers: &[[u8; 4]], search: &[&str]) -> Names {
        Names {
            servers: servers.iter().map(|server| Ipv4Addr::from(*server)).collect(),
            search: search.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    /// Two links with these servers, the first one's first.
    fn two(file: PathBuf) -> NameServers {
        let all = NameServers::in_file(file);
        all.set(2, of(&[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]], &["a.example"])).unwrap();
        all.set(3, of(&[[10, 1, 0, 1]], &["b.example"])).unwrap();
        all
    }

    #[test]
    fn links_do_not_take_one_anothers_servers_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let all = NameServers::in_file(file.clone());
        let read = || std::fs::read_to_string(&file).unwrap();
        all.set(2, of(&[[10, 0, 0, 1]], &["a.example"])).unwrap();
        all.set(3, of(&[], &[])).unwrap();
        assert_eq!(read(), "nameserver 10.0.0.1\nsearch a.example\n");
        all.set(3, of(&[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3], [10, 0, 0, 4]], &[])).unwrap();
        assert_eq!(read().matches("nameserver").count(), NAME_SERVERS_MAX);
        all.set(2, Names::default()).unwrap();
        assert!(read().starts_with("nameserver 10.0.0.1\nnameserver 10.0.0.2\n"));
    }
    #[test]
    fn servers_behind_a_dead_card_are_asked_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let read = || std::fs::read_to_string(&file).unwrap();
        let all = two(file.clone());
        assert!(!read().contains("10.1.0.1"), "{}", read());
        let mut renamed = all.renamed();
        all.carrier(2, false);
        assert!(read().starts_with("nameserver 10.1.0.1\nnameserver 10.0.0.1\n"), "{}", read());
        assert!(read().ends_with("search b.example a.example\n"), "{}", read());
        assert!(renamed.has_changed().unwrap());
        renamed.mark_unchanged();
        all.carrier(2, false);
        assert!(!renamed.has_changed().unwrap(), "nothing is new");
        all.carrier(2, true);
        assert!(read().starts_with("nameserver 10.0.0.1\n"), "{}", read());
        all.forget(2);
        assert_eq!(read(), "nameserver 10.1.0.1\nsearch b.example\n");
    }

    #[test]
    fn what_could_not_be_written_is_written_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        let file = etc.join("resolv.conf");
        std::fs::write(&etc, "in the way").unwrap();
        let all = NameServers::in_file(file.clone());
        let own = of(&[[10, 0, 0, 1]], &[]);
        let mut renamed = all.renamed();
        all.set(2, own.clone()).unwrap_err();
        assert!(!renamed.has_changed().unwrap());
        std::fs::remove_file(&etc).unwrap();
        std::fs::create_dir(&etc).unwrap();
        all.set(2, own.clone()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "nameserver 10.0.0.1\n");
        renamed.mark_unchanged();
        all.set(2, own).unwrap();
        assert!(!renamed.has_changed().unwrap());
    }

    #[test]
    fn an_agent_that_comes_later_keeps_what_other_links_had() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let read = || std::fs::read_to_string(&file).unwrap();
        two(file.clone()).set(2, of(&[[10, 0, 0, 1]], &["a.example"])).unwrap();
        let later = NameServers::in_file(file.clone());
        later.await_link(2);
        later.await_link(3);
        later.set(3, of(&[[10, 1, 0, 9]], &["b.example"])).unwrap();
        assert_eq!(
            read(),
            "nameserver 10.1.0.9\nnameserver 10.0.0.1\nnameserver 10.1.0.1\n\
             search b.example a.example\n"
        );
        later.set(2, of(&[[10, 0, 0, 8]], &[])).unwrap();
        assert_eq!(read(), "nameserver 10.0.0.8\nnameserver 10.1.0.9\nsearch b.example\n");
        // With one link, or one that is gone, nothing of before is left.
        let last = NameServers::in_file(file.clone());
        last.await_link(2);
        last.forget(2);
        assert_eq!(read(), "");
    }
}
