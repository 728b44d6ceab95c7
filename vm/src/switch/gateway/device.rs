//! The gateway's network card: two queues, between the switch and smoltcp.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::super::port::Frame;

/// Longest frame: 1500 bytes and the Ethernet header.
const FRAME_BYTES: usize = 1514;

/// Both queues. The switch fills and empties them with every step: neither grows.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// For the gateway.
    pub(crate) arrived: VecDeque<Frame>,
    /// From it.
    pub(crate) leaving: Vec<Frame>,
}

#[derive(Debug)]
pub(crate) struct Arrived(Frame);

#[derive(Debug)]
pub(crate) struct Leaving<'a>(&'a mut Vec<Frame>);

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.arrived.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push(frame.into());
        result
    }
}
