use std::fs;
use std::io;
use std::path::PathBuf;

use super::*;

mod foreign;
mod names;

struct Place {
    folder: tempfile::TempDir,
    images: ImageStore,
    layers: Layers,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let images = ImageStore::open(&folder.path().join("images"));
    let layers = Layers::open(&folder.path().join("layers"));
    Place { folder, images, layers }
}

fn import_all(place: &Place, archive: &Path, name: Option<&str>) -> Result<Vec<Record>, Import> {
    import(archive, name, (&place.images, &place.layers), &Policy::default())
}

fn import_it(place: &Place, archive: &Path, name: Option<&str>) -> Result<Record, Import> {
    import_all(place, archive, name).map(|mut records| records.remove(0))
}

/// The files of an archive with one empty layer.
fn files() -> Vec<(String, Vec<u8>)> {
    let layer = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let layer_digest = Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","history":[],
        "rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
    )
    .into_bytes();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":{}}}]}}"#,
        Digest::of(&config),
        config.len(),
        layer.len()
    )
    .into_bytes();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"own:1"}}}}]}}"#,
        Digest::of(&manifest),
        manifest.len()
    )
    .into_bytes();
    let blob = |content: Vec<u8>| (format!("blobs/sha256/{}", Digest::of(&content).hex()), content);
    vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index),
        blob(manifest),
        blob(config),
        blob(layer),
    ]
}

fn run(place: &Place, files: &[(String, Vec<u8>)], name: Option<&str>) -> Result<Record, Import> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, &content[..]).unwrap();
    }
    let archive = place.folder.path().join("archive");
    fs::write(&archive, builder.into_inner().unwrap()).unwrap();
    let result = import_it(place, &archive, name);
    assert_eq!(
        fs::read_dir(place.images.staging()).unwrap().count(),
        0,
        "something half-written stays"
    );
    if result.is_err() {
        nothing_is_left(place);
    }
    result
}

fn nothing_is_left(place: &Place) {
    assert!(place.images.list().unwrap().is_empty());
    assert_eq!(place.images.blobs_here().unwrap(), []);
    assert_eq!(fs::read_dir(place.layers.root()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.images.staging()).unwrap().count(), 0);
}

#[test]
fn an_image_is_imported_under_the_given_or_its_own_name() {
    let place = place();
    assert_eq!(run(&place, &files(), None).unwrap().name, "own:1");
    let record = run(&place, &files(), Some("given:2")).unwrap();
    assert_eq!(place.images.get("given:2").unwrap(), Some(record.clone()));
    for folder in record.stack().unwrap().folders() {
        assert!(place.layers.path(folder).is_dir());
    }
    assert_eq!(place.images.list().unwrap().len(), 2);
}

#[test]
fn every_changed_byte_is_noticed() {
    for index in 2..5 {
        let mut files = files();
        files[index].1[0] ^= 1;
        assert!(matches!(run(&place(), &files, None), Err(Import::RefuseBlob { .. })), "{index}");
    }
}

#[test]
fn every_missing_part_is_noticed() {
    for index in 0..5 {
        let mut files = files();
        files.remove(index);
        let result = run(&place(), &files, None);
        assert!(
            matches!(result, Err(Import::FindBlob { .. } | Import::RefuseArchive { .. })),
            "{index}: {result:?}"
        );
    }
}

#[test]
fn names_of_blobs_are_no_paths() {
    let mut files = files();
    files.push(("blobs/sha256/x".to_owned() + "/../../../escape", b"x".to_vec()));
    // The library that writes the archive refuses `..`, so it is put into the header by hand.
    let (_, content) = files.pop().unwrap();
    let place = place();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    let name = b"blobs/sha256/../../../escape";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, &content[..]).unwrap();
    let archive = place.folder.path().join("archive");
    fs::write(&archive, builder.into_inner().unwrap()).unwrap();
    let result = import_it(&place, &archive, None);
    assert!(matches!(result, Err(Import::Digest(_))), "{result:?}");
    assert!(!place.folder.path().join("escape").exists());
}

