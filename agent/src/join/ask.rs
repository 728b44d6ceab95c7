//! Asks one member for a certificate. Nothing that it says is believed before its certificate has shown it to be a node of
//! this cluster, by the root that the node was given.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrite_pki::{Dates, NodeVerifier, Pin, certificates, facts, sentence};
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId};
use ferrite_schema::join::{
    ANSWER_MAX_BYTES, JoinAnswer, JoinRefusal, JoinRequest, PATH, PROTOCOL, RefusalReason,
};
use ferrite_schema::node_config::JoinAddress;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// What a member gets for everything from its name to its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a member gave no certificate. The words say what to do, where there is something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ask {
    /// It is not there.
    #[error("reach {address}")]
    Connect { address: String, source: io::Error },
    /// It says nothing.
    #[error("{address} does not answer within {} s", PATIENCE.as_secs())]
    Deadline { address: String },
    /// Who answers is not believed.
    #[error("{address} is not believed to be a node of this cluster: {why}")]
    Believe { address: String, why: String },
    /// It is a node, and none that lets others in.
    #[error("{address} lets no machines in: it is no member of the cluster, or none yet")]
    NoDoor { address: String },
    /// The connection broke.
    #[error("ask {address} for a certificate")]
    Exchange { address: String, source: hyper::Error },
    /// The answer is none.
    #[error("{address} answers what is not understood ({status}): {why}")]
    Answer { address: String, status: StatusCode, why: String },
    /// The certificate is not one that this node can use.
    #[error("{address} gives a certificate that is of no use here: {why}")]
    Certificate { address: String, why: String },
    /// It says no.
    #[error("{address} refuses: {}", refusal.error)]
    Refused { address: String, refusal: JoinRefusal },
    /// The request cannot be made.
    #[error("write the request to join")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Ask {
    /// Every other member would say the same.
    pub(super) const fn is_final(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => {
                !matches!(refusal.reason, RefusalReason::Unavailable | RefusalReason::OtherCluster)
            }
            _ => false,
        }
    }
}

/// Whom a node believes, and who it is itself.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) pin: Pin,
    pub(super) id: ClusterId,
    pub(super) name: ClusterName,
    pub(super) machine: MachineId,
    /// Digest of the node's key.
    pub(super) key: String,
}

impl Cluster {
    /// Believes one machine of the cluster, or any.
    fn verifier(&self, machine: Option<MachineId>) -> NodeVerifier {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        NodeVerifier::new(self.pin.clone(), (self.id.clone(), self.name.clone()), machine, provider)
    }

    /// Whether a certificate is this node's, of this cluster, and of its key; answers with when it is good.
    ///
    /// # Errors
    /// It is not: why.
    pub(super) fn check(&self, certificate: &str, now_s: u64) -> Result<Dates, String> {
        let chain = certificates(certificate).map_err(|error| ferrite_schema::chain(&error))?;
        let (leaf, above) = chain.split_first().ok_or("it is empty")?;
        let read = facts(leaf).map_err(|error| ferrite_schema::chain(&error))?;
        if read.key != self.key {
            return Err("it is of another key".to_owned());
        }
        // Its dates are judged by who asks: two clocks that differ are no reason to believe less.
        let within = now_s.clamp(read.dates.from_s, read.dates.until_s);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(within));
        let name = ServerName::try_from("node").map_err(|error| error.to_string())?;
        self.verifier(Some(self.machine.clone()))
            .verify_server_cert(leaf, above, &name, &[], now)
            .map_err(|error| sentence(&error))?;
        Ok(read.dates)
    }
}

/// Asks the member at `address`; answers with what it says, which was checked.
pub(super) async fn ask(
    cluster: &Cluster,
    address: &JoinAddress,
    request: &JoinRequest,
    now_s: u64,
) -> Result<(JoinAnswer, Dates), Ask> {
    let asked = tokio::time::timeout(PATIENCE, exchange(cluster, address, request)).await;
    let answer = asked.map_err(|_elapsed| Ask::Deadline { address: address.to_string() })??;
    let wrong = |why| Ask::Certificate { address: address.to_string(), why };
    if (&answer.cluster.id, &answer.cluster.name) != (&cluster.id, &cluster.name) {
        return Err(wrong(format!(
            "it is of cluster {} ({})",
            answer.cluster.name, answer.cluster.id
        )));
    }
    let dates = cluster.check(&answer.certificate, now_s).map_err(wrong)?;
    Ok((answer, dates))
}

async fn exchange(
    cluster: &Cluster,
    address: &JoinAddress,
    request: &JoinRequest,
) -> Result<JoinAnswer, Ask> {
    let at = || address.to_string();
    let body = serde_json::to_vec(request).map_err(|error| Ask::Write(error.into()))?;
    let connector = TlsConnector::from(Arc::new(config(cluster)?));
    let tcp = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|source| Ask::Connect { address: at(), source })?;
    // By which name it is reached means nothing; TLS wants one to send, and this one is nobody's.
    let name = ServerName::try_from("node").map_err(|error| Ask::Write(error.into()))?;
    let stream = connector.connect(name, tcp).await.map_err(|source| {
        let none = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if inner == Some(&none) {
            Ask::NoDoor { address: at() }
        } else {
            let why = inner.map_or_else(|| source.to_string(), sentence);
            Ask::Believe { address: at(), why }
        }
    })?;
    if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        return Err(Ask::NoDoor { address: at() });
    }
    let broke = |source| Ask::Exchange { address: at(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let mut task = JoinSet::new();
    // Its error reaches us through the sender as well.
    task.spawn(async move { connection.await.map_or_else(drop, drop) });
    let request = Request::post(PATH)
        .header(hyper::header::HOST, "node")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Ask::Write(error.into()))?;
    let response = sender.send_request(request).await.map_err(broke)?;
    let status = response.status();
    let no_answer = |why: String| Ask::Answer { address: at(), status, why };
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    let body = body.map_err(|error| no_answer(error.to_string()))?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| no_answer(error.to_string()));
    }
    let refusal = serde_json::from_slice(&body).map_err(|error| no_answer(error.to_string()))?;
    Err(Ask::Refused { address: at(), refusal })
}

fn config(cluster: &Cluster) -> Result<ClientConfig, Ask> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Ask::Write(error.into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(cluster.verifier(None)))
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}
