//! Everything that frames pass: cables, bridge, links, gateway, and who looks on.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::PollFlags;

use super::bridge::Bridge;
use super::cable::Cable;
use super::capture::Capture;
use super::gateway::Gateway;
use super::links::Links;
use super::port::{Frame, Port, cable_socket};
use super::recorder::{Recorder, beacon};
use super::topology::{Network, TopologyError};
use super::transit::Transit;

/// The switch without its control.
#[derive(Debug)]
pub(crate) struct Fabric {
    pub(crate) network: Network,
    pub(crate) bridge: Bridge,
    pub(crate) gateway: Gateway,
    pub(crate) recorder: Recorder,
    /// What went wrong and does not end the switch.
    pub(crate) troubles: Vec<String>,
    folder: PathBuf,
    start: Instant,
    transit: Transit,
    /// Of the machines, in their order.
    cables: Vec<Cable>,
    /// Ends where it cannot be written.
    capture: Option<Capture>,
}

impl Fabric {
    /// The fabric of a network that was checked, with its files in `folder`.
    pub(crate) fn new(network: Network, folder: &Path) -> io::Result<Self> {
        let machines = network.machines.iter();
        let cables = machines.map(|machine| Cable::bind(&cable_socket(folder, &machine.name)));
        let cables = cables.collect::<io::Result<Vec<_>>>()?;
        let ports = u16::try_from(cables.len()).map_err(io::Error::other)?.saturating_add(1);
        let mut fabric = Self {
            bridge: Bridge::new(ports, Links::new(network.seed)),
            gateway: Gateway::new(&network, entropy()),
            recorder: Recorder::create(folder)?,
            troubles: Vec::new(),
            folder: folder.to_owned(),
            start: Instant::now(),
            transit: Transit::default(),
            cables,
            capture: Some(Capture::create(folder)?),
            network,
        };
        fabric.declare_faults(None).map_err(io::Error::other)?;
        for machine in &fabric.network.machines {
            for port in &machine.published {
                fabric.gateway.publish(Some(&machine.name), *port, None)?;
            }
        }
        Ok(fabric)
    }

    /// Makes the links what the topology declares: those of every port, or of a new one.
    pub(crate) fn declare_faults(&mut self, new: Option<Port>) -> Result<(), TopologyError> {
        for (from, to) in self.network.links(None, None)? {
            if new.is_none_or(|port| from == port || to == port) {
                let faults = self.network.declared(from, to)?;
                self.bridge.links().declare(from, to, faults);
            }
        }
        Ok(())
    }

    /// Lays the cable of the network's last machine, which is new.
    pub(crate) fn lay_cable(&mut self, name: &str) -> io::Result<()> {
        self.cables.push(Cable::bind(&cable_socket(&self.folder, name))?);
        self.bridge.add_port();
        Ok(())
    }

    /// A machine is connected.
    pub(crate) fn is_used(&self) -> bool {
        self.cables.iter().any(Cable::is_plugged)
    }

    /// The cable of a machine.
    pub(crate) fn cable(&self, port: Port) -> Option<&Cable> {
        usize::from(port.0).checked_sub(1).and_then(|index| self.cables.get(index))
    }

    /// What to wait for: cables, each with its number, and the gateway's ways.
    pub(crate) fn waits_for(&self) -> Vec<(Option<usize>, BorrowedFd<'_>, PollFlags)> {
        let cables = self.cables.iter().enumerate().flat_map(|(index, cable)| {
            cable.waits_for().map(move |(fd, room)| (Some(index), fd, flags(room)))
        });
        let ways = self.gateway.waits_for().into_iter().map(|(fd, flags)| (None, fd, flags));
        cables.chain(ways).collect()
    }

    /// How long until something is due.
    pub(crate) fn idle(&mut self) -> Duration {
        let now = self.start.elapsed();
        let next = self.gateway.next(now);
        let next = self.transit.next().map_or(next, |transit| transit.min(next));
        next.saturating_sub(now)
    }

    /// Takes what came over a cable.
    pub(crate) fn receive(&mut self, index: usize) -> io::Result<()> {
        let Some(cable) = self.cables.get_mut(index) else { return Ok(()) };
        cable.accept()?;
        let frames = cable.receive();
        let Some(port) = u16::try_from(index + 1).ok().map(Port) else { return Ok(()) };
        let now = self.start.elapsed();
        for frame in frames {
            self.forward(now, port, &frame);
        }
        Ok(())
    }

    /// Does everything that is due.
    pub(crate) fn turn(&mut self) {
        loop {
            let now = self.start.elapsed();
            let gateway_heard = self.deliver(now);
            let frames = self.gateway.poll(now);
            if frames.is_empty() && !gateway_heard {
                break;
            }
            for frame in &frames {
                self.forward(now, Port::GATEWAY, frame);
            }
        }
        for cable in &mut self.cables {
            cable.flush();
        }
        let written = self.capture.as_mut().map_or(Ok(()), Capture::flush);
        self.note_capture(written);
        let written = self.recorder.flush();
        self.note("write the history", written);
    }

    /// Lets the frames out that are due; true where the gateway got one.
    fn deliver(&mut self, now: Duration) -> bool {
        let mut gateway_heard = false;
        while let Some(delivery) = self.transit.pop_due(now) {
            let index = usize::from(delivery.to.0).checked_sub(1);
            match index.map(|index| self.cables.get_mut(index)) {
                None => {
                    self.gateway.arrive(delivery.frame);
                    gateway_heard = true;
                }
                Some(cable) => {
                    if let Some(cable) = cable {
                        cable.send(&delivery.frame);
                    }
                }
            }
        }
        gateway_heard
    }

    /// A frame comes in at a port.
    fn forward(&mut self, now: Duration, from: Port, frame: &Frame) {
        let moment = SystemTime::now();
        let captured = self.capture.as_mut().map_or(Ok(()), |capture| capture.add(moment, frame));
        self.note_capture(captured);
        let own = |address: IpAddr| {
            let (ipv4, ipv6) = (self.network.ipv4(Port::GATEWAY), self.network.ipv6(Port::GATEWAY));
            address == IpAddr::from(ipv4) || address == IpAddr::from(ipv6)
        };
        if let Some(text) = beacon(frame, own) {
            let recorded = self.recorder.add(moment, self.network.name(from), text);
            self.note("write the history", recorded);
        }
        self.transit.extend(self.bridge.step(now, from, frame));
    }

    fn note_capture(&mut self, result: io::Result<()>) {
        if result.is_err() {
            self.capture = None;
        }
        self.note("write the capture, which ends here", result);
    }

    fn note(&mut self, what: &str, result: io::Result<()>) {
        if let Err(error) = result {
            let trouble = format!("{what}: {error}");
            if !self.troubles.contains(&trouble) {
                self.troubles.push(trouble);
            }
        }
    }
}

/// Another number each time.
fn entropy() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

pub(crate) fn flags(room: bool) -> PollFlags {
    if room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
}
