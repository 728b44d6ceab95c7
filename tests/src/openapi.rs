//! Holds a server's answers against an OpenAPI document: as much of JSON Schema as ours uses.

use serde_json::Value;

/// What is wrong with `value` as an answer to `GET path` with `media`; nothing where all is well.
#[must_use]
pub fn problems(document: &Value, path: &str, media: &str, value: &Value) -> Vec<String> {
    let place = ["paths", path, "get", "responses", "200", "content", media, "schema"];
    let schema = place.iter().try_fold(document, |found, key| found.get(key));
    let mut found = Vec::new();
    match schema {
        Some(schema) => check(document, schema, value, path, &mut found),
        None => found.push(format!("{path}: the document does not describe it")),
    }
    found
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return match document.pointer(name.trim_start_matches('#')) {
            Some(schema) => check(document, schema, value, at, found),
            None => found.push(format!("{at}: {name} is nowhere")),
        };
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema.get(choice).and_then(Value::as_array) {
            let fits = |schema: &&Value| {
                let mut problems = Vec::new();
                check(document, schema, value, at, &mut problems);
                problems.is_empty()
            };
            let count = choices.iter().filter(fits).count();
            if count == 0 || (choice == "oneOf" && count > 1) {
                found.push(format!("{at}: {value} fits {count} of {choice}"));
            }
        }
    }
    let allowed = schema.get("enum").and_then(Value::as_array);
    if allowed.is_some_and(|allowed| !allowed.contains(value)) {
        found.push(format!("{at}: {value} is not among {allowed:?}"));
    }
    check_type(schema, value, at, found);
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            check(document, items, item, &format!("{at}/{index}"), found);
        }
    }
    check_members(document, schema, value, at, found);
}

fn check_members(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let Some(members) = value.as_object() else { return };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if name.as_str().is_some_and(|name| !members.contains_key(name)) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in members {
        match (schema.pointer(&format!("/properties/{name}")), schema.get("additionalProperties")) {
            (Some(schema), _) => check(document, schema, member, &format!("{at}/{name}"), found),
            (None, Some(Value::Bool(true))) => {}
            (None, Some(schema @ Value::Object(_))) => {
                check(document, schema, member, &format!("{at}/{name}"), found);
            }
            // An answer holds nothing that is not described.
            (None, _) if schema.get("properties").is_some() => {
                found.push(format!("{at}: {name} is not described"));
            }
            (None, _) => {}
        }
    }
}

fn check_type(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let fits = match schema.get("type") {
        Some(Value::String(name)) => is(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    let below = schema.get("minimum").and_then(Value::as_f64).zip(value.as_f64());
    if below.is_some_and(|(minimum, value)| value < minimum) {
        found.push(format!("{at}: {value} is too small"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::problems;

    fn check(value: &Value, expected: usize) {
        let schema = json!({
            "type": "array",
            "items": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Thing" }] }
        });
        let content = json!({ "application/json": { "schema": schema } });
        let document = json!({
            "paths": { "/x": { "get": { "responses": { "200": { "content": content } } } } },
            "components": { "schemas": { "Thing": {
                "type": "object",
                "required": ["name"],
                "properties": { "name": { "type": "string" }, "size": { "type": ["integer", "null"], "minimum": 0 } }
            } } }
        });
        let found = problems(&document, "/x", "application/json", value);
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    }

    #[test]
    fn answers_are_held_against_the_document() {
        check(&json!([{ "name": "a", "size": 1 }, { "name": "b", "size": null }, null]), 0);
        check(&json!({}), 1);
        check(
            &json!([{ "size": 1 }, { "name": 1 }, { "name": "a", "size": -1 }, { "name": "a", "more": 1 }]),
            4,
        );
    }
}
