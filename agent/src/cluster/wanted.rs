//! Images that units of the cluster run, or are to run when somebody starts them, as far as this machine knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferrite_cluster::keys::{Key, PREFIX};
use ferrite_cluster::names::SpecHash;
use ferrite_cluster::records::{Spec, Unit, decode};
use ferrite_cluster::store::{ClusterStore, Listing};
use ferrite_store::elsewhere::{Elsewhere, Wanted};
use tokio::time::timeout;

use super::Cluster;

/// How long the store may take to say.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// What the cluster's store says. Members alone can ask it, and it is theirs to keep what was imported: that is on every machine
/// which was there.
pub(crate) async fn wanted(cluster: Option<&Cluster>) -> Elsewhere {
    let Some(cluster) = cluster else { return Elsewhere::Nobody };
    let Some(store) = cluster.store() else {
        let is_member = cluster.members().iter().any(|one| one.machine == *cluster.machine());
        return if is_member { Elsewhere::Unknown } else { Elsewhere::Nobody };
    };
    match timeout(SAYS_WITHIN, store.list(PREFIX.as_bytes())).await {
        Ok(Ok(listing)) => all(&listing).map_or(Elsewhere::Unknown, Elsewhere::Known),
        Ok(Err(_)) | Err(_) => Elsewhere::Unknown,
    }
}

/// What all units' versions name; nothing where one of them cannot be understood.
fn all(listing: &Listing) -> Option<BTreeSet<Wanted>> {
    let (mut units, mut specs) = (Vec::new(), BTreeMap::new());
    for entry in &listing.entries {
        let Ok(key) = Key::parse(&entry.key) else { continue };
        match &key {
            Key::Unit(_) => units.push(decode::<Unit>(&key, &entry.value).ok()?),
            Key::Spec(hash) => drop(specs.insert(hash.clone(), decode::<Spec>(&key, &entry.value))),
            _ => {}
        }
    }
    let versions: BTreeSet<SpecHash> =
        units.into_iter().flat_map(|unit| [Some(unit.spec), unit.stable]).flatten().collect();
    let wanted = |hash: &SpecHash| {
        let spec = specs.get(hash)?.as_ref().ok()?;
        let name = spec.unit.get("image")?.as_str()?.to_owned();
        Some(Wanted { name, digest: spec.image.clone() })
    };
    versions.iter().map(wanted).collect()
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::records::{Placement, Rest, Target, encode};
    use ferrite_cluster::store::{Memory, Operation, Transaction};
    use serde_json::json;

    use super::*;

    async fn put(store: &Memory, key: &Key, value: Vec<u8>) {
        let operations = vec![Operation::Put { key: key.bytes(), value, lease: None }];
        store.transact(Transaction { compares: Vec::new(), operations }).await.unwrap();
    }

    #[tokio::test]
    async fn versions_that_units_have_are_wanted_and_older_ones_are_not() {
        let store = Memory::new();
        let spec = async |image: &str, digest: Option<&str>| {
            let spec = Spec {
                level: 1,
                unit: json!({"name": "web", "image": image}),
                image: digest.map(str::to_owned),
                placement: Placement::default(),
                rest: Rest::new(),
            };
            let value = encode(&Key::Spec(SpecHash::of(b"")), &spec).unwrap();
            let hash = SpecHash::of(&value);
            put(&store, &Key::Spec(hash.clone()), value).await;
            hash
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        let (now, stable) = (spec("web:2", Some(&digest)).await, spec("web:1", None).await);
        spec("web:0", None).await;
        let unit = |spec: &SpecHash| Unit {
            target: Target::Inactive,
            spec: spec.clone(),
            stable: Some(stable.clone()),
            replicas: None,
            rest: Rest::new(),
        };
        let key = Key::Unit("web".parse().unwrap());
        put(&store, &key, encode(&key, &unit(&now)).unwrap()).await;
        let wanted = |name: &str, digest: Option<&String>| Wanted {
            name: name.to_owned(),
            digest: digest.cloned(),
        };
        let listed = async || all(&store.list(PREFIX.as_bytes()).await.unwrap());
        let expected = [wanted("web:1", None), wanted("web:2", Some(&digest))].into();
        assert_eq!(listed().await, Some(expected));
        // A version that is not there, and a unit that is not understood: not known is not nobody.
        put(&store, &key, encode(&key, &unit(&SpecHash::of(b"gone"))).unwrap()).await;
        assert_eq!(listed().await, None);
        put(&store, &key, b"{".to_vec()).await;
        assert_eq!(listed().await, None);
        assert_eq!(wanted_of_nobody().await, Elsewhere::Nobody);
    }

    async fn wanted_of_nobody() -> Elsewhere {
        super::wanted(None).await
    }
}
