//! The bill of materials of an image, as SPDX 2.3 JSON.

use serde_json::{Value, json};

use crate::manifest::Manifest;
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
        let linux = "SPDXRef-Kernel";
        relationships.push(relationship(IMAGE, "CONTAINS", linux));
        packages.push(json!({
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
            "checksums": [{ "algorithm": "SHA256", "checksumValue": slot.kernel.sha256 }],
        }));
        let source = identifier("Package", &kernel.source.name);
        relationships.push(relationship(linux, "GENERATED_FROM", &source));
        for tool in &kernel.toolchain {
            let id = identifier("KernelTool", &tool.name);
            relationships.push(relationship(&id, "BUILD_TOOL_OF", linux));
            packages.push(debian(tool, &id));
        }
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