#[test]
fn what_is_no_archive_is_refused_as_such() {
    let place = place();
    let archive = place.folder.path().join("archive");
    fs::write(&archive, vec![9; 4096]).unwrap();
    let result = import_it(&place, &archive, None);
    assert!(matches!(result, Err(Import::ReadTar(_))), "{result:?}");
    fs::write(&archive, b"").unwrap();
    let result = import_it(&place, &archive, None);
    assert!(matches!(result, Err(Import::RefuseArchive { .. })), "{result:?}");
}

#[test]
fn an_image_of_another_machine_is_refused() {
    let mut files = files();
    let index = String::from_utf8(files[1].1.clone()).unwrap();
    let other = r#""platform":{"architecture":"arm64","os":"linux"},"annotations""#;
    files[1].1 = index.replace("\"annotations\"", other).into_bytes();
    assert!(matches!(run(&place(), &files, None), Err(Import::RefuseArchive { .. })));
}

fn archive_of(
    place: &Place,
    files: &[(String, Vec<u8>)],
    compress: fn(Vec<u8>) -> Vec<u8>,
) -> PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, &content[..]).unwrap();
    }
    let archive = place.folder.path().join("archive");
    fs::write(&archive, compress(builder.into_inner().unwrap())).unwrap();
    archive
}

/// What `docker save` writes of an image with the same empty layer twice.
fn docker_files() -> Vec<(String, Vec<u8>)> {
    let layer = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let digest = Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","docker_version":"20.10","container_config":{{}},
        "rootfs":{{"type":"layers","diff_ids":["{digest}","{digest}"]}}}}"#
    );
    let manifest =
        r#"[{"Config":"c.json","RepoTags":["saved:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    vec![
        ("a/layer.tar".to_owned(), layer.clone()),
        ("b/layer.tar".to_owned(), layer),
        ("c.json".to_owned(), config.into_bytes()),
        ("manifest.json".to_owned(), manifest.as_bytes().to_vec()),
    ]
}

#[test]
fn what_docker_saves_is_imported_and_exported_again() {
    let place = place();
    let archive = archive_of(&place, &docker_files(), |bytes| bytes);
    let record = import_it(&place, &archive, None).unwrap();
    assert_eq!((record.name.as_str(), record.layers.len()), ("saved:1", 2));
    // The same layer twice is two folders: overlayfs takes none twice.
    let stack = record.stack().unwrap();
    assert!(stack.folders().iter().all(|folder| place.layers.is_whole(folder)));
    assert_eq!(place.layers.here().unwrap().len(), 2);
    for format in
        [ferrite_schema::api::ExportFormat::Oci, ferrite_schema::api::ExportFormat::Docker]
    {
        let plan =
            crate::export::plan(&place.images, &Policy::default(), "saved:1", format).unwrap();
        let mut bytes = Vec::new();
        plan.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, plan.archive_bytes(), "{format:?}");
        let other = super::tests::place();
        let archive = other.folder.path().join("exported");
        fs::write(&archive, bytes).unwrap();
        let again = import_it(&other, &archive, None).unwrap();
        assert_eq!(again.name, "docker.io/library/saved:1");
        assert_eq!((again.config, again.layers), (record.config.clone(), record.layers.clone()));
    }
}

#[test]
fn compressed_archives_are_archives() {
    for compress in [
        |bytes: Vec<u8>| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut gzip, &bytes).unwrap();
            gzip.finish().unwrap()
        },
        |bytes: Vec<u8>| zstd::encode_all(&bytes[..], 1).unwrap(),
        // Behind something that zstd is to skip, and with something of the kind behind it.
        |bytes: Vec<u8>| {
            let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
            [skipped, &zstd::encode_all(&bytes[..], 1).unwrap()[..], skipped].concat()
        },
    ] {
        let place = place();
        let archive = archive_of(&place, &files(), compress);
        assert_eq!(import_it(&place, &archive, None).unwrap().name, "own:1");
    }
}

