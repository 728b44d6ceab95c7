//! Rust sources as text: without comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files below `folder`, in order; none where there is no such folder.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The text with what is in comments and string literals taken out.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if next == '"' {
            string(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(next);
            next.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    code
}

/// Length of the string literal at the start.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string literal at the start, where there is one.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.split('"').next()?;
    if !hashes.bytes().all(|byte| byte == b'#') {
        return None;
    }
    let start = 1 + hashes.len() + 1;
    let end = format!("\"{hashes}");
    let body = text.get(start..)?;
    Some(body.find(&end).map_or(text.len(), |found| start + found + end.len()))
}

/// Length of the character literal at the start, where it is one and no lifetime.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if body.starts_with('\\') {
        return body.get(2..)?.find('\'').map(|end| 1 + 2 + end + 1);
    }
    let letter = body.chars().next()?;
    body.get(letter.len_utf8()..)?.starts_with('\'').then(|| 2 + letter.len_utf8())
}

/// Code, and apart from it the items that only tests have.
pub(crate) fn split_tests(code: &str) -> (String, String) {
    let (mut product, mut tests) = (String::new(), String::new());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        product.push_str(before);
        let (item, more) = after.split_at(item(after));
        tests.push_str(item);
        rest = more;
    }
    product.push_str(rest);
    (product, tests)
}

/// Length of the item at the start: up to its `;`, or to the end of its braces.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (index, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => return index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let text = "a /* b */ c // d\n\"e \\\" f\" g r#\"h \" i\"# 'j' '\\n' <'k> '\"' l";
    let words = code(text).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words, ["a", "c", "g", "<'k>", "l"]);
    let text = "use a; #[cfg(test)] #[path = \"\"] mod t; b #[cfg(test)] mod t { { c } } d";
    let (product, tests) = split_tests(text);
    assert_eq!(
        (product.as_str(), tests.as_str()),
        ("use a;  b  d", " #[path = \"\"] mod t; mod t { { c } }")
    );
}
