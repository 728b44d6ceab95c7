//! Why an image could not be pulled.

use std::io;

use ferrite_schema::reference::NotAReference;

use super::blob::Download;
use super::http::Http;
use super::registry::Registry;
use crate::access::Unusable;
use crate::digest::Digest;
use crate::documents::Refuse;
use crate::layer::Layer;
use crate::store::Store;

/// An image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Pull {
    /// Its name is none.
    #[error(transparent)]
    Reference(#[from] NotAReference),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// The node's rules do not let it in.
    #[error(transparent)]
    Policy(#[from] crate::signature::Refused),
    /// No registry gives it.
    #[error("pull image {name}")]
    Registry {
        /// Its name.
        name: String,
        /// What the last place said.
        source: Registry,
    },
    /// What the registry gives is not what was asked for.
    #[error("refuse manifest {expected}: its content has the digest {found}")]
    RefuseManifest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A document of it is refused.
    #[error("pull image {name}")]
    Document {
        /// Its name.
        name: String,
        /// Why.
        source: Refuse,
    },
    /// Its configuration is not one.
    #[error("read the configuration of image {name}")]
    ReadConfig {
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There is none for this machine, or its parts do not fit.
    #[error("pull image {name}: {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// A blob of it cannot be had.
    #[error("pull image {name}")]
    Download {
        /// Its name.
        name: String,
        /// Why.
        source: Download,
    },
    /// A layer cannot be unpacked.
    #[error("pull image {name}")]
    Layer {
        /// Its name.
        name: String,
        /// Why.
        source: Layer,
    },
    /// What is here cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// What is here cannot be used, and neither can another be had.
    #[error("{}; pulling it again", ferrite_schema::chain(problem))]
    Again {
        /// What is wrong with the one that is here.
        problem: Box<Unusable>,
        /// Why there is no other.
        source: Box<Pull>,
    },
    /// No registry gives it, and machines nearby may.
    #[error("bring it from a machine nearby: {who}; asking its registry")]
    Nearby {
        /// Which machines, and why they do not.
        who: String,
        /// Why no registry gives it.
        source: Box<Pull>,
    },
    /// The agent goes down.
    #[error("pull image {name}: the agent goes down")]
    GoingDown {
        /// Its name.
        name: String,
    },
}

impl Pull {
    /// It may be had some minutes later, as it is asked for: the way to the registry is not there, or it is overloaded. A server
    /// that refuses the connection is another than the one that is meant.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let passes = |source: &Registry| match source {
            Registry::Http(Http::Connect { source, .. }) => {
                source.kind() != io::ErrorKind::ConnectionRefused
            }
            source => source.is_transient(),
        };
        match self {
            Self::Registry { source, .. } => passes(source),
            Self::Download { source: Download::Get { source, .. }, .. } => passes(source),
            Self::Download { source: Download::TooShort { .. }, .. } => true,
            Self::Again { source, .. } => source.may_pass(),
            // They may be back in a moment.
            Self::Nearby { .. } => true,
            _ => false,
        }
    }

    /// The same, where machines nearby may have it that could not be asked: what a registry lacks for good, they may give later.
    pub(super) fn or_later(self, unasked: Option<String>) -> Self {
        match unasked {
            Some(who) if !self.is_by_rule() => Self::Nearby { who, source: Box::new(self) },
            Some(_) | None => self,
        }
    }

    /// No answer about the image: its registry is not reached, or is nobody that we can trust, or is overloaded. Whether there is
    /// such an image, and for whom, is as unknown as before.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        let unanswered = |source: &Registry| match source {
            Registry::Http(error) => {
                matches!(error, Http::CheckCertificate { .. }) || error.is_transient()
            }
            Registry::Status { rest: Some(_), .. } => true,
            source => source.is_transient(),
        };
        match self {
            Self::Registry { source, .. } => unanswered(source),
            Self::Download { source: Download::Get { source, .. }, .. } => unanswered(source),
            Self::Download { source: Download::TooShort { .. }, .. } => true,
            Self::Again { source, .. } => source.is_unanswered(),
            _ => false,
        }
    }

    /// A rule of the node's configuration is why.
    #[must_use]
    pub fn is_by_rule(&self) -> bool {
        match self {
            Self::Policy(_) => true,
            Self::Unusable(problem) => problem.is_by_rule(),
            Self::Again { problem, source } => problem.is_by_rule() || source.is_by_rule(),
            Self::Nearby { source, .. } => source.is_by_rule(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::{Address, Origin};
    use super::super::registry::Said;
    use super::*;

    fn unreached(source: io::Error) -> Registry {
        let origin = Origin::of("registry.example:5000", true).unwrap();
        Http::Connect { origin, source }.into()
    }

    #[test]
    fn whether_there_is_such_an_image_is_as_unknown_as_before() {
        let address = Address {
            origin: Origin::of("registry.example", true).unwrap(),
            path: "/v2/a/manifests/1".to_owned(),
        };
        let status = |code: u16| Registry::Status {
            address: address.clone(),
            status: hyper::StatusCode::from_u16(code).unwrap(),
            said: Said::default(),
            rest: None,
        };
        let missing = Registry::Missing { address: address.clone(), said: Said::default() };
        let plain = Http::PlainHttp { origin: address.origin.clone() };
        for (source, unanswered) in [
            (unreached(io::ErrorKind::NetworkUnreachable.into()), true),
            (unreached(io::ErrorKind::ConnectionRefused.into()), true),
            (status(503), true),
            (status(429), true),
            (status(403), false),
            (missing, false),
            // What the node itself forbids passes with nobody's answer.
            (plain.into(), false),
        ] {
            let words = source.to_string();
            let problem = Pull::Registry { name: "i".to_owned(), source };
            assert_eq!(problem.is_unanswered(), unanswered, "{words}");
        }
        assert!(!Pull::from(Unusable::Absent { name: "i".to_owned() }).is_unanswered());
    }

    #[test]
    fn what_another_try_may_mend_is_told_from_what_it_cannot() {
        let pull = |source| Pull::Registry { name: "i".to_owned(), source };
        let unresolved = io::Error::other("failed to lookup address information");
        for (source, passes) in [
            (unreached(io::ErrorKind::NetworkUnreachable.into()), true),
            (unreached(io::ErrorKind::HostUnreachable.into()), true),
            (unreached(io::ErrorKind::TimedOut.into()), true),
            (unreached(unresolved), true),
            (unreached(io::ErrorKind::ConnectionRefused.into()), false),
        ] {
            let words = source.to_string();
            let problem = pull(source);
            assert_eq!(problem.may_pass(), passes, "{words}");
        }
        let again = |source| Pull::Again {
            problem: Box::new(Unusable::Absent { name: "i".to_owned() }),
            source: Box::new(pull(source)),
        };
        assert!(again(unreached(io::ErrorKind::TimedOut.into())).may_pass());
        assert!(!again(unreached(io::ErrorKind::ConnectionRefused.into())).may_pass());
        assert!(!Pull::from(Unusable::Absent { name: "i".to_owned() }).may_pass());
    }
}
