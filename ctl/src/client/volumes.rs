//! Requests about named volumes.

use ferrite_schema::api::Volume;
use hyper::Method;

use super::asking::empty;
use super::error::ClientError;
use super::requests::Client;
use super::upload;

impl Client {
    /// The named volumes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn volumes(&self) -> Result<Vec<Volume>, ClientError> {
        self.get("list volumes", "/v1/volumes").await
    }

    /// Removes a volume and what is in it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_volume(&self, name: &str) -> Result<Volume, ClientError> {
        let path = format!("/v1/volumes/{}", upload::percent_encoded(name));
        self.json(&format!("remove volume {name:?}"), Method::DELETE, &path, empty()).await
    }
}
