//! What units find in `hosts` and `resolv.conf`, when they begin and later.

use std::net::{IpAddr, Ipv4Addr};

use ferrite_schema::shim::{Attachment, Network};
use ferrite_schema::unit::NetworkMode;

use super::{AttachProblem, AttachmentFiles, Attachments, Wish};
use crate::files::{self, Contents, Record, Whose};
use crate::nftables::Member;
use crate::underlay::Underlay;
use crate::{BRIDGE, addresses};

/// What a link carries where nobody says anything else, in bytes.
const MTU_DEFAULT: u32 = 1500;

impl Attachments {
    pub(super) fn write_files(
        &self,
        wish: &Wish,
        member: &Member,
    ) -> Result<AttachmentFiles, AttachProblem> {
        let (gateway, gateway6) = self.plan.addresses.gateway();
        let ipv6 = member.ipv6.zip(gateway6);
        let attachment = Attachment {
            bridge: BRIDGE.to_owned(),
            link: member.link.clone(),
            ipv4: (member.ipv4, self.ground.ipv4.1, gateway),
            ipv6: ipv6.map(|(own, gateway)| (own, addresses::IPV6_PREFIX, gateway)),
            mtu: self.mtu.or_else(mtu_of_lone_node),
        };
        let own = [Some(IpAddr::V4(member.ipv4)), member.ipv6.map(IpAddr::V6)];
        let own: Vec<IpAddr> = own.into_iter().flatten().collect();
        let contents = Contents {
            hosts: files::hosts(&wish.unit, &wish.hostname, &own),
            resolv_conf: self.asks_the_node(gateway),
        };
        let record = Record {
            unit: wish.unit.clone(),
            attachment: attachment.clone(),
            ports: wish.ports.clone(),
            metadata: wish.metadata,
        };
        let mounts =
            files::write(&self.plan.folder.join(&wish.unit), &contents, &Whose::Bridge(record))?;
        Ok(AttachmentFiles { network: Network::Bridge(attachment), mounts })
    }

    /// A unit with the node's network looks up names as the node does.
    pub(super) fn without_bridge(&self, wish: &Wish) -> Result<AttachmentFiles, AttachProblem> {
        let host = wish.mode == NetworkMode::Host;
        let contents = Contents {
            hosts: files::hosts(&wish.unit, &wish.hostname, &[]),
            resolv_conf: if host { self.of_node() } else { String::new() },
        };
        let whose = if host { Whose::Node } else { Whose::Nobody };
        let mounts = files::write(&self.plan.folder.join(&wish.unit), &contents, &whose)?;
        Ok(AttachmentFiles { network: if host { Network::Host } else { Network::None }, mounts })
    }

    /// The node's name servers or domains are others now: units that run learn of it.
    pub(crate) fn refresh(&self) {
        let of_node = self.of_node();
        for (folder, whose) in files::all(&self.plan.folder) {
            let text = match whose {
                Whose::Bridge(record) => {
                    let (.., gateway) = record.attachment.ipv4;
                    files::resolv_conf(gateway, &self.plan.domain, &of_node)
                }
                Whose::Node => of_node.clone(),
                Whose::Nobody => continue,
            };
            if let Err(error) = files::rewrite(&folder, &text) {
                tracing::error!(error = ferrite_schema::chain(&error), "name-servers-not-told");
            }
        }
    }

    fn asks_the_node(&self, gateway: Ipv4Addr) -> String {
        files::resolv_conf(gateway, &self.plan.domain, &self.of_node())
    }

    fn of_node(&self) -> String {
        std::fs::read_to_string(&self.plan.resolv_conf).unwrap_or_default()
    }
}

/// How long units' packets may be where the node's own must be shorter than usual: a network beyond the node may not say that
/// they are too long. Longer ones are nobody's wish.
fn mtu_of_lone_node() -> Option<u32> {
    let mtu = Underlay::look().ok().and_then(|underlay| underlay.mtu);
    mtu.filter(|mtu| *mtu < MTU_DEFAULT)
}
