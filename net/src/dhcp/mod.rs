//! A DHCP client per interface: gets a lease, applies it, keeps it fresh, and starts again when it is lost.
//! What is decided is decided by [`machine`].

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use tokio::sync::watch;

use crate::dhcp::apply::Link;
use crate::dhcp::lease::Lease;
use crate::dhcp::machine::{Effect, Event, Machine};
use crate::dhcp::overlap::Overlap;
use crate::dhcp::socket::Socket;
use crate::ethernet::Interface;
use crate::news::{News, Teller};

pub(crate) use name_servers::NameServers;
pub(crate) use overlap::UnitsNetwork;

mod apply;
mod lease;
mod machine;
mod message;
mod name_servers;
mod overlap;
mod socket;

/// Pause after a socket failed, until it is opened again.
const RETRY: Duration = Duration::from_secs(2);

/// A client, with what it works with.
struct Client {
    link: Link,
    machine: Machine,
    teller: Teller,
    units: UnitsNetwork,
    /// A lease is applied.
    addressed: bool,
    /// What was said of trouble.
    told: Option<String>,
    /// Keeps the client's port while a server is asked.
    asking_from: Option<UdpSocket>,
}

/// What a client is told when it begins.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The node's.
    pub(super) hostname: String,
    /// Where news is told.
    pub(super) teller: Teller,
    /// What a lease must not be in the way of.
    pub(super) units: UnitsNetwork,
}

/// Keeps an interface's address; `carrier` says whether its cable is in. Never ends.
pub(super) async fn keep(
    handle: Handle,
    interface: Interface,
    name_servers: NameServers,
    Surroundings { hostname, teller, units }: Surroundings,
    mut carrier: watch::Receiver<bool>,
) {
    teller.tell(News::Waits { link: interface.name.clone() });
    let machine = Machine::new(interface.mac, lease::host_name(&hostname), Instant::now());
    let link = Link { handle, index: interface.index, name: interface.name, name_servers };
    let before = link.address().await;
    let (addressed, told, asking_from) = (false, None, None);
    let mut client = Client { link, machine, teller, units, addressed, told, asking_from };
    let mut event = Some(Event::Begin(before));
    loop {
        if let Err(error) = client.work(&mut event, &mut carrier).await {
            let interface = &client.link.name;
            tracing::warn!(interface, %error, "dhcp-socket-failed");
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl Client {
    /// Works while sockets do; `event` is what comes first.
    async fn work(
        &mut self,
        event: &mut Option<Event>,
        carrier: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut socket = Some(Socket::open(self.link.index)?);
        loop {
            if let Some(event) = event.take() {
                let effects = self.machine.step(event, Instant::now(), random());
                for effect in effects {
                    if socket.is_none() {
                        socket = Some(Socket::open(self.link.index)?);
                    }
                    self.perform(effect, socket.as_ref()).await;
                }
                self.tell_trouble();
            }
            if !self.machine.listens() {
                (socket, self.asking_from) = (None, None);
            }
            *event = Some(tokio::select! {
                heard = hear(socket.as_ref()) => {
                    let (answer, source) = heard?;
                    Event::Heard(Box::new(answer), source)
                }
                () = passed(self.machine.deadline()) => Event::Deadline,
                () = back(carrier) => Event::CarrierBack,
            });
        }
    }

    async fn perform(&mut self, effect: Effect, socket: Option<&Socket>) {
        let interface = &self.link.name;
        match effect {
            // What cannot be sent is sent again at the deadline.
            Effect::Broadcast(question) => {
                if let Some(Err(error)) = socket.map(|socket| socket.broadcast(&question.encode()))
                {
                    tracing::debug!(interface, %error, "dhcp-not-asked");
                }
            }
            Effect::Unicast(question, server) => {
                self.asking_from = None;
                let from = question.ours.unwrap_or(Ipv4Addr::UNSPECIFIED);
                match socket::unicast(interface, from, server, &question.encode()) {
                    Ok(socket) => self.asking_from = Some(socket),
                    Err(error) => tracing::debug!(interface, %error, "dhcp-not-asked"),
                }
            }
            Effect::Apply(lease, valid) => {
                let overlap = self.units.overlap(&lease.settings);
                self.tell_overlap(overlap.as_ref());
                match overlap {
                    Some(Overlap::Bridge(_)) => self.withdraw().await,
                    Some(Overlap::Network(_)) | None => self.apply(&lease, valid).await,
                }
            }
            Effect::Drop(lease) => {
                let address = lease.settings.address;
                tracing::warn!(interface, %address, "dhcp-lost");
                self.tell_overlap(None);
                self.withdraw().await;
            }
        }
    }

    async fn apply(&mut self, lease: &Lease, valid: Option<Duration>) {
        let interface = &self.link.name;
        let failed = self.link.apply(&lease.settings, valid).await;
        let (address, server) = (lease.settings.address, lease.server);
        let first = !std::mem::replace(&mut self.addressed, true);
        for error in &failed {
            let error = ferrite_schema::chain(error);
            tracing::error!(interface, error, "dhcp-lease-not-applied");
        }
        if first {
            tracing::info!(interface, %address, %server, ?valid, "dhcp-lease");
            self.teller.tell(News::Addressed { link: interface.clone() });
        }
        let told = failed.iter().map(|error| ferrite_schema::chain(error));
        let told = told.reduce(|all, one| format!("{all}; {one}"));
        let told = told.map(|why| format!("{interface}: the lease is not whole: {why}"));
        self.teller.stand(format!("dhcp lease {interface}"), told);
    }

    /// Takes away what a lease, this agent's or an earlier one's, has set.
    async fn withdraw(&mut self) {
        self.link.clear().await;
        self.addressed = false;
        self.teller.tell(News::Lost { link: self.link.name.clone() });
    }

    fn tell_overlap(&self, overlap: Option<&Overlap>) {
        let interface = &self.link.name;
        let told = overlap.map(|one| format!("{interface}: {}", self.units.sentence(one)));
        self.teller.stand(format!("dhcp overlap {interface}"), told);
    }

    fn tell_trouble(&mut self) {
        let trouble = self.machine.trouble();
        if trouble == self.told.as_deref() {
            return;
        }
        self.told = trouble.map(str::to_owned);
        let interface = &self.link.name;
        if let Some(trouble) = trouble {
            tracing::warn!(interface, trouble, "dhcp-trouble");
        }
        let warning = trouble.map(|trouble| format!("{interface}: {trouble}"));
        self.teller.stand(format!("dhcp {interface}"), warning);
    }
}

async fn hear(socket: Option<&Socket>) -> io::Result<(message::Answer, Ipv4Addr)> {
    match socket {
        Some(socket) => socket.hear().await,
        None => std::future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The cable came back.
async fn back(carrier: &mut watch::Receiver<bool>) {
    while carrier.changed().await.is_ok() {
        if *carrier.borrow_and_update() {
            return;
        }
    }
    // Whoever watched the link is gone, and this client will be.
    std::future::pending().await
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    let flags = rustix::rand::GetRandomFlags::INSECURE;
    // Without randomness, time does: it only tells exchanges apart.
    match rustix::rand::getrandom(&mut bytes, flags) {
        Ok(_) => u32::from_ne_bytes(bytes),
        Err(_) => rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)
            .tv_nsec
            .try_into()
            .unwrap_or(1),
    }
}

#[cfg(test)]
mod servers;
