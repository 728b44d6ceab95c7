//! What hardware is there already: what every device says it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Devices that are on no bus and yet have drivers of their own: keyboards, power buttons.
const CLASSES: [&str; 1] = ["class/input"];

/// All distinct `modalias` texts of the devices under `sys`, usually `/sys`, in a fixed order.
///
/// Looks at the lists that each bus keeps, a few hundred files. Walking all of `/sys/devices` instead costs
/// more than loading the modules does.
#[must_use]
pub fn modaliases(sys: &Path) -> BTreeSet<String> {
    let buses = entries(&sys.join("bus")).into_iter().map(|bus| bus.join("devices"));
    buses
        .chain(CLASSES.iter().map(|class| sys.join(class)))
        .flat_map(|list| entries(&list))
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

/// What is in a directory; a device that goes away meanwhile is no error.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_on_every_bus_and_input_devices_are_found_once() {
        let sys = tempfile::tempdir().unwrap();
        let device = |path: &str, modalias: &str, link: &str| {
            let device = sys.path().join("devices").join(path);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("modalias"), modalias).unwrap();
            let link = sys.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(device, link).unwrap();
        };
        device("pci0/dev1", "pci:v1\n", "bus/pci/devices/dev1");
        device("pci0/dev1/virtio0", "virtio:d2\n", "bus/virtio/devices/virtio0");
        device("pci0/dev2", "pci:v1\n", "bus/pci/devices/dev2");
        device("pci0/dev3", "\n", "bus/pci/devices/dev3");
        device("acpi/button/input0", "input:b0019\n", "class/input/input0");
        fs::create_dir_all(sys.path().join("bus/pci/devices/none")).unwrap();
        let found: Vec<String> = modaliases(sys.path()).into_iter().collect();
        assert_eq!(found, ["input:b0019", "pci:v1", "virtio:d2"]);
    }
}
