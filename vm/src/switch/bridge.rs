//! The learning bridge at the switch's heart: which ports a frame goes to. No clock, no socket.

use std::collections::HashMap;
use std::time::Duration;

use super::links::{Delivery, Links};
use super::mac::Mac;
use super::port::{Frame, Port};

/// How long an address is remembered without a frame from it, as IEEE 802.1D recommends.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Addresses remembered at most; a station that invents more has its frames flooded.
const ADDRESSES_MAX: usize = 4096;
/// Destination and source address, and type.
const HEADER_BYTES: usize = 14;
/// Groups that bridges do not forward (IEEE 802.1D, table 7-10): the last byte is 0 to 15.
const LINK_LOCAL_GROUP: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

/// The bridge.
#[derive(Debug)]
pub struct Bridge {
    ports: u16,
    addresses: HashMap<Mac, (Port, Duration)>,
    links: Links,
}

impl Bridge {
    /// A bridge with the ports 0 to `ports`-1 and these links among them.
    #[must_use]
    pub fn new(ports: u16, links: Links) -> Self {
        Self { ports, addresses: HashMap::new(), links }
    }

    /// Adds a port, the last.
    pub fn add_port(&mut self) {
        self.ports = self.ports.saturating_add(1);
    }

    /// The links.
    pub fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    /// A frame comes in at a port, `now` after the switch's start; returns where and when it comes out. What is no
    /// Ethernet frame comes out nowhere.
    pub fn step(&mut self, now: Duration, from: Port, frame: &Frame) -> Vec<Delivery> {
        let Some((destination, source)) = addresses(frame) else { return Vec::new() };
        if source.is_group() {
            return Vec::new();
        }
        self.learn(now, from, source);
        let [group @ .., last] = destination.0;
        if group == LINK_LOCAL_GROUP && last < 16 {
            return Vec::new();
        }
        match self.find(now, destination) {
            Some(port) if port == from => Vec::new(),
            Some(port) => self.links.carry(now, from, port, frame),
            None => (0..self.ports)
                .map(Port)
                .filter(|port| *port != from)
                .flat_map(|port| self.links.carry(now, from, port, frame))
                .collect(),
        }
    }

    fn learn(&mut self, now: Duration, from: Port, source: Mac) {
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&source) {
            self.addresses.retain(|_, (_, heard)| now.saturating_sub(*heard) < REMEMBERED);
            if self.addresses.len() >= ADDRESSES_MAX {
                return;
            }
        }
        self.addresses.insert(source, (from, now));
    }

    fn find(&self, now: Duration, destination: Mac) -> Option<Port> {
        let (port, heard) = self.addresses.get(&destination)?;
        (!destination.is_group() && now.saturating_sub(*heard) < REMEMBERED).then_some(*port)
    }
}

/// Destination and source of an Ethernet frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header = frame.get(..HEADER_BYTES)?;
    let (destination, rest) = header.split_first_chunk()?;
    Some((Mac(*destination), Mac(*rest.first_chunk()?)))
}
