//! What the units' resolver makes of one question, without a socket: for whoever looks at it with hostile ones.

use std::net::Ipv4Addr;

use crate::dns;
use crate::services::Services;

/// The network of units that questions about addresses are about.
const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 112, 1, 0), 24);
const DOMAIN: &str = "ferrite.local";

/// What is done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is none that deserves an answer.
    Nothing,
    /// The answer.
    Own(Vec<u8>),
    /// The node's name servers are asked.
    AskOthers,
}

/// What a node answers from.
#[derive(Debug)]
pub struct Known(dns::Names);

impl Known {
    /// A node that knows these services, and has no units of its own.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let mut names = dns::Names::new(DOMAIN.to_owned(), NETWORK, None);
        drop(names.know(Some(dns::Catalogue::new(services))));
        Self(names)
    }

    /// Answers what came in a packet, or over a connection.
    #[must_use]
    pub fn answer(&self, asked: &[u8], connection: bool) -> Answered {
        match dns::answer_to(&self.0, asked, connection) {
            None => Answered::Nothing,
            Some(None) => Answered::AskOthers,
            Some(Some(answer)) => Answered::Own(answer),
        }
    }
}
