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
        Problem { line, column, message: with_suggestion(error.message()) }
    })
}

/// Smallest Jaro–Winkler likeness, from 0 to 1, at which a known word is offered for an unknown one: typing
/// errors stay above it, words that merely share some letters below.
const LIKENESS_MIN: f64 = 0.75;

/// Appends the known word that was probably meant to serde's complaint about an unknown one. serde quotes
/// both: the unknown word first, then every known one.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "));
    let meant = unknown.and_then(|word| {
        quoted
            .map(|known| (strsim::jaro_winkler(word, known), known))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
    });
    match meant {
        Some((_, known)) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &str) {
        let problem = crate::unit::parse(text).unwrap_err();
        assert_eq!(problem.to_string(), expected);
    }

    const KNOWN: &str = "expected one of `name`, `image`, `entrypoint`, `command`, `env`, `restart`, \
                         `stop_signal`, `stop_grace_s`";

    #[test]
    fn an_unknown_key_is_placed_and_the_known_one_offered() {
        check(
            "name = \"a\"\nimage = \"b\"\n  comand = []\n",
            &format!("line 3, column 3: unknown field `comand`, {KNOWN}; did you mean `command`?"),
        );
        check(
            "name = \"a\"\nimage = \"b\"\nstop_grace = 3\n",
            &format!(
                "line 3, column 1: unknown field `stop_grace`, {KNOWN}; did you mean `stop_grace_s`?"
            ),
        );
    }

    #[test]
    fn nothing_is_offered_for_a_word_like_no_other() {
        check("zzz = 1\n", &format!("line 1, column 1: unknown field `zzz`, {KNOWN}"));
    }

    #[test]
    fn an_unknown_value_is_treated_alike() {
        check(
            "name = \"a\"\nimage = \"b\"\nrestart = \"allways\"\n",
            "line 3, column 11: unknown variant `allways`, expected one of `always`, `on-failure`, \
             `never`; did you mean `always`?",
        );
    }

    #[test]
    fn columns_count_characters() {
        check(
            "name = \"ä\" oops\n",
            "line 1, column 12: unexpected key or value, expected newline, `#`",
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        check("name = \"a\"\n", "line 1, column 1: missing field `image`");
    }
}