#[test]
fn what_dockers_manifest_names_must_be_there() {
    for index in [0, 1, 2] {
        let mut files = docker_files();
        files.remove(index);
        let place = place();
        let archive = archive_of(&place, &files, |bytes| bytes);
        let result = import_it(&place, &archive, None);
        assert!(matches!(result, Err(Import::RefuseArchive { .. })), "{result:?}");
    }
}

#[test]
fn rules_about_names_hold_for_archives_too() {
    use ferrite_schema::node_config::{SignaturePolicy, SignatureRule};
    let place = place();
    let archive = archive_of(&place, &files(), |bytes| bytes);
    let rule = |name: &str, policy| SignatureRule { name: name.to_owned(), policy, keys: vec![] };
    let policy = Policy::new(vec![
        rule("docker.io/library/own", SignaturePolicy::Reject),
        rule("quay.example/*", SignaturePolicy::Signed),
    ]);
    let run = |name| import(&archive, name, (&place.images, &place.layers), &policy);
    assert!(matches!(run(None), Err(Import::Policy(_))), "under its own name");
    assert!(matches!(run(Some("own")), Err(Import::Policy(_))));
    assert!(matches!(run(Some("quay.example/a")), Err(Import::Policy(_))));
    run(Some("other")).unwrap();
}

#[test]
fn what_is_no_reference_is_no_name_of_an_image() {
    let place = place();
    let archive = archive_of(&place, &files(), |bytes| bytes);
    for name in ["a:", ":1", "http://x/y", "a:b:c", "A", "a b", "", "a@sha256:00", "../a"] {
        let result = import_it(&place, &archive, Some(name));
        assert!(matches!(result, Err(Import::Store(Store::Name(_)))), "{name}: {result:?}");
    }
    // Nor is the name that an archive gives itself.
    let mut bad = files();
    bad[1].1 = String::from_utf8(bad[1].1.clone()).unwrap().replace("own:1", "own:").into_bytes();
    let result = run(&place, &bad, None);
    assert!(matches!(result, Err(Import::Store(Store::Name(_)))), "{result:?}");
    run(&place, &bad, Some("own:1")).unwrap();
}

#[test]
fn a_name_with_a_digest_is_for_the_image_that_has_it() {
    let place = place();
    let archive = archive_of(&place, &files(), |bytes| bytes);
    let zeros = format!("a@sha256:{}", "0".repeat(64));
    for name in [zeros.clone(), zeros.replace("a@", "a:1@")] {
        let result = import_it(&place, &archive, Some(&name));
        assert!(matches!(result, Err(Import::RefuseName { .. })), "{result:?}");
    }
    assert!(place.images.list().unwrap().is_empty());
    let right = format!("a@{}", Digest::of(&files()[2].1));
    let record = import_it(&place, &archive, Some(&right)).unwrap();
    assert_eq!(format!("a@{}", record.manifest), right);
    assert!(crate::access::open(&place.images, &Policy::default(), &right).is_ok());
}

/// An archive of these entries, as they come.
fn raw(place: &Place, entries: &[(tar::EntryType, &str, &[u8])]) -> PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    let archive = place.folder.path().join("raw");
    fs::write(&archive, builder.into_inner().unwrap()).unwrap();
    archive
}

/// Two files of one name: which of them was checked, and which is used? Once the second made the next file overwrite
/// another one's bytes, which were then kept under the wrong digest.
#[test]
fn a_file_that_is_there_twice_is_refused() {
    for (index, expected) in [(0, "oci-layout"), (1, "index.json"), (2, "blobs/sha256/")] {
        let place = place();
        let mut twice = files();
        let copy = twice[index].clone();
        twice.insert(index, copy);
        twice.push(("other".to_owned(), b"other content".to_vec()));
        let error = run(&place, &twice, None).unwrap_err().to_string();
        assert!(error.contains("twice") && error.contains(expected), "{error}");
        // With a harmless difference in its spelling, too.
        let mut spelled = files();
        let copy = (format!("./{}", spelled[index].0), spelled[index].1.clone());
        spelled.push(copy);
        assert!(run(&place, &spelled, None).unwrap_err().to_string().contains("twice"));
        assert!(run(&place, &files(), None).is_ok(), "the next import is none the worse");
    }
}

