//! A stack of layers, and what their folders are called.
//!
//! What unpacking a layer gives depends on what lies below it: a folder that it does not name is as it was, a whiteout of
//! nothing is nothing. So a layer's folder has the name of the whole stack that it is the top of, which is what the OCI image
//! specification calls a chain ID: the digest of the lowest layer's tar, and for each further one the digest of the ID below, a space and
//! the digest of its tar. The same layer twice in an image is two folders, too, as overlayfs wants it.

use super::digest::Digest;

/// The layers of an image, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    tars: Vec<Digest>,
    folders: Vec<Digest>,
}

/// A layer of a stack.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Digest of its tar.
    pub tar: &'a Digest,
    /// Name of its folder.
    pub folder: &'a Digest,
    /// Names of the folders below it, bottom first.
    pub below: &'a [Digest],
}

impl Stack {
    /// The stack of layers with these tars, bottom first.
    #[must_use]
    pub fn new(tars: Vec<Digest>) -> Self {
        let mut folders: Vec<Digest> = Vec::with_capacity(tars.len());
        for tar in &tars {
            folders.push(match folders.last() {
                None => *tar,
                Some(below) => Digest::of(format!("{below} {tar}").as_bytes()),
            });
        }
        Self { tars, folders }
    }

    /// Digests of the tars, bottom first.
    #[must_use]
    pub fn tars(&self) -> &[Digest] {
        &self.tars
    }

    /// Names of the folders, bottom first.
    #[must_use]
    pub fn folders(&self) -> &[Digest] {
        &self.folders
    }

    /// Its layers, bottom first.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.tars.iter().zip(&self.folders).enumerate().map(|(index, (tar, folder))| Step {
            tar,
            folder,
            below: self.folders.get(..index).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_called_as_the_specification_says() {
        let tars = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"b")];
        let stack = Stack::new(tars.to_vec());
        let [one, two, three] = stack.folders() else { unreachable!() };
        assert_eq!(*one, tars[0]);
        assert_eq!(*two, Digest::of(format!("{one} {}", tars[1]).as_bytes()));
        assert_eq!(*three, Digest::of(format!("{two} {}", tars[2]).as_bytes()));
        let top = stack.steps().last().unwrap();
        assert_eq!((top.tar, top.folder, top.below), (&tars[2], three, &[*one, *two][..]));
        assert!(Stack::new(Vec::new()).folders().is_empty());
    }
}
