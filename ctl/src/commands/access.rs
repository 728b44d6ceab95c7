//! `ferrite access`: certificates of the cluster's users. The key of a new one is made here, and is in the written file alone.

use std::io;
use std::path::{Path, PathBuf};

use ferrite_pki::{make_key, make_request};
use ferrite_schema::api::{Access, AccessRole, NewAccess};
use ferrite_schema::utc;

use crate::cli::AccessCommand;
use crate::client::Client;
use crate::cluster::problem::ClusterError;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::machine::short;
use crate::output::columns;
use crate::session::Session;

const DAY_S: u64 = 24 * 60 * 60;
/// Digits of a whole serial number, as certificates of a cluster have them.
const SERIAL_DIGITS: usize = 32;

pub(super) fn run(command: &AccessCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = session.context()?;
    if context.cluster.is_none() {
        return Err(Failure::NoCluster { context: context.name });
    }
    let client = Client::new(&context)?;
    match command {
        AccessCommand::List => {
            let all = session.wait_for(async { Ok(client.accesses().await?) })?;
            session.show(&all, |all| list(all))
        }
        AccessCommand::Grant { name, role, days, file } => {
            let path = file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
            grant((&context, &client), (name, *role, *days), &path, session)
        }
        AccessCommand::Revoke { what } => {
            let all = session.wait_for(async { Ok(client.accesses().await?) })?;
            for serial in chosen(&all, what)? {
                session.wait_for(async { Ok(client.revoke_access(&serial).await?) })?;
                session.say(&format!("certificate {serial} opens nothing any more"))?;
            }
            Ok(())
        }
    }
}

fn grant(
    (context, client): (&Context, &Client),
    (name, role, days): (&str, AccessRole, u32),
    path: &Path,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    // Before anything is given that would then have no place.
    if path.symlink_metadata().is_ok() {
        return Err(ClusterError::AccessFile {
            path: path.to_owned(),
            source: io::ErrorKind::AlreadyExists.into(),
        }
        .into());
    }
    let made = make_key().and_then(|key| Ok((make_request(&key)?, key)));
    let (csr, key) = made.map_err(|source| ClusterError::AccessKey { source })?;
    let lasts_s = u64::from(days).saturating_mul(DAY_S);
    let new = NewAccess { name: name.to_owned(), role, lasts_s, csr };
    let given = session.wait_for(async { Ok(client.grant_access(&new).await?) })?;
    let context = Context { certificate: given.certificate, key, ..context.clone() };
    let written = context::write_new(path, &context);
    written.map_err(|source| ClusterError::AccessFile { path: path.to_owned(), source })?;
    session.show(&given.access, |access| {
        format!(
            "{} is the access of {} as {} until {}: whoever has the file has it, so hand it over unseen; `ferrite context add {}` uses it",
            path.display(),
            access.name,
            access.role,
            until(access),
            path.display(),
        )
    })
}

fn until(access: &Access) -> String {
    access.until_s.map_or_else(|| "?".to_owned(), utc::text)
}

/// The serial numbers that are meant: all of a name that open something still, or the one that begins so, or one that nobody lists.
fn chosen(all: &[Access], what: &str) -> Result<Vec<String>, ClusterError> {
    let is_revoked =
        |one: &Access| one.problem.as_deref().is_some_and(|problem| problem.starts_with("revoked"));
    let of_name = all.iter().filter(|one| one.name == what && !is_revoked(one));
    let of_name: Vec<String> = of_name.map(|one| one.serial.clone()).collect();
    if !of_name.is_empty() {
        return Ok(of_name);
    }
    let begins = all.iter().filter(|one| !what.is_empty() && one.serial.starts_with(what));
    let begins: Vec<&Access> = begins.collect();
    let is_whole = what.len() == SERIAL_DIGITS
        && what.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match begins[..] {
        [one] => Ok(vec![one.serial.clone()]),
        [] if is_whole => Ok(vec![what.to_owned()]),
        _ => Err(ClusterError::WhichAccess { what: what.to_owned(), found: begins.len() }),
    }
}

fn list(all: &[Access]) -> String {
    let row = |access: &Access| {
        let none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let state = match (&access.problem, access.own) {
            (Some(problem), _) => problem.clone(),
            (None, true) => "good, yours".to_owned(),
            (None, false) => "good".to_owned(),
        };
        [
            none(&access.name),
            none(&access.role),
            short(&access.serial),
            until(access),
            access.by.clone().unwrap_or_else(|| "the root's or the issuer's key".to_owned()),
            state,
        ]
    };
    let rows: Vec<[String; 6]> = all.iter().map(row).collect();
    columns(["NAME", "ROLE", "SERIAL", "UNTIL", "GIVEN BY", "STATE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(name: &str, digit: &str) -> Access {
        Access {
            serial: digit.repeat(32),
            name: name.to_owned(),
            role: "reader".to_owned(),
            until_s: Some(1_795_000_000),
            by: Some("operator".to_owned()),
            given_s: Some(1),
            own: false,
            problem: None,
        }
    }

    #[test]
    fn certificates_are_listed_with_what_matters() {
        let own =
            Access { by: None, own: true, role: "admin".to_owned(), ..access("operator", "a") };
        let gone = Access { problem: Some("revoked by ann".to_owned()), ..access("bob", "b") };
        let bad = Access { role: String::new(), until_s: None, ..access("", "c") };
        assert_eq!(
            list(&[own, gone, bad]),
            "NAME      ROLE    SERIAL    UNTIL                    GIVEN BY                        STATE\n\
             operator  admin   aaaaaaaa  2026-11-18 11:06:40 UTC  the root's or the issuer's key  good, yours\n\
             bob       reader  bbbbbbbb  2026-11-18 11:06:40 UTC  operator                        revoked by ann\n\
             -         -       cccccccc  ?                        operator                        good"
        );
    }

    #[test]
    fn whose_certificates_are_revoked_is_never_guessed() {
        let gone = Access { problem: Some("revoked".to_owned()), ..access("bob", "d") };
        let all = [access("ann", "a"), access("ann", "b"), access("bob", "c"), gone];
        let serials = |digits: &[&str]| digits.iter().map(|one| one.repeat(32)).collect::<Vec<_>>();
        assert_eq!(chosen(&all, "ann").unwrap(), serials(&["a", "b"]));
        assert_eq!(
            chosen(&all, "bob").unwrap(),
            serials(&["c"]),
            "the other one is revoked already"
        );
        assert_eq!(chosen(&all, "bb").unwrap(), serials(&["b"]));
        // One that the founder made is in no list.
        assert_eq!(chosen(&all, &"e".repeat(32)).unwrap(), serials(&["e"]));
        for bad in ["", "carl", "e", &"E".repeat(32)] {
            let said = chosen(&all, bad).unwrap_err().to_string();
            assert!(said.contains("none is called"), "{bad:?}: {said}");
        }
        let alike = [access("x", "a"), Access { serial: "ab".repeat(16), ..access("y", "a") }];
        assert!(chosen(&alike, "a").unwrap_err().to_string().contains("2 begin so"));
    }
}
