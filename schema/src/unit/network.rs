//! Whose network a container has: `"bridge"`, `"host"`, `"none"`, or `"unit:NAME"`.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bad_value::{BadValue, bad};
use super::definition::Unit;
use super::names::is_unit_name;
use super::template;

/// What is before the name of a unit whose network is shared.
const OF_UNIT: &str = "unit:";
/// For who writes another word.
const WORDS: [&str; 4] = ["bridge", "host", "none", "unit:NAME"];

/// Whose network a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// Its own, connected to the node's bridge.
    #[default]
    Bridge,
    /// The node's.
    Host,
    /// Its own, connected to nothing.
    None,
    /// That of another unit of the node, by its name.
    Unit(String),
}

impl NetworkMode {
    /// The unit whose network it is.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        match self {
            Self::Unit(name) => Some(name),
            Self::Bridge | Self::Host | Self::None => None,
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => out.write_str("bridge"),
            Self::Host => out.write_str("host"),
            Self::None => out.write_str("none"),
            Self::Unit(name) => write!(out, "{OF_UNIT}{name}"),
        }
    }
}

impl Serialize for NetworkMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NetworkMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix(OF_UNIT) {
                // What a name is, is checked with the rest: in a template it is not one yet.
                Some(name) => Ok(Self::Unit(name.to_owned())),
                None => Err(D::Error::unknown_variant(other, &WORDS)),
            },
        }
    }
}

/// What a unit says beside another's network, which is that one's to say.
pub(super) fn check(unit: &Unit) -> Result<(), BadValue> {
    let Some(name) = unit.network.unit() else { return Ok(()) };
    if !is_unit_name(name) {
        return bad(["network"], "name the unit whose network it shares: `network = \"unit:web\"`");
    }
    if name == unit.name {
        return bad(["network"], "a unit cannot share its own network: name another one");
    }
    if template::is_template(name) {
        let why = format!("`{name}` is a template: name an instance, such as `unit:{name}1`");
        return bad(["network"], why);
    }
    let of_net = unit.sysctls.keys().find(|name| name.starts_with("net."));
    for (key, given) in [
        ("ports", !unit.ports.is_empty()),
        ("metadata_service", unit.metadata_service),
        ("hostname", unit.hostname.is_some()),
    ] {
        if given {
            return bad([key], of_other(name));
        }
    }
    match of_net {
        Some(parameter) => bad(["sysctls", parameter], of_other(name)),
        None => Ok(()),
    }
}

fn of_other(name: &str) -> String {
    format!(
        "it shares the network of {name}, which is asked for it: say it there, and drop it here"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::parse;

    fn unit(more: &str) -> Result<Unit, String> {
        let text = format!("name = \"proxy\"\nimage = \"i\"\n{more}");
        parse(&text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_network_is_a_word_or_another_units() {
        for (word, mode) in [
            ("bridge", NetworkMode::Bridge),
            ("host", NetworkMode::Host),
            ("none", NetworkMode::None),
            ("unit:web", NetworkMode::Unit("web".to_owned())),
            ("unit:web@1", NetworkMode::Unit("web@1".to_owned())),
        ] {
            let unit = unit(&format!("network = \"{word}\"")).unwrap();
            assert_eq!(unit.network, mode);
            let written = toml::to_string(&unit).unwrap();
            assert!(written.contains(&format!("network = \"{word}\"")), "{written}");
            assert_eq!(parse(&written).unwrap(), unit);
        }
        assert_eq!(unit("").unwrap().network, NetworkMode::Bridge);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let of_web = "it shares the network of web";
        for (text, words) in [
            (
                "network = \"brige\"",
                "line 3, column 11: unknown variant `brige`; did you mean `bridge`?",
            ),
            // What other engines call it.
            ("network = \"container:web\"", "unknown variant `container:web`"),
            ("network = \"service:web\"", "expected one of `bridge`, `host`, `none`, `unit:NAME`"),
            ("network = \"unit:\"", "line 3, column 1: network: name the unit"),
            ("network = \"unit:a/b\"", "network: name the unit"),
            ("network = \"unit:+etcd\"", "network: name the unit"),
            ("network = \"unit:proxy\"", "cannot share its own network"),
            (
                "network = \"unit:web@\"",
                "`web@` is a template: name an instance, such as `unit:web@1`",
            ),
            ("network = \"unit:web\"\nports = [{ host = 80 }]", of_web),
            ("network = \"unit:web\"\nhostname = \"x\"", of_web),
            ("network = \"unit:web\"\nmetadata_service = true", of_web),
            ("network = \"unit:web\"\nsysctls = { \"net.core.somaxconn\" = \"1\" }", of_web),
        ] {
            let problem = unit(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
        unit("network = \"unit:web\"\nsysctls = { \"kernel.shmmax\" = \"1\" }").unwrap();
        unit("network = \"unit:web\"\nhealth = { tcp = 80 }").unwrap();
    }

    #[test]
    fn an_instance_shares_the_network_of_its_fellow() {
        let template = "name = \"proxy@\"\nimage = \"i\"\nnetwork = \"unit:web@%i\"";
        let instance = crate::unit::instance(&parse(template).unwrap(), "proxy@3").unwrap();
        assert_eq!(instance.network.unit(), Some("web@3"));
        let own = "name = \"proxy@\"\nimage = \"i\"\nnetwork = \"unit:%n\"";
        assert!(parse(own).unwrap_err().to_string().contains("its own network"));
    }
}
