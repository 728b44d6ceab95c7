//! Parsing of TOML documents that people write: an unknown key or a bad value is an error that names line
//! and column and, where one is close, the word that was probably meant.

use serde::de::DeserializeOwned;

/// A document that cannot be used. `Display` is one line; `line` and `column` count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Problem {
    /// Line of the offending word.
    pub line: usize,
    /// Column of the offending word.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Parses `text`.
///
/// # Errors
/// The first problem found.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Problem::at(text, offset, with_suggestion(error.message()))
    })
}

impl Problem {
    /// A problem with the word that starts at byte `offset` of `text`.
    #[must_use]
    pub fn at(text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        Self { line, column, message }
    }
}

/// Smallest Jaro–Winkler likeness, from 0 to 1, at which a known word is offered for an unknown one: typing
/// errors stay above it, words that merely share some letters below.
const LIKENESS_MIN: f64 = 0.75;

/// The known word that was probably meant by `word`.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Serde's complaint about an unknown word, which quotes it first and then every known one, with the known word
/// that was probably meant in place of them all; where there is none, all of them are what helps.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "));
    let meant = unknown.and_then(|word| meant(word, quoted));
    match meant {
        Some(known) => {
            let what = message.split_once(", expected").map_or(message, |(what, _)| what);
            format!("{what}; did you mean `{known}`?")
        }
        None => message.to_owned(),
    }
}
