//! A value that a unit must not have, and how checks say so.

/// A value that a unit must not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", shown(path))]
pub struct BadValue {
    /// Keys that lead to it; a list's index is a number.
    pub path: Vec<String>,
    /// What is wrong and what to do.
    pub why: String,
}

impl BadValue {
    pub(super) fn at(path: &[&str], why: impl Into<String>) -> Self {
        Self::of_path(path.iter().map(|&key| key.to_owned()).collect(), why)
    }

    pub(super) fn of_path(path: Vec<String>, why: impl Into<String>) -> Self {
        Self { path, why: why.into() }
    }
}

/// `volumes[1].target`; people count from 1.
fn shown(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut all, key| {
        match key.parse::<usize>() {
            Ok(index) if !all.is_empty() => all.push_str(&format!("[{}]", index.saturating_add(1))),
            Ok(_) | Err(_) => {
                if !all.is_empty() {
                    all.push('.');
                }
                all.push_str(key);
            }
        }
        all
    })
}

/// One check of a whole unit.
pub(super) type Check<Unit> = fn(&Unit) -> Result<(), BadValue>;

/// A bad value, with why.
pub(super) fn bad<const N: usize>(path: [&str; N], why: impl Into<String>) -> Result<(), BadValue> {
    Err(BadValue::at(&path, why))
}

/// The known word that was probably meant, as the end of a sentence.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    crate::document::meant(word, known)
        .map(|known| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

/// The first value that is in the list twice.
pub(super) fn twice<T: PartialEq>(values: &[T]) -> Option<usize> {
    values
        .iter()
        .enumerate()
        .find_map(|(index, value)| values.get(..index)?.contains(value).then_some(index))
}
