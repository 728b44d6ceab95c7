//! Client of the node's API: HTTP/1.1 over mutual TLS, one connection per request, a deadline on each.

mod asking;
mod cluster;
mod connection;
mod error;
mod etcd;
mod images;
mod machine;
mod reach;
mod requests;
mod stream;
mod tls;
mod units;
mod upload;
mod volumes;

pub use self::error::ClientError;
pub use self::etcd::{Which, each_address};
pub use self::images::{PullStep, Pulling};
pub use self::machine::{Down, SlotVerb};
pub use self::requests::{Client, Lines};
pub use self::stream::{FrameStream, Incoming, Outgoing};
pub use self::tls::CredentialsError;
pub use self::units::{LogOptions, UnitVerb};
