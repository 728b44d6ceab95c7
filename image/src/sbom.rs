//! The bill of materials of an image, as SPDX 2.3 JSON.

use serde_json::{Value, json};

use crate::manifest::{KernelBuild, Manifest};
use crate::packages::cache::sha256_hex;
use crate::packages::{Package, SUITE};

/// Of the document: fixed, as is every other time of an image (see [`crate::epoch::EPOCH_S`]).
const CREATED: &str = "2025-08-09T00:00:00Z";
const IMAGE: &str = "SPDXRef-Image";

/// The document that describes the image of `manifest`.
#[must_use]
pub fn document(manifest: &Manifest) -> Value {
    let slot = &manifest.slot;
    let name = format!("ferrite-{}-{}", slot.variant, slot.version);
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": "ferrite",
        "versionInfo": slot.version,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "Apache-2.0",
        "copyrightText": "NOASSERTION",
        "supplier": "NOASSERTION",
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for (path, program) in &manifest.programs {
        let id = identifier("Program", path);
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        packages.push(json!({
            "SPDXID": id,
            "name": path.rsplit('/').next().unwrap_or(path),
            "versionInfo": slot.version,
            "packageFileName": path,
            "primaryPackagePurpose": "APPLICATION",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": program.sha256 }],
        }));
    }
    // A package with source is not in the image; the kernel that was made from it is.
    let source = manifest.kernel_build.as_ref().map(|kernel| &kernel.source);
    for package in &manifest.packages {
        let id = identifier("Package", &package.name);
        if source != Some(package) {
            relationships.push(relationship(IMAGE, "CONTAINS", &id));
        }
        packages.push(debian(package, &id));
    }
    for tool in &manifest.tools {
        let id = identifier("Tool", &tool.name);
        relationships.push(relationship(&id, "BUILD_TOOL_OF", IMAGE));
        packages.push(debian(tool, &id));
    }
    if let Some(kernel) = &manifest.kernel_build {
        let (more, related) = built(kernel, manifest);
        packages.extend(more);
        relationships.extend(related);
    }
    // The name space must differ between images and be the same for the same one.
    let key = sha256_hex(format!("{} {packages:?}", slot.boot_id).as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:sha256:{key}"),
        "creationInfo": { "created": CREATED, "creators": ["Tool: ferrite-image"] },
        "packages": packages,
        "relationships": relationships,
    })
}

/// A kernel that was built, and the tools that built it: packages, and how they are related.
fn built(kernel: &KernelBuild, manifest: &Manifest) -> (Vec<Value>, Vec<Value>) {
    let linux = "SPDXRef-Kernel";
    let mut packages = vec![json!({
        "SPDXID": linux,
        "name": "linux",
        "versionInfo": manifest.kernel_release,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "GPL-2.0-only WITH Linux-syscall-note",
        "copyrightText": "NOASSERTION",
        "comment": format!("built with key {}", kernel.key),
        "checksums": [{ "algorithm": "SHA256", "checksumValue": manifest.slot.kernel.sha256 }],
    })];
    let source = identifier("Package", &kernel.source.name);
    let mut relationships = vec![
        relationship(IMAGE, "CONTAINS", linux),
        relationship(linux, "GENERATED_FROM", &source),
    ];
    for tool in &kernel.toolchain {
        let id = identifier("KernelTool", &tool.name);
        relationships.push(relationship(&id, "BUILD_TOOL_OF", linux));
        packages.push(debian(tool, &id));
    }
    (packages, relationships)
}

fn debian(package: &Package, id: &str) -> Value {
    let Package { name, version, architecture, sha256, .. } = package;
    let version_word = version.replace('+', "%2B").replace(':', "%3A");
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "supplier": "Organization: Debian",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sha256 }],
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator":
                format!("pkg:deb/debian/{name}@{version_word}?arch={architecture}&distro={SUITE}"),
        }],
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Identifiers may have letters, digits, `.` and `-` only.
fn identifier(kind: &str, name: &str) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' }
    };
    let plain: String = name.trim_start_matches('/').chars().map(plain).collect();
    format!("SPDXRef-{kind}-{plain}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::FORMAT;
    use ferrite_layout::slot_header::{Blob, Root, SlotDocument};

    fn package(name: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: "ab".repeat(32),
            size_bytes: 1,
        }
    }

    #[test]
    fn a_kernel_that_was_built_names_its_source_which_is_not_in_the_image() {
        let blob = Blob { offset_bytes: 0, size_bytes: 1, sha256: "cd".repeat(32) };
        let root = Root {
            data_bytes: 1,
            hash_offset_bytes: 1,
            root_hash: String::new(),
            salt: String::new(),
        };
        let manifest = Manifest {
            format: FORMAT,
            slot: SlotDocument {
                version: "0.1.0".to_owned(),
                variant: "slim".to_owned(),
                boot_id: "b007".to_owned(),
                kernel: blob.clone(),
                initramfs: blob,
                cmdline: String::new(),
                root,
                key: "test".to_owned(),
                development: true,
            },
            kernel_release: "6.12.1-ferrite".to_owned(),
            programs: Default::default(),
            packages: vec![package("etcd"), package("linux-source-6.12")],
            tools: Vec::new(),
            kernel_build: Some(KernelBuild {
                key: "key".to_owned(),
                source: package("linux-source-6.12"),
                toolchain: vec![package("gcc")],
            }),
            files: Default::default(),
        };
        let document = document(&manifest);
        let related: Vec<String> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let word = |name: &str| one[name].as_str().unwrap().replace("SPDXRef-", "");
                [word("spdxElementId"), word("relationshipType"), word("relatedSpdxElement")]
                    .join(" ")
            })
            .collect();
        assert_eq!(
            related,
            [
                "DOCUMENT DESCRIBES Image",
                "Image CONTAINS Package-etcd",
                "Image CONTAINS Kernel",
                "Kernel GENERATED_FROM Package-linux-source-6.12",
                "KernelTool-gcc BUILD_TOOL_OF Kernel",
            ]
        );
        let names: Vec<_> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str())
            .collect();
        assert!(names.contains(&Some("linux")) && names.contains(&Some("linux-source-6.12")));
    }
}
