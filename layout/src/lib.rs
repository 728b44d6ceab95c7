//! What the bytes on a Ferrite disk mean: partition types and slot attributes, the slot header, the
//! verity tree, boot parameters, the disk layout's document. Values and codecs only; nothing here opens a file.

pub mod arguments;
pub mod attributes;
pub mod boot_params;
pub mod disk_layout;
pub mod document;
pub mod fat;
pub mod gpt;
pub mod slot;
pub mod slot_header;
pub mod sparse;
pub mod state_marks;
pub mod verity;
