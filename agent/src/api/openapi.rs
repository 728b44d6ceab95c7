//! The API's description, made from the handlers themselves: a route without one does not compile.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// What is said once about the whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ferrite node",
        description = "HTTPS with mutual TLS. Errors have a fitting status and one sentence in `error`. \
                       Streams are `application/x-ndjson`: one JSON document per line.",
        version = "1",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "machine", description = "The machine and its power"),
        (name = "slots", description = "The two OS slots"),
        (name = "images", description = "Container images"),
        (name = "units", description = "Containers"),
        (name = "living", description = "What happens: events, figures, this description")
    )
)]
pub(super) struct Description;

#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "living",
    responses((status = 200, description = "OpenAPI 3.1 document of this API", body = Object))
)]
pub(super) async fn show() -> Json<Document> {
    Json(super::documented().into_openapi())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `FERRITE_BLESS=1 cargo test -p ferrite-agent openapi` writes it anew.
    #[test]
    fn the_committed_document_is_current() {
        let document = super::super::documented().into_openapi();
        let text = document.to_pretty_json().unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        if std::env::var_os("FERRITE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/openapi.json is not what the code says: \
             FERRITE_BLESS=1 cargo test -p ferrite-agent openapi"
        );
    }

    #[test]
    fn there_is_one_way_to_add_a_route() {
        let source = include_str!("mod.rs");
        assert!(!source.contains(".route("), "use .routes(routes!(…)): that describes it as well");
    }
}
