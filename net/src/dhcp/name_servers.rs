//! The node's name servers: those of all links together, in one file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_files::durable;

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
    /// By the links' indexes; the first link comes first.
    links: Arc<Mutex<BTreeMap<u32, Names>>>,
}

impl NameServers {
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file, links: Arc::default() }
    }

    /// A link brings other ones, or none any more.
    pub(super) fn set(&self, link: u32, names: Names) -> Result<(), durable::WriteFile> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.get(&link) == Some(&names) {
            return Ok(());
        }
        links.insert(link, names);
        durable::write(&self.file, text(links.values()).as_bytes())
    }
}

fn text<'a>(links: impl Iterator<Item = &'a Names> + Clone) -> String {
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    for server in links.clone().flat_map(|names| &names.servers) {
        if !servers.contains(server) && servers.len() < NAME_SERVERS_MAX {
            servers.push(*server);
        }
    }
    let mut search: Vec<&str> = Vec::new();
    for domain in links.flat_map(|names| &names.search) {
        if !search.contains(&domain.as_str()) && search.len() < SEARCH_MAX {
            search.push(domain);
        }
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(servers: &[[u8; 4]], search: &[&str]) -> Names {
        Names {
            servers: servers.iter().map(|server| Ipv4Addr::from(*server)).collect(),
            search: search.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    #[test]
    fn links_do_not_take_one_anothers_servers_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let all = NameServers::in_file(file.clone());
        let read = || std::fs::read_to_string(&file).unwrap();
        all.set(2, names(&[[10, 0, 0, 1]], &["a.example"])).unwrap();
        all.set(3, names(&[], &[])).unwrap();
        assert_eq!(read(), "nameserver 10.0.0.1\nsearch a.example\n");
        all.set(3, names(&[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3], [10, 0, 0, 4]], &[]))
            .unwrap();
        assert_eq!(read().matches("nameserver").count(), NAME_SERVERS_MAX);
        all.set(2, Names::default()).unwrap();
        assert!(read().starts_with("nameserver 10.0.0.1\nnameserver 10.0.0.2\n"));
    }
}
