//! The door through which machines come (`ferrite-join/1`): one request of bounded size, for a peer without a certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use ferrite_pki::{
    Identity, Issuer, MakeCertificate, ReadCertificate, RequestedKey, UseIssuer, first_facts,
};
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineName};
use ferrite_schema::join::{
    JoinAnswer, JoinRefusal, JoinRequest, PATH, REQUEST_MAX_BYTES, RefusalReason, WORD_MAX_BYTES,
};
use ferrite_schema::node_config::{ClusterConfig, MemberConfig, Root};
use tokio::sync::Semaphore;

use super::decide::{Decision, decide, sentence};
use super::knowledge::{Entered, Entry, Issued, Knowledge, Known, MachineRecord, Unavailable};

/// Requests that are worked on at one time. Each asks etcd and signs.
const AT_ONCE: usize = 8;
/// How often a request is decided anew because something changed between the decision and its entry.
const TRIES: usize = 4;
/// Most good certificates of one machine. It asks for another one in two thirds of a certificate's time, and when it has lost it:
/// more are somebody's mistake, and all of them must be revoked at once.
const ISSUED_MAX: usize = 50;

/// A member lets machines in with this.
#[derive(Debug)]
pub struct Door {
    cluster: ClusterId,
    name: ClusterName,
    issuer: Issuer,
    knowledge: Arc<dyn Knowledge>,
    places: Semaphore,
}

/// A node cannot let machines in.
#[derive(Debug, thiserror::Error)]
pub enum OpenDoor {
    /// It has no issuer's keys.
    #[error(
        "let machines in: [cluster] has no `node_issuer`, so that this node cannot become a member"
    )]
    NoMember,
    /// The issuer is of no use.
    #[error("let machines in: use [cluster] node_issuer")]
    Issuer(#[from] UseIssuer),
}

/// The issuer of nodes' and users' certificates that a configuration has.
///
/// # Errors
/// It has none, or one that is of no use.
pub fn node_issuer(config: &ClusterConfig) -> Result<Issuer, OpenDoor> {
    let (Some(MemberConfig { node_issuer, .. }), Root::Certificate(root)) =
        (&config.member, &config.root)
    else {
        return Err(OpenDoor::NoMember);
    };
    let identity = Identity {
        certificate: node_issuer.certificate.as_str().to_owned(),
        key: node_issuer.key.reveal().to_owned(),
    };
    Ok(Issuer::below(&identity, root)?)
}

/// What goes wrong on the way to an answer, beside refusals.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Make(#[from] MakeCertificate),
    #[error("read the certificate that was made")]
    Read(#[from] ReadCertificate),
    #[error("what is known of the machine changes all the time")]
    Changing,
    #[error("the machine has {ISSUED_MAX} certificates already that are good still")]
    Enough,
}

