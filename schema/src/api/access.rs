//! Who may come in: certificates of the cluster's users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user's certificate may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AccessRole {
    /// Everything.
    Admin,
    /// Run units, and what belongs to that.
    Operator,
    /// Look.
    Reader,
}

impl AccessRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Reader];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// A word that is no user's role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role of a user: admin, operator or reader")]
pub struct NoRole(String);

impl FromStr for AccessRole {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let found = Self::ALL.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| NoRole(text.chars().take(80).collect()))
    }
}

/// A certificate of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Access {
    /// Its serial number, as hexadecimal digits.
    pub serial: String,
    /// Whose it is.
    pub name: String,
    /// What it opens; empty where its record cannot be understood.
    pub role: String,
    /// Its last second, since the epoch; absent where that is not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<u64>,
    /// Who gave it; absent for one that the cluster did not give: it was made with the root's key, or the issuer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_s: Option<u64>,
    /// The request was made with it.
    pub own: bool,
    /// It opens nothing: why, or why its record cannot be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A certificate that is wanted for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAccess {
    /// Whose it is to be: letters, digits, `-`, `_`, `.` and `@`, at most 64.
    pub name: String,
    /// What it is to open.
    pub role: AccessRole,
    /// How long, by the clock of the member that is asked.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub lasts_s: u64,
    /// A request for a certificate (PKCS #10, PEM) with a key of ECDSA on P-256, which stays where it was made.
    pub csr: String,
}

/// A certificate that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GivenAccess {
    /// As it is listed.
    #[serde(flatten)]
    pub access: Access,
    /// The certificate, then those above it (PEM).
    pub certificate: String,
}
