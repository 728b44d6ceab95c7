//! What a member must know to let machines in, from the cluster's store.

use std::time::Duration;

use ferrite_cluster::keys::Key;
use ferrite_cluster::names::TokenDigest;
use ferrite_cluster::records::{
    Admission, Alive, IssuedCertificate, Machine, Record, Rest, Token, decode, encode,
};
use ferrite_cluster::store::{
    ClusterStore, Compare, Operation, Outcome, Revision, StoreProblem, Transaction,
};
use ferrite_schema::cluster::MachineId;
use ferrite_schema::join::ClusterRecord;
use tokio::sync::watch;

use crate::join::knowledge::{
    Entered, Entry, Issued, Knowledge, Known, Later, MachineRecord, TokenRecord, Unavailable,
};

/// Longest that somebody who wants in waits for the store to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who knows what a machine that joins is told.
pub(super) trait Tells: Send + Sync + std::fmt::Debug + 'static {
    /// What it is told now.
    fn told(&self) -> ClusterRecord;
}

/// The cluster as its store has it, while there is one.
#[derive(Debug)]
pub(super) struct Stored<S, T> {
    store: watch::Receiver<Option<S>>,
    tells: T,
}

impl<S: ClusterStore + std::fmt::Debug, T: Tells> Stored<S, T> {
    /// Knows what is in `store`.
    pub(super) const fn new(store: watch::Receiver<Option<S>>, tells: T) -> Self {
        Self { store, tells }
    }

    async fn store(&self) -> Result<S, Unavailable> {
        let mut store = self.store.clone();
        let there = store.wait_for(Option::is_some);
        match tokio::time::timeout(PATIENCE, there).await {
            Ok(Ok(there)) => there.clone().ok_or_else(no_member),
            Ok(Err(_)) | Err(_) => Err(no_member()),
        }
    }

    async fn looked(&self, machine: &MachineId, token: Option<&str>) -> Result<Known, Unavailable> {
        let store = self.store().await?;
        // The first read's revision: whatever changes after it is seen when something is entered.
        let (revision, admission) =
            read::<_, Admission>(&store, &Key::Admission(machine.clone())).await?;
        let (_, alive) = read::<_, Alive>(&store, &Key::Alive(machine.clone())).await?;
        // What it is made of may have changed since it was let in; what its record says, whoever is alive has said.
        let record = read::<_, Machine>(&store, &Key::Machine(machine.clone())).await;
        let hardware = record.ok().and_then(|(_, record)| record?.1.hardware);
        let token = match token.and_then(|digest| digest.parse::<TokenDigest>().ok()) {
            Some(digest) => read::<_, Token>(&store, &Key::Token(digest)).await?.1,
            None => None,
        };
        let mut revoked = Vec::new();
        for issued in admission.iter().flat_map(|(_, admission)| &admission.issued) {
            let key = Key::Revoked(issued.serial.clone());
            // Whatever is there says that it is revoked, understood or not.
            if store.get(&key.bytes()).await.map_err(unavailable)?.1.is_some() {
                revoked.push(issued.serial.clone());
            }
        }
        let forgotten = Key::Forgotten(machine.clone());
        let forgotten = store.get(&forgotten.bytes()).await.map_err(unavailable)?.1.is_some();
        Ok(Known {
            forgotten,
            token: token.map(|(_, token)| TokenRecord {
                uses_left: token.uses_left,
                until_s: token.until_s,
            }),
            machine: admission.map(|(_, admission)| MachineRecord {
                key: admission.key,
                hardware: hardware.unwrap_or(admission.hardware),
                issued: admission
                    .issued
                    .into_iter()
                    .map(|issued| Issued { serial: issued.serial, until_s: issued.until_s })
                    .collect(),
            }),
            alive: alive.map(|(_, alive)| alive.boot_id),
            revoked,
            revision: u64::try_from(revision.0).unwrap_or(0),
        })
    }

