//! What other machines need of this one's images: one that was imported here is perhaps nowhere else, and no registry has it.

use std::collections::BTreeSet;

use crate::store::{ImageStore, Record};

/// What is needed elsewhere, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// There are no others.
    #[default]
    Nobody,
    /// These images.
    Known(BTreeSet<Wanted>),
    /// There are others, and what they need is not known now.
    Unknown,
}

/// An image that a unit somewhere runs, or is to run when somebody starts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// As the unit names it.
    pub name: String,
    /// What that was said to mean.
    pub digest: Option<String>,
}

impl Elsewhere {
    /// Whether the image was imported here, and may be needed elsewhere.
    #[must_use]
    pub fn may_need(&self, images: &ImageStore, record: &Record) -> bool {
        record.imported
            && match self {
                Self::Nobody => false,
                Self::Known(all) => all.iter().any(|wanted| wanted.is(images, record)),
                Self::Unknown => true,
            }
    }
}

impl Wanted {
    fn is(&self, images: &ImageStore, record: &Record) -> bool {
        if let Some(digest) = &self.digest {
            return record.is_at(digest);
        }
        if let Some((begin, _)) = self.name.split_once('%') {
            // Each instance has its own, of which only the beginning is known.
            return record.name.starts_with(begin);
        }
        let reference = images.reference(&self.name).ok();
        match reference.as_ref().and_then(|reference| reference.digest()) {
            Some(digest) => record.is_at(digest),
            None => images.key(&self.name) == images.key(&record.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::empty_record;

    #[test]
    fn only_what_was_imported_and_is_wanted_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let images = ImageStore::open(folder.path());
        let record = Record { name: "web:1".to_owned(), imported: true, ..empty_record() };
        let other = format!("sha256:{}", "1".repeat(64));
        let needs = |name: &str, digest: Option<&str>, record: &Record| {
            let wanted = Wanted { name: name.to_owned(), digest: digest.map(str::to_owned) };
            Elsewhere::Known([wanted].into()).may_need(&images, record)
        };
        let pinned = format!("web@{}", record.manifest);
        for (name, digest, expected) in [
            ("docker.io/library/web:1", None, true),
            ("web:2", None, false),
            ("web:2", Some(record.manifest.as_str()), true),
            ("web:1", Some(other.as_str()), false),
            (pinned.as_str(), None, true),
            ("web:%i", None, true),
            ("job:%i", None, false),
        ] {
            assert_eq!(needs(name, digest, &record), expected, "{name} {digest:?}");
        }
        let pulled = Record { imported: false, ..record.clone() };
        assert!(!needs("web:1", None, &pulled) && !Elsewhere::Unknown.may_need(&images, &pulled));
        assert!(Elsewhere::Unknown.may_need(&images, &record));
        assert!(!Elsewhere::Nobody.may_need(&images, &record));
    }
}
