//! `ferrite image inspect` and `verify`.

use std::path::{Path, PathBuf};

use ferrite_image::build;
use ferrite_image::inspect::{self, DiskReport, PartitionReport, Report, Signature, SlotContent};
use ferrite_image::kernel_file::KernelForm;
use ferrite_image::stage::Payload;
use ferrite_image::verify;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};
use serde::Serialize;

use super::keys;
use crate::cli::TrustArguments;
use crate::failure::Failure;
use crate::output::{bytes, columns, facts};
use crate::progress::Steps;
use crate::session::Session;

/// The disk in the folder that `image build` writes.
const DISK: &str = "disk.raw";
/// Hexadecimal digits of a hash that people get to see.
const HASH_CHARS: usize = 16;

/// The kernel in the folder that `image build` writes, in each form that it may have there.
const KERNELS: [&str; 2] = ["kernel", build::VMLINUX];

/// What `inspect` found.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    report: Report,
    /// Kernels beside a disk, where a folder was named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<FoundKernel>,
}

#[derive(Debug, Serialize)]
struct FoundKernel {
    name: &'static str,
    #[serde(flatten)]
    report: Report,
}

/// What `verify` found to be whole.
#[derive(Debug, Serialize)]
struct Verdict {
    file: PathBuf,
    valid: bool,
    checked_bytes: u64,
    slots: Vec<VerifiedSlot>,
}

#[derive(Debug, Serialize)]
struct VerifiedSlot {
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    version: String,
    key: String,
    development: bool,
}

pub(super) fn inspect(
    file: &Path,
    trust: &TrustArguments,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let trusted = keys::trusted(trust)?;
    let report = inspect::inspect(&disk_in(file), &trusted)?;
    let mut kernels = Vec::new();
    for name in KERNELS {
        let path = file.join(name);
        if file.is_dir() && path.exists() {
            kernels.push(FoundKernel { name, report: inspect::inspect(&path, &trusted)? });
        }
    }
    session.show(&Found { report, kernels }, |found| {
        let mut text = report_text(&found.report);
        for kernel in &found.kernels {
            text.push_str(&format!("\n\n{}: {}", kernel.name, report_text(&kernel.report)));
        }
        text
    })
}

fn report_text(report: &Report) -> String {
    match report {
        Report::Disk(disk) => disk_table(disk),
        Report::Slot { size_bytes, content } => {
            format!("slot payload of {}\n{}", bytes(*size_bytes), content_lines(content))
        }
        Report::Kernel { size_bytes, kernel } => {
            let form = match kernel.form {
                KernelForm::BzImage => "bzImage, for boot loaders, firmware and kexec",
                KernelForm::Pvh => {
                    "ELF, for virtual machine monitors that load it themselves (PVH)"
                }
                KernelForm::Elf => "ELF, without an entry for virtual machine monitors",
            };
            let rows = [("form", form.to_owned()), ("version", kernel.version.clone())];
            format!("kernel of {}\n{}", bytes(*size_bytes), indented(&facts(&rows)))
        }
    }
}

pub(super) fn verify(
    file: &Path,
    trust: &TrustArguments,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let trusted = keys::trusted(trust)?;
    if file.extension().is_some_and(|extension| extension == "kern") {
        return verify_payload(file, &trusted, session);
    }
    let file = disk_in(file);
    let mut progress = Steps::new(session.draws_progress());
    let verified = verify::verify(&file, &trusted, &mut progress)?;
    let slots = verified
        .slots
        .into_iter()
        .map(|(slot, document)| VerifiedSlot {
            slot: Some(slot),
            version: document.version,
            key: document.key,
            development: document.development,
        })
        .collect();
    let verdict = Verdict { file, valid: true, checked_bytes: verified.checked_bytes, slots };
    session.show(&verdict, verdict_table)
}

/// Verifies a slot's payload: `slot.kern` and the `slot.root` beside it.
fn verify_payload(
    kern: &Path,
    trusted: &[TrustedKey],
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let payload = Payload { kern: kern.to_owned(), root: kern.with_extension("root") };
    let document = verify::verify_payload(&payload, trusted)?;
    let checked_bytes =
        document.kernel.size_bytes + document.initramfs.size_bytes + document.root.data_bytes;
    let slots = vec![VerifiedSlot {
        slot: None,
        version: document.version,
        key: document.key,
        development: document.development,
    }];
    let verdict = Verdict { file: payload.kern, valid: true, checked_bytes, slots };
    session.show(&verdict, verdict_table)
}

fn verdict_table(verdict: &Verdict) -> String {
    let mut text = format!(
        "{}: whole ({} checked against their hashes)",
        verdict.file.display(),
        bytes(verdict.checked_bytes)
    );
    for slot in &verdict.slots {
        let name = slot.slot.map_or_else(|| "the slot".to_owned(), |slot| format!("slot {slot}"));
        text.push_str(&format!("\n{name}: version {}, signed by {}", slot.version, slot.key));
        if slot.development {
            text.push_str("; a development key: anyone could have made it");
        }
    }
    text
}

fn disk_in(file: &Path) -> PathBuf {
    if file.is_dir() { file.join(DISK) } else { file.to_owned() }
}

