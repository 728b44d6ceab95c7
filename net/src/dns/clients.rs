//! How much each client may have in work at the same time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Questions that are asked of others: each costs a socket and a few kilobytes for some seconds.
const QUERIES_MAX: usize = 256;
const QUERIES_OF_CLIENT_MAX: usize = 32;
/// Connections.
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_CLIENT_MAX: usize = 8;

/// Who has how much in work.
#[derive(Debug, Default)]
pub(super) struct Clients {
    queries: Arc<Counts>,
    connections: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts(Mutex<(usize, HashMap<IpAddr, usize>)>);

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    counts: Arc<Counts>,
    client: IpAddr,
}

impl Clients {
    pub(super) fn query(&self, client: IpAddr) -> Option<Turn> {
        take(&self.queries, client, QUERIES_OF_CLIENT_MAX, QUERIES_MAX)
    }

    pub(super) fn connection(&self, client: IpAddr) -> Option<Turn> {
        take(&self.connections, client, CONNECTIONS_OF_CLIENT_MAX, CONNECTIONS_MAX)
    }
}

fn take(counts: &Arc<Counts>, client: IpAddr, each: usize, all: usize) -> Option<Turn> {
    let mut guard = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (total, clients) = &mut *guard;
    let own = clients.get(&client).copied().unwrap_or(0);
    if *total >= all || own >= each {
        return None;
    }
    *total += 1;
    clients.insert(client, own + 1);
    Some(Turn { counts: Arc::clone(counts), client })
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut guard = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, clients) = &mut *guard;
        *total = total.saturating_sub(1);
        match clients.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(clients.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_client_leaves_room_for_others() {
        let clients = Clients::default();
        let client = |last: u8| IpAddr::from([10, 120, 0, last]);
        let mut turns: Vec<Turn> = std::iter::from_fn(|| clients.query(client(1))).collect();
        assert_eq!(turns.len(), QUERIES_OF_CLIENT_MAX);
        assert!(clients.query(client(2)).is_some());
        turns.pop();
        turns.extend(clients.query(client(1)));
        assert_eq!(turns.len(), QUERIES_OF_CLIENT_MAX);
        for last in 2..=20 {
            turns.extend(std::iter::from_fn(|| clients.query(client(last))));
        }
        assert_eq!(turns.len(), QUERIES_MAX);
        turns.clear();
        assert!(clients.queries.0.lock().unwrap().1.is_empty(), "clients are forgotten");
    }
}
