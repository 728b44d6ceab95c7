//! A connection of the host to whichever machine takes it: one is asked after the other, from the one that took the last.

use std::net::{IpAddr, TcpStream};

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use super::relay::Relay;
use super::sockets::{briefly, connecting};

/// The connection, while no machine has taken it.
#[derive(Debug)]
pub(crate) struct Seeking {
    host: TcpStream,
    port: u16,
    /// Who is still to be asked, the next one last.
    left: Vec<IpAddr>,
    /// Who is being asked.
    asked: Option<(IpAddr, SocketHandle)>,
}

/// Where it stands.
#[derive(Debug)]
pub(crate) enum Sought {
    /// Nobody has taken it yet.
    Still(Seeking),
    /// This one has.
    Taken(IpAddr, Relay),
    /// Nobody does: it ends.
    Nobody,
}

impl Seeking {
    /// Asks `machines` in their order, but `first` before all.
    pub(crate) fn new(
        host: TcpStream,
        port: u16,
        machines: &[IpAddr],
        first: Option<IpAddr>,
    ) -> Self {
        let others = machines.iter().rev().copied().filter(|machine| Some(*machine) != first);
        let first = first.filter(|first| machines.contains(first));
        Self { host, port, left: others.chain(first).collect(), asked: None }
    }

    /// Does what can be done now. `own_port` gives a port of the gateway for each attempt.
    pub(crate) fn go_on(
        mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        mut own_port: impl FnMut() -> u16,
    ) -> Sought {
        loop {
            if let Some((machine, handle)) = self.asked {
                match sockets.get::<tcp::Socket<'_>>(handle).state() {
                    tcp::State::SynSent => return Sought::Still(self),
                    // Refused, or not answered in time.
                    tcp::State::Closed => drop(sockets.remove(handle)),
                    _ => return Sought::Taken(machine, Relay::new(self.host, handle)),
                }
            }
            let Some(machine) = self.left.pop() else { return Sought::Nobody };
            // The last one may take its time, as one that is asked alone may.
            let mut socket = if self.left.is_empty() { connecting() } else { briefly() };
            let begun = socket.connect(interface.context(), (machine, self.port), own_port());
            self.asked = begun.is_ok().then(|| (machine, sockets.add(socket)));
        }
    }
}
