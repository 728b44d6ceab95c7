//! IPv4 addresses for machines: each has its own, by its Ethernet address, and nobody else gets any.
//!
//! Source: RFC 2131, sections 4.3.1 to 4.3.5; RFC 2132 for the options; RFC 6842 for the client's identifier.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr,
    EthernetAddress,
};

use super::super::mac::Mac;
use super::super::topology::DOMAIN;
use super::super::wire::{Datagram, Ends, udp_frame};

const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const LEASE_SECONDS: u32 = 3600;
const BROADCAST: Mac = Mac([0xff; 6]);
const ETHERNET: u8 = 6;
/// Options that smoltcp has no fields for.
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const TIME_SERVERS: u8 = 42;
const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const CLIENT: u8 = 61;

/// What a machine gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) name: String,
}

/// The gateway, which is server, router, and knows names and time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
}

/// What a client says.
struct Request {
    kind: DhcpMessageType,
    transaction: u32,
    mac: Mac,
    client_address: Ipv4Addr,
    wants_broadcast: bool,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    /// Comes back as it is.
    identifier: Option<Vec<u8>>,
}

/// The frame that answers a datagram from a client; `None` where none is due.
pub(crate) fn answer(
    datagram: &Datagram<'_>,
    server: Server,
    lease: impl Fn(Mac) -> Option<Lease>,
) -> Option<Vec<u8>> {
    if datagram.destination_port != DHCP_SERVER_PORT || datagram.source_port != DHCP_CLIENT_PORT {
        return None;
    }
    let request = read(datagram.payload)?;
    let lease = lease(request.mac)?;
    let kind = decide(&request, server.address, &lease)?;
    let payload = write(&request, kind, server, &lease)?;
    let is_refusal = kind == DhcpMessageType::Nak;
    let is_bound = !request.client_address.is_unspecified();
    let destination = match request.wants_broadcast || is_refusal {
        true => (BROADCAST, Ipv4Addr::BROADCAST, DHCP_CLIENT_PORT),
        false if is_bound => (request.mac, request.client_address, DHCP_CLIENT_PORT),
        false => (request.mac, lease.address, DHCP_CLIENT_PORT),
    };
    let source = (server.mac, server.address, DHCP_SERVER_PORT);
    Some(udp_frame(Ends { source, destination }, &payload))
}

fn read(payload: &[u8]) -> Option<Request> {
    let packet = DhcpPacket::new_checked(payload).ok()?;
    let is_ours = packet.magic_number() == 0x6382_5363
        && packet.hardware_len() == ETHERNET
        && packet.relay_agent_ip().is_unspecified();
    if !is_ours {
        return None;
    }
    let mut request = Request {
        kind: DhcpMessageType::Unknown(0),
        transaction: packet.transaction_id(),
        mac: Mac(packet.client_hardware_address().0),
        client_address: packet.client_ip(),
        wants_broadcast: packet.flags().bits() & 0x8000 != 0,
        requested: None,
        server: None,
        identifier: None,
    };
    for option in packet.options() {
        let address = option.data.first_chunk().filter(|_| option.data.len() == 4);
        let address = address.map(|octets| Ipv4Addr::from_octets(*octets));
        match (option.kind, option.data) {
            (MESSAGE_TYPE, [kind]) => request.kind = DhcpMessageType::from(*kind),
            (REQUESTED_ADDRESS, _) => request.requested = address,
            (SERVER, _) => request.server = address,
            (CLIENT, identifier) => request.identifier = Some(identifier.to_vec()),
            _ => {}
        }
    }
    Some(request)
}

fn decide(request: &Request, server: Ipv4Addr, lease: &Lease) -> Option<DhcpMessageType> {
    match request.kind {
        DhcpMessageType::Discover => Some(DhcpMessageType::Offer),
        DhcpMessageType::Inform => Some(DhcpMessageType::Ack),
        // It chose another server.
        DhcpMessageType::Request if request.server.is_some_and(|chosen| chosen != server) => None,
        DhcpMessageType::Request => {
            let wanted = request.requested.unwrap_or(request.client_address);
            let is_its_own = wanted == lease.address;
            Some(if is_its_own { DhcpMessageType::Ack } else { DhcpMessageType::Nak })
        }
        DhcpMessageType::Decline
        | DhcpMessageType::Release
        | DhcpMessageType::Offer
        | DhcpMessageType::Ack
        | DhcpMessageType::Nak
        | DhcpMessageType::Unknown(_) => None,
    }
}

