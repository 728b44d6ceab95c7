//! What hardware is there already: every device's own description under `/sys/devices`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Deeper than any real device tree, so that a loop cannot hold the boot.
const DEPTH_MAX: u32 = 24;

/// All distinct `modalias` texts under `devices`, usually `/sys/devices`, in a fixed order.
#[must_use]
pub fn modaliases(devices: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(devices, DEPTH_MAX, &mut found);
    found
}

fn walk(directory: &Path, depth: u32, found: &mut BTreeSet<String>) {
    if depth == 0 {
        return;
    }
    // A device that goes away meanwhile is no error.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Links lead to devices that are reached by their own path.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), depth - 1, found);
        } else if entry.file_name() == "modalias"
            && let Ok(text) = fs::read_to_string(entry.path())
            && !text.trim().is_empty()
        {
            found.insert(text.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_found_once_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pci0/dev1/modalias", "pci:v1\n");
        write("pci0/dev1/virtio0/modalias", "virtio:d2\n");
        write("pci0/dev2/modalias", "pci:v1\n");
        write("pci0/dev3/modalias", "\n");
        std::os::unix::fs::symlink("..", root.path().join("pci0/loop")).unwrap();
        let found: Vec<String> = modaliases(root.path()).into_iter().collect();
        assert_eq!(found, ["pci:v1", "virtio:d2"]);
    }
}
