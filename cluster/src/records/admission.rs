//! Who may come in, who has, and what opens nothing any more.

use serde::{Deserialize, Serialize};

use super::record::{Record, Rest, Wrong, word};

/// What lets machines in, under its digest: the token itself is nowhere in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Machines that it still lets in; any number where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// Its last second, since the epoch; it has no end where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<u64>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Token {
    const MAX_BYTES: usize = 1 << 10;
}

/// A machine that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Digest of its key.
    pub key: String,
    /// Digest of what it was made of when it last asked.
    pub hardware: String,
    /// Its certificates that are still good.
    pub issued: Vec<IssuedCertificate>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Admission {
    const MAX_BYTES: usize = 16 << 10;

    fn check(&self) -> Result<(), Wrong> {
        word("key", &self.key)?;
        word("hardware", &self.hardware)
    }
}

/// A certificate of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Serial number.
    pub serial: String,
    /// Its last second, since the epoch.
    pub until_s: u64,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A certificate that was given to a person. It stays until nobody can use it any more, revoked or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whose it is.
    pub name: String,
    /// What it opens: a role's word.
    pub role: String,
    /// Its last second, since the epoch.
    pub until_s: u64,
    /// Who gave it: the name in the certificate with which that was asked.
    pub by: String,
    /// When, in seconds since the epoch.
    pub given_s: u64,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Access {
    const MAX_BYTES: usize = 1 << 10;

    fn check(&self) -> Result<(), Wrong> {
        word("name", &self.name)?;
        word("role", &self.role)?;
        word("by", &self.by)
    }
}

/// A machine that was forgotten: it does not come back with what it has on its disk, whoever certifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Its name for people.
    pub name: String,
    /// Who forgot it: the name in the certificate with which that was asked.
    pub by: String,
    /// When, in seconds since the epoch.
    pub at_s: u64,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Forgotten {
    const MAX_BYTES: usize = 1 << 10;
}

/// A certificate that opens nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Its last second, since the epoch: afterwards nobody need remember it.
    pub until_s: u64,
    /// Who revoked it: the name in the certificate with which that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_s: Option<u64>,
    /// What newer versions wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Record for Revocation {
    const MAX_BYTES: usize = 1 << 10;
}
