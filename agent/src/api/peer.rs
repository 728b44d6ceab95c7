//! Who asks: what the certificate of a connection's other end says. Every request carries it as an extension, so that
//! routes can say whom they serve.

use ferrite_pki::{ReadCertificate, facts};
use ferrite_schema::cluster::{ClusterId, MachineName, Role};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name for people: a user's, or a machine's ID.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Serial number of its certificate, as hexadecimal digits.
    pub serial: String,
    /// The last second of that, since the epoch.
    pub until_s: u64,
    /// The machine, where it is one.
    pub machine: Option<MachineName>,
}

/// Why a certificate that TLS has accepted opens nothing. The words say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unwelcome {
    /// It cannot be read.
    #[error("read your certificate")]
    Read(#[from] ReadCertificate),
    /// It says nothing, and only this node's own authority's may.
    #[error("your certificate gives no role: take one that the cluster's operator has made")]
    NoRole,
    /// It is for something else.
    #[error("your certificate is an etcd peer's, and opens no door here: take one of a user")]
    Peer,
    /// An admin of the cluster has revoked it.
    #[error("your certificate was revoked: ask an admin of the cluster for another one")]
    Revoked,
    /// It is another cluster's.
    #[error(
        "your certificate gives a role in cluster {theirs}, and this is cluster {ours}: take one of this cluster"
    )]
    OtherCluster {
        /// Where the role is.
        theirs: ClusterId,
        /// Where we are.
        ours: ClusterId,
    },
}

/// What is asked of certificates beside what TLS asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// The cluster that roles must be of.
    pub(super) cluster: Option<ClusterId>,
    /// What a certificate without a role may do: those that were made before there were roles say nothing.
    pub(super) without_role: Option<Role>,
}

/// Who has shown this certificate (DER), which TLS has accepted.
pub(super) fn peer(certificate: &[u8], terms: &Terms) -> Result<Peer, Unwelcome> {
    let read = facts(certificate)?;
    let role = match (read.role, terms.without_role) {
        (Some((_, Role::Peer)), _) => return Err(Unwelcome::Peer),
        (Some((theirs, role)), _) => match &terms.cluster {
            Some(ours) if *ours != theirs => {
                return Err(Unwelcome::OtherCluster { theirs, ours: ours.clone() });
            }
            Some(_) | None => role,
        },
        (None, Some(role)) => role,
        (None, None) => return Err(Unwelcome::NoRole),
    };
    let (name, until_s) = (read.subject, read.dates.until_s);
    Ok(Peer { name, role, serial: read.serial, until_s, machine: read.machine })
}

#[cfg(test)]
mod tests {
    use ferrite_pki::{Dates, Identity, Issuer, Leaf, Uses, certificates, make_root};

    use super::*;

    fn shown(role: Option<(&str, Role)>) -> Vec<u8> {
        let root: Identity = make_root("root", 0, Dates::ALWAYS).unwrap();
        let leaf = Leaf {
            subject: "ann".to_owned(),
            names: Vec::new(),
            role: role.map(|(digit, role)| (digit.repeat(32).parse().unwrap(), role)),
            uses: Uses::Client,
            dates: Dates::ALWAYS,
        };
        let identity = Issuer::root(&root).unwrap().issue(&leaf).unwrap();
        certificates(&identity.certificate).unwrap()[0].to_vec()
    }

    fn check(role: Option<(&str, Role)>, terms: &Terms, expected: Result<Role, &str>) {
        match (peer(&shown(role), terms), expected) {
            (Ok(peer), Ok(role)) => {
                assert_eq!((peer.role, peer.name.as_str()), (role, "ann"));
                assert_eq!(peer.serial.len(), 32, "{peer:?}");
            }
            (Err(why), Err(words)) => assert!(why.to_string().contains(words), "{why}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn who_asks_is_who_the_certificate_says() {
        let alone = Terms { cluster: None, without_role: Some(Role::Admin) };
        let cluster = "a".repeat(32).parse().ok();
        let member = Terms { cluster: cluster.clone(), without_role: None };
        let both = Terms { cluster, without_role: Some(Role::Admin) };
        check(None, &alone, Ok(Role::Admin));
        check(None, &both, Ok(Role::Admin));
        check(None, &member, Err("gives no role"));
        for terms in [&alone, &member, &both] {
            for role in [Role::Admin, Role::Operator, Role::Reader, Role::Node] {
                check(Some(("a", role)), terms, Ok(role));
            }
            check(Some(("a", Role::Peer)), terms, Err("etcd peer's"));
        }
        check(Some(("b", Role::Admin)), &member, Err("this is cluster aaaa"));
        check(Some(("b", Role::Admin)), &both, Err("this is cluster aaaa"));
    }
}
