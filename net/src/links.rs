//! The node's own links: loopback, and DHCP on every Ethernet interface as soon as it is there.
//!
//! Interfaces are heard of through netlink, never polled for, so one that appears late is set up late and
//! nothing waits for it.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ferrite_schema::node_config::NetworkConfig;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::dhcp::{self, NameServers, Surroundings, UnitsNetwork};
use crate::ethernet::interface;
use crate::news::{self, News, Renamed, Teller};

/// A link neither sends others another way nor lets itself be sent. What `all` says of these is not enough: the
/// kernel takes the looser of both.
const HARDENED: [&str; 3] = [
    "/proc/sys/net/ipv4/conf/NAME/send_redirects",
    "/proc/sys/net/ipv4/conf/NAME/accept_redirects",
    "/proc/sys/net/ipv6/conf/NAME/accept_redirects",
];

/// A network that no lease is in: an address of it is none.
const NOBODYS: (Ipv4Addr, u8) = (Ipv4Addr::BROADCAST, 32);

/// The network could not be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("open a netlink socket")]
pub struct OpenNetlink(#[source] io::Error);

/// The kernel's interfaces, listened to.
pub struct Network {
    connection: BoxFuture<'static, ()>,
    handle: Handle,
    messages: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
    teller: Teller,
    name_servers: NameServers,
    units: UnitsNetwork,
    folder: PathBuf,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// Begins to listen; the receiver hears what there is to say about links. The node's name servers are kept in
    /// the file `resolv_conf`, what an agent's successor must know of links in `folder`, until the machine's next boot; `units` says what is the units' network, which leases may be in the way of.
    ///
    /// # Errors
    /// There is no netlink.
    pub fn begin(
        resolv_conf: PathBuf,
        folder: PathBuf,
        units: &NetworkConfig,
    ) -> Result<(Self, UnboundedReceiver<News>), OpenNetlink> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(OpenNetlink)?;
        let (teller, news) = news::channel();
        // What is configured was checked when it was read.
        let default = || NetworkConfig::default().ipv4_network();
        let (units, prefix) = units.ipv4_network().or_else(default).unwrap_or(NOBODYS);
        let network = Self {
            connection: Box::pin(connection),
            handle,
            messages: messages.map(|(message, _)| message).boxed(),
            teller,
            name_servers: NameServers::in_file(resolv_conf),
            units: UnitsNetwork::new(units, prefix),
            folder,
        };
        Ok((network, news))
    }

    /// Where others tell news of theirs.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// Tells whenever the node's name servers are others.
    #[must_use]
    pub fn renamed(&self) -> Renamed {
        self.name_servers.renamed()
    }

    /// Sets up what is there and what comes, and asks for leases as `hostname`. Never ends.
    pub async fn work(self, hostname: String) {
        let Self { connection, handle, mut messages, teller, name_servers, units, folder } = self;
        let mut interfaces = Interfaces {
            handle,
            around: Surroundings { hostname, teller: teller.clone(), units, folder },
            teller: teller.clone(),
            name_servers,
            leases: JoinSet::new(),
            running: HashMap::new(),
        };
        let listen = async {
            interfaces.take_stock().await;
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => interfaces.hear(message).await,
                        None => return,
                    },
                    Some(_) = interfaces.leases.join_next() => {}
                }
            }
        };
        tokio::select! {
            () = connection => {}
            () = listen => {}
        }
        teller.warn(
            "the kernel's news about network interfaces ended; they are not set up any more"
                .to_owned(),
        );
        std::future::pending::<()>().await;
    }
}

/// A DHCP client that runs.
struct Running {
    name: String,
    client: AbortHandle,
    carrier: watch::Sender<bool>,
}

struct Interfaces {
    handle: Handle,
    around: Surroundings,
    teller: Teller,
    name_servers: NameServers,
    leases: JoinSet<()>,
    /// Interfaces with a DHCP client.
    running: HashMap<u32, Running>,
}

impl Interfaces {
    async fn take_stock(&mut self) {
        let links: Result<Vec<LinkMessage>, _> =
            self.handle.link().get().execute().try_collect().await;
        match links {
            Ok(links) => {
                for link in &links {
                    if link.header.flags.contains(LinkFlags::Loopback) {
                        self.set_up(link.header.index, "lo").await;
                    }
                    self.consider(link).await;
                }
            }
            Err(error) => self.teller.warn(format!(
                "network interfaces could not be listed: {}",
                ferrite_schema::chain(&error)
            )),
        }
    }

    async fn hear(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                self.consider(&link).await;
            }
            // A link that leaves a bridge of somebody's is said to be gone from there alone.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if link.header.interface_family != AddressFamily::Bridge =>
            {
                if let Some(running) = self.running.remove(&link.header.index) {
                    self.forget(link.header.index, running).await;
                }
            }
            // The kernel had more to say than fitted: what there is now is all that counts.
            NetlinkPayload::Overrun(_) => self.take_stock().await,
            _ => {}
        }
    }

    /// A link is there no more: what was said of it and what it brought goes with it.
    async fn forget(&mut self, index: u32, running: Running) {
        running.client.abort();
        // It may have something to say until then.
        while !running.client.is_finished() && self.leases.join_next().await.is_some() {}
        tracing::info!(interface = running.name, "link-gone");
        dhcp::forget(&running.name, index, &self.name_servers, &self.teller);
        self.teller.stand(about_carrier(&running.name), None);
        self.teller.tell(News::Lost { link: running.name });
    }

    async fn consider(&mut self, link: &LinkMessage) {
        let Some(interface) = interface(link) else { return };
        if !interface.up {
            self.set_up(interface.index, &interface.name).await;
        }
        let carrier = interface.up && interface.carrier;
        if let Some(running) = self.running.get(&interface.index) {
            let change = |now: &mut bool| std::mem::replace(now, carrier) != carrier;
            if running.carrier.send_if_modified(change) {
                let (index, interface) = (interface.index, interface.name);
                tracing::info!(interface, carrier, "link-carrier");
                let warning = format!("{interface} has no carrier: is its cable in?");
                let about = about_carrier(&interface);
                self.teller.stand(about, (!carrier).then_some(warning));
                self.name_servers.carrier(index, carrier);
            }
        } else if carrier {
            tracing::info!(interface = interface.name, "dhcp-begins");
            self.name_servers.carrier(interface.index, true);
            self.harden(&interface.name);
            let (sender, receiver) = watch::channel(carrier);
            let name = interface.name.clone();
            let client = dhcp::keep(
                self.handle.clone(),
                interface.clone(),
                self.name_servers.clone(),
                self.around.clone(),
                receiver,
            );
            let client = self.leases.spawn(client);
            let running = Running { name, client, carrier: sender };
            self.running.insert(interface.index, running);
        }
    }

    /// Settings that the kernel takes from each link and not from `all` only.
    fn harden(&self, name: &str) {
        for setting in HARDENED {
            let path = setting.replace("NAME", name);
            match std::fs::write(&path, "0") {
                // There is no IPv6, or no such setting: nothing to be hardened.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.teller.warn(format!("write 0 to {path}: {error}"));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    async fn set_up(&self, index: u32, name: &str) {
        let request = self.handle.link().set(LinkUnspec::new_with_index(index).up().build());
        if let Err(error) = request.execute().await {
            self.teller.warn(format!(
                "network interface {name} could not be set up: {}",
                ferrite_schema::chain(&error)
            ));
        }
    }
}

fn about_carrier(link: &str) -> String {
    format!("carrier {link}")
}
