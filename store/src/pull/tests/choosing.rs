//! Which of the documents of an index becomes the image, and what is said where none does.

use super::shelf::{Shelf, entry, index, manifest_of};
use super::*;
use crate::documents::INDEX_TYPES;

const MANIFEST: &str = MANIFEST_TYPES[0];
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

fn platform(os: &str, architecture: &str) -> String {
    format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
}

/// A shelf with an image for this node, one for another, and an SBOM that says nothing about itself but in its manifest.
struct Things {
    shelf: Shelf,
    image: Vec<u8>,
    other: Vec<u8>,
    sbom: Vec<u8>,
}

fn things() -> Things {
    let made = Made::new();
    let mut shelf = Shelf::of(&made);
    let config = String::from_utf8(made.config.clone()).unwrap().replace("amd64", "arm64");
    shelf.put("", config.as_bytes());
    let layer = entry("application/vnd.oci.image.layer.v1.tar", &made.layer, "");
    let other = manifest_of(&entry(CONFIG, config.as_bytes(), ""), &[layer], "");
    shelf.put(MANIFEST, &other);
    let text = b"{\"spdxVersion\":\"SPDX-2.3\"}";
    shelf.put("", text);
    shelf.put("", b"{}");
    let sbom =
        manifest_of(&entry(EMPTY, b"{}", ""), &[entry("application/spdx+json", text, "")], "");
    shelf.put(MANIFEST, &sbom);
    Things { shelf, image: made.manifest, other, sbom }
}

impl Things {
    async fn server(&self, entries: &[String]) -> Server {
        let mut shelf = self.shelf.clone();
        let top = shelf.put(INDEX_TYPES[0], &index(entries));
        shelf.name("manifests/1", top);
        shelf.serve().await
    }

    async fn gives_the_image(&self, entries: &[String]) {
        let server = self.server(entries).await;
        let node = node(&[(&server, plain())]);
        let record = node.pull(&server).await.unwrap_or_else(|error| {
            panic!("{entries:?}: {}", ferrite_schema::chain(&error));
        });
        assert_eq!(record.manifest, Digest::of(&self.image).to_string(), "{entries:?}");
    }

    async fn fails(&self, entries: &[String], expected: &str) {
        let server = self.server(entries).await;
        node(&[(&server, plain())]).fails(&server, expected).await;
    }
}

#[tokio::test]
async fn what_says_nothing_about_itself_is_looked_into() {
    let things = things();
    let sbom = entry(MANIFEST, &things.sbom, "");
    let other = entry(MANIFEST, &things.other, "");
    let odd = entry(MANIFEST, &things.other, r#","platform":{"os":"linux"}"#);
    let stated = entry(MANIFEST, &things.image, &platform("linux", "amd64"));
    let unstated = entry(MANIFEST, &things.image, "");
    things.gives_the_image(&[sbom.clone(), stated.clone()]).await;
    things.gives_the_image(&[odd.clone(), stated.clone()]).await;
    things.gives_the_image(&[sbom.clone(), other.clone(), odd.clone(), unstated.clone()]).await;
    // Something that is not there, and something that is no document.
    let gone = entry(MANIFEST, b"gone", "");
    let text = entry(MANIFEST, b"{\"spdxVersion\":\"SPDX-2.3\"}", "");
    things.gives_the_image(&[gone.clone(), text, unstated.clone()]).await;
    things.fails(&[gone, sbom.clone()], "does not have it").await;
    // Inside of an index that stands beside it.
    let mut within = self::things();
    let inner = index(&[other.clone(), unstated.clone()]);
    within.shelf.put(INDEX_TYPES[0], &inner);
    within.gives_the_image(&[sbom, entry(INDEX_TYPES[0], &inner, "")]).await;
    // What is said to be for this node is the image or nothing.
    let missing = entry(MANIFEST, b"gone", &platform("linux", "amd64"));
    things.fails(&[missing, unstated], "does not have it").await;
}

#[tokio::test]
async fn where_none_fits_it_is_said_what_there_is() {
    let things = things();
    let sbom = entry(MANIFEST, &things.sbom, "");
    let unstated = entry(MANIFEST, &things.other, "");
    let windows = entry(MANIFEST, &things.image, &platform("windows", "amd64"));
    let unknown = entry(MANIFEST, &things.image, &platform("unknown", "unknown"));
    let expected = "there is none for linux/amd64; what there is: windows/amd64, a bill of materials (application/spdx+json), linux/arm64";
    things.fails(&[windows, sbom, unknown, unstated], expected).await;
    things.fails(&[], "there is none for linux/amd64, and no other").await;
}

#[tokio::test]
async fn artifacts_and_images_of_other_machines_are_none() {
    let things = things();
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let chart = manifest_of(&entry(helm, b"{}", ""), &[], "");
    let expected = format!("it is no image, but a Helm chart ({helm})");
    for (manifest, expected) in [
        (&chart, expected.as_str()),
        (&things.sbom, "it is no image, but a bill of materials (application/spdx+json)"),
        (&things.other, "it is for linux/arm64, and this node is linux/amd64"),
    ] {
        let mut shelf = things.shelf.clone();
        let digest = shelf.put(MANIFEST, manifest);
        shelf.name("manifests/1", digest);
        let server = shelf.serve().await;
        node(&[(&server, plain())]).fails(&server, expected).await;
    }
}

#[tokio::test]
async fn an_image_without_layers_and_machines_is_one() {
    let mut shelf = Shelf::default();
    let config = br#"{"rootfs":{"type":"layers","diff_ids":null},"config":{"Cmd":["/a"]}}"#;
    shelf.put("", config);
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{},"layers":null}}"#, entry(CONFIG, config, ""));
    let digest = shelf.put("", manifest.as_bytes());
    shelf.name("manifests/1", digest);
    let server = shelf.serve().await;
    let node = node(&[(&server, plain())]);
    assert_eq!(node.pull(&server).await.unwrap().layers, [] as [&str; 0]);
}
