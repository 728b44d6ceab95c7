//! What a switch does when it is told to. A command that is refused has changed nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::control::{Answer, Command, FaultStatus, MachineStatus, PublishedStatus, Status};
use super::fabric::Fabric;
use super::faults::Faults;
use super::port::Port;
use super::topology::{Network, Station, TopologyError};

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("partition: {name} is in {count} groups; put every machine in exactly one")]
    Groups { name: String, count: usize },
    #[error("publish port 0: there is none")]
    PortZero,
    #[error("publish port {port} of {whose}: {source}")]
    Publish { whose: String, port: u16, source: std::io::Error },
    #[error("end what is published at port {host_port}: nothing is")]
    Unpublish { host_port: u16 },
    #[error("give {machine} the address {address}: it is not one of {network}, or somebody else's")]
    Readdress { machine: String, address: Ipv4Addr, network: String },
    #[error("lay the cable of {machine}: {source}")]
    LayCable { machine: String, source: std::io::Error },
    #[error("do that to the gateway: it is no machine")]
    Gateway,
}

impl Fabric {
    /// Does what it is told. What concerns the connection or the switch as a whole is done elsewhere.
    pub(crate) fn obey(&mut self, command: Command) -> Answer {
        self.try_to_obey(command).unwrap_or_else(|refusal| Answer::Refused(refusal.to_string()))
    }

    fn try_to_obey(&mut self, command: Command) -> Result<Answer, Refusal> {
        match command {
            Command::Status {} => return Ok(Answer::Status(self.status())),
            Command::Cut { from, to, both } => self.cut(from.as_deref(), to.as_deref(), both)?,
            Command::Fault { from, to, faults } => {
                for (from, to) in self.network.links(from.as_deref(), to.as_deref())? {
                    self.bridge.links().set(from, to, faults);
                }
            }
            Command::Partition { groups } => {
                let groups = groups_of(&self.network, &groups)?;
                self.bridge.links().partition(&groups);
            }
            Command::Heal { machine } => {
                let port = machine.map(|name| self.network.port(&name)).transpose()?;
                self.bridge.links().heal(port);
            }
            Command::Publish { machine, port, host_port } => {
                return self.publish(machine, port, host_port);
            }
            Command::Unpublish { host_port } => {
                if !self.gateway.unpublish(host_port) {
                    return Err(Refusal::Unpublish { host_port });
                }
            }
            Command::Readdress { machine, address } => self.readdress(machine, address)?,
            Command::Add { machine } => self.add(machine)?,
            Command::Follow {} | Command::Stop {} => {}
        }
        Ok(Answer::Done)
    }

    fn cut(&mut self, from: Option<&str>, to: Option<&str>, both: bool) -> Result<(), Refusal> {
        for (from, to) in self.network.links(from, to)? {
            let back = both.then_some((to, from));
            for (from, to) in [(from, to)].into_iter().chain(back) {
                let faults = Faults { cut: true, ..self.bridge.links().faults(from, to) };
                self.bridge.links().set(from, to, faults);
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        machine: Option<String>,
        port: u16,
        host_port: Option<u16>,
    ) -> Result<Answer, Refusal> {
        if let Some(machine) = &machine {
            self.machine(machine)?;
        }
        if port == 0 || host_port == Some(0) {
            return Err(Refusal::PortZero);
        }
        match self.gateway.publish(machine.as_deref(), port, host_port) {
            Ok(at) => Ok(Answer::Published(at)),
            Err(source) => {
                let whose = machine.unwrap_or_else(|| "every machine".to_owned());
                Err(Refusal::Publish { whose, port, source })
            }
        }
    }

    fn readdress(&mut self, machine: String, address: Ipv4Addr) -> Result<(), Refusal> {
        self.machine(&machine)?;
        let [a, b, c, last] = address.octets();
        let [own_a, own_b, own_c, own_last] = self.network.ipv4(Port::GATEWAY).octets();
        let is_here = [a, b, c] == [own_a, own_b, own_c] && ![0, 255, own_last].contains(&last);
        if !is_here || !self.gateway.readdress(&machine, address) {
            let network = format!("{own_a}.{own_b}.{own_c}.0/24");
            return Err(Refusal::Readdress { machine, address, network });
        }
        Ok(())
    }

    fn add(&mut self, machine: Station) -> Result<(), Refusal> {
        let mut network = self.network.clone();
        network.machines.push(machine.clone());
        network.check()?;
        let name = machine.name;
        let lay_cable = |source| Refusal::LayCable { machine: name.clone(), source };
        self.lay_cable(&name).map_err(lay_cable)?;
        self.network = network;
        let port = self.network.port(&name)?;
        self.gateway.add(&self.network, port);
        self.declare_faults(Some(port))?;
        for port in machine.published {
            self.publish(Some(name.clone()), port, None)?;
        }
        Ok(())
    }

    fn machine(&self, name: &str) -> Result<Port, Refusal> {
        match self.network.port(name)? {
            Port::GATEWAY => Err(Refusal::Gateway),
            port => Ok(port),
        }
    }

    fn status(&mut self) -> Status {
        let ports: Vec<Port> = self.network.ports().collect();
        let machines = ports.iter().filter_map(|port| {
            let cable = self.cable(*port)?;
            let name = self.network.name(*port).to_owned();
            Some(MachineStatus { name, plugged: cable.is_plugged(), overrun: cable.overrun() })
        });
        let machines = machines.collect();
        let published = self.gateway.published().map(|(machine, port, at)| PublishedStatus {
            machine: machine.map(str::to_owned),
            port,
            at,
        });
        let published = published.collect();
        let mut faults = Vec::new();
        for (from, to) in ports.iter().flat_map(|from| ports.iter().map(move |to| (*from, *to))) {
            let found = self.bridge.links().faults(from, to);
            if found != Faults::default() {
                let [from, to] = [from, to].map(|port| self.network.name(port).to_owned());
                faults.push(FaultStatus { from, to, faults: found });
            }
        }
        Status { machines, published, faults, troubles: self.troubles.clone() }
    }
}

fn groups_of(network: &Network, groups: &[Vec<String>]) -> Result<Vec<BTreeSet<Port>>, Refusal> {
    let mut found = Vec::new();
    let mut named = Vec::new();
    for group in groups {
        let ports =
            group.iter().map(|name| network.port(name)).collect::<Result<BTreeSet<_>, _>>()?;
        named.extend(ports.iter().copied());
        found.push(ports);
    }
    for port in network.ports() {
        let count = named.iter().filter(|one| **one == port).count();
        if count > 1 || (count == 0 && port != Port::GATEWAY) {
            return Err(Refusal::Groups { name: network.name(port).to_owned(), count });
        }
    }
    Ok(found)
}
