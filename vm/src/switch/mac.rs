//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read Ethernet address {text:?}: it is not like 52:54:00:12:34:56")]
pub struct ReadMac {
    text: String,
}

impl Mac {
    /// It names a group of stations, or all of them.
    #[must_use]
    pub fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }

    /// Lower half of an IPv6 address that a station makes of this address (modified EUI-64, RFC 4291 appendix A).
    #[must_use]
    pub fn interface_identifier(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ReadMac;

    fn from_str(text: &str) -> Result<Self, ReadMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| ReadMac { text: text.to_owned() })?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(ReadMac { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = ReadMac;

    fn try_from(text: String) -> Result<Self, ReadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written_and_rubbish_is_refused() {
        let mac = Mac([0x52, 0x54, 0, 1, 0xfe, 0x0a]);
        assert_eq!(mac.to_string(), "52:54:00:01:fe:0a");
        assert_eq!("52:54:00:01:FE:0a".parse(), Ok(mac));
        let rubbish = [
            "",
            "52",
            "52:54:00:01:fe",
            "52:54:00:01:fe:0a:00",
            "52:54:00:01:fe:g0",
            "5:2:0:1:2:3",
        ];
        for text in rubbish {
            assert_eq!(text.parse::<Mac>(), Err(ReadMac { text: text.to_owned() }));
        }
    }

    #[test]
    fn groups_are_told_from_stations() {
        assert!(Mac([0xff; 6]).is_group());
        assert!(Mac([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!Mac([0x52, 0x54, 0, 0, 0, 1]).is_group());
    }

    #[test]
    fn the_interface_identifier_is_the_rfcs_example() {
        // RFC 4291, appendix A: 34-56-78-9A-BC-DE becomes 36-56-78-FF-FE-9A-BC-DE.
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(mac.interface_identifier(), [0x36, 0x56, 0x78, 0xff, 0xfe, 0x9a, 0xbc, 0xde]);
    }
}
