//! Requests about etcd itself.

use ferrite_schema::api::{
    EtcdMember, EtcdMembersChange, EtcdMembersPlan, EtcdRecovery, EtcdRecoveryOrdered, EtcdRemains,
    EtcdStatus,
};
use hyper::Method;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::asking::{empty, request, upgrading};
use super::error::ClientError;
use super::requests::{ANSWER, Client, WORK};
use crate::context::Context;

/// Which etcd may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// One that has a vote and agrees with the others.
    Serving,
    /// Any.
    Any,
}

impl Which {
    const fn query(self) -> &'static str {
        match self {
            Self::Serving => "?serving=true",
            Self::Any => "",
        }
    }
}

impl Client {
    /// How the node's etcd is.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every other request.
    pub async fn etcd(&self) -> Result<EtcdStatus, ClientError> {
        self.get("ask how etcd is", "/v1/etcd").await
    }

    /// The members of etcd, as most of them agree.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn etcd_members(&self) -> Result<Vec<EtcdMember>, ClientError> {
        self.of_cluster("list etcd's members", Method::GET, "/v1/etcd/members", &[]).await
    }

    /// Changes how many machines should run etcd.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change_etcd_members(
        &self,
        change: EtcdMembersChange,
    ) -> Result<EtcdMembersPlan, ClientError> {
        let act = "change how many machines run etcd";
        let body = self.written(act, &change)?;
        self.of_cluster(act, Method::PATCH, "/v1/etcd/members", &body).await
    }

    /// What is left of etcd on the node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn etcd_remains(&self) -> Result<EtcdRemains, ClientError> {
        self.get("ask what is left of etcd", "/v1/etcd/recovery").await
    }

    /// Has the node go on alone with what its etcd has.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn recover_etcd(
        &self,
        order: &EtcdRecovery,
    ) -> Result<EtcdRecoveryOrdered, ClientError> {
        let act = "recover etcd";
        let body = self.document(act, order)?;
        self.json(act, Method::POST, "/v1/etcd/recovery", body).await
    }

    /// Has a copy of all that etcd has sent, from the first node that can; `take` gets it piece by piece, each with the length of
    /// the whole. Returns how much has come.
    ///
    /// # Errors
    /// See [`ClientError`]; `take`'s error ends it.
    pub async fn etcd_snapshot<E: From<ClientError>>(
        &self,
        which: Which,
        mut take: impl FnMut(&Bytes, Option<u64>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let act = "copy etcd";
        let path = format!("/v1/etcd/snapshot{}", which.query());
        let asks = || request(act, Method::GET, &path, empty());
        let mut exchange = self.node.exchange_with_any(act, asks, ANSWER).await?;
        let total = exchange.length();
        let mut length = 0_u64;
        while let Some(piece) = exchange.next_bytes(Some(WORK)).await? {
            take(&piece, total)?;
            length = length.saturating_add(piece.len() as u64);
        }
        Ok(length)
    }

    /// A connection to etcd, through the first node that can.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn etcd_connection(
        &self,
        which: Which,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ClientError> {
        let act = "connect to etcd";
        let path = format!("/v1/etcd/connect{}", which.query());
        let asks = || upgrading(act, &path, empty());
        let exchange = self.node.exchange_with_any(act, asks, ANSWER).await?;
        // The connection was handed over whole: nothing is left to drive it.
        exchange.upgraded().await.map(|(upgraded, _)| TokioIo::new(upgraded))
    }
}

/// Each address of a context as a node of its own, for what every one of them is to be asked.
///
/// # Errors
/// One of them, or the credentials, cannot be used.
pub fn each_address(context: &Context) -> Result<Vec<(String, Client)>, ClientError> {
    let endpoints = [&context.endpoint].into_iter().chain(&context.further);
    let one = |endpoint: &String| {
        let alone = Context { endpoint: endpoint.clone(), further: Vec::new(), ..context.clone() };
        Ok((endpoint.clone(), Client::new(&alone)?))
    };
    endpoints.map(one).collect()
}
