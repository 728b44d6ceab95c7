//! `[env_files]`: environment that units name and do not hold themselves, such as passwords.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Lines of `NAME=VALUE`. Blank lines and those that begin with `#` mean nothing; a value is taken as it stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvFile(pub BTreeMap<String, String>);

/// Values are secrets more often than not: a log never shows them.
impl fmt::Debug for EnvFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl EnvFile {
    fn parse(text: &str) -> Result<Self, usize> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_start()));
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                let (name, value) = line.split_once('=').ok_or(number)?;
                let name = name.trim_end();
                let good = !name.is_empty() && !line.contains('\0');
                good.then(|| (name.to_owned(), value.to_owned())).ok_or(number)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Serialize for EnvFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        serializer.serialize_str(&lines.concat())
    }
}

impl<'de> Deserialize<'de> for EnvFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|number| {
            let what = format!("line {number} of it");
            D::Error::invalid_value(Unexpected::Other(&what), &"lines of NAME=VALUE")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::node_config;

    #[test]
    fn lines_are_read_and_never_shown() {
        let text = "#cloud-config\n[env_files]\ndb = \"\"\"\n# the database\nUSER=app\n\nPASSWORD= a=b \n\"\"\"\n";
        let config = node_config::parse(text).unwrap();
        let file = &config.env_files["db"];
        assert_eq!(file.0["USER"], "app");
        assert_eq!(file.0["PASSWORD"], " a=b ");
        assert_eq!(format!("{file:?}"), "{\"PASSWORD\", \"USER\"}");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let text = "#cloud-config\n[env_files]\ndb = \"A=1\\nB\"\n";
        let problem = node_config::parse(text).unwrap_err();
        assert_eq!((problem.line, problem.column), (3, 6), "{problem}");
        assert!(problem.message.contains("line 2 of it"), "{problem}");
    }
}