    async fn entered(&self, entry: Entry) -> Result<Entered, Unavailable> {
        let store = self.store().await?;
        let seen = Revision(i64::try_from(entry.seen).unwrap_or(i64::MAX));
        let key = Key::Admission(entry.machine.clone());
        let (_, before) = read::<_, Admission>(&store, &key).await?;
        let revision = before.as_ref().map_or(Revision::NONE, |(revision, _)| *revision);
        if revision > seen {
            return Ok(Entered::Changed);
        }
        let admission = Admission {
            key: entry.record.key,
            hardware: entry.record.hardware,
            issued: entry
                .record
                .issued
                .into_iter()
                .map(|issued| IssuedCertificate {
                    serial: issued.serial,
                    until_s: issued.until_s,
                    rest: Rest::new(),
                })
                .collect(),
            rest: before.map(|(_, before)| before.rest).unwrap_or_else(Rest::new),
        };
        let mut transaction = Transaction {
            compares: vec![Compare::mod_revision(key.bytes(), revision)],
            operations: vec![put(&key, &admission)?],
        };
        if let Some(digest) = entry.spends {
            let digest = digest.parse().map_err(|_bad| no_token())?;
            let key = Key::Token(digest);
            let Some((revision, token)) = read::<_, Token>(&store, &key).await?.1 else {
                return Ok(Entered::Changed);
            };
            if revision > seen {
                return Ok(Entered::Changed);
            }
            transaction.compares.push(Compare::mod_revision(key.bytes(), revision));
            if let Some(uses) = token.uses_left {
                let uses_left = Some(uses.saturating_sub(1));
                transaction.operations.push(put(&key, &Token { uses_left, ..token })?);
            }
        }
        match store.transact(transaction).await.map_err(unavailable)? {
            Outcome::Done(_) => Ok(Entered::Done),
            Outcome::Failed(_) => Ok(Entered::Changed),
        }
    }
}

fn no_member() -> Unavailable {
    Unavailable { why: "this node runs no etcd now".to_owned() }
}

fn no_token() -> Unavailable {
    Unavailable { why: "the token's digest is none".to_owned() }
}

fn unavailable(problem: StoreProblem) -> Unavailable {
    Unavailable { why: ferrite_schema::chain(&problem) }
}

/// A record and the revision that it has, and that of the store.
async fn read<S: ClusterStore, R: Record>(
    store: &S,
    key: &Key,
) -> Result<(Revision, Option<(Revision, R)>), Unavailable> {
    let (revision, entry) = store.get(&key.bytes()).await.map_err(unavailable)?;
    let understood = |entry: ferrite_cluster::store::Entry| {
        let record = decode(key, &entry.value)
            // Somebody whom nobody understands is not let in, and nothing of it is written over.
            .map_err(|refused| Unavailable { why: ferrite_schema::chain(&refused) })?;
        Ok((entry.mod_revision, record))
    };
    Ok((revision, entry.map(understood).transpose()?))
}

fn put<R: Record>(key: &Key, record: &R) -> Result<Operation, Unavailable> {
    let value = encode(key, record)
        .map_err(|refused| Unavailable { why: ferrite_schema::chain(&refused) })?;
    Ok(Operation::Put { key: key.bytes(), value, lease: None })
}

