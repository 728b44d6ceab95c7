//! Archives with something else than an image in them, and with images as others leave them.

use super::*;

/// [`files`] with another document for one of its own, which is found under its new digest.
fn with(index: usize, from: &str, to: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = files();
    let mut changed = index;
    let mut replaced = (from.to_owned(), to.to_owned());
    // A document that changes has another digest, and so has what names it.
    loop {
        let before = Digest::of(&files[changed].1);
        let text = String::from_utf8(files[changed].1.clone()).unwrap();
        assert!(text.contains(&replaced.0), "{:?} is not in {text}", replaced.0);
        let text = text.replace(&replaced.0, &replaced.1).into_bytes();
        let after = Digest::of(&text);
        files[changed].1 = text;
        if changed == 1 {
            return files;
        }
        files[changed].0 = format!("blobs/sha256/{}", after.hex());
        replaced = (before.to_string(), after.to_string());
        changed = if changed == 3 { 2 } else { 1 };
    }
}

fn refused(files: &[(String, Vec<u8>)], expected: &str) {
    let text = ferrite_schema::chain(&run(&place(), files, None).unwrap_err());
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_no_image_for_this_node_is_called_by_its_name() {
    let config = "application/vnd.oci.image.config.v1+json";
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let helm = "application/vnd.cncf.helm.config.v1+json";
    refused(&with(2, config, helm), "what there is: a Helm chart (application/vnd.cncf.helm");
    refused(&with(2, layer, "application/vnd.in-toto+json"), "what there is: an attestation (");
    refused(&with(3, r#""architecture":"amd64""#, r#""architecture":"arm64""#), "linux/arm64");
    refused(&with(3, r#""os":"linux""#, r#""os":"windows""#), "what there is: windows/amd64");
    let arm = r#""platform":{"architecture":"arm64","os":"linux"},"annotations""#;
    refused(&with(1, r#""annotations""#, arm), "none for linux/amd64; what there is: linux/arm64");
    let null = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":null}"#;
    let mut files = files();
    files[1].1 = null.as_bytes().to_vec();
    refused(&files, "there is none for linux/amd64, and no other");
    let mut docker = docker_files();
    docker[2].1 =
        String::from_utf8(docker[2].1.clone()).unwrap().replace("amd64", "arm64").into_bytes();
    refused(&docker, "its image is for linux/arm64, and this node is linux/amd64");
}

#[test]
fn what_is_not_said_is_no_reason_to_refuse() {
    let layer = Digest::of(&files()[4].1);
    for files in [
        with(3, r#""architecture":"amd64","os":"linux","#, ""),
        with(3, r#""architecture":"amd64""#, r#""architecture":"""#),
        with(2, r#""mediaType":"application/vnd.oci.image.config.v1+json","#, ""),
        with(2, r#""mediaType":"application/vnd.oci.image.layer.v1.tar","#, r#""mediaType":null,"#),
        with(1, r#""annotations""#, r#""platform":{"os":"linux"},"annotations""#),
        with(1, r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#, ""),
    ] {
        assert_eq!(run(&place(), &files, None).unwrap().layers, [layer.to_string()]);
    }
    // Beside it, in an index of its own, things that are not there and no images.
    let mut files = files();
    let entry = |content: &[u8]| {
        format!(r#"{{"digest":"{}","size":{}}}"#, Digest::of(content), content.len())
    };
    let list = [entry(b"gone"), entry(b"{}"), entry(&files[2].1)].join(",");
    let inner = format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#).into_bytes();
    let top = String::from_utf8(files[1].1.clone()).unwrap();
    let of_index = "application/vnd.oci.image.index.v1+json";
    files[1].1 = top
        .replace(&Digest::of(&files[2].1).to_string(), &Digest::of(&inner).to_string())
        .replace("application/vnd.oci.image.manifest.v1+json", of_index)
        .into_bytes();
    for content in [inner.clone(), b"{}".to_vec()] {
        files.push((format!("blobs/sha256/{}", Digest::of(&content).hex()), content));
    }
    let record = run(&place(), &files, None).unwrap();
    assert_eq!(
        (record.name.as_str(), record.indexes),
        ("own:1", vec![Digest::of(&inner).to_string()])
    );
    // Numbers that do not fit are said.
    let none = with(3, &format!(r#"["{layer}"]"#), "null");
    refused(&none, "its manifest has 1 layers, its configuration 0");
}
