//! A DHCP client per interface: gets a lease, applies it, keeps it fresh, and starts again when it is lost.

use std::convert::Infallible;
use std::time::Duration;

use mozim::{DhcpError, DhcpV4Client, DhcpV4Config, DhcpV4State};
use rtnetlink::Handle;

use super::lease::{self, Settings};
use crate::links::Interface;
use crate::news::{News, Teller};

/// Delay before a new attempt after the client gave up, doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest delay.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// An interface and what it got.
struct Client {
    handle: Handle,
    interface: Interface,
    hostname: String,
    applied: Option<Settings>,
    delay: Duration,
    teller: Teller,
}

/// Keeps an interface's address. Never ends.
pub(super) async fn keep(handle: Handle, interface: Interface, hostname: String, teller: Teller) {
    teller.tell(News::Waits { link: interface.name.clone() });
    let mut client =
        Client { handle, interface, hostname, applied: None, delay: RETRY_FIRST, teller };
    loop {
        let Err(error) = client.hold().await;
        tracing::warn!(interface = client.interface.name, %error, "dhcp-lost");
        // The address stays: an unreachable server is no reason to become unreachable too.
        tokio::time::sleep(client.delay).await;
        client.delay = (client.delay * 2).min(RETRY_MAX);
    }
}

impl Client {
    /// Gets a lease and renews it until that fails.
    async fn hold(&mut self) -> Result<Infallible, DhcpError> {
        let mut config = DhcpV4Config::new(&self.interface.name);
        config.set_iface_index(self.interface.index);
        config.set_iface_mac_raw(&self.interface.mac)?;
        config.set_host_name(&self.hostname);
        let mut client = DhcpV4Client::init(config, None).await?;
        loop {
            if let DhcpV4State::Done(lease) = client.run().await? {
                self.delay = RETRY_FIRST;
                self.apply(lease::settings(&lease)).await;
            }
        }
    }

    async fn apply(&mut self, settings: Settings) {
        if self.applied.as_ref() == Some(&settings) {
            return;
        }
        let name = self.interface.name.clone();
        match lease::apply(&self.handle, self.interface.index, self.applied.as_ref(), &settings)
            .await
        {
            Ok(()) => {
                tracing::info!(interface = name, address = %settings.address, "dhcp-lease");
                if self.applied.replace(settings).is_none() {
                    self.teller.tell(News::Addressed { link: name });
                }
            }
            Err(error) => {
                tracing::error!(
                    interface = name,
                    error = ferrite_schema::chain(&error),
                    "dhcp-lease-not-applied"
                );
            }
        }
    }
}
