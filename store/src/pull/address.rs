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
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end)?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let clean =
            path.len() <= ADDRESS_MAX_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic());
        Some(Self { origin: Origin::of(host, secure)?, path }).filter(|_| clean)
    }

    /// Where `location`, absolute or relative, leads from here.
    #[must_use]
    pub fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        let scheme = if self.origin.secure { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let base = self.path.split('?').next().unwrap_or_default();
        let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            format!("{folder}/{location}")
        };
        Self::parse(&format!("{}{path}", self.origin))
    }
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
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Address::parse(text).unwrap().origin;
        assert_eq!(origin("https://a.example/x"), origin("https://A.example:443/y"));
        assert_ne!(origin("https://a.example/"), origin("http://a.example/"));
        assert_ne!(origin("https://a.example/"), origin("https://a.example:444/"));
        assert_ne!(origin("https://a.example/"), origin("https://b.a.example/"));
        assert_eq!(origin("https://[::1]:5000/").authority(), "[::1]:5000");
    }
}
