//! Indexes, manifests and references: what is accepted is one thing alone, and means the same when it is read again.

use ferrite_schema::reference::Reference;
use ferrite_store::documents::{self, Document, INDEX_TYPES, MANIFEST_TYPES};
use ferrite_store::pull::{address::Address, challenge};

/// Reads `data` as everything that a registry sends.
pub(crate) fn check(data: &[u8]) {
    let as_index = documents::parse(data, Some(INDEX_TYPES[0]));
    let as_manifest = documents::parse(data, Some(MANIFEST_TYPES[0]));
    assert!(
        !(matches!(as_index, Ok(Document::Index(_)))
            && matches!(as_manifest, Ok(Document::Manifest(_)))),
        "taken for both"
    );
    let Ok(text) = std::str::from_utf8(data) else { return };
    drop(challenge::parse(text));
    if let Ok(reference) = text.parse::<Reference>() {
        let again = reference.to_string();
        assert_eq!(again.parse::<Reference>().as_ref(), Ok(&reference), "{again}");
        let parts = reference.repository().split('/');
        assert!(parts.into_iter().all(|part| !part.is_empty() && part != ".."), "{again}");
    }
    if let Some(base) = Address::parse("https://a.example/v2/x")
        && let Some(next) = base.join(text)
    {
        assert!(next.path.starts_with('/'), "{next}");
        assert!(next.path.bytes().all(|byte| byte.is_ascii_graphic()), "{next}");
    }
}
