//! The environment that a unit's commands have, and what of it stands in their words.

use std::collections::BTreeMap;

use ferrite_schema::document::Problem;

use super::ini::Entry;
use super::names::{Name, Open};
use super::words::{Word, split};

/// Variables of `Environment=`. With Docker, its client has them and no container does, unless its options say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes in one `Environment=`; an empty one takes all back.
    ///
    /// # Errors
    /// A quote is never closed.
    pub(crate) fn set(
        &mut self,
        entry: &Entry,
        name: &Name,
        open: &mut Open,
    ) -> Result<(), Problem> {
        if entry.value.text.is_empty() {
            self.0.clear();
        }
        for word in split(&entry.value)? {
            let text = name.expand(&word.text, open);
            if let Some((name, value)) = text.split_once('=') {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    /// A variable's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A command's words with variables put in their places, as systemd does it: `${NAME}` anywhere, `$NAME` as a word of its own,
    /// which becomes as many words as its value has. What is not known is added to `open` and stays as it is.
    pub(crate) fn expand(&self, words: &[Word], open: &mut Open) -> Vec<Word> {
        let mut all = Vec::new();
        for (index, word) in words.iter().enumerate() {
            if index == 0 {
                all.push(word.clone());
                continue;
            }
            let alone = word.text.strip_prefix('$').filter(|name| is_name(name));
            match alone.map(|name| (name, self.get(name))) {
                Some((_, Some(value))) => {
                    let parts = value.split_whitespace();
                    all.extend(parts.map(|part| Word { text: part.to_owned(), ..word.clone() }));
                }
                Some((name, None)) => {
                    open.insert(format!("${name}"));
                    all.push(word.clone());
                }
                None => {
                    let text = self.put(&word.text, open);
                    all.push(Word { text, ..word.clone() });
                }
            }
        }
        all
    }

    fn put(&self, text: &str, open: &mut Open) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let variable = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            match variable.filter(|(name, _)| is_name(name)) {
                Some((name, after)) => {
                    match self.get(name) {
                        Some(value) => out.push_str(value),
                        None => {
                            open.insert(format!("${{{name}}}"));
                            out.push_str(&format!("${{{name}}}"));
                        }
                    }
                    rest = after;
                }
                None => {
                    out.push('$');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::{ini, words};
    use super::*;

    #[test]
    fn variables_stand_where_systemd_puts_them() {
        let name = Name::of("web@7").unwrap();
        let text =
            "[Service]\nEnvironment=A=gone\nEnvironment=\nEnvironment=\"OPTS=-p 80:80\" N=%i\n";
        let mut open = Open::new();
        let mut environment = Environment::default();
        for entry in ini::read(text).unwrap() {
            environment.set(&entry, &name, &mut open).unwrap();
        }
        assert_eq!(environment.names().collect::<Vec<_>>(), ["N", "OPTS"]);
        let words =
            words::split_text("$OPTS $OPTS a${N}b x$OPTS $$N ${A} $A ${}$ ${OPTS}", |_| 1).unwrap();
        let expanded = environment.expand(&words, &mut open);
        let texts: Vec<_> = expanded.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(
            texts,
            ["$OPTS", "-p", "80:80", "a7b", "x$OPTS", "$N", "${A}", "$A", "${}$", "-p 80:80"]
        );
        assert_eq!(open.into_iter().collect::<Vec<_>>(), ["$A", "${A}"]);
    }
}
