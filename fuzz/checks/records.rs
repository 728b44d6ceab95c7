//! What is stored of a cluster: refused with its key, or understood, and written so that it is understood alike, with whatever
//! a newer version has added.

use std::fmt::Debug;

use ferrite_cluster::keys::Key;
use ferrite_cluster::names::SpecHash;
use ferrite_cluster::records::{
    Access, Admission, Alive, Assignment, Cluster, Forgotten, Leader, Machine, Net, Record,
    Revocation, Spec, State, Token, Unit, decode, encode,
};
use serde_json::Value;

/// A field that this version does not know.
const NEWER: &str = "from-2031";

/// Reads what follows the first byte as the kind of record that it names.
pub(crate) fn check(data: &[u8]) {
    let Some((kind, value)) = data.split_first() else { return };
    let id = "0123456789abcdef".repeat(2);
    let (id, digest) = (id.parse().expect("an ID"), "ab".repeat(32));
    match kind % 14 {
        0 => record::<Cluster>(&Key::Cluster, value),
        1 => record::<Leader>(&Key::Leader, value),
        2 => record::<Machine>(&Key::Machine(id), value),
        3 => record::<Alive>(&Key::Alive(id), value),
        4 => record::<Unit>(&Key::Unit("web".parse().expect("a name")), value),
        5 => record::<Spec>(&Key::Spec(SpecHash::of(value)), value),
        6 => record::<Assignment>(&Key::Assign(id), value),
        7 => record::<State>(&Key::State(id), value),
        8 => record::<Net>(&Key::Net(1), value),
        9 => record::<Token>(&Key::Token(digest.parse().expect("a digest")), value),
        10 => record::<Admission>(&Key::Admission(id), value),
        11 => record::<Revocation>(&Key::Revoked("0a".to_owned()), value),
        12 => record::<Access>(&Key::Access("0a".to_owned()), value),
        _ => record::<Forgotten>(&Key::Forgotten(id), value),
    }
}

fn record<R: Record + PartialEq + Debug>(key: &Key, value: &[u8]) {
    let understood: R = match decode(key, value) {
        Ok(understood) => understood,
        Err(refused) => {
            assert_eq!(&refused.key, key);
            return sentence(&refused.field, &refused.why);
        }
    };
    alike(key, &understood);
    if let Key::Spec(_) = key {
        // Nobody rewrites it: its key is its hash.
        return;
    }
    let mut newer: Value = serde_json::from_slice(value).expect("JSON, as it was understood");
    let Some(fields) = newer.as_object_mut() else { panic!("a record is an object") };
    let added = serde_json::json!({"x": [1]});
    fields.insert(NEWER.to_owned(), added.clone());
    let text = serde_json::to_vec(&newer).expect("JSON");
    // With it the record may be longer than one may be.
    if let Ok(newer) = decode::<R>(key, &text) {
        let again = encode(key, &newer).expect("it is written");
        let again: Value = serde_json::from_slice(&again).expect("JSON");
        assert_eq!(again[NEWER], added);
    }
}

/// Fit for a log, whatever was refused.
fn sentence(field: &str, why: &str) {
    for text in [field, why] {
        assert!(!text.is_empty() && text.len() < 2000, "{} bytes", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

fn alike<R: Record + PartialEq + Debug>(key: &Key, understood: &R) {
    // What is written may be longer than what was read: `1e5` is `100000.0`.
    let Ok(again) = encode(key, understood) else { return };
    let key = if let Key::Spec(_) = key { Key::Spec(SpecHash::of(&again)) } else { key.clone() };
    let text = String::from_utf8_lossy(&again);
    assert_eq!(decode::<R>(&key, &again).as_ref(), Ok(understood), "{text}");
}
