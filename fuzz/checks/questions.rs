//! Questions to the node's resolver, which any unit may send: no answer, or one to this very question that is no longer than
//! the client takes.

use std::net::IpAddr;
use std::sync::LazyLock;

use ferrite_net::questions::{Answered, Known};
use ferrite_net::services::{Instance, Services};
use ferrite_schema::unit::Protocol;

/// Longest over a connection, and by a packet to somebody who offers nothing.
const CONNECTION_MAX_BYTES: usize = 0xffff;
const PACKET_MAX_BYTES: usize = 1232;
const HEADER_BYTES: usize = 12;

/// Asks `data`, by a packet and over a connection.
pub(crate) fn check(data: &[u8]) {
    static KNOWN: LazyLock<Known> = LazyLock::new(|| Known::new(&services()));
    for (connection, most) in [(false, PACKET_MAX_BYTES), (true, CONNECTION_MAX_BYTES)] {
        match KNOWN.answer(data, connection) {
            Answered::Own(said) => {
                assert!((HEADER_BYTES..=most).contains(&said.len()), "{} bytes", said.len());
                assert_eq!(said[..2], data[..2], "another question's ID");
                assert!(said[2] & 0x80 != 0, "it is a question itself");
                assert_eq!(said[4..6], [0, 1], "one question");
                let question = said.get(HEADER_BYTES..).unwrap_or_default();
                let asked = data.get(HEADER_BYTES..).unwrap_or_default();
                let same = question.iter().zip(asked).take_while(|(one, other)| one == other);
                // A name of one byte at least, kind and class.
                assert!(same.count() >= 5, "another question");
            }
            Answered::AskOthers => assert!(data.len() > HEADER_BYTES),
            Answered::Nothing => {}
        }
    }
}

fn services() -> Services {
    let address = |last: u8| vec![IpAddr::from([10, 112, 1, last])];
    let instance = |name: &str, last| Instance {
        name: name.to_owned(),
        addresses: address(last),
        ports: vec![(80, Protocol::Tcp), (53, Protocol::Udp)],
    };
    let many = (0..200).map(|last| instance(&format!("web@{last}"), last)).collect();
    let services = [("web", many), ("db", vec![instance("db", 250)]), ("none", Vec::new())];
    let services = services.map(|(name, instances)| (name.to_owned(), instances));
    Services { services: services.into(), machines: [("dev-1".to_owned(), address(1))].into() }
}
