//! `[secrets]`: passwords, keys and the like, which units are given as files.

use std::collections::BTreeMap;

use super::Secret;
use crate::unit::names::is_plain_name;

/// Most bytes of one secret: more than keys and certificates have, and as much as others take.
pub const SECRET_MAX_BYTES: usize = 512 << 10;

/// What is wrong with them, in one sentence that says nothing of what they hold.
pub(super) fn problem(secrets: &BTreeMap<String, Secret>) -> Option<String> {
    secrets.iter().find_map(|(name, Secret(text))| {
        if !is_plain_name(name) {
            return Some(format!(
                "secrets.{name:?}: a secret's name has letters, digits, `-`, `_` and `.`, a letter or digit first, at most 64"
            ));
        }
        if text.is_empty() {
            return Some(format!("secrets.{name}: it is empty: give it a text, or drop it"));
        }
        (text.len() > SECRET_MAX_BYTES).then(|| {
            format!("secrets.{name}: it has {} bytes, at most {SECRET_MAX_BYTES} are possible", text.len())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::SECRET_MAX_BYTES;
    use crate::node_config;

    fn check(table: &str, expected: Option<&str>) {
        let found = node_config::parse(&format!("#cloud-config\n[secrets]\n{table}\n"));
        match (found, expected) {
            (Ok(_), None) => {}
            (Err(problem), Some(words)) => {
                let problem = problem.to_string();
                assert!(problem.contains(words), "{problem}");
                assert!(!problem.contains("sesame"), "{problem}");
            }
            (found, expected) => panic!("{expected:?}, but {found:?}"),
        }
    }

    #[test]
    fn names_and_sizes_are_bounded() {
        check("db-password = \"sesame\"\n\"tls.key\" = '''\nsesame\n'''", None);
        for name in ["a/b", "../a", ".a", "", "a b", "a@b", "ä", &"a".repeat(65)] {
            check(&format!("\"{name}\" = \"sesame\""), Some("a secret's name has letters"));
        }
        check("a = \"\"", Some("secrets.a: it is empty"));
        check(&format!("a = \"{}\"", "x".repeat(SECRET_MAX_BYTES)), None);
        let long = format!("a = \"{}\"", "x".repeat(SECRET_MAX_BYTES + 1));
        check(&long, Some("at most 524288 are possible"));
        check("a = 1", Some("line 3, column 5: invalid type: integer"));
        check("a = { file = \"/etc/sesame\" }", Some("line 3, column 5: invalid type: map"));
    }

    #[test]
    fn what_they_hold_is_never_shown() {
        let config = node_config::parse("#cloud-config\n[secrets]\na = \"sesame\"\n").unwrap();
        assert_eq!(config.secrets["a"].0, "sesame");
        let shown = format!("{config:?}");
        assert!(shown.contains("\"a\": (secret)") && !shown.contains("sesame"), "{shown}");
    }
}