fn disk_table(disk: &DiskReport) -> String {
    let mut rows = vec![
        ("disk", format!("{}, {} in use", bytes(disk.size_bytes), bytes(disk.allocated_bytes))),
        ("GUID", disk.disk_guid.clone()),
        (
            "boots",
            disk.next_boot.map_or_else(
                || "nothing: no slot has a priority".to_owned(),
                |choice| format!("slot {}", choice.slot),
            ),
        ),
    ];
    rows.extend(disk.table_problem.iter().map(|problem| ("PROBLEM", problem.clone())));
    let partitions: Vec<[String; 6]> = disk.partitions.iter().map(partition_row).collect();
    let partitions =
        columns(["NO.", "LABEL", "OFFSET", "SIZE", "TYPE", "FILE SYSTEM"], &partitions);
    let mut text = format!("{}\n\n{partitions}", facts(&rows));
    for slot in &disk.slots {
        let attributes = slot.attributes;
        let successful = if attributes.successful { ", successful" } else { "" };
        text.push_str(&format!(
            "\n\nslot {}: priority {}, tries {}{successful}\n{}",
            slot.slot,
            attributes.priority,
            attributes.tries,
            content_lines(&slot.content)
        ));
    }
    text
}

fn partition_row(partition: &PartitionReport) -> [String; 6] {
    let file_system = partition.file_system.as_ref().map(|found| {
        if found.label.is_empty() {
            found.kind.to_string()
        } else {
            format!("{} {:?}", found.kind, found.label)
        }
    });
    [
        partition.number.to_string(),
        partition.label.clone(),
        bytes(partition.offset_bytes),
        bytes(partition.size_bytes),
        partition.kind.clone(),
        file_system.unwrap_or_default(),
    ]
}

fn content_lines(content: &SlotContent) -> String {
    match content {
        SlotContent::Empty => "  empty".to_owned(),
        SlotContent::Damaged { problem } => format!("  damaged: {problem}"),
        SlotContent::Present { signature, document } => {
            indented(&facts(&document_rows(*signature, document)))
        }
    }
}

fn document_rows(signature: Signature, document: &SlotDocument) -> Vec<(&'static str, String)> {
    let signed = match signature {
        Signature::Trusted => format!("{}, trusted", document.key),
        Signature::UnknownKey => {
            format!("{}, which is not among the trusted keys here", document.key)
        }
        Signature::Bad => format!("says {}, but THE SIGNATURE DOES NOT MATCH", document.key),
    };
    let blob = |size_bytes, hash: &str| {
        format!("{}, {}…", bytes(size_bytes), hash.chars().take(HASH_CHARS).collect::<String>())
    };
    let mut rows = vec![
        ("version", format!("{} ({})", document.version, document.variant)),
        ("signed by", signed),
        ("boot ID", document.boot_id.clone()),
        ("kernel", blob(document.kernel.size_bytes, &document.kernel.sha256)),
        ("initramfs", blob(document.initramfs.size_bytes, &document.initramfs.sha256)),
        ("root", blob(document.root.data_bytes, &document.root.root_hash)),
        ("command line", document.cmdline.clone()),
    ];
    if document.development {
        rows.push(("WARNING", "development key: anyone could have made this slot".to_owned()));
    }
    rows
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::content_lines;
    use ferrite_image::inspect::{Signature, SlotContent};
    use ferrite_layout::slot_header::{Blob, Root, SlotDocument};

    fn present(signature: Signature, development: bool) -> String {
        let blob = Blob { offset_bytes: 0, size_bytes: 2048, sha256: "ab".repeat(32) };
        content_lines(&SlotContent::Present {
            signature,
            document: Box::new(SlotDocument {
                version: "0.1.0".to_owned(),
                variant: "cloud".to_owned(),
                boot_id: "b007".to_owned(),
                kernel: blob.clone(),
                initramfs: blob,
                cmdline: "panic=10".to_owned(),
                root: Root {
                    data_bytes: 4096,
                    hash_offset_bytes: 4096,
                    root_hash: "cd".repeat(32),
                    salt: String::new(),
                },
                key: "release".to_owned(),
                development,
            }),
        })
    }

    #[test]
    fn a_slot_is_shown_with_its_signer() {
        let expected = "  version       0.1.0 (cloud)
  signed by     release, trusted
  boot ID       b007
  kernel        2.00 KiB, abababababababab…
  initramfs     2.00 KiB, abababababababab…
  root          4.00 KiB, cdcdcdcdcdcdcdcd…
  command line  panic=10";
        assert_eq!(present(Signature::Trusted, false), expected);
    }

    #[test]
    fn what_is_wrong_with_a_signature_is_loud() {
        assert!(present(Signature::Bad, false).contains("THE SIGNATURE DOES NOT MATCH"));
        assert!(present(Signature::UnknownKey, false).contains("not among the trusted keys"));
        assert!(present(Signature::Trusted, true).contains("anyone could have made this slot"));
    }

    #[test]
    fn slots_without_content() {
        assert_eq!(content_lines(&SlotContent::Empty), "  empty");
        let damaged = SlotContent::Damaged { problem: "no magic".to_owned() };
        assert_eq!(content_lines(&damaged), "  damaged: no magic");
    }
}
