//! Which units a command is about: names, patterns of names, labels.

use std::collections::BTreeMap;

use ferrite_schema::api::UnitStatus;

use crate::cli::Selection;
use crate::client::Client;
use crate::failure::Failure;

/// A selection of one unit by its name: its answer is one document, not a list.
pub(super) fn single(selection: &Selection) -> Option<&str> {
    match &selection.names[..] {
        [name] if !is_pattern(name) && selection.labels.is_empty() => Some(name),
        _ => None,
    }
}

/// The units that are meant. A name that is no pattern stands for itself, known or not: the node says what is
/// wrong with it.
pub(super) async fn names(client: &Client, selection: &Selection) -> Result<Vec<String>, Failure> {
    if selection.labels.is_empty() && !selection.names.iter().any(|name| is_pattern(name)) {
        return Ok(selection.names.clone());
    }
    let names: Vec<String> =
        chosen(client.units().await?, selection).into_iter().map(|unit| unit.name).collect();
    if names.is_empty() {
        let mut what = selection.names.clone();
        what.extend(selection.labels.iter().map(|label| format!("--label {label}")));
        return Err(Failure::NoUnit { what: what.join(" ") });
    }
    Ok(names)
}

/// Those of `units` that are meant.
pub(super) fn chosen(units: Vec<UnitStatus>, selection: &Selection) -> Vec<UnitStatus> {
    let named = |unit: &UnitStatus| {
        selection.names.is_empty() || selection.names.iter().any(|name| fits(name, &unit.name))
    };
    let labelled = |unit: &UnitStatus| has_labels(&unit.labels, &selection.labels);
    units.into_iter().filter(|unit| named(unit) && labelled(unit)).collect()
}

pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether a name, or a pattern of names, means this one.
pub(super) fn is_named(pattern: &str, name: &str) -> bool {
    fits(pattern, name)
}

/// Whether all labels that are asked for are there.
pub(super) fn has_labels(labels: &BTreeMap<String, String>, asked: &[String]) -> bool {
    asked.iter().all(|label| has_label(labels, label))
}

/// `KEY=VALUE` asks for this value, `KEY` for any.
fn has_label(labels: &BTreeMap<String, String>, label: &str) -> bool {
    match label.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|has| has == value),
        None => labels.contains_key(label),
    }
}

/// `*` stands for any characters, `?` for one.
fn fits(pattern: &str, name: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = characters.as_str();
            let ends = name.char_indices().map(|(index, _)| index).chain([name.len()]);
            ends.into_iter().any(|index| name.get(index..).is_some_and(|tail| fits(rest, tail)))
        }
        Some(character) => {
            let mut name = name.chars();
            let first = name.next();
            first.is_some_and(|first| character == '?' || character == first)
                && fits(characters.as_str(), name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web@1", true),
            ("*@?", "web@1", true),
            ("*@?", "web@10", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYb", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn labels_and_names_both_count() {
        let unit = |name: &str, tier: &str| UnitStatus {
            name: name.to_owned(),
            labels: [("tier".to_owned(), tier.to_owned())].into(),
            ..UnitStatus::default()
        };
        let units = || vec![unit("web", "front"), unit("db", "back"), unit("web2", "back")];
        let check = |names: &[&str], labels: &[&str], expected: &[&str]| {
            let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            let selection = Selection { names: own(names), labels: own(labels) };
            let found: Vec<String> =
                chosen(units(), &selection).into_iter().map(|unit| unit.name).collect();
            assert_eq!(found, expected, "{names:?} {labels:?}");
        };
        check(&[], &["tier=back"], &["db", "web2"]);
        check(&["web*"], &["tier=back"], &["web2"]);
        check(&["web*"], &["tier"], &["web", "web2"]);
        check(&["web"], &[], &["web"]);
        check(&[], &["tier=none"], &[]);
    }
}
