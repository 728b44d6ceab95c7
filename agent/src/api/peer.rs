//! Who asks: what the certificate of a connection's other end says. Every request carries it as an extension, so that
//! routes can say whom they serve.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use ferrite_pki::{ReadCertificate, facts};
use ferrite_schema::cluster::{ClusterId, MachineName, Role};

use super::error::Failure;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name for people: a user's, or a machine's ID.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Serial number of its certificate, as hexadecimal digits.
    pub serial: String,
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

impl Peer {
    /// Whether it may ask with this method. Routes say more once they have roles of their own; until then nobody who was only
    /// let in to look changes anything, and machines have nothing to ask here.
    pub(super) fn may(&self, method: &Method, path: &str) -> bool {
        match self.role {
            Role::Admin | Role::Operator => true,
            Role::Reader => {
                // A tunnel changes nothing: at its other end the same certificate is shown.
                let machine = path.strip_prefix("/v1/machines/");
                let machine = machine.and_then(|rest| rest.strip_suffix("/connect"));
                let tunnel = machine.is_some_and(|id| !id.is_empty() && !id.contains('/'));
                method == Method::GET
                    || method == Method::HEAD
                    || (tunnel && method == Method::POST)
            }
            Role::Node | Role::Peer => false,
        }
    }
}

/// An admin asks. A route that takes this answers nobody else.
#[derive(Debug)]
pub(super) struct Admin;

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let role = parts.extensions.get::<Peer>().map(|peer| peer.role);
        if role == Some(Role::Admin) {
            return Ok(Self);
        }
        let theirs = role.map_or("none", Role::word);
        let why = format!(
            "only admins of the cluster may do this, and your certificate's role is {theirs}: \
             use a context with an admin's certificate"
        );
        Err(Failure::new(StatusCode::FORBIDDEN, why))
    }
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
    Ok(Peer { name: read.subject, role, serial: read.serial, machine: read.machine })
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
    fn readers_look_and_machines_do_not_even_that() {
        for (role, looks, changes) in [
            (Role::Admin, true, true),
            (Role::Operator, true, true),
            (Role::Reader, true, false),
            (Role::Node, false, false),
            (Role::Peer, false, false),
        ] {
            let (name, serial) = ("ann".to_owned(), "1".to_owned());
            let peer = Peer { name, role, serial, machine: None };
            let [get, head] =
                [Method::GET, Method::HEAD].map(|method| peer.may(&method, "/v1/units"));
            assert_eq!((get, head), (looks, looks));
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                for path in [
                    "/v1/units/web",
                    "/v1/machines/connect",
                    "/v1/machines/0a",
                    "/v1/units/connect",
                ] {
                    assert_eq!(peer.may(&method, path), changes, "{role:?} {method} {path}");
                }
            }
            let tunnel = "/v1/machines/0a/connect";
            assert_eq!(peer.may(&Method::POST, tunnel), looks, "{role:?}");
            for method in [Method::PUT, Method::DELETE, Method::PATCH] {
                assert_eq!(peer.may(&method, tunnel), changes, "{role:?} {method}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_for_admins_is_for_nobody_else() {
        let asks = |role: Option<Role>| async move {
            let mut request = axum::http::Request::new(());
            if let Some(role) = role {
                let (name, serial) = ("ann".to_owned(), "1".to_owned());
                request.extensions_mut().insert(Peer { name, role, serial, machine: None });
            }
            let (mut parts, ()) = request.into_parts();
            Admin::from_request_parts(&mut parts, &()).await
        };
        for role in Role::ALL {
            assert_eq!(asks(Some(role)).await.is_ok(), role == Role::Admin, "{role:?}");
        }
        // Whoever is not known is nobody.
        let refused = axum::response::IntoResponse::into_response(asks(None).await.unwrap_err());
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
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
