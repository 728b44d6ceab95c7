//! The API's description, made from the handlers themselves: a route without one does not compile.

use ferrite_schema::api::ExportFormat;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::{OpenApi as Document, RefOr, Schema};

/// A unit's name, as `ferrite_schema::unit::names::is_unit_name` has it.
const UNIT: Pattern =
    Pattern { text: r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._-]*)?$", length_max: Some(64) };
/// A volume's name: a unit's without an instance.
const VOLUME: Pattern = Pattern { text: r"^[A-Za-z0-9][A-Za-z0-9._-]*$", length_max: Some(64) };
/// An image reference, as `ferrite_schema::reference` reads it; hosts that are addresses are left out.
const IMAGE: Pattern = Pattern {
    text: r"^((([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?(:[1-9][0-9]{0,3})?|[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?:[1-9][0-9]{0,3}|localhost)|[a-z0-9]+((_|__|-+)[a-z0-9]+)*)/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*|[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$",
    // The parts have their bounds, the whole has none of its own.
    length_max: None,
};
/// The same without a digest: an import gives a name, the content has its digest already.
const IMPORTED: Pattern = Pattern {
    text: r"^((([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?(:[1-9][0-9]{0,3})?|[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?:[1-9][0-9]{0,3}|localhost)|[a-z0-9]+((_|__|-+)[a-z0-9]+)*)/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*|[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$",
    length_max: None,
};

/// A machine's ID.
const MACHINE: Pattern = Pattern { text: r"^[0-9a-f]{32}$", length_max: Some(32) };

/// A SHA-256.
const DIGEST: Pattern = Pattern { text: r"^[0-9a-f]{64}$", length_max: Some(64) };

/// A certificate's serial number.
const SERIAL: Pattern = Pattern { text: r"^[0-9a-f]+$", length_max: Some(64) };

/// What a string looks like.
#[derive(Clone, Copy)]
struct Pattern {
    text: &'static str,
    length_max: Option<usize>,
}

/// The description of all routes, with what their types do not say.
pub(super) fn with_patterns(mut document: Document) -> Document {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            let posted = method == "post";
            for parameter in operation.parameters.iter_mut().flatten() {
                let RefOr::T(parameter) = parameter else { continue };
                if let Some(pattern) = pattern_of(path, posted, parameter) {
                    constrain(parameter.schema.as_mut(), pattern);
                }
            }
        }
    }
    let unit = document.components.as_mut().and_then(|all| all.schemas.get_mut("Unit"));
    if let Some(RefOr::T(Schema::Object(unit))) = unit {
        constrain(unit.properties.get_mut("name"), UNIT);
        constrain(unit.properties.get_mut("image"), IMAGE);
    }
    document
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("delete", &mut item.delete),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A name that no other operation has: generators of clients make it a function's.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/v1").trim_start_matches('/').replace(['{', '}'], "");
    format!("{method}_{}", path.replace(['/', '-', '.'], "_"))
}

fn pattern_of(path: &str, posted: bool, parameter: &Parameter) -> Option<Pattern> {
    match (parameter.name.as_str(), path) {
        ("unit", _) => Some(UNIT),
        ("id", path) if path.starts_with("/v1/machines") => Some(MACHINE),
        ("digest", _) => Some(DIGEST),
        ("serial", _) => Some(SERIAL),
        ("name", path) if path.starts_with("/v1/cluster/units") => Some(UNIT),
        ("name", "/v1/images") if posted => Some(IMPORTED),
        ("name", path) if path.starts_with("/v1/images") => Some(IMAGE),
        ("name", path) if path.starts_with("/v1/volumes") => Some(VOLUME),
        ("name", path) if path.starts_with("/v1/units") => Some(UNIT),
        _ => None,
    }
}

fn constrain(schema: Option<&mut RefOr<Schema>>, pattern: Pattern) {
    if let Some(RefOr::T(Schema::Object(text))) = schema {
        text.pattern = Some(pattern.text.to_owned());
        text.min_length = Some(1);
        text.max_length = pattern.length_max;
    }
}

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
    components(schemas(ExportFormat)),
    tags(
        (name = "machine", description = "The machine and its power"),
        (name = "slots", description = "The two OS slots"),
        (name = "images", description = "Container images"),
        (name = "volumes", description = "Named volumes"),
        (name = "units", description = "Containers"),
        (name = "cluster", description = "The cluster: its machines, units and services"),
        (name = "etcd", description = "etcd itself, below the cluster's records; for admins alone"),
        (name = "living", description = "What happens: events, figures, this description")
    )
)]
pub(super) struct Description;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    /// `FERRITE_BLESS=1 cargo test -p ferrite-agent openapi` writes it anew.
    #[test]
    fn the_committed_document_is_current() {
        let document = super::super::description();
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

    /// Calls `look` with every value of the document and the place that it is at.
    fn walk(value: &Value, at: &str, look: &mut dyn FnMut(&str, &Value)) {
        look(at, value);
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    walk(member, &format!("{at}/{name}"), look);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &format!("{at}/{index}"), look);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = serde_json::to_value(super::super::description()).unwrap();
        let mut names = Vec::new();
        walk(&document["paths"], "", &mut |_, value| {
            names.extend(value.get("operationId").and_then(Value::as_str).map(str::to_owned));
        });
        assert!(names.len() > 30, "{names:?}");
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_tag_is_described() {
        let document = serde_json::to_value(super::super::description()).unwrap();
        let tags: Vec<&Value> =
            document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        let mut count = 0;
        walk(&document, "", &mut |at, value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                count += 1;
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{at}: {reference} leads nowhere");
            }
            if at.starts_with("/paths/") && at.contains("/tags/") {
                assert!(tags.contains(&value), "{at}: {value} is not described");
            }
        });
        assert!(count > 50, "{count} references");
    }

    #[test]
    fn every_name_has_its_pattern() {
        let document = serde_json::to_value(super::super::description()).unwrap();
        let mut count = 0;
        walk(&document["paths"], "", &mut |at, value| {
            let is_name = matches!(value["name"].as_str(), Some("name" | "unit"));
            if is_name && value.get("in").is_some() {
                count += 1;
                assert!(value["schema"]["pattern"].is_string(), "{at}: {value}");
            }
        });
        assert!(count > 15, "{count} names");
        for field in ["name", "image"] {
            let schema = &document["components"]["schemas"]["Unit"]["properties"][field];
            assert!(schema["pattern"].is_string(), "{field}: {schema}");
        }
    }

    #[test]
    fn there_is_one_way_to_add_a_route() {
        let source = include_str!("mod.rs");
        assert!(!source.contains(".route("), "use .routes(routes!(…)): that describes it as well");
    }
}
