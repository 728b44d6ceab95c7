//! A lease becomes an address, routes, an MTU and name servers. What of it cannot be done does not keep the rest
//! from being done.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use ferrite_files::durable;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::lease::{Route, Settings};
use super::mtu::MtuBefore;
use super::name_servers::{NameServers, Names};
use crate::underlay::in_network;

/// Routes of several links do not replace one another: each link's are this much worse than the one's before.
const METRIC_FIRST: u32 = 1024;
/// A lease without end, to the kernel: 136 years. What it calls for ever it calls permanent too, and an agent that comes
/// later could not tell such an address from one that somebody else has set.
const FOR_EVER: u32 = u32::MAX - 1;

/// A part of a lease could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Apply {
    #[error("set address {address}")]
    SetAddress { address: Ipv4Addr, source: rtnetlink::Error },
    #[error("set the route to {}/{} through {}", route.destination, route.prefix, through(route))]
    SetRoute { route: Route, source: rtnetlink::Error },
    #[error("take the route to {destination}/{prefix} away, which an earlier lease brought")]
    RemoveRoute { destination: Ipv4Addr, prefix: u8, source: rtnetlink::Error },
    #[error("set the MTU to {mtu}")]
    SetMtu { mtu: u32, source: rtnetlink::Error },
    #[error(transparent)]
    WriteNameServers(#[from] durable::WriteFile),
}

fn through(route: &Route) -> String {
    route.gateway.map_or_else(|| "nobody".to_owned(), |gateway| gateway.to_string())
}

/// An interface that leases are applied to.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: Handle,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) name_servers: NameServers,
    /// Its MTU before leases brought one.
    mtu_before: MtuBefore,
}

impl Link {
    /// A link of this number and name, of which an earlier agent may have left something in `folder`.
    pub(super) fn new(
        handle: Handle,
        (index, name): (u32, String),
        name_servers: NameServers,
        folder: &Path,
    ) -> Self {
        let mtu_before = MtuBefore::of(folder, (index, &name));
        Self { handle, index, name, name_servers, mtu_before }
    }

    /// The address that an earlier agent got for it, which counts only for a time.
    pub(super) async fn address(&self) -> Option<Ipv4Addr> {
        self.addresses().await.iter().find(|message| is_lent(message)).and_then(address_of)
    }

    async fn addresses(&self) -> Vec<AddressMessage> {
        let request = self.handle.address().get().set_link_index_filter(self.index).execute();
        let mut found: Vec<AddressMessage> = request.try_collect().await.unwrap_or_default();
        found.retain(|message| message.header.family == AddressFamily::Inet);
        found
    }

    /// Applies a lease for as long as it counts, over whatever an earlier one left. What failed is returned.
    pub(super) async fn apply(&mut self, new: &Settings, valid: Option<Duration>) -> Vec<Apply> {
        let mut failed = Vec::new();
        let is_new = |message: &AddressMessage| {
            address_of(message) == Some(new.address) && message.header.prefix_len == new.prefix
        };
        // First, since the kernel removes with an address those that came later in the same network.
        for old in self.addresses().await {
            if !is_new(&old) && (is_lent(&old) || address_of(&old) == Some(new.address)) {
                // One that is gone already is what was wanted.
                drop(self.handle.address().del(old).execute().await);
            }
        }
        failed.extend(self.set_mtu(new.mtu).await.err());
        if let Err(source) = self.set_address(new, valid).await {
            failed.push(Apply::SetAddress { address: new.address, source });
        }
        for route in &new.routes {
            let message = self.route(new, route).build();
            let set = self.handle.route().add(message).replace().execute().await;
            let route = route.clone();
            failed.extend(set.err().map(|source| Apply::SetRoute { route, source }));
        }
        failed.extend(self.remove_other_routes(&new.routes).await);
        failed.extend(self.name(new).err().map(Apply::from));
        failed
    }

    /// Sets the MTU of a lease, or the one from before where a lease brings none.
    async fn set_mtu(&mut self, wanted: Option<u16>) -> Result<(), Apply> {
        if wanted.is_some()
            && self.mtu_before.get().is_none()
            && let Some(mtu) = self.mtu().await
        {
            self.mtu_before.set(mtu);
        }
        let Some(mtu) = wanted.map(u32::from).or(self.mtu_before.get()) else { return Ok(()) };
        let link = LinkUnspec::new_with_index(self.index).mtu(mtu).build();
        let set = self.handle.link().set(link).execute().await;
        set.map_err(|source| Apply::SetMtu { mtu, source })?;
        if wanted.is_none() {
            self.mtu_before.forget();
        }
        Ok(())
    }

    async fn mtu(&self) -> Option<u32> {
        let mut links = self.handle.link().get().match_index(self.index).execute();
        let link = links.try_next().await.ok()??;
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    }

