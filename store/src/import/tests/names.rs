//! Names that an archive gives its images, and names that people give for them.

use super::*;
use crate::signature::Policy;

/// `index.json` of [`files`] with these entries, each with its annotations, all of the one image or of another document.
fn with_entries(entries: &[(&str, Option<&[u8]>)]) -> Vec<(String, Vec<u8>)> {
    let mut files = files();
    let image = files[2].1.clone();
    let entry = |(annotations, content): &(&str, Option<&[u8]>)| {
        let content = content.unwrap_or(&image);
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"annotations":{{{annotations}}}}}"#,
            Digest::of(content),
            content.len()
        )
    };
    let list: Vec<String> = entries.iter().map(entry).collect();
    files[1].1 = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(",")).into_bytes();
    for (_, content) in entries {
        if let Some(content) = content {
            let path = format!("blobs/sha256/{}", Digest::of(content).hex());
            if files.iter().all(|(other, _)| *other != path) {
                files.push((path, content.to_vec()));
            }
        }
    }
    files
}

fn called(name: &str) -> String {
    format!(r#""org.opencontainers.image.ref.name":"{name}""#)
}

fn fully(name: &str) -> String {
    format!(r#""io.containerd.image.name":"{name}""#)
}

/// The manifest of [`files`] with another annotation, hence another image.
fn second() -> Vec<u8> {
    let manifest = String::from_utf8(files()[2].1.clone()).unwrap();
    manifest.replacen('{', r#"{"annotations":{"a":"b"},"#, 1).into_bytes()
}

/// Names under which an archive's image is kept.
fn names_of(files: &[(String, Vec<u8>)], name: Option<&str>) -> Vec<String> {
    let place = place();
    let archive = archive_of(&place, files, |bytes| bytes);
    let records = import_all(&place, &archive, name).unwrap();
    let listed: Vec<String> =
        place.images.list().unwrap().into_iter().map(|one| one.name).collect();
    let mut names: Vec<String> = records.into_iter().map(|record| record.name).collect();
    names.sort_unstable();
    assert_eq!(names, listed);
    for name in &names {
        let opened = crate::access::open(&place.images, &Policy::default(), name).unwrap();
        opened.folders(&place.layers).unwrap();
    }
    names
}

fn refused(files: &[(String, Vec<u8>)], name: Option<&str>, expected: &[&str]) {
    let place = place();
    let archive = archive_of(&place, files, |bytes| bytes);
    let error = import_all(&place, &archive, name).unwrap_err();
    let text = ferrite_schema::chain(&error);
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    nothing_is_left(&place);
}

#[test]
fn one_image_has_all_of_its_names() {
    let (one, two, again) = (called("own:1"), called("other.example/x:2"), called("own:1"));
    let files = with_entries(&[(&one, None), (&two, None), (&again, None)]);
    assert_eq!(names_of(&files, None), ["other.example/x:2", "own:1"]);
    assert_eq!(names_of(&files, Some("given:3")), ["given:3"]);
    // A full name with its tag beside it is one name.
    let both = format!("{},{}", fully("docker.io/library/own:1"), called("1"));
    assert_eq!(names_of(&with_entries(&[(&both, None)]), None), ["docker.io/library/own:1"]);
    // One that the rules reject, or that is none, refuses all.
    let bad = with_entries(&[(&one, None), (&called("own:"), None)]);
    refused(&bad, None, &["own:"]);
    assert_eq!(names_of(&bad, Some("own:1")), ["own:1"]);
}

#[test]
fn every_spelling_of_a_name_means_its_image() {
    let other = second();
    let (one, two) = (called("own:1"), called("quay.example/x:2"));
    let files = with_entries(&[(&one, None), (&two, Some(&other))]);
    for name in ["own:1", "library/own:1", "docker.io/own:1", "Docker.io/library/own:1"] {
        assert_eq!(names_of(&files, Some(name)), [name]);
    }
    refused(&files, None, &["several images", "own:1", "quay.example/x:2"]);
    refused(&files, Some("third:1"), &["none is called \"third:1\"", "own:1", "quay.example/x:2"]);
    // skopeo writes the tag alone.
    let (one, two) = (called("1"), called("2"));
    let files = with_entries(&[(&one, None), (&two, Some(&other))]);
    let place = place();
    let archive = archive_of(&place, &files, |bytes| bytes);
    let record = import_it(&place, &archive, Some("quay.example/own:2")).unwrap();
    assert_eq!(record.manifest, Digest::of(&other).to_string());
    let full = fully("quay.example/x:2");
    let files = with_entries(&[("", None), (&full, Some(&other))]);
    refused(&files, None, &["several images", "sha256:"]);
    assert_eq!(names_of(&files, Some("quay.example/x:2")), ["quay.example/x:2"]);
}

/// What `docker save` writes of these images, as JSON.
fn saved(manifest: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = docker_files();
    files[3].1 = manifest.as_bytes().to_vec();
    files
}

#[test]
fn what_docker_saved_has_all_of_its_names_in_every_spelling() {
    let layers = r#""Layers":["a/layer.tar","b/layer.tar"]"#;
    let one = |tags: &str| format!(r#"{{"Config":"c.json","RepoTags":{tags},{layers}}}"#);
    let files =
        saved(&format!("[{}]", one(r#"["saved:1","quay.example/s:2","docker.io/saved:1"]"#)));
    assert_eq!(names_of(&files, None), ["quay.example/s:2", "saved:1"]);
    assert_eq!(names_of(&files, Some("x")), ["x"]);
    // An entry for each name, and what an image without any has.
    let files =
        saved(&format!("[{},{}]", one(r#"["saved:1"]"#), one(r#"["s:2","<none>:<none>"]"#)));
    assert_eq!(names_of(&files, None), ["s:2", "saved:1"]);
    let files = saved(&format!("[{}]", one(r#"["<none>:<none>"]"#)));
    refused(&files, None, &["give a name"]);
    let files = saved(&format!("[{}]", one("null")));
    refused(&files, None, &["give a name"]);
    assert_eq!(names_of(&files, Some("x:1")), ["x:1"]);
    // Several images: any spelling of a name means the one that has it.
    let other = r#"{"Config":"d.json","RepoTags":["other:1"],"Layers":null}"#;
    let mut files = saved(&format!("[{},{other}]", one(r#"["saved:1"]"#)));
    files.push(("d.json".to_owned(), br#"{"rootfs":{"diff_ids":null}}"#.to_vec()));
    assert_eq!(names_of(&files, Some("docker.io/library/saved:1")), ["docker.io/library/saved:1"]);
    assert_eq!(names_of(&files, Some("library/other:1")), ["library/other:1"]);
    refused(&files, None, &["several images", "saved:1", "other:1"]);
    refused(&files, Some("third"), &["none is called \"third\"", "other:1"]);
    refused(&saved("null"), None, &["it holds no image"]);
    refused(&saved("[]"), None, &["it holds no image"]);
}
