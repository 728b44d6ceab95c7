//! A DHCP client per interface: gets a lease, applies it, keeps it fresh, and starts again when it is lost.
//! What is decided is decided by [`machine`].

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use tokio::sync::watch;

use crate::dhcp::apply::{Apply, Link};
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
mod mtu;
mod name_servers;
mod overlap;
mod socket;

/// Pause after a socket failed, until it is opened again.
const RETRY: Duration = Duration::from_secs(2);
/// Pause until what could not be set of a lease is tried again: twice as long each time.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// A lease that is not wholly applied.
struct Again {
    lease: Box<Lease>,
    /// When it ends.
    end: Option<Instant>,
    /// When it is tried again, and how long that was put off.
    at: Instant,
    pause: Duration,
}

/// A client, with what it works with.
struct Client {
    link: Link,
    machine: Machine,
    teller: Teller,
    units: UnitsNetwork,
    /// The address of a lease is set.
    addressed: bool,
    again: Option<Again>,
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
    /// Where is kept what the agent's successor must know of links; gone with the machine's boot.
    pub(super) folder: PathBuf,
}

/// Keeps an interface's address; `carrier` says whether its cable is in. Never ends.
pub(super) async fn keep(
    handle: Handle,
    interface: Interface,
    name_servers: NameServers,
    Surroundings { hostname, teller, units, folder }: Surroundings,
    mut carrier: watch::Receiver<bool>,
) {
    teller.tell(News::Waits { link: interface.name.clone() });
    let machine = Machine::new(interface.mac, lease::host_name(&hostname), Instant::now());
    let link = Link::new(handle, (interface.index, interface.name), name_servers, &folder);
    let before = link.address().await;
    if before.is_some() {
        link.name_servers.await_link(link.index);
    }
    let (addressed, told, asking_from) = (false, None, None);
    let again = None;
    let mut client = Client { link, machine, teller, units, addressed, again, told, asking_from };
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
            *event = tokio::select! {
                heard = hear(socket.as_ref()) => {
                    let (answer, source) = heard?;
                    Some(Event::Heard(Box::new(answer), source))
                }
                () = passed(self.machine.deadline()) => Some(Event::Deadline),
                () = back(carrier) => Some(Event::CarrierBack),
                () = passed(self.again.as_ref().map(|again| again.at)) => None,
            };
            if event.is_none() {
                self.apply_again().await;
            }
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
                    Some(Overlap::Network(_)) | None => {
                        let end = valid.map(|valid| Instant::now() + valid);
                        self.apply(lease, end, AGAIN).await;
                    }
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

    /// Applies a lease. What of it cannot be done is said, and tried again after a while.
    async fn apply(&mut self, lease: Box<Lease>, end: Option<Instant>, pause: Duration) {
        let now = Instant::now();
        let valid = end.map(|end| end.saturating_duration_since(now));
        let failed = self.link.apply(&lease.settings, valid).await;
        let interface = &self.link.name;
        let (address, server) = (lease.settings.address, lease.server);
        for error in &failed {
            let error = ferrite_schema::chain(error);
            // The node's status says it for as long as it is so.
            if pause == AGAIN {
                tracing::error!(interface, error, "dhcp-lease-not-applied");
            } else {
                tracing::debug!(interface, error, "dhcp-lease-not-applied");
            }
        }
        let is_set = !failed.iter().any(|error| matches!(error, Apply::SetAddress { .. }));
        if is_set && !std::mem::replace(&mut self.addressed, true) {
            tracing::info!(interface, %address, %server, ?valid, "dhcp-lease");
            self.teller.tell(News::Addressed { link: interface.clone() });
        }
        let told = failed.iter().map(|error| ferrite_schema::chain(error));
        let told = told.reduce(|all, one| format!("{all}; {one}"));
        let told = told.map(|why| format!("{interface}: the lease is not whole: {why}"));
        self.teller.stand(about_lease(interface), told);
        let again = Again { lease, end, at: Instant::now() + pause, pause };
        self.again = (!failed.is_empty()).then_some(again);
    }

    /// Nobody sends a lease twice: what could not be set then may be set now.
    async fn apply_again(&mut self) {
        let Some(Again { lease, end, pause, .. }) = self.again.take() else { return };
        // One that has ended is dropped, which the machine sees to.
        if end.is_none_or(|end| end > Instant::now()) {
            self.apply(lease, end, (pause * 2).min(AGAIN_MAX)).await;
        }
    }

    /// Takes away what a lease, this agent's or an earlier one's, has set.
    async fn withdraw(&mut self) {
        self.link.clear().await;
        (self.addressed, self.again) = (false, None);
        self.teller.stand(about_lease(&self.link.name), None);
        self.teller.tell(News::Lost { link: self.link.name.clone() });
    }

    fn tell_overlap(&self, overlap: Option<&Overlap>) {
        let interface = &self.link.name;
        let told = overlap.map(|one| format!("{interface}: {}", self.units.sentence(one)));
        self.teller.stand(about_overlap(interface), told);
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
        self.teller.stand(about_trouble(interface), warning);
    }
}

/// A link is gone, with its client.
pub(super) fn forget(link: &str, index: u32, name_servers: &NameServers, teller: &Teller) {
    name_servers.forget(index);
    for about in [about_lease(link), about_overlap(link), about_trouble(link)] {
        teller.stand(about, None);
    }
}

fn about_lease(link: &str) -> String {
    format!("dhcp lease {link}")
}

fn about_overlap(link: &str) -> String {
    format!("dhcp overlap {link}")
}

fn about_trouble(link: &str) -> String {
    format!("dhcp {link}")
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
