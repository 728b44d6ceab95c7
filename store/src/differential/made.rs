//! Stacks as an image: many of them in folders of their own beside one another, or one at the root.

use std::fs;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::random::{Item, Stack, What};
use super::seen::join;
use crate::digest::Digest;

/// The folder of a stack among others.
pub(super) fn folder(index: usize) -> Vec<u8> {
    format!("s{index}").into_bytes()
}

/// Tars of the layers, bottom first. One stack lies at the root.
pub(super) fn tars(stacks: &[Stack], at_root: bool) -> Vec<Vec<u8>> {
    let count = stacks.iter().map(|stack| stack.layers.len()).max().unwrap_or(0);
    let tar = |layer: usize| {
        let mut builder = Builder::new(Vec::new());
        for (index, stack) in stacks.iter().enumerate() {
            let top = if at_root { Vec::new() } else { folder(index) };
            for item in stack.layers.get(layer).into_iter().flatten() {
                write(&mut builder, item, &top);
            }
        }
        builder.into_inner().unwrap()
    };
    (0..count).map(tar).collect()
}

fn write(builder: &mut Builder<Vec<u8>>, item: &Item, top: &[u8]) {
    let mut path = if top.is_empty() { item.path.clone() } else { join_all(top, &item.path) };
    let (mut link, mut content, mut device) = (Vec::new(), Vec::new(), (0, 0));
    let kind = match &item.what {
        What::File(bytes) => {
            content.clone_from(bytes);
            EntryType::Regular
        }
        What::Folder => {
            path = if path.is_empty() { b"./".to_vec() } else { join(&path, b"") };
            EntryType::Directory
        }
        What::Symlink(target) => {
            link = match target.strip_prefix(b"/") {
                Some(rest) => [b"/", &join_all(top, rest)[..]].concat(),
                None => target.clone(),
            };
            EntryType::Symlink
        }
        What::Link(target) => {
            link = join_all(top, target);
            EntryType::Link
        }
        What::Fifo => EntryType::Fifo,
        What::Device(kind, number) => {
            device = *number;
            *kind
        }
        What::Whiteout => {
            let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |end| end + 1);
            path.splice(end..end, *b".wh.");
            EntryType::Regular
        }
        What::Opaque => {
            path = join(&path, b".wh..wh..opq");
            EntryType::Regular
        }
    };
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(item.like.mode);
    header.set_uid(item.like.owner.0.into());
    header.set_gid(item.like.owner.1.into());
    header.set_mtime(item.like.mtime.0);
    header.set_device_major(device.0).unwrap();
    header.set_device_minor(device.1).unwrap();
    let mut pax: Vec<(String, Vec<u8>)> = Vec::new();
    let old = header.as_old_mut();
    for (field, value, key) in
        [(&mut old.name, &path, "path"), (&mut old.linkname, &link, "linkpath")]
    {
        match field.get_mut(..value.len()) {
            Some(field) => field.copy_from_slice(value),
            None => pax.push((key.to_owned(), value.clone())),
        }
    }
    if item.like.mtime.1 {
        pax.push(("mtime".to_owned(), format!("{}.25", item.like.mtime.0).into_bytes()));
    }
    if matches!(kind, EntryType::Regular | EntryType::Directory | EntryType::Link) {
        for (name, value) in &item.like.xattrs {
            pax.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
    }
    builder
        .append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), &value[..])))
        .unwrap();
    header.set_cksum();
    builder.append(&header, &content[..]).unwrap();
}

fn join_all(top: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { top.to_vec() } else { join(top, path) }
}

/// Writes an OCI layout with one image, called `t`.
pub(super) fn layout(tars: &[Vec<u8>], folder: &Path) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({ "digest": digest.to_string(), "size": bytes.len() })
    };
    let described = |kind: &str, bytes: &[u8]| {
        let mut one = blob(bytes);
        one["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
        one
    };
    let ids: Vec<_> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let layers: Vec<_> = tars.iter().map(|tar| described("layer.v1.tar", tar)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", config.to_string().as_bytes()), "layers": layers,
    });
    let mut entry = described("manifest.v1+json", manifest.to_string().as_bytes());
    entry["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "t" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
