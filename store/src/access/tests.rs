use std::fs;

use ferrite_schema::node_config::{SignaturePolicy, SignatureRule};

use super::*;
use crate::documents::MANIFEST_TYPES;

struct Place {
    _folder: tempfile::TempDir,
    images: ImageStore,
    layers: Layers,
}

/// A node with an image of one layer, kept as `team/app:1` unless `change` says otherwise.
fn place(change: impl FnOnce(&mut Record)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let images = ImageStore::open(&folder.path().join("images"));
    let layers = Layers::open(&folder.path().join("layers"));
    let tar = vec![0; 1024];
    let keep = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        images.write_document(&digest, bytes).unwrap();
        digest
    };
    let layer = keep(&tar);
    let stack = Stack::new(vec![layer]);
    layers.ensure(&stack.steps().next().unwrap(), &images.blob(&layer)).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
    );
    let config_digest = keep(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"digest":"{config_digest}","size":{}}},
        "layers":[{{"digest":"{layer}","size":{}}}]}}"#,
        MANIFEST_TYPES[0],
        config.len(),
        tar.len()
    );
    let mut record = Record {
        name: "team/app:1".to_owned(),
        manifest: keep(manifest.as_bytes()).to_string(),
        config: config_digest.to_string(),
        layers: vec![layer.to_string()],
        blobs: vec![layer.to_string()],
        ..crate::store::empty_record()
    };
    change(&mut record);
    images.put(&record).unwrap();
    Place { _folder: folder, images, layers }
}

fn use_it(place: &Place, rules: &[(&str, SignaturePolicy)], name: &str) -> Result<(), Unusable> {
    let rule = |(name, policy): &(&str, SignaturePolicy)| SignatureRule {
        name: (*name).to_owned(),
        policy: *policy,
        keys: Vec::new(),
    };
    let policy = Policy::new(rules.iter().map(rule).collect());
    open(&place.images, &policy, name)?.folders(&place.layers).map(drop)
}

fn says(result: Result<(), Unusable>, expected: &str, is_final: bool) {
    let error = result.unwrap_err();
    let text = ferrite_schema::chain(&error);
    assert!(text.contains(expected), "{text}");
    assert_eq!(error.is_final(), is_final, "{text}");
}

#[test]
fn rules_hold_for_what_is_here_however_it_is_called() {
    use SignaturePolicy::{Accept, Reject, Signed};
    let place = place(|_| ());
    let record = place.images.get("team/app:1").unwrap().unwrap();
    let pinned = format!("team/app@{}", record.manifest);
    place.images.put(&Record { name: pinned.clone(), ..record }).unwrap();
    let spelled = ["team/app:1", "docker.io/team/app:1", "Index.docker.io/team/app:1", &pinned];
    for name in spelled {
        use_it(&place, &[], name).unwrap();
        use_it(&place, &[("docker.io/team/app", Accept), ("*", Reject)], name).unwrap();
        for pattern in ["docker.io/team/*", "*", "docker.io/team/app"] {
            says(use_it(&place, &[(pattern, Reject)], name), "rejects it", true);
            let wanted = use_it(&place, &[(pattern, Signed), ("*", Accept)], name);
            says(wanted, "wants a signature, and none was asked for", false);
        }
    }
    says(use_it(&place, &[("*", Reject)], "not/here"), "rejects it", true);
    says(use_it(&place, &[], "not/here"), "is not on this node", false);
    says(use_it(&place, &[], "a:"), "read image reference", true);
}

#[test]
fn a_pinned_name_means_its_digest_and_no_other() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    let name = format!("team/app@{zeros}");
    // As `import --name a@sha256:000…0` once made it.
    let wrong = place(|record| record.name.clone_from(&name));
    says(use_it(&wrong, &[], &name), "has the digest sha256:", false);
    // The index that led to the manifest is a name for it.
    let right = place(|record| {
        record.name.clone_from(&name);
        record.indexes = vec![zeros.clone()];
    });
    use_it(&right, &[], &name).unwrap();
}

#[test]
fn a_record_is_for_the_name_that_it_is_kept_under() {
    let place = place(|_| ());
    let record = place.images.get("team/app:1").unwrap().unwrap();
    let other = Record { key: Some("docker.io/team/other:1".to_owned()), ..record };
    place.images.put(&other).unwrap();
    says(use_it(&place, &[], "team/app:1"), "calls itself docker.io/team/other:1", false);
}

#[test]
fn every_part_is_looked_at() {
    let fresh = || {
        let place = place(|_| ());
        let record = place.images.get("team/app:1").unwrap().unwrap();
        (place, record)
    };
    for (what, digest_of) in [
        ("manifest", (|record: &Record| record.manifest.clone()) as fn(&Record) -> String),
        ("configuration", |record| record.config.clone()),
    ] {
        let (place, record) = fresh();
        let path = place.images.blob(&digest_of(&record).parse().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        says(use_it(&place, &[], "team/app:1"), what, false);
        fs::remove_file(&path).unwrap();
        says(use_it(&place, &[], "team/app:1"), what, false);
    }
    let (place, record) = fresh();
    ferrite_files::removal::remove(&place.layers.path(&record.layers[0].parse().unwrap())).unwrap();
    says(use_it(&place, &[], "team/app:1"), &record.layers[0], false);
    says(use_it(&place, &[], "team/app:1"), "pull or import the image again", false);
    let (place, record) = fresh();
    let other = Record { layers: vec![record.config.clone()], ..record };
    place.images.put(&other).unwrap();
    says(use_it(&place, &[], "team/app:1"), "different layers", false);
}
