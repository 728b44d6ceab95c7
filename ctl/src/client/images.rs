//! Requests about images that take long or answer in pieces.

use std::path::Path;
use std::time::Duration;

use ferrite_schema::api::{ExportFormat, Image, Pruned, PullEvent, PullProgress};
use hyper::Method;
use hyper::body::Bytes;

use super::asking::{empty, request};
use super::connection::Exchange;
use super::error::ClientError;
use super::requests::{ANSWER, Client, WORK};
use super::upload;

/// Longest silence of a pull: it speaks several times a second.
const SILENCE: Duration = Duration::from_secs(60);

/// An import that is slower than this many bytes per second is given up.
const UPLOAD_MIN_BYTES_PER_S: u64 = 512 * 1024;

/// A pull that the node works on. Dropping it ends it; what was downloaded stays for another try.
#[derive(Debug)]
pub struct Pulling {
    exchange: Exchange,
}

/// How a pull goes on.
#[derive(Debug)]
pub enum PullStep {
    /// It goes on.
    Progress(PullProgress),
    /// The image is on the node.
    Done(Image),
    /// It is not.
    Failed(String),
}

impl Pulling {
    /// The next thing that the node says.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<PullStep, ClientError> {
        Ok(match self.exchange.next_line::<PullEvent>(Some(SILENCE)).await? {
            Some(PullEvent::Progress(progress)) => PullStep::Progress(progress),
            Some(PullEvent::Done { image }) => PullStep::Done(image),
            Some(PullEvent::Failed { error }) => PullStep::Failed(error),
            None => PullStep::Failed("the node ended its answer early".to_owned()),
        })
    }
}

impl Client {
    /// Images in the node's store.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn images(&self) -> Result<Vec<Image>, ClientError> {
        self.get("list images", "/v1/images").await
    }

    /// Uploads an archive of an image; `progress` hears of every piece, in bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn import(
        &self,
        archive: &Path,
        name: Option<&str>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Image, ClientError> {
        let (body, size_bytes) = upload::file(archive, progress).await?;
        let act = format!("import {}", archive.display());
        let path = match name {
            Some(name) => format!("/v1/images?name={}", upload::percent_encoded(name)),
            None => "/v1/images".to_owned(),
        };
        let request = request(&act, Method::POST, &path, body).map(|mut request| {
            request.headers_mut().insert(hyper::header::CONTENT_LENGTH, size_bytes.into());
            request
        })?;
        let within = WORK + Duration::from_secs(size_bytes / UPLOAD_MIN_BYTES_PER_S);
        let answer = self.node.exchange(&act, request, within).await?;
        answer.json().await
    }

    /// Has the node pull an image.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pull(&self, reference: &str) -> Result<Pulling, ClientError> {
        let act = format!("pull {reference:?}");
        let path = format!("/v1/images/pull?name={}", upload::percent_encoded(reference));
        let request = request(&act, Method::POST, &path, empty())?;
        Ok(Pulling { exchange: self.node.exchange(&act, request, ANSWER).await? })
    }

    /// Removes an image.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_image(&self, name: &str) -> Result<Pruned, ClientError> {
        let path = format!("/v1/images?name={}", upload::percent_encoded(name));
        self.json(&format!("remove image {name:?}"), Method::DELETE, &path, empty()).await
    }

    /// Removes the images that no unit uses.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn prune_images(&self) -> Result<Pruned, ClientError> {
        self.json("prune images", Method::POST, "/v1/images/prune", empty()).await
    }

    /// Exports an image; `take` gets the archive piece by piece. Returns its length.
    ///
    /// # Errors
    /// See [`ClientError`]; `take`'s error ends it.
    pub async fn export_image<E: From<ClientError>>(
        &self,
        name: &str,
        format: ExportFormat,
        mut take: impl FnMut(&Bytes) -> Result<(), E>,
    ) -> Result<u64, E> {
        let act = format!("export image {name:?}");
        let format = match format {
            ExportFormat::Oci => "oci",
            ExportFormat::Docker => "docker",
        };
        let name = upload::percent_encoded(name);
        let path = format!("/v1/images/export?name={name}&format={format}");
        let request = request(&act, Method::GET, &path, empty())?;
        let mut exchange = self.node.exchange(&act, request, ANSWER).await?;
        let mut length = 0_u64;
        while let Some(piece) = exchange.next_bytes(Some(WORK)).await? {
            take(&piece)?;
            length = length.saturating_add(piece.len() as u64);
        }
        Ok(length)
    }
}