    /// A lease that is renewed may bring less than before: routes of ours that it lacks go.
    async fn remove_other_routes(&self, wanted: &[Route]) -> Vec<Apply> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all: Vec<RouteMessage> =
            self.handle.route().get(all).execute().try_collect().await.unwrap_or_default();
        let mut failed = Vec::new();
        for route in all.into_iter().filter(|route| self.is_ours(route)) {
            let (destination, prefix) =
                (destination_of(&route), route.header.destination_prefix_length);
            let is_wanted = |one: &Route| (one.destination, one.prefix) == (destination, prefix);
            if !wanted.iter().any(is_wanted) {
                let removed = self.handle.route().del(route).execute().await;
                let told = |source| Apply::RemoveRoute { destination, prefix, source };
                failed.extend(removed.err().map(told));
            }
        }
        failed
    }

    fn is_ours(&self, route: &RouteMessage) -> bool {
        let says = |wanted: &RouteAttribute| route.attributes.contains(wanted);
        route.header.table == RouteHeader::RT_TABLE_MAIN
            && route.header.protocol == RouteProtocol::Dhcp
            && says(&RouteAttribute::Oif(self.index))
            && says(&RouteAttribute::Priority(self.metric()))
    }

    const fn metric(&self) -> u32 {
        METRIC_FIRST.saturating_add(self.index)
    }

    fn name(&self, new: &Settings) -> Result<(), durable::WriteFile> {
        let (servers, search) = (new.name_servers.clone(), new.search.clone());
        self.name_servers.set(self.index, Names { servers, search })
    }

    async fn set_address(
        &self,
        new: &Settings,
        valid: Option<Duration>,
    ) -> Result<(), rtnetlink::Error> {
        let mut request =
            self.handle.address().add(self.index, IpAddr::V4(new.address), new.prefix).replace();
        // The kernel takes the address away when its time is over, even where nobody is left to do it.
        let seconds = valid
            .map_or(FOR_EVER, |valid| u32::try_from(valid.as_secs()).unwrap_or(FOR_EVER).max(1));
        let mut cache = CacheInfo::default();
        (cache.ifa_valid, cache.ifa_preferred) = (seconds, seconds);
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(cache));
        request.execute().await
    }

    /// A route that goes with the address. A gateway outside of the address's network is on the link all the same:
    /// clouds give leases of a single address.
    fn route(&self, settings: &Settings, route: &Route) -> RouteMessageBuilder<Ipv4Addr> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination, route.prefix)
            .output_interface(self.index)
            .pref_source(settings.address)
            .protocol(RouteProtocol::Dhcp)
            .priority(self.metric());
        match route.gateway {
            Some(gateway) if is_within(gateway, settings) => message.gateway(gateway),
            Some(gateway) => message.gateway(gateway).onlink(),
            None => message.scope(RouteScope::Link),
        }
    }

    /// Takes away what leases have set. Their routes go with the addresses, whose they are.
    pub(super) async fn clear(&mut self) {
        for message in self.addresses().await {
            if is_lent(&message) {
                drop(self.handle.address().del(message).execute().await);
            }
        }
        if let Err(error) = self.set_mtu(None).await {
            tracing::warn!(error = ferrite_schema::chain(&error), "mtu-not-set-back");
        }
        if let Err(error) = self.name_servers.set(self.index, Names::default()) {
            tracing::warn!(error = ferrite_schema::chain(&error), "name-servers-not-cleared");
        }
    }
}

fn destination_of(route: &RouteMessage) -> Ipv4Addr {
    let said = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    });
    said.unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn is_within(address: Ipv4Addr, settings: &Settings) -> bool {
    in_network(address.into(), settings.address.into(), settings.prefix)
}

fn is_lent(message: &AddressMessage) -> bool {
    !message.header.flags.contains(AddressHeaderFlags::Permanent)
}

fn address_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{self, ip};

    #[test]
    fn an_address_without_end_is_known_for_a_lease_by_an_agent_that_comes_later() {
        let name = "an_address_without_end_is_known_for_a_lease_by_an_agent_that_comes_later";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            ip("link add eth0 type veth peer name eth9");
            ip("link set eth0 up");
            ip("address add 10.1.0.7/24 dev eth0");
            let shown = ip("-o link show eth0");
            let index = shown.split(':').next().unwrap().parse().unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                let connection = tokio::spawn(connection);
                let folder = tempfile::tempdir().unwrap();
                let name_servers = NameServers::in_file(folder.path().join("resolv.conf"));
                let eth0 = (index, "eth0".to_owned());
                let mut link = Link::new(handle, eth0, name_servers, folder.path());
                let lease = |address: [u8; 4]| Settings {
                    address: address.into(),
                    prefix: 24,
                    routes: vec![],
                    name_servers: vec![],
                    search: vec![],
                    mtu: None,
                };
                assert!(link.apply(&lease([10, 2, 0, 50]), None).await.is_empty());
                assert_eq!(link.address().await, Some([10, 2, 0, 50].into()));
                assert!(link.apply(&lease([10, 3, 0, 50]), None).await.is_empty());
                let shown = ip("-4 -o address show dev eth0");
                assert!(shown.contains("10.3.0.50") && !shown.contains("10.2.0.50"), "{shown}");
                link.clear().await;
                let shown = ip("-4 -o address show dev eth0");
                assert!(shown.contains("10.1.0.7") && !shown.contains("10.3"), "{shown}");
                connection.abort();
            });
        });
    }
}