fn write(
    request: &Request,
    kind: DhcpMessageType,
    server: Server,
    lease: &Lease,
) -> Option<Vec<u8>> {
    let is_refusal = kind == DhcpMessageType::Nak;
    let is_lease = !is_refusal && request.kind != DhcpMessageType::Inform;
    let known = |address| if is_refusal { None } else { Some(address) };
    let time_servers = server.address.octets();
    let mut options = Vec::new();
    if let Some(data) = request.identifier.as_deref() {
        options.push(DhcpOption { kind: CLIENT, data });
    }
    if !is_refusal {
        options.push(DhcpOption { kind: HOST_NAME, data: lease.name.as_bytes() });
        options.push(DhcpOption { kind: DOMAIN_NAME, data: DOMAIN.as_bytes() });
        options.push(DhcpOption { kind: TIME_SERVERS, data: &time_servers });
    }
    let reply = DhcpRepr {
        message_type: kind,
        transaction_id: request.transaction,
        secs: 0,
        client_hardware_address: EthernetAddress(request.mac.0),
        client_ip: if is_refusal { Ipv4Addr::UNSPECIFIED } else { request.client_address },
        your_ip: if is_lease { lease.address } else { Ipv4Addr::UNSPECIFIED },
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: known(server.address),
        subnet_mask: known(MASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.wants_broadcast || is_refusal,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(server.address),
        parameter_request_list: None,
        dns_servers: known(server.address).map(|address| [address].into_iter().collect()),
        max_size: None,
        lease_duration: is_lease.then_some(LEASE_SECONDS),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire::DhcpMessageType::{Ack, Decline, Discover, Inform, Nak, Offer, Release};

    use super::super::super::wire::datagram;
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 99);

    fn lease(mac: Mac) -> Option<Lease> {
        (mac == OWN).then(|| Lease { address: ADDRESS, name: "one".to_owned() })
    }

    fn request(kind: DhcpMessageType) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type: kind,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: EthernetAddress(OWN.0),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn bytes(request: &DhcpRepr<'_>) -> Vec<u8> {
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        bytes
    }

    fn answered(payload: &[u8]) -> Option<Vec<u8>> {
        let destination = Ipv4Addr::BROADCAST.into();
        let datagram = Datagram { destination, source_port: 68, destination_port: 67, payload };
        answer(&datagram, Server { mac: Mac([2; 6]), address: SERVER_ADDRESS }, lease)
    }

    /// Kind of the answer, the address given, and whether it is for all.
    fn check(request: &DhcpRepr<'_>, expected: Option<(DhcpMessageType, Ipv4Addr, bool)>) {
        let frame = answered(&bytes(request));
        let found = frame.as_ref().map(|frame| {
            let payload = datagram(frame).unwrap().payload;
            let packet = DhcpPacket::new_checked(payload).unwrap();
            let reply = DhcpRepr::parse(&packet).unwrap();
            assert_eq!((reply.transaction_id, reply.server_identifier), (7, Some(SERVER_ADDRESS)));
            (reply.message_type, reply.your_ip, frame[..6] == BROADCAST.0)
        });
        assert_eq!(found, expected, "{request:?}");
    }

    #[test]
    fn each_message_has_its_answer() {
        let none = Ipv4Addr::UNSPECIFIED;
        check(&request(Discover), Some((Offer, ADDRESS, false)));
        check(&DhcpRepr { broadcast: true, ..request(Discover) }, Some((Offer, ADDRESS, true)));
        let asks =
            |address| DhcpRepr { requested_ip: Some(address), ..request(DhcpMessageType::Request) };
        check(&asks(ADDRESS), Some((Ack, ADDRESS, false)));
        check(&asks(OTHER), Some((Nak, none, true)));
        let chosen = |server| DhcpRepr { server_identifier: Some(server), ..asks(ADDRESS) };
        check(&chosen(SERVER_ADDRESS), Some((Ack, ADDRESS, false)));
        check(&chosen(OTHER), None);
        let renews = |address| DhcpRepr { client_ip: address, ..request(DhcpMessageType::Request) };
        check(&renews(ADDRESS), Some((Ack, ADDRESS, false)));
        check(&renews(OTHER), Some((Nak, none, true)));
        check(&DhcpRepr { client_ip: OTHER, ..request(Inform) }, Some((Ack, none, false)));
        for kind in [Decline, Release] {
            check(&request(kind), None);
        }
        let stranger = EthernetAddress([2, 0, 0, 0, 0, 9]);
        check(&DhcpRepr { client_hardware_address: stranger, ..request(Discover) }, None);
        let relayed = DhcpRepr { relay_agent_ip: OTHER, ..request(Discover) };
        check(&relayed, None);
    }

    #[test]
    fn the_clients_identifier_comes_back_whatever_it_is() {
        let identifier = [255, 1, 2, 3, 0, 2, 9, 9];
        let options = [DhcpOption { kind: CLIENT, data: &identifier }];
        let frame =
            answered(&bytes(&DhcpRepr { additional_options: &options, ..request(Discover) }));
        let frame = frame.unwrap();
        let packet = DhcpPacket::new_checked(datagram(&frame).unwrap().payload).unwrap();
        let options: Vec<(u8, &[u8])> = packet.options().map(|one| (one.kind, one.data)).collect();
        assert!(options.contains(&(CLIENT, &identifier)));
        assert!(options.contains(&(HOST_NAME, b"one")));
        assert!(options.contains(&(TIME_SERVERS, &[192, 168, 1, 1])));
    }

    proptest! {
        #[test]
        fn rubbish_is_answered_shortly_or_not(
            head in proptest::collection::vec(any::<u8>(), 236),
            options in proptest::collection::vec(any::<u8>(), 0..600),
            known: bool,
            cut in 0..900_usize,
        ) {
            let mut payload = [head, vec![0x63, 0x82, 0x53, 0x63, 53, 1, 1], options].concat();
            if known {
                payload[28..34].copy_from_slice(&OWN.0);
                payload[..4].copy_from_slice(&[1, 1, 6, 0]);
                payload[24..28].fill(0);
            }
            payload.truncate(cut);
            let reply = answered(&payload);
            prop_assert!(reply.is_none_or(|reply| reply.len() < 42 + 240 + 257 + 128));
        }
    }
}
