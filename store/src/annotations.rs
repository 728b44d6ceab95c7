//! Annotations of other people's documents, as far as they mean something here.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Annotation that holds an image's name in the index of an archive.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same, as containerd and Docker write it: with registry and repository.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Annotation of a signature's payload with the signature, base64; cosign's.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The annotations that are taken in.
const KNOWN_ANNOTATIONS: [&str; 3] = [REF_NAME, IMAGE_NAME, SIGNATURE];

/// Annotations of a descriptor.
pub type Annotations = BTreeMap<String, String>;

/// The annotations that mean something here; others are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known(pub(super) Annotations);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Known;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
                let mut known = Annotations::new();
                while let Some(key) = map.next_key::<String>()? {
                    if KNOWN_ANNOTATIONS.contains(&key.as_str()) {
                        if let Some(value) = map.next_value::<Option<String>>()? {
                            known.insert(key, value);
                        }
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Known(known))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
