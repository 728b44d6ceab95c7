//! Requests about the cluster: any of its nodes that is a member answers.

use ferrite_schema::api::{
    Access, ClusterMachine, ClusterStatus, ClusterUnit, GivenAccess, JoinToken, MachineChange,
    NewAccess, NewJoinToken, ServiceAnswers, ServiceInstance, UnitChange, UnitTarget,
};
use ferrite_schema::unit::Unit;
use hyper::Method;

use super::error::ClientError;
use super::requests::{Client, Lines};
use super::upload::percent_encoded;

impl Client {
    /// The cluster.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every other request.
    pub async fn cluster(&self) -> Result<ClusterStatus, ClientError> {
        self.of_cluster("ask for the cluster", Method::GET, "/v1/cluster", &[]).await
    }

    /// Its machines.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn machines(&self) -> Result<Vec<ClusterMachine>, ClientError> {
        self.of_cluster("list machines", Method::GET, "/v1/machines", &[]).await
    }

    /// Changes what is said of a machine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change_machine(
        &self,
        id: &str,
        change: &MachineChange,
    ) -> Result<ClusterMachine, ClientError> {
        let act = format!("change machine {id}");
        let body = self.written(&act, change)?;
        let path = format!("/v1/machines/{}", percent_encoded(id));
        self.of_cluster(&act, Method::PATCH, &path, &body).await
    }

    /// Has the cluster forget a machine that will not come back; where units wait for it, only if they are to begin elsewhere.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn forget_machine(&self, id: &str, abandon: bool) -> Result<(), ClientError> {
        let act = format!("forget machine {id}");
        let path = format!("/v1/machines/{}?abandon={abandon}", percent_encoded(id));
        self.done_by_cluster(&act, Method::DELETE, &path).await
    }

    /// Tokens that let machines in, as the cluster knows them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tokens(&self) -> Result<Vec<JoinToken>, ClientError> {
        self.of_cluster("list tokens", Method::GET, "/v1/cluster/tokens", &[]).await
    }

    /// Lets the token with this digest let machines in.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn make_token(
        &self,
        digest: &str,
        new: &NewJoinToken,
    ) -> Result<JoinToken, ClientError> {
        let act = "make a token";
        let body = self.written(act, new)?;
        let path = format!("/v1/cluster/tokens/{}", percent_encoded(digest));
        self.of_cluster(act, Method::PUT, &path, &body).await
    }

    /// Lets the token with this digest let nobody in any more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_token(&self, digest: &str) -> Result<(), ClientError> {
        let act = format!("revoke token {digest}");
        let path = format!("/v1/cluster/tokens/{}", percent_encoded(digest));
        self.done_by_cluster(&act, Method::DELETE, &path).await
    }

    /// Certificates of the cluster's users.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn accesses(&self) -> Result<Vec<Access>, ClientError> {
        self.of_cluster("list who may come in", Method::GET, "/v1/cluster/access", &[]).await
    }

    /// Has the cluster give somebody a certificate.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn grant_access(&self, new: &NewAccess) -> Result<GivenAccess, ClientError> {
        let act = format!("give {:?} access", new.name);
        let body = self.written(&act, new)?;
        self.of_cluster(&act, Method::POST, "/v1/cluster/access", &body).await
    }

    /// Has the certificate with this serial number open nothing any more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_access(&self, serial: &str) -> Result<(), ClientError> {
        let act = format!("revoke certificate {serial}");
        let path = format!("/v1/cluster/access/{}", percent_encoded(serial));
        self.done_by_cluster(&act, Method::DELETE, &path).await
    }

    /// The cluster's units.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster_units(&self) -> Result<Vec<ClusterUnit>, ClientError> {
        self.of_cluster("list units", Method::GET, "/v1/cluster/units", &[]).await
    }

    /// One of them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster_unit(&self, name: &str) -> Result<ClusterUnit, ClientError> {
        let act = format!("ask for unit {name:?}");
        self.of_cluster(&act, Method::GET, &path(name), &[]).await
    }

    /// Submits a unit; what should become of it stays as it is where there is no `target`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_cluster_unit(
        &self,
        unit: &Unit,
        target: Option<UnitTarget>,
    ) -> Result<ClusterUnit, ClientError> {
        let act = format!("submit unit {:?}", unit.name);
        let body = self.written(&act, unit)?;
        let query = target.map(|target| format!("?target={}", target.word())).unwrap_or_default();
        let path = format!("{}{query}", path(&unit.name));
        self.of_cluster(&act, Method::PUT, &path, &body).await
    }

    /// Changes what should become of a unit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change_cluster_unit(
        &self,
        name: &str,
        change: &UnitChange,
    ) -> Result<ClusterUnit, ClientError> {
        let act = format!("change unit {name:?}");
        let body = self.written(&act, change)?;
        self.of_cluster(&act, Method::PATCH, &path(name), &body).await
    }

    /// Forgets a unit, and stops what runs of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn destroy_cluster_unit(&self, name: &str) -> Result<(), ClientError> {
        self.done_by_cluster(&format!("destroy unit {name:?}"), Method::DELETE, &path(name)).await
    }

    /// Instances of services.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn services(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        self.of_cluster("list services", Method::GET, "/v1/cluster/services", &[]).await
    }

    /// What a node answers units that ask for services, and what it does as that changes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn service_answers(
        &self,
        follow: bool,
    ) -> Result<Lines<ServiceAnswers>, ClientError> {
        let path = format!("/v1/services?follow={follow}");
        self.lines("ask what it answers for services", &path, follow).await
    }
}

fn path(name: &str) -> String {
    format!("/v1/cluster/units/{}", percent_encoded(name))
}
