//! What a request says, understood or refused as everything else is refused: in one sentence of JSON.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::Failure;

/// Largest JSON body; archives are not JSON and have their own limit.
pub(super) const BODY_MAX_BYTES: usize = 1 << 20;

/// The query.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::bad_request(format!(
                "the query is not understood: {}",
                reason(&rejection)
            ))),
        }
    }
}

/// What the path names.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::bad_request(format!(
                "the path is not understood: {}",
                reason(&rejection)
            ))),
        }
    }
}

/// A JSON document as it was sent; what it means is its reader's to say.
#[derive(Debug)]
pub(super) struct Document(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        is_json(request.headers())?;
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

/// Refuses a body that says to be something else than JSON; one that says nothing is taken at its content.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let why = "the body must be application/json";
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

fn refused(rejection: &BytesRejection) -> Failure {
    Failure::new(rejection.status(), format!("the body cannot be read: {}", rejection.body_text()))
}

/// The innermost cause, which is the one that names the field.
fn reason(rejection: &dyn std::error::Error) -> String {
    let mut cause = rejection;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
