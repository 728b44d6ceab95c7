//! Words of a value, as systemd splits them: blanks, quotes, and escapes with a backslash.

use ferrite_schema::document::Problem;

use super::ini::{Value, problem};

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Without its quotes and escapes.
    pub(crate) text: String,
    /// Line of the file where it begins.
    pub(crate) line: usize,
    /// It had quotes or escapes, so that no character of it separates commands.
    pub(crate) quoted: bool,
}

/// Splits a value.
///
/// # Errors
/// A quote is never closed.
pub(crate) fn split(value: &Value) -> Result<Vec<Word>, Problem> {
    split_text(&value.text, |offset| value.line_at(offset))
}

/// Splits a text; `line` says in which line of the file a byte of it is.
///
/// # Errors
/// A quote is never closed.
pub(crate) fn split_text(text: &str, line: impl Fn(usize) -> usize) -> Result<Vec<Word>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word {
            text: String::new(),
            line: line(offset),
            quoted: false,
        });
        match (quote, character) {
            (_, '\\') => {
                current.quoted = true;
                let rest = text.get(offset + 1..).unwrap_or_default();
                let (meant, length) = escape(rest);
                current.text.push_str(&meant);
                let end = offset + 1 + length;
                while characters.peek().is_some_and(|(next, _)| *next < end) {
                    characters.next();
                }
            }
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                current.quoted = true;
            }
            (_, other) => current.text.push(other),
        }
    }
    if let Some(open) = quote {
        let at = word.map_or_else(|| line(text.len()), |word| word.line);
        return Err(problem(at, format!("a quote `{open}` is opened and never closed")));
    }
    words.extend(word);
    Ok(words)
}

/// What is meant by a backslash and `rest`, and how many bytes of `rest` belong to it. What means nothing stays as it is.
fn escape(rest: &str) -> (String, usize) {
    let Some(letter) = rest.chars().next() else { return ("\\".to_owned(), 0) };
    let plain = match letter {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        's' => Some(' '),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' | '"' | '\'' | ';' => Some(letter),
        _ => None,
    };
    if let Some(plain) = plain {
        return (plain.to_string(), letter.len_utf8());
    }
    let (radix, prefix, digits) = match letter {
        'x' => (16, 1, 2),
        'u' => (16, 1, 4),
        'U' => (16, 1, 8),
        '0'..='7' => (8, 0, 3),
        _ => return (format!("\\{letter}"), letter.len_utf8()),
    };
    let number = rest.get(prefix..prefix + digits).and_then(|digits| {
        u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))
    });
    match number.and_then(char::from_u32).filter(|meant| *meant != '\0') {
        Some(meant) => (meant.to_string(), prefix + digits),
        None => (format!("\\{letter}"), letter.len_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let words = split_text(text, |_| 1).unwrap();
        let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn words_quotes_and_escapes() {
        check("  a  b\tc ", &["a", "b", "c"]);
        check(r#""a b" 'c "d"' --env=X="y z""#, &["a b", "c \"d\"", "--env=X=y z"]);
        check(r#"a\sb \x41\102 \u00e4 "\"q\"" 'it\'s'"#, &["a b", "AB", "ä", "\"q\"", "it's"]);
        check(r"\d+ \q \xzz end\", &["\\d+", "\\q", "\\xzz", "end\\"]);
        check("\"\" ''", &["", ""]);
        check("", &[]);
        check(r"\000 \x00 ä\", &["\\000", "\\x00", "ä\\"]);
    }

    #[test]
    fn a_separator_of_commands_is_told_from_a_semicolon() {
        let words = split_text(r#"a ; \; ";""#, |_| 1).unwrap();
        let seen: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.quoted)).collect();
        assert_eq!(seen, [("a", false), (";", false), (";", true), (";", true)]);
    }

    #[test]
    fn an_open_quote_is_placed() {
        let problem = split_text("a 'b c", |offset| offset).unwrap_err();
        assert_eq!(problem.line, 2);
        assert!(problem.message.contains("never closed"), "{problem}");
    }
}