#[test]
fn archives_without_end_are_refused_early_and_leave_nothing() {
    let place = place();
    let refused = |archive: &Path, expected: &str| {
        let error = import_it(&place, archive, Some("a")).unwrap_err();
        let text = ferrite_schema::chain(&error);
        assert!(text.contains(expected), "{expected:?} is not in {text}");
        nothing_is_left(&place);
    };
    let file = tar::EntryType::Regular;
    let names: Vec<String> = (0..10_001).map(|number| format!("f{number}")).collect();
    let links: Vec<_> =
        names.iter().map(|name| (tar::EntryType::Symlink, name.as_str(), &b""[..])).collect();
    refused(&raw(&place, &links), "more than 10000 files");
    let folders: Vec<_> =
        (0..100_001).map(|_| (tar::EntryType::Directory, "d", &b""[..])).collect();
    refused(&raw(&place, &folders), "more than 100000 entries");
    refused(&raw(&place, &[(file, &"p".repeat(600), b"")]), "longer than 512 bytes");
    let large = vec![b' '; (4 << 20) + 1];
    for name in ["index.json", "manifest.json", "oci-layout"] {
        refused(&raw(&place, &[(file, name, &large)]), "larger than");
    }
    let layer = format!("[{{\"Config\":\"c\",\"Layers\":[{}\"x\"]}}]", "\"x\",".repeat(100_000));
    refused(&raw(&place, &[(file, "manifest.json", layer.as_bytes())]), "more than 500 entries");
    let entry = format!("{{\"digest\":\"{}\",\"size\":1}},", Digest::of(b""));
    let index = format!("{{\"schemaVersion\":2,\"manifests\":[{}", entry.repeat(40_000));
    let layout = (file, "oci-layout", &b"{}"[..]);
    refused(&raw(&place, &[layout, (file, "index.json", index.as_bytes())]), "more than 1000");
    // A name that GNU's extension says is a gigabyte long, and that never comes.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(1 << 30);
    header.set_cksum();
    let archive = place.folder.path().join("long");
    fs::write(&archive, header.as_bytes()).unwrap();
    refused(&archive, "read the tar");
    fs::write(&archive, vec![7; 2048]).unwrap();
    refused(&archive, "read the archive");
}

#[test]
fn a_refused_import_takes_nothing_that_others_have() {
    let place = place();
    run(&place, &files(), Some("kept")).unwrap();
    let record = place.images.get("kept").unwrap().unwrap();
    // The same layer and configuration, behind a manifest of which one layer is not what it is called.
    let other = vec![1_u8; 512];
    let mut bad = files();
    let config = String::from_utf8(bad[3].1.clone()).unwrap();
    let layer = Digest::of(&bad[4].1);
    let config = config.replace(
        &format!("\"{layer}\""),
        &format!("\"{layer}\",\"{}\"", Digest::of(b"something else")),
    );
    let blob = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":{}}},"layers":[{{"digest":"{layer}","size":1024}},
        {{"digest":"{}","size":512}}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        Digest::of(&other)
    );
    let index = String::from_utf8(bad[1].1.clone()).unwrap();
    bad[1].1 = index
        .replace(&Digest::of(&bad[2].1).hex(), &Digest::of(manifest.as_bytes()).hex())
        .into_bytes();
    bad[2] = (blob(manifest.as_bytes()), manifest.into_bytes());
    bad[3] = (blob(config.as_bytes()), config.into_bytes());
    bad.push((blob(&other), other));
    let archive = archive_of(&place, &bad, |bytes| bytes);
    let result = import_it(&place, &archive, Some("bad"));
    assert!(matches!(result, Err(Import::Layer(_))), "{result:?}");
    assert_eq!(place.images.blobs_here().unwrap().len(), 3, "those of the one that was there");
    assert_eq!(place.layers.here().unwrap(), [record.layers[0].parse().unwrap()]);
    let opened = crate::access::open(&place.images, &Policy::default(), "kept").unwrap();
    opened.folders(&place.layers).unwrap();
}
