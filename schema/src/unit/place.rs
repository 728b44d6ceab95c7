//! Where in a document a value stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Byte offset of the value at `path`, or of the deepest part of the path that the document has: of the key in
/// a table, of the value in a list.
pub(super) fn offset(text: &str, path: &[String]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 0 };
    in_table(document.get_ref(), path).unwrap_or(0)
}

fn in_table(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == first.as_str())?;
    Some(in_value(value, rest).unwrap_or(key.span().start))
}

fn in_value(value: &Spanned<DeValue<'_>>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, path),
        DeValue::Array(values) => {
            let value = values.get(first.parse::<usize>().ok()?)?;
            Some(in_value(value, rest).unwrap_or(value.span().start))
        }
        _ => None,
    }
}
