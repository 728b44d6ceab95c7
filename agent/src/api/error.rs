//! Errors of the API: a fitting status and one sentence.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ferrite_schema::api::ApiError;
use ferrite_units::supervisor::Refusal;

/// A request that is answered with an error.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// The peer asked for something that cannot be.
    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// It is understood, and breaks a rule between its parts.
    pub(super) fn unprocessable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    /// The node could not do it.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ferrite_schema::chain(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ApiError { error: self.error })).into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unknown { .. } => StatusCode::NOT_FOUND,
            Refusal::Missing { .. }
            | Refusal::Circle { .. }
            | Refusal::Network { .. }
            | Refusal::TooMany { .. }
            | Refusal::Template { .. }
            | Refusal::HasInstances { .. }
            | Refusal::Going { .. }
            | Refusal::OfCluster { .. }
            | Refusal::OfNode { .. } => StatusCode::CONFLICT,
            Refusal::Instance { .. } | Refusal::NameOfNode { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Refusal::GoingDown => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, ferrite_schema::chain(&refusal))
    }
}

/// The router adds which methods there are.
pub(super) async fn no_such_method(request: Request) -> Failure {
    let what = format!("{} knows no {}", request.uri().path(), request.method());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, what)
}

pub(super) async fn no_such_request(request: Request) -> Failure {
    let what = format!("there is no request {} {}", request.method(), request.uri().path());
    Failure::new(StatusCode::NOT_FOUND, what)
}
