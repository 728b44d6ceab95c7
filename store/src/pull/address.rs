//! Where things are asked for: origins, addresses on them, and which of them a node may speak to.

use std::fmt;

use ferrite_schema::host::is_host;

/// Longest address that a server may send us to.
const ADDRESS_MAX_BYTES: usize = 8192;

/// A server: credentials are meant for one of these, never for its neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// With TLS.
    pub secure: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Origin {
    /// The origin of `host[:port]`.
    #[must_use]
    pub fn of(host: &str, secure: bool) -> Option<Self> {
        if !is_host(host) {
            return None;
        }
        let usual = if secure { 443 } else { 80 };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
            Some(_) | None => (host, usual),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Self { secure, host: name, port })
    }

    /// `host`, and `:port` where it is not the usual one.
    #[must_use]
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

/// An address on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The server.
    pub origin: Origin,
    /// Path and query, beginning with a slash.
    pub path: String,
}

impl Address {
    /// Reads an absolute address. One that carries a user or a password is none: where they end up is not ours to say.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end)?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let clean =
            path.len() <= ADDRESS_MAX_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic());
        Some(Self { origin: Origin::of(host, secure)?, path }).filter(|_| clean)
    }

    /// Where `location`, absolute or relative, leads from here (RFC 3986, 5.2).
    #[must_use]
    pub fn join(&self, location: &str) -> Option<Self> {
        if has_scheme(location) {
            return Self::parse(location);
        }
        let scheme = if self.origin.secure { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let location = location.split('#').next().unwrap_or_default();
        let (base, base_query) = split_query(&self.path);
        let (path, query) = split_query(location);
        let (path, query) = match path {
            "" => (base.to_owned(), query.or(base_query)),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
                (without_dots(&format!("{folder}/{path}")), query)
            }
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Self::parse(&format!("{}{path}{query}", self.origin))
    }
}

/// Whether a text begins with a scheme: what follows its first slash, or stands in a query, is none.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// A path without `.` and `..`; above the top is the top.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // What ends with a dot names a folder.
    let folder = matches!(path.rsplit('/').next(), Some("." | ".."));
    format!("/{}{}", parts.join("/"), if folder && !parts.is_empty() { "/" } else { "" })
}

impl fmt::Display for Address {
    /// Without the query: it may carry a signature that grants access.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin, self.path.split('?').next().unwrap_or_default())
    }
}

/// `text` with everything but RFC 3986's unreserved characters escaped.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            // Writing to a string does not fail.
            return encoded;
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_joined() {
        let base = Address::parse("https://a.example/v2/x/blobs/1?y").unwrap();
        for (location, expected) in [
            ("https://b.example:444/z?sig=1", Some("https://b.example:444/z")),
            ("//c.example/z", Some("https://c.example/z")),
            ("/z", Some("https://a.example/z")),
            ("2", Some("https://a.example/v2/x/blobs/2")),
            ("http://a.example/z", Some("http://a.example/z")),
            ("HTTPS://B.example/Z", Some("https://b.example/Z")),
            ("../2", Some("https://a.example/v2/x/2")),
            ("./2", Some("https://a.example/v2/x/blobs/2")),
            ("../../../../2", Some("https://a.example/2")),
            ("/a/./b/../c", Some("https://a.example/a/c")),
            ("/a/..", Some("https://a.example/")),
            ("..", Some("https://a.example/v2/x/")),
            ("/a//b", Some("https://a.example/a//b")),
            ("mailto:b", None),
            ("/z:1", Some("https://a.example/z:1")),
            ("https://user:pass@b.example/", None),
            ("ftp://b.example/", None),
            ("https://b.example/a b", None),
            ("https://b.example/\r\nx", None),
        ] {
            assert_eq!(
                base.join(location).map(|to| to.to_string()).as_deref(),
                expected,
                "{location}"
            );
        }
    }

    #[test]
    fn what_stands_in_a_query_is_no_scheme_and_no_path() {
        let base = Address::parse("https://a.example/v2/x/blobs/1?y").unwrap();
        for (location, expected) in [
            ("/z?u=https://b.example/", "/z?u=https://b.example/"),
            ("2?u=a://b/../c", "/v2/x/blobs/2?u=a://b/../c"),
            ("?u=1", "/v2/x/blobs/1?u=1"),
            ("?u=https://b.example", "/v2/x/blobs/1?u=https://b.example"),
            ("", "/v2/x/blobs/1?y"),
            ("#z", "/v2/x/blobs/1?y"),
            ("/z?a#b?c", "/z?a"),
            ("/z?", "/z?"),
            ("https://a.example?u=1", "/?u=1"),
            ("https://a.example/z?u=http://b", "/z?u=http://b"),
        ] {
            let to = base.join(location).unwrap();
            assert_eq!(
                (to.origin, to.path.as_str()),
                (base.origin.clone(), expected),
                "{location}"
            );
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Address::parse(text).unwrap().origin;
        assert_eq!(origin("https://a.example/x"), origin("https://A.example:443/y"));
        assert_ne!(origin("https://a.example/"), origin("http://a.example/"));
        assert_ne!(origin("https://a.example/"), origin("https://a.example:444/"));
        assert_ne!(origin("https://a.example/"), origin("https://b.a.example/"));
        assert_eq!(origin("https://[::1]:5000/").authority(), "[::1]:5000");
    }
}
