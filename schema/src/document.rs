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
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        Problem { line, column, message: error.message().to_owned() }
    })
}
