//! What a lease means for the machine: an address, routes, name servers.

use std::net::Ipv4Addr;
use std::path::Path;

use ferrite_files::durable;
use mozim::DhcpV4Lease;
use rtnetlink::{AddressMessageBuilder, Handle, RouteMessageBuilder};

/// Where programs look for name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Name servers that the resolver of the C library takes; more are ignored by it.
const NAME_SERVERS_MAX: usize = 3;

/// A lease could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Apply {
    #[error("set address {address}")]
    SetAddress { address: Ipv4Addr, source: rtnetlink::Error },
    #[error("set the route to {destination}/{prefix} through {gateway}")]
    SetRoute { destination: Ipv4Addr, prefix: u8, gateway: Ipv4Addr, source: rtnetlink::Error },
    #[error(transparent)]
    WriteResolvConf(#[from] durable::WriteFile),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    destination: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
}

/// What of a lease is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) address: Ipv4Addr,
    prefix: u8,
    routes: Vec<Route>,
    name_servers: Vec<Ipv4Addr>,
    search: Vec<String>,
}

/// Reads a lease. Classless routes, where they are given, replace the gateway (RFC 3442).
pub(super) fn settings(lease: &DhcpV4Lease) -> Settings {
    let default = |gateway: &Ipv4Addr| Route {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        gateway: *gateway,
    };
    let routes = match &lease.classless_routes {
        Some(routes) if !routes.is_empty() => routes
            .iter()
            .map(|route| Route {
                destination: route.destination,
                prefix: route.prefix_length,
                gateway: route.router,
            })
            .collect(),
        _ => lease.gateways.iter().flatten().take(1).map(default).collect(),
    };
    let search = match &lease.domain_search {
        Some(search) => search.clone(),
        None => lease.domain_name.iter().cloned().collect(),
    };
    Settings {
        address: lease.yiaddr,
        prefix: lease.prefix_length(),
        routes,
        name_servers: lease.dns_srvs.clone().unwrap_or_default(),
        search: search.into_iter().filter(|domain| is_domain(domain)).collect(),
    }
}

/// A server's words become a line of a file: only what a domain is made of is let through.
fn is_domain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.bytes().all(fits)
}

fn resolv_conf(settings: &Settings) -> String {
    let servers = settings.name_servers.iter().take(NAME_SERVERS_MAX);
    let mut text: String = servers.map(|server| format!("nameserver {server}\n")).collect();
    if !settings.search.is_empty() {
        text.push_str(&format!("search {}\n", settings.search.join(" ")));
    }
    text
}

/// Applies settings over older ones of the same interface.
pub(super) async fn apply(
    handle: &Handle,
    index: u32,
    old: Option<&Settings>,
    new: &Settings,
) -> Result<(), Apply> {
    let address = new.address;
    let add = handle.address().add(index, address.into(), new.prefix).replace();
    add.execute().await.map_err(|source| Apply::SetAddress { address, source })?;
    for route in &new.routes {
        set_route(handle, index, route).await?;
    }
    if let Some(old) = old.filter(|old| old.address != address) {
        let message =
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(old.address, old.prefix);
        // An address that is gone already is what was wanted.
        drop(handle.address().del(message.build()).execute().await);
    }
    durable::write(Path::new(RESOLV_CONF), resolv_conf(new).as_bytes())?;
    Ok(())
}

async fn set_route(handle: &Handle, index: u32, route: &Route) -> Result<(), Apply> {
    let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.destination, route.prefix)
        .output_interface(index);
    if !route.gateway.is_unspecified() {
        message = message.gateway(route.gateway);
    }
    handle.route().add(message.build()).replace().execute().await.map_err(|source| {
        Apply::SetRoute {
            destination: route.destination,
            prefix: route.prefix,
            gateway: route.gateway,
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_takes_no_foreign_lines() {
        let settings = Settings {
            address: Ipv4Addr::LOCALHOST,
            prefix: 24,
            routes: vec![],
            name_servers: vec![Ipv4Addr::new(10, 0, 2, 3); 5],
            search: ["a.example", "evil\nnameserver 6.6.6.6", ""]
                .map(str::to_owned)
                .into_iter()
                .filter(|domain| is_domain(domain))
                .collect(),
        };
        let text = resolv_conf(&settings);
        assert_eq!(text.matches("nameserver 10.0.2.3\n").count(), NAME_SERVERS_MAX);
        assert!(text.ends_with("search a.example\n"));
        assert!(!text.contains("6.6.6.6"));
    }
}
