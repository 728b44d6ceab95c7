//! Certificates of a cluster on this computer: an authority, the node's server certificate and the user's client
//! certificate. They are made as every cluster's are; what is different is what stands in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ferrite_pki::Identity;
use ferrite_pki::{Dates, Issuer, Leaf, Name, UseIssuer, Uses};

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MakeCertificate {
    #[error(transparent)]
    Make(#[from] ferrite_pki::MakeCertificate),
    #[error(transparent)]
    Issuer(#[from] UseIssuer),
}

/// A cluster's authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The cluster's name; the authority's own follows from it.
    pub cluster: String,
    /// Its certificate and key.
    pub identity: Identity,
}

/// Every certificate is good whatever the clock says: a guest's may stand at 1970 until it has been set, or in 2099 for one
/// boot, and a cluster must not stop to work because it was paused for long; its keys never leave this computer and are
/// deleted with the cluster.
const DATES: Dates = Dates::ALWAYS;

/// Makes an authority that signs what is below it and nothing else.
///
/// # Errors
/// The system's random numbers fail.
pub fn make_authority(cluster: &str) -> Result<Authority, MakeCertificate> {
    let identity = ferrite_pki::make_root(&format!("ferrite cluster {cluster}"), 0, DATES)?;
    Ok(Authority { cluster: cluster.to_owned(), identity })
}

/// Makes a node's server certificate. The node is reached through a forwarded port of this computer, hence
/// its loopback names beside the node's own.
///
/// # Errors
/// The node's name is no host name, or the authority's key is none.
pub fn make_server(authority: &Authority, node: &str) -> Result<Identity, MakeCertificate> {
    let leaf = Leaf {
        subject: node.to_owned(),
        names: vec![
            Name::Dns(node.to_owned()),
            Name::Dns("localhost".to_owned()),
            Name::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Name::Address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ],
        role: None,
        uses: Uses::Server,
        dates: DATES,
    };
    Ok(Issuer::root(&authority.identity)?.issue(&leaf)?)
}

/// Makes a client certificate for `user`, who may do everything.
///
/// # Errors
/// The authority's key is none.
pub fn make_client(authority: &Authority, user: &str) -> Result<Identity, MakeCertificate> {
    let leaf = Leaf {
        subject: user.to_owned(),
        names: Vec::new(),
        role: None,
        uses: Uses::Client,
        dates: DATES,
    };
    Ok(Issuer::root(&authority.identity)?.issue(&leaf)?)
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
