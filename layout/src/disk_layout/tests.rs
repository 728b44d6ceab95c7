//! The layout's document: what it says, and what is refused.

use super::*;

const OURS: &str = include_str!("../../../configs/disk-layout.toml");

#[test]
fn a_layout_for_other_sectors_has_room_for_fat32_and_nothing_overlaps() {
    let layout: DiskLayout = OURS.parse().unwrap();
    assert_eq!(layout.clone().with_sectors(512), layout);
    let large = layout.clone().with_sectors(4096);
    assert_eq!(large.sector_bytes, 4096);
    assert!(large.partition(12).unwrap().size_bytes / 4096 >= EFI_SYSTEM_SECTORS_MIN);
    assert_eq!(large.partition(3).unwrap().size_bytes, layout.partition(3).unwrap().size_bytes);
    for (one, next) in large.partitions.iter().zip(large.partitions.iter().skip(1)) {
        assert!(one.end_bytes() <= next.offset_bytes);
        assert!(next.offset_bytes.is_multiple_of(large.align_bytes));
    }
}

#[test]
fn the_projects_layout_is_valid_and_roomy() {
    let layout: DiskLayout = OURS.parse().unwrap();
    let size = |number| layout.partition(number).unwrap().size_bytes;
    assert_eq!((size(2), size(4)), (64 << 20, 64 << 20));
    assert_eq!((size(3), size(5)), (1 << 30, 1 << 30));
    let last = layout.partitions.last().unwrap();
    assert_eq!((last.label.as_str(), last.grow), ("STATE", true));
    assert!(last.end_bytes() + layout.align_bytes <= layout.disk_bytes());
    let mut end = layout.align_bytes;
    for partition in &layout.partitions {
        assert!(partition.offset_bytes >= end, "{} overlaps", partition.label);
        assert!(partition.offset_bytes.is_multiple_of(layout.align_bytes));
        end = partition.end_bytes();
    }
}

/// Replaces `from` once, parses, and compares the problem.
fn check(from: &str, to: &str, expected: &str) {
    assert!(OURS.contains(from), "{from:?} is not in the layout");
    let problem = OURS.replacen(from, to, 1).parse::<DiskLayout>().unwrap_err().to_string();
    assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    assert!(problem.starts_with("line "), "{problem}");
}

#[test]
fn problems_name_line_and_column() {
    let problem = OURS.replacen("grow = true", "grows = true", 1).parse::<DiskLayout>();
    let problem = problem.unwrap_err();
    let line = OURS.lines().position(|line| line == "grow = true").unwrap() + 1;
    assert_eq!((problem.line, problem.column), (line, 1));
    assert!(problem.message.contains("unknown field `grows`"), "{problem}");
    assert!(problem.message.contains("did you mean `grow`?"), "{problem}");
}

#[test]
fn what_cannot_be_is_refused() {
    check("sector_bytes = 512", "sector_bytes = 520", "512 or 4096 bytes, not 520");
    check("sector_bytes = 512", "sector_size = 512", "unknown field `sector_size`");
    check("\"1 MiB\"", "\"3 MiB\"", "power of two of at least 1 MiB, not 3 MiB");
    check("\"1 MiB\"", "\"512 KiB\"", "power of two of at least 1 MiB, not 512 KiB");
    check("\"256 MiB\"", "\"256MB\"", "\"256MB\" is not a size");
    check("\"256 MiB\"", "\"0 MiB\"", "above 0 and at most 16 TiB");
    check("\"256 MiB\"", "\"99999999999 TiB\"", "is not a size");
    check("\"256 MiB\"", "\"17 TiB\"", "above 0 and at most 16 TiB");
    check("\"256 MiB\"", "\"1 KiB\"", "multiple of 4 KiB");
    check("number = 12", "number = 8", "number 8 is used twice");
    check("number = 12", "number = 129", "not between 1 and 128");
    check("number = 12", "number = 13", "partition 12 (EFI-SYSTEM) is missing");
    check("label = \"OEM\"", "label = \"OM\"", "partition 8 must have the label OEM");
    check("label = \"OEM\"", "label = \"EFI-SYSTEM\"", "is used twice");
    check("type = \"root\"", "type = \"kernel\"", "ROOT-C must have the type root");
    check("type = \"root\"", "type = \"rot\"", "unknown variant `rot`");
    check("size = \"64 MiB\"\n", "size = \"64 MiB\"\ngrow = true\n", "OEM cannot grow");
    check("[[partition]]", "[partition]", "duplicate key");
}

#[test]
fn slots_are_twins() {
    let smaller = OURS.replace(
        "\"KERN-B\"\ntype = \"kernel\"\nsize = \"64",
        "\"KERN-B\"\ntype = \"kernel\"\nsize = \"32",
    );
    assert_ne!(smaller, OURS);
    let problem = smaller.parse::<DiskLayout>().unwrap_err();
    assert!(problem.message.contains("KERN-B must be as large as KERN-A"), "{problem}");
}

#[test]
fn sizes_are_written_as_they_are_read() {
    for text in ["1 KiB", "64 MiB", "1 GiB", "3 TiB"] {
        assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
    }
    assert_eq!(Size(1000).to_string(), "1000 B");
}
