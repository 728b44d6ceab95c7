//! The bridge that units are connected to, and the kernel settings that it takes.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustix::io::Errno;

use super::LINK_PREFIX;
use super::addresses::Mac;
use super::interface;
use super::netlink::{Batch, Family, NetlinkProblem, Socket};
use super::nftables::Ground;

/// The bridge could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeProblem {
    #[error("make the bridge {name}")]
    Make { name: String, source: NetlinkProblem },
    #[error("find the bridge {name}")]
    Find { name: String, source: io::Error },
    #[error("write {value} to {path}")]
    Set { path: String, value: &'static str, source: io::Error },
}

/// Whether the kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
        && !fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6")
            .is_ok_and(|text| text.trim() == "1")
}

/// Makes the bridge with its addresses, or makes the one that is there right.
pub(super) fn set_up(ground: &Ground, mac: Mac) -> Result<(), BridgeProblem> {
    let name = || ground.bridge.clone();
    let failed = |source| BridgeProblem::Make { name: name(), source };
    let socket = Socket::open(Family::Route).map_err(failed)?;
    let mut batch = Batch::default();
    interface::make_bridge(&mut batch, &ground.bridge, mac);
    socket.carry_out(batch).map_err(failed)?;
    let find = |source| BridgeProblem::Find { name: name(), source };
    let index = fs::read_to_string(format!("/sys/class/net/{}/ifindex", ground.bridge));
    let index = index.map_err(find)?.trim().parse();
    let index = index.map_err(|_nonsense| find(io::ErrorKind::InvalidData.into()))?;
    if ground.ipv6.is_some() {
        set(&format!("ipv6/conf/{}/accept_ra", ground.bridge), "0")?;
        set(&format!("ipv6/conf/{}/accept_dad", ground.bridge), "0")?;
    }
    let mut batch = Batch::default();
    let (address, prefix) = ground.ipv4;
    interface::add_address(&mut batch, index, address.into(), prefix);
    if let Some((address, prefix)) = ground.ipv6 {
        interface::add_address(&mut batch, index, address.into(), prefix);
    }
    socket.carry_out(batch).map_err(failed)
}

/// Takes the bridge's addresses away, before it gets others.
pub(super) fn forget_addresses(ground: &Ground) -> Result<(), BridgeProblem> {
    let failed = |source| BridgeProblem::Make { name: ground.bridge.clone(), source };
    let socket = Socket::open(Family::Route).map_err(failed)?;
    let index = socket.index_of(&ground.bridge).map_err(failed)?;
    let ipv4 = (IpAddr::V4(ground.ipv4.0), ground.ipv4.1);
    let ipv6 = ground.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
    for (address, prefix) in [Some(ipv4), ipv6].into_iter().flatten() {
        let mut batch = Batch::default();
        interface::remove_address(&mut batch, index, address, prefix);
        match socket.carry_out(batch) {
            Err(error) if error.errno() != Some(Errno::ADDRNOTAVAIL.raw_os_error()) => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The node becomes a router: for its units, as the packet filter sees to, which must be there before.
pub(super) fn forward(ground: &Ground) -> Result<(), BridgeProblem> {
    // A published port is reached through the node's own 127.0.0.1 too. The packet filter guards the way back.
    set(&format!("ipv4/conf/{}/route_localnet", ground.bridge), "1")?;
    set("ipv4/ip_forward", "1")?;
    if ground.ipv6.is_none() {
        return Ok(());
    }
    // Routers take no address from others, unless they are told to: "2".
    let folder = "/proc/sys/net/ipv6/conf";
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let setting = format!("ipv6/conf/{name}/accept_ra");
        let now = fs::read_to_string(format!("/proc/sys/net/{setting}"));
        if name != ground.bridge && now.is_ok_and(|now| now.trim() == "1") {
            set(&setting, "2")?;
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}

fn set(setting: &str, value: &'static str) -> Result<(), BridgeProblem> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).map_err(|source| BridgeProblem::Set { path, value, source })
}

/// Removes the node's ends of all cables but those in `living`. Returns what was removed.
pub(super) fn sweep(ground: &Ground, living: &[&str]) -> Vec<String> {
    let ports = fs::read_dir(format!("/sys/class/net/{}/brif", ground.bridge));
    let ports = ports.into_iter().flatten().flatten();
    let names = ports.filter_map(|port| port.file_name().into_string().ok());
    let left = names
        .filter(|name| name.starts_with(LINK_PREFIX) && !living.contains(&name.as_str()))
        .collect::<Vec<_>>();
    for name in &left {
        unplug(name);
    }
    left
}

/// Removes the node's end of a cable, and with it the other.
pub(super) fn unplug(link: &str) {
    let mut batch = Batch::default();
    interface::remove(&mut batch, link);
    // Mostly it went with the container's namespace already.
    drop(Socket::open(Family::Route).and_then(|socket| socket.carry_out(batch)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{self, ip};

    #[test]
    fn links_take_addresses_from_routers_whenever_they_come() {
        let name = "links_take_addresses_from_routers_whenever_they_come";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            let ground = Ground {
                bridge: "ferrite0".to_owned(),
                ipv4: ([10, 120, 0, 1].into(), 16),
                ipv6: Some(("fd00:1:2::1".parse().unwrap(), 64)),
                flat: None,
            };
            ip("link add eth0 type veth peer name eth9");
            ip("link add ferrite0 type bridge");
            forward(&ground).unwrap();
            ip("link add eth1 type veth peer name eth8");
            let setting = |name: &str| {
                let text = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}"));
                text.unwrap().trim().to_owned()
            };
            for link in ["eth0", "eth1"] {
                assert_eq!(setting(&format!("{link}/accept_ra")), "2", "{link}");
                assert_eq!(setting(&format!("{link}/forwarding")), "1", "{link}");
            }
        });
    }
}
