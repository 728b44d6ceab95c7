use super::*;

const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn refused(text: &str, announced: Option<&str>, expected: &str) {
    let error = parse(text.as_bytes(), announced).unwrap_err();
    assert!(ferrite_schema::chain(&error).contains(expected), "{}", ferrite_schema::chain(&error));
}

#[test]
fn ambiguous_documents_are_refused() {
    let both = format!(
        r#"{{"schemaVersion":2,"manifests":[],"config":{{"digest":"{HEX}","size":1}},"layers":[]}}"#
    );
    refused(&both, None, "index and for a manifest");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    refused(index, Some(MANIFEST_TYPES[0]), "index and for a manifest");
    let called =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, INDEX_TYPES[0]);
    refused(&called, Some(MANIFEST_TYPES[0]), "calls itself");
    refused(&called, Some(INDEX_TYPES[1]), "calls itself");
    assert_eq!(
        parse(called.as_bytes(), Some("text/plain")).unwrap(),
        Document::Index(Index::default())
    );
}

#[test]
fn old_and_foreign_documents_are_refused() {
    refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1");
    refused(r#"{"schemaVersion":1,"manifests":[]}"#, None, "schemaVersion");
    refused(r#"{"schemaVersion":2}"#, None, "neither");
    refused("[]", None, "read the image's");
    let layer = |more: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{HEX}","size":1}},"layers":[{{"digest":"{HEX}"{more}}}]}}"#
        )
    };
    refused(&layer(r#","size":1,"urls":["https://evil.example/x"]"#), None, "address of its own");
    refused(&layer(r#","size":99999999999999"#), None, "larger than");
    refused(&layer(r#","size":-1"#), None, "read the image's");
    refused(&layer(""), None, "has no size");
    refused(&layer("").replace("digest\":\"", "x\":\""), None, "has no digest");
    parse(layer(r#","size":1"#).as_bytes(), None).unwrap();
}

#[test]
fn lists_without_end_are_refused_at_their_first_entry_too_many() {
    let blob = |more: &str| format!(r#"{{"digest":"{HEX}","size":1{more}}}"#);
    let layers = vec![blob(""); 30_000].join(",");
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}"#, blob(""));
    refused(&text, None, "more than 500 entries");
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{layers}"#);
    refused(&text, None, "more than 1000 entries");
    // Annotations that mean nothing here are not kept.
    let many: Vec<String> = (0..50_000).map(|number| format!(r#""{number}":"""#)).collect();
    let noted = format!(r#","annotations":{{{},"{REF_NAME}":"a"}}"#, many.join(","));
    let text =
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, blob(""), blob(&noted));
    let Document::Manifest(manifest) = parse(text.as_bytes(), None).unwrap() else { panic!() };
    assert_eq!(manifest.annotations[0].len(), 1);
}

#[test]
fn digests_are_no_paths() {
    let text =
        r#"{"schemaVersion":2,"layers":[],"config":{"digest":"sha256:../../etc/passwd","size":1}}"#;
    refused(text, None, "only sha256");
}

fn entry(kind: &str, more: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{HEX}","size":7{more}}}"#)
}

fn platform(os: &str, arch: &str, more: &str) -> String {
    format!(r#","platform":{{"os":"{os}","architecture":"{arch}"{more}}}"#)
}

/// How many entries of an index count, how many of them by their platform, and what else there is.
fn read_index(entries: &[String]) -> (usize, usize, Vec<String>) {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    let Document::Index(index) = parse(text.as_bytes(), None).unwrap() else { panic!() };
    let stated = index.entries.iter().take_while(|entry| entry.stated).count();
    (index.entries.len(), stated, index.others)
}

#[test]
fn of_an_index_only_what_runs_here_counts() {
    let manifest = MANIFEST_TYPES[0];
    let (count, stated, others) = read_index(&[
        entry(manifest, &platform("linux", "arm64", "")),
        entry(manifest, &platform("linux", "amd64", r#","variant":"v3""#)),
        entry(manifest, &platform("linux", "amd64", "")),
        entry(manifest, &platform("unknown", "unknown", "")),
        entry("application/x", &platform("linux", "amd64", "")),
    ]);
    assert_eq!((count, stated), (1, 1));
    assert_eq!(others, ["linux/arm64", "linux/amd64/v3", "an artifact (application/x)"]);
}

#[test]
fn what_names_no_platform_comes_last_and_an_odd_entry_refuses_nothing() {
    let manifest = MANIFEST_TYPES[1];
    let (count, stated, others) = read_index(&[
        entry(manifest, ""),
        entry(manifest, r#","platform":null"#),
        entry(manifest, r#","platform":{}"#),
        entry(manifest, r#","platform":{"os":"linux"}"#),
        entry(manifest, r#","platform":{"os":"windows","os.version":"10.0"}"#),
        entry(manifest, &platform("linux", "x86_64", r#","os.features":null"#)),
        format!(r#"{{"digest":"{HEX}","size":7,"annotations":null,"urls":null}}"#),
        format!(r#"{{"mediaType":null,"digest":"{HEX}","size":7}}"#),
        entry(manifest, r#","artifactType":"application/spdx+json""#),
        entry(manifest, r#","artifactType":"application/vnd.oci.image.config.v1+json""#),
        // Of what is not for this node nothing is asked.
        format!(r#"{{"mediaType":"{manifest}"{}}}"#, platform("linux", "arm64", "")),
        format!(r#"{{"digest":"sha512:00"{}}}"#, platform("linux", "arm64", "")),
    ]);
    assert_eq!((count, stated), (8, 1));
    let spdx = "a bill of materials (application/spdx+json)";
    assert_eq!(others, ["windows", spdx, "linux/arm64", "linux/arm64"]);
}

#[test]
fn lists_that_are_null_are_empty() {
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{HEX}","size":1}}}}"#);
    let null = manifest.replace("\"config\"", "\"layers\":null,\"manifests\":null,\"config\"");
    for text in [&manifest, &null] {
        let Document::Manifest(manifest) = parse(text.as_bytes(), None).unwrap() else { panic!() };
        assert!(manifest.layers.is_empty() && manifest.instead().is_none());
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":null,"config":null}}"#,
        INDEX_TYPES[0]
    );
    assert_eq!(parse(index.as_bytes(), None).unwrap(), Document::Index(Index::default()));
    refused(r#"{"schemaVersion":2,"manifests":null,"layers":null}"#, None, "neither");
    refused(r#"{"schemaVersion":2,"manifests":null,"layers":[]}"#, None, "neither");
}

#[test]
fn artifacts_are_told_from_images() {
    let oci = "application/vnd.oci.image.config.v1+json";
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let empty = "application/vnd.oci.empty.v1+json";
    let docker = "application/vnd.docker.image.rootfs";
    let helm = "application/vnd.cncf.helm.config.v1+json";
    for (config, layer, own, expected) in [
        (oci, tar, "", None),
        (oci, &format!("{tar}+zstd"), "", None),
        (oci, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "", None),
        (CONFIG_TYPES[1], &format!("{docker}.diff.tar.gzip"), "", None),
        (CONFIG_TYPES[1], &format!("{docker}.foreign.diff.tar.gzip"), "", None),
        ("", "", "", None),
        ("text/html", "application/octet-stream", "", None),
        (helm, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "", Some("a Helm chart (")),
        (empty, tar, "application/x", Some("an artifact (application/x)")),
        (empty, empty, "", Some("an artifact (application/vnd.oci.image.layer.v1.tar)")),
        (oci, "application/vnd.in-toto+json", "", Some("an attestation (")),
        (oci, "application/vnd.dev.cosign.simplesigning.v1+json", "", Some("a signature (")),
        (oci, &format!("{tar}+gzip+encrypted"), "", Some("an image with encrypted layers")),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"artifactType":"{own}","config":{{"mediaType":"{config}","digest":"{HEX}","size":1}},
            "layers":[{{"mediaType":"{tar}","digest":"{HEX}","size":1}},{{"mediaType":"{layer}","digest":"{HEX}","size":1}}]}}"#
        );
        let Document::Manifest(manifest) = parse(text.as_bytes(), None).unwrap() else { panic!() };
        let instead = manifest.instead();
        let right = match (&instead, expected) {
            (Some(instead), Some(expected)) => instead.starts_with(expected),
            (instead, expected) => instead.is_none() && expected.is_none(),
        };
        assert!(right, "{config} {layer}: {instead:?}");
    }
}
