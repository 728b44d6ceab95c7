//! Layers as others unpack them: random stacks, unpacked by us and mounted, beside what umoci and skopeo make of the same
//! image.

mod as_root;
mod engines;
mod made;
mod random;
pub(crate) mod seen;
