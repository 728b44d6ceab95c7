//! Layers that are unpacked over one another.

use super::*;

/// A tar with one entry of whoever runs the test.
fn tar_of(kind: tar::EntryType, name: &str, link: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o600);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    match link {
        "" => builder.append_data(&mut header, name, &b""[..]).unwrap(),
        link => builder.append_link(&mut header, name, link).unwrap(),
    }
    builder.into_inner().unwrap()
}

/// Documents of an image with these layers, and the layers, by digest.
fn image(layers: &[Vec<u8>]) -> (Vec<u8>, HashMap<String, Vec<u8>>) {
    let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let described = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        let kind = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPES[0],
        "config": described("config.v1+json", &config),
        "layers": layers.iter().map(|one| described("layer.v1.tar", one)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let all = layers.iter().chain([&config]);
    let blobs = all.map(|blob| (Digest::of(blob).to_string(), blob.clone())).collect();
    (manifest, blobs)
}

#[tokio::test]
async fn a_layer_waits_for_those_below_it_however_late_they_come() {
    use tar::EntryType::{Link, Regular};
    // Each needs the one before: a hard link finds nothing otherwise.
    let mut layers = vec![tar_of(Regular, "f0", "")];
    for number in 1..10 {
        layers.push(tar_of(Link, &format!("f{number}"), &format!("f{}", number - 1)));
    }
    let lowest = Digest::of(&layers[0]).to_string();
    let (document, blobs) = image(&layers);
    let (others, late) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let refused = Arc::clone(&late);
    let server = Server::start(move |asked| {
        let Some((_, digest)) = asked.path.split_once("/blobs/") else {
            return manifest(&document);
        };
        if digest != lowest {
            others.fetch_add(1, Ordering::SeqCst);
        } else if others.load(Ordering::SeqCst) < 5 {
            // Asked again after a pause.
            refused.fetch_add(1, Ordering::SeqCst);
            return status(503);
        }
        bytes(&blobs[digest], asked.from_byte)
    })
    .await;
    let node = node(&[(&server, plain())]);
    let record = node.pull(&server).await.unwrap();
    assert!(late.load(Ordering::SeqCst) > 0, "nothing came late");
    let stack = record.stack().unwrap();
    assert_eq!(node.layers.here().unwrap().len(), 10);
    let inode = |index: usize| {
        let folder = node.layers.path(&stack.folders()[index]);
        std::os::unix::fs::MetadataExt::ino(
            &fs::metadata(folder.join(format!("f{index}"))).unwrap(),
        )
    };
    assert!((1..10).all(|index| inode(index) == inode(0)));
    node.fails_nothing(&record);
    // What lies in the middle is mended from its blob alone, over what is there.
    ferrite_files::removal::remove(&node.layers.path(&stack.folders()[4])).unwrap();
    assert_eq!(node.puller.ensure(&record.name).await.unwrap(), record);
    assert!(stack.folders().iter().all(|folder| node.layers.is_whole(folder)));
}