impl<S: ClusterStore + std::fmt::Debug, T: Tells> Knowledge for Stored<S, T> {
    fn look<'a>(&'a self, machine: &'a MachineId, token: Option<&'a str>) -> Later<'a, Known> {
        Box::pin(self.looked(machine, token))
    }

    fn enter(&self, entry: Entry) -> Later<'_, Entered> {
        Box::pin(self.entered(entry))
    }

    fn record(&self) -> Later<'_, ClusterRecord> {
        Box::pin(std::future::ready(Ok(self.tells.told())))
    }
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::store::Memory;

    use super::*;

    fn machine() -> MachineId {
        "0123456789abcdef0123456789abcdef".parse().unwrap()
    }

    fn record() -> MachineRecord {
        let issued = vec![Issued { serial: "0a".to_owned(), until_s: 9 }];
        MachineRecord { key: "k".to_owned(), hardware: "h".to_owned(), issued }
    }

    async fn write(store: &Memory, key: Key, value: &str) {
        let operation =
            Operation::Put { key: key.bytes(), value: value.as_bytes().to_vec(), lease: None };
        let write = Transaction { compares: Vec::new(), operations: vec![operation] };
        assert!(matches!(store.transact(write).await.unwrap(), Outcome::Done(_)));
    }

    #[derive(Debug)]
    struct Dev;

    impl Tells for Dev {
        fn told(&self) -> ClusterRecord {
            ClusterRecord {
                id: "a".repeat(32).parse().unwrap(),
                name: "dev".parse().unwrap(),
                epoch: 1,
                members: Vec::new(),
            }
        }
    }

    fn stored(store: &Memory) -> Stored<Memory, Dev> {
        Stored::new(watch::channel(Some(store.clone())).1, Dev)
    }

    #[tokio::test]
    async fn a_machine_spends_a_token_once_and_is_known_from_then_on() {
        let store = Memory::new();
        let token = "ab".repeat(32);
        let key = Key::Token(token.parse().unwrap());
        write(&store, key.clone(), r#"{"uses_left": 2, "from-2031": 1}"#).await;
        let stored = stored(&store);
        let known = stored.look(&machine(), Some(&token)).await.unwrap();
        assert_eq!(known.token, Some(TokenRecord { uses_left: Some(2), until_s: None }));
        assert_eq!((&known.machine, &known.alive), (&None, &None));
        let entry = Entry {
            machine: machine(),
            record: record(),
            spends: Some(token.clone()),
            seen: known.revision,
        };
        assert_eq!(stored.enter(entry.clone()).await, Ok(Entered::Done));
        // What it was decided on holds no more.
        assert_eq!(stored.enter(entry).await, Ok(Entered::Changed));
        let left = store.get(&key.bytes()).await.unwrap().1.unwrap().value;
        assert_eq!(String::from_utf8(left).unwrap(), r#"{"uses_left":1,"from-2031":1}"#);
        write(&store, Key::Revoked("0a".to_owned()), "what nobody understands").await;
        write(&store, Key::Forgotten(machine()), "what nobody understands").await;
        write(&store, Key::Alive(machine()), r#"{"boot_id": "b", "incarnation": 1}"#).await;
        let known = stored.look(&machine(), None).await.unwrap();
        assert_eq!(known.machine, Some(record()));
        assert!(known.forgotten);
        assert_eq!((known.alive.as_deref(), known.revoked), (Some("b"), vec!["0a".to_owned()]));
    }

    #[tokio::test]
    async fn a_machine_is_made_of_what_it_has_said_last() {
        let store = Memory::new();
        let stored = stored(&store);
        let entry = Entry { machine: machine(), record: record(), spends: None, seen: 0 };
        assert_eq!(stored.enter(entry).await, Ok(Entered::Done));
        let of = async || stored.look(&machine(), None).await.unwrap().machine.unwrap().hardware;
        assert_eq!(of().await, "h");
        let said = r#"{"name": "a", "addresses": [], "capacity": {"cpus_milli": 1, "memory_bytes": 1}, "level": 1, "hardware": "new card"}"#;
        write(&store, Key::Machine(machine()), said).await;
        assert_eq!(of().await, "new card");
    }

    #[tokio::test]
    async fn a_token_that_somebody_else_spends_meanwhile_lets_nobody_in_unseen() {
        let store = Memory::new();
        let token = "ab".repeat(32);
        let key = Key::Token(token.parse().unwrap());
        write(&store, key.clone(), r#"{"uses_left": 1}"#).await;
        let stored = stored(&store);
        let known = stored.look(&machine(), Some(&token)).await.unwrap();
        write(&store, key, r#"{"uses_left": 0}"#).await;
        let entry = Entry {
            machine: machine(),
            record: record(),
            spends: Some(token),
            seen: known.revision,
        };
        assert_eq!(stored.enter(entry).await, Ok(Entered::Changed));
        assert_eq!(store.get(&Key::Admission(machine()).bytes()).await.unwrap().1, None);
    }

    #[tokio::test]
    async fn a_record_that_nobody_understands_is_neither_passed_over_nor_written_over() {
        let store = Memory::new();
        write(&store, Key::Admission(machine()), "{").await;
        let stored = stored(&store);
        let why = stored.look(&machine(), None).await.unwrap_err().to_string();
        assert!(why.contains("join/machines/0123456789abcdef"), "{why}");
        let entry = Entry { machine: machine(), record: record(), spends: None, seen: 9 };
        assert!(stored.enter(entry).await.is_err());
    }
}
