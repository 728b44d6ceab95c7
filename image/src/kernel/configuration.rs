//! Kconfig's text form of a kernel's options: what a fragment asks for, what a finished `.config` has.
//!
//! # Source
//! The kernel's `Documentation/kbuild/kconfig.rst`; `# CONFIG_X is not set` is how it writes `n`.

use std::collections::BTreeMap;

const PREFIX: &str = "CONFIG_";
const NOT_SET: &str = " is not set";
/// What is not built.
pub const OFF: &str = "n";
/// Kconfig's third line, around the kernel's version.
const HEAD: (&str, &str) = ("# Linux/", " Kernel Configuration");

/// Options by name, without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    options: BTreeMap<String, Setting>,
    /// `x86 6.12.118`, where the text says it.
    of: Option<String>,
}

/// What is said of an option, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `y`, `n`, a number, or a text with its quotation marks.
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// A line that is no option, or contradicts an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LineProblem {
    #[error("line {line}: {text:?} is neither CONFIG_NAME=VALUE nor a comment")]
    NoOption { line: usize, text: String },
    #[error(
        "line {line}: CONFIG_{option}={value} was {first_value:?} in line {first} already; remove one of them"
    )]
    Twice { line: usize, option: String, value: String, first: usize, first_value: String },
}

impl Configuration {
    /// Reads the text.
    ///
    /// # Errors
    /// Every line that makes no sense, or says something of an option a second time.
    pub fn parse(text: &str) -> Result<Self, Vec<LineProblem>> {
        let mut options: BTreeMap<String, Setting> = BTreeMap::new();
        let mut problems = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let (option, value) = match setting(text.trim()) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(()) => {
                    problems.push(LineProblem::NoOption { line, text: text.to_owned() });
                    continue;
                }
            };
            let setting = Setting { value: value.to_owned(), line };
            if let Some(first) = options.get(option) {
                problems.push(LineProblem::Twice {
                    line,
                    option: option.to_owned(),
                    value: setting.value,
                    first: first.line,
                    first_value: first.value.clone(),
                });
            } else {
                options.insert(option.to_owned(), setting);
            }
        }
        let heads = text.lines().filter_map(|line| line.strip_prefix(HEAD.0)?.strip_suffix(HEAD.1));
        let of = heads.map(str::to_owned).next();
        if problems.is_empty() { Ok(Self { options, of }) } else { Err(problems) }
    }

    /// Processor and version of the kernel that it is of, as Kconfig writes them above a whole configuration.
    #[must_use]
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// What is said of an option.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<&Setting> {
        self.options.get(option)
    }

    /// The option's value; what is not mentioned is off.
    #[must_use]
    pub fn value(&self, option: &str) -> &str {
        self.get(option).map_or(OFF, |setting| setting.value.as_str())
    }

    /// Every option, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.options.iter().map(|(option, setting)| (option.as_str(), setting))
    }

    /// How many options are built in.
    #[must_use]
    pub fn built_in(&self) -> usize {
        self.options.values().filter(|setting| setting.value == "y").count()
    }
}

/// Option and value of a line; nothing where it is a comment.
fn setting(line: &str) -> Result<Option<(&str, &str)>, ()> {
    if let Some(comment) = line.strip_prefix('#') {
        let option = comment
            .trim()
            .strip_suffix(NOT_SET)
            .and_then(|option| option.strip_prefix(PREFIX))
            .filter(|option| is_name(option));
        return Ok(option.map(|option| (option, OFF)));
    }
    if line.is_empty() {
        return Ok(None);
    }
    let (option, value) = line.split_once('=').ok_or(())?;
    let option = option.strip_prefix(PREFIX).filter(|option| is_name(option)).ok_or(())?;
    if value.is_empty() { Err(()) } else { Ok(Some((option, value))) }
}

/// Upper-case letters, digits and `_`; a few old options have lower-case letters.
fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_off_are_the_same() {
        let text = "# A comment\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=n\nCONFIG_D=\"a=b\"\nCONFIG_E_64x=0x20\n";
        let found = Configuration::parse(text).unwrap();
        let values: Vec<_> =
            found.iter().map(|(name, setting)| (name, setting.value.as_str())).collect();
        assert_eq!(
            values,
            [("A", "y"), ("B", "n"), ("C", "n"), ("D", "\"a=b\""), ("E_64x", "0x20")]
        );
        assert_eq!(found.get("C").unwrap().line, 5);
        assert_eq!(found.value("ABSENT"), "n");
        assert_eq!(found.built_in(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let problems = |text| -> Vec<String> {
            Configuration::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            problems("CONFIG_A=y\nCONFIGA=y\nCONFIG_B\nCONFIG_C=\n"),
            [
                "line 2: \"CONFIGA=y\" is neither CONFIG_NAME=VALUE nor a comment",
                "line 3: \"CONFIG_B\" is neither CONFIG_NAME=VALUE nor a comment",
                "line 4: \"CONFIG_C=\" is neither CONFIG_NAME=VALUE nor a comment",
            ]
        );
        assert_eq!(
            problems("CONFIG_A=y\n# CONFIG_A is not set\n"),
            ["line 2: CONFIG_A=n was \"y\" in line 1 already; remove one of them"]
        );
    }
}