impl Door {
    /// Opens the door of this configuration's cluster.
    ///
    /// # Errors
    /// The node may not become a member, or its issuer is of no use.
    pub fn open(config: &ClusterConfig, knowledge: Arc<dyn Knowledge>) -> Result<Self, OpenDoor> {
        Ok(Self {
            cluster: config.id.clone(),
            name: config.name.clone(),
            issuer: node_issuer(config)?,
            knowledge,
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// The one route.
    pub fn router(self) -> Router {
        Router::new()
            .route(PATH, post(answer))
            .fallback(no_such_request)
            .layer(DefaultBodyLimit::max(REQUEST_MAX_BYTES))
            .with_state(Arc::new(self))
    }

    /// Lets the machine in that has sent `body`, or says why not. `now_s` is in seconds since the epoch.
    ///
    /// # Errors
    /// The refusal.
    pub async fn let_in(&self, body: &[u8], now_s: u64) -> Result<JoinAnswer, JoinRefusal> {
        let Ok(_place) = self.places.try_acquire() else {
            let error = "this node lets other machines in just now: try again, or another one";
            return Err(refusal(RefusalReason::Unavailable, error));
        };
        let (request, key) = understood(body)?;
        match self.decided(&request, &key, now_s).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(refusal(reason, sentence(reason, &request, self.name.as_str()))),
            Err(trouble) => {
                Err(refusal(RefusalReason::Unavailable, ferrite_schema::chain(&trouble)))
            }
        }
    }

    async fn decided(
        &self,
        request: &JoinRequest,
        key: &RequestedKey,
        now_s: u64,
    ) -> Result<Result<JoinAnswer, RefusalReason>, Trouble> {
        let token = request.token.as_ref().map(|token| ferrite_pki::digest(token.0.as_bytes()));
        for _ in 0..TRIES {
            let known = self.knowledge.look(&request.machine, token.as_deref()).await?;
            let spends = match decide(&self.cluster, request, &key.digest, &known, now_s) {
                Decision::Refuse(reason) => return Ok(Err(reason)),
                Decision::Issue => token.clone(),
                Decision::Renew => None,
            };
            let issued = known.machine.iter().flat_map(|machine| &machine.issued);
            if issued.filter(|issued| issued.until_s >= now_s).count() >= ISSUED_MAX {
                return Err(Trouble::Enough);
            }
            let (certificate, issued) = self.certify(request, key, now_s)?;
            let record = record(request, key, known.clone(), issued, now_s);
            let machine = request.machine.clone();
            let entry = Entry { machine, record, spends, seen: known.revision };
            if self.knowledge.enter(entry).await? == Entered::Done {
                let cluster = self.knowledge.record().await?;
                return Ok(Ok(JoinAnswer { certificate, cluster }));
            }
        }
        Err(Trouble::Changing)
    }

    fn certify(
        &self,
        request: &JoinRequest,
        key: &RequestedKey,
        now_s: u64,
    ) -> Result<(String, Issued), Trouble> {
        let name = MachineName { machine: request.machine.clone(), cluster: self.name.clone() };
        let leaf = ferrite_pki::node_leaf(&self.cluster, &name, now_s);
        let certificate = self.issuer.certify(&leaf, key)?;
        let leaf = first_facts(&certificate)?;
        Ok((certificate, Issued { serial: leaf.serial, until_s: leaf.dates.until_s }))
    }
}

/// What is known of the machine from now on: certificates that have ended are forgotten.
fn record(
    request: &JoinRequest,
    key: &RequestedKey,
    known: Known,
    issued: Issued,
    now_s: u64,
) -> MachineRecord {
    let before = known.machine.map(|machine| machine.issued).unwrap_or_default();
    let still_good = before.into_iter().filter(|issued| issued.until_s >= now_s);
    MachineRecord {
        key: key.digest.clone(),
        hardware: request.hardware.clone(),
        issued: still_good.chain([issued]).collect(),
    }
}

fn refusal(reason: RefusalReason, error: impl Into<String>) -> JoinRefusal {
    JoinRefusal { reason, error: error.into() }
}

/// What a machine asks for, and the key that it has. Nothing of it is believed yet.
///
/// # Errors
/// It is too long, cannot be understood, or has not signed with its key.
pub fn understood(body: &[u8]) -> Result<(JoinRequest, RequestedKey), JoinRefusal> {
    let bad = |error: String| refusal(RefusalReason::BadRequest, error);
    if body.len() > REQUEST_MAX_BYTES {
        return Err(bad(too_large()));
    }
    let request: JoinRequest = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the request to join is not understood: {error}")))?;
    let token = request.token.as_ref().map(|token| token.0.as_str());
    let words =
        [("token", token), ("hardware", Some(&*request.hardware)), ("boot", Some(&*request.boot))];
    for (name, word) in words {
        if word.is_some_and(|word| word.is_empty() || word.len() > WORD_MAX_BYTES) {
            return Err(bad(format!(
                "`{name}` of the request to join has not 1 to {WORD_MAX_BYTES} bytes"
            )));
        }
    }
    let key = ferrite_pki::read_request(&request.csr).map_err(|error| bad(error.to_string()))?;
    Ok((request, key))
}

fn too_large() -> String {
    format!("the request to join has more than {REQUEST_MAX_BYTES} bytes")
}

async fn answer(
    State(door): State<Arc<Door>>,
    peer: Option<Extension<SocketAddr>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let answered = match body {
        Ok(body) => door.let_in(&body, now_s).await,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(refusal(RefusalReason::BadRequest, too_large()))
        }
        Err(rejection) => Err(refusal(RefusalReason::BadRequest, rejection.body_text())),
    };
    let peer = peer.map(|Extension(peer)| peer.to_string()).unwrap_or_default();
    match answered {
        Ok(answer) => {
            tracing::info!(peer, "join-answered");
            Json(answer).into_response()
        }
        Err(refusal) => {
            tracing::warn!(peer, reason = ?refusal.reason, why = refusal.error, "join-refused");
            (status(refusal.reason), Json(refusal)).into_response()
        }
    }
}

const fn status(reason: RefusalReason) -> StatusCode {
    match reason {
        RefusalReason::BadRequest => StatusCode::BAD_REQUEST,
        RefusalReason::Clone | RefusalReason::OtherKey => StatusCode::CONFLICT,
        RefusalReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RefusalReason::OtherCluster
        | RefusalReason::WrongToken
        | RefusalReason::TokenUsedUp
        | RefusalReason::TokenExpired
        | RefusalReason::Revoked
        | RefusalReason::Unknown => StatusCode::FORBIDDEN,
    }
}

async fn no_such_request(request: Request) -> Response {
    let error = format!(
        "without a certificate there is only POST {PATH}, not {} {}",
        request.method(),
        request.uri().path()
    );
    (StatusCode::NOT_FOUND, Json(refusal(RefusalReason::BadRequest, error))).into_response()
}
