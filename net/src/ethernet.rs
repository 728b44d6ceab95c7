//! Ethernet interfaces, as the kernel tells of them.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use crate::addresses::Mac;

/// An Ethernet interface that may get an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
}

/// A hardware Ethernet interface; bridges, tunnels and the like have a kind and belong to whoever made them.
pub(crate) fn interface(link: &LinkMessage) -> Option<Interface> {
    let flags = link.header.flags;
    // A bridge tells about its ports in a family of its own, and leaves out what kind they are.
    if link.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    if link.header.link_layer_type != LinkLayerType::Ether || flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let (mut name, mut mac) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            LinkAttribute::LinkInfo(info)
                if info.iter().any(|info| matches!(info, LinkInfo::Kind(_))) =>
            {
                return None;
            }
            _ => {}
        }
    }
    let (up, carrier) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp));
    Some(Interface { index: link.header.index, name: name?, mac: mac?, up, carrier })
}
