//! What a registry wants to know before it answers: `WWW-Authenticate`, and the token service it names.

use super::address::{Address, percent_encoded};

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token of the service at this address.
    Bearer {
        /// The token service.
        realm: String,
        /// What it is to know the registry by.
        service: Option<String>,
        /// What the token is for.
        scope: Option<String>,
    },
}

/// Reads a header; of several challenges the one with a token is taken.
#[must_use]
pub fn parse(header: &str) -> Option<Challenge> {
    let lower = header.to_ascii_lowercase();
    if let Some(at) = lower.find("bearer ") {
        let words = header.get(at + "bearer ".len()..)?;
        let parameters = parameters(words);
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        return Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        });
    }
    lower.trim_start().starts_with("basic").then_some(Challenge::Basic)
}

/// `key="value", key=value`; values may hold commas and escaped quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_ascii_lowercase();
        let mut value = String::new();
        let mut end = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (at, character) in quoted.char_indices() {
                match character {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => {
                        end = at + 2;
                        break;
                    }
                    other => {
                        escaped = false;
                        value.push(other);
                    }
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value.push_str(after.get(..end).unwrap_or_default().trim());
        }
        found.push((key, value));
        rest = after.get(end..).unwrap_or_default();
    }
    found
}

/// Where the token is asked for. `None` where the realm is no address.
#[must_use]
pub fn token_address(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Address> {
    let mut text = realm.to_owned();
    let mut joint = if realm.contains('?') { '&' } else { '?' };
    // A challenge names several scopes with spaces between them.
    let scopes = scope.into_iter().flat_map(str::split_whitespace).map(|scope| ("scope", scope));
    for (name, value) in scopes.chain(service.map(|service| ("service", service))) {
        text.push_str(&format!("{joint}{name}={}", percent_encoded(value)));
        joint = '&';
    }
    Address::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.example/token",
                    Some("reg"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (
                r#"bearer Realm=https://x/y , service="a\"b""#,
                Some(bearer("https://x/y", Some("a\"b"), None)),
            ),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            (r#"Basic realm="x", Bearer realm="https://t""#, Some(bearer("https://t", None, None))),
            ("Negotiate", None),
            ("Bearer", None),
            ("Bearer service=x", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn scopes_cannot_add_parameters() {
        let path = |realm, service, scope| token_address(realm, service, scope).unwrap().path;
        assert_eq!(
            path("https://t/x", Some("a&b=c"), Some("repository:a:pull&x=y")),
            "/x?scope=repository%3Aa%3Apull%26x%3Dy&service=a%26b%3Dc"
        );
        assert_eq!(path("https://t/x?y=1", Some("a"), None), "/x?y=1&service=a");
        assert_eq!(path("https://t/x", None, None), "/x");
        assert_eq!(path("https://t/x", None, Some("a:b  c:d")), "/x?scope=a%3Ab&scope=c%3Ad");
    }
}
