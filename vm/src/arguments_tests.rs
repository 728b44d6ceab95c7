//! Tests of the command line.

use crate::disk::{Cache, Format};
use crate::host::{Firmware, Version};
use crate::machine::{Clock, FwCfg, Lifetime};
use crate::switch::mac::Mac;

use super::*;

fn host() -> Host {
    Host {
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        qemu_img: "/usr/bin/qemu-img".into(),
        version: Version(10, 0, 2),
        acceleration: Acceleration::Kvm,
        firmware: Some(Firmware { code: "/fw/code.fd".into(), variables: "/fw/vars.fd".into() }),
    }
}

fn machine() -> Machine {
    Machine {
        name: "node-1".to_owned(),
        directory: "/state/node-1".into(),
        cpus: 2,
        memory_mib: 1024,
        boot: Boot::Bios,
        disks: vec![Disk {
            path: "disk,1.qcow2".into(),
            format: Format::Qcow2,
            cache: Cache::Writeback,
            bus: Bus::Virtio,
            sector_bytes: 512,
            plugged: Plugged::AtPowerOn,
        }],
        fw_cfg: vec![FwCfg { name: "opt/x".to_owned(), file: "cloud-config".into() }],
        network: Card::User,
        forwards: vec![7443, 8080],
        timing: Timing::Real,
        clock: Clock::Host,
        watchdog: true,
        screen: false,
        lifetime: Lifetime::Bound,
        extra_arguments: vec!["-no-reboot".to_owned()],
    }
}

#[track_caller]
fn check(machine: &Machine, host: &Host, present: &[&str], absent: &[&str]) {
    let line = build(machine, host).unwrap().join(" ");
    for part in present {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    for part in absent {
        assert!(!line.contains(part), "{part:?} is in: {line}");
    }
}

#[test]
fn everything_of_the_description_is_on_the_line() {
    let present = [
        "-accel kvm -cpu host",
        "-smp 2 -m 1024",
        "file=disk,,1.qcow2,format=qcow2,cache=writeback",
        "-device virtio-blk-pci,",
        "drive=disk0",
        "bootindex=1",
        "hostfwd=tcp:127.0.0.1:0-:7443,hostfwd=tcp:127.0.0.1:0-:8080",
        "-fw_cfg name=opt/x,file=cloud-config",
        "-device i6300esb -action watchdog=reset",
        "-vga none",
    ];
    check(&machine(), &host(), &present, &["pflash", "-kernel", "-icount"]);
    assert_eq!(build(&machine(), &host()).unwrap().last().unwrap(), "-no-reboot");
}

#[test]
fn a_clock_and_the_lack_of_a_watchdog_are_data() {
    check(&machine(), &host(), &["i6300esb"], &["-rtc"]);
    let clock = Clock::At("2099-01-01T00:00:00".to_owned());
    let machine = Machine { clock, watchdog: false, ..machine() };
    check(&machine, &host(), &["-rtc base=2099-01-01T00:00:00,clock=vm"], &["i6300esb", "-action"]);
}

#[test]
fn uefi_gets_code_and_its_own_variables() {
    let machine = Machine { boot: Boot::Uefi, ..machine() };
    check(&machine, &host(), &["readonly=on,file=/fw/code.fd", "file=vars.fd"], &["-kernel"]);
    let bare = Host { firmware: None, ..host() };
    assert!(matches!(build(&machine, &bare), Err(HostError::FindFirmware)));
}

#[test]
fn direct_boot_leaves_commas_of_the_kernel_line_alone() {
    let boot = Boot::Direct {
        kernel: "/k,1".into(),
        initramfs: None,
        command_line: "console=ttyS0,115200".to_owned(),
    };
    let machine = Machine { boot, ..machine() };
    check(&machine, &host(), &["-kernel /k,1", "-append console=ttyS0,115200"], &["-initrd"]);
}

#[test]
fn counting_instructions_never_uses_kvm() {
    let machine = Machine { timing: Timing::Instructions, ..machine() };
    check(&machine, &host(), &["-accel tcg", "-icount shift=0,sleep=off"], &["kvm"]);
}

#[test]
fn every_bus_gets_its_device() {
    for (bus, devices) in [
        (Bus::Virtio, ["virtio-blk-pci,", ""]),
        (Bus::Nvme, ["nvme,", "serial=disk0"]),
        (Bus::Sata, ["ide-hd,", "bus=ide.0"]),
        (Bus::VirtioScsi, ["virtio-scsi-pci,id=scsi0 -device scsi-hd,", "bus=scsi0.0"]),
    ] {
        let mut machine = machine();
        machine.disks.iter_mut().for_each(|disk| disk.bus = bus);
        check(&machine, &host(), &devices, &["root-port"]);
    }
}

#[test]
fn disks_have_numbers_and_firmware_tries_them_in_their_order() {
    let mut machine = machine();
    let second = Disk { path: "second.raw".into(), bus: Bus::Sata, ..machine.disks[0].clone() };
    machine.disks.push(second);
    let present = ["bootindex=1", "bootindex=2", "id=disk1,file=second.raw", "bus=ide.1"];
    check(&machine, &host(), &present, &["ide.0"]);
}

#[test]
fn sectors_are_as_large_as_described() {
    let mut machine = machine();
    let both = |bytes| [("logical", bytes), ("physical", bytes)];
    let words = |bytes: u16| both(bytes).map(|(kind, size)| format!("{kind}_block_size={size}"));
    let (small, large) = (words(512), words(4096));
    check(&machine, &host(), &small.each_ref().map(String::as_str), &[]);
    machine.disks[0].sector_bytes = 4096;
    let absent = small.each_ref().map(String::as_str);
    check(&machine, &host(), &large.each_ref().map(String::as_str), &absent);
}

#[test]
fn a_late_disk_has_a_file_and_a_place_and_comes_as_a_device_of_that_place() {
    for (bus, place, on) in [
        (Bus::Virtio, "pcie-root-port,id=port1,chassis=2", "port1"),
        (Bus::Nvme, "pcie-root-port,id=port1,chassis=2", "port1"),
        (Bus::VirtioScsi, "virtio-scsi-pci,id=scsi1", "scsi1.0"),
    ] {
        let mut machine = machine();
        let plugged = Plugged::Later;
        machine.disks.push(Disk { bus, plugged, ..machine.disks[0].clone() });
        check(&machine, &host(), &[place, "if=none,id=disk1"], &["drive=disk1"]);
        let device = device(&machine.disks[1], 1);
        assert_eq!((&device["drive"], &device["bus"]), (&json!("disk1"), &json!(on)));
        // Firmware is long past.
        assert!(!device.contains_key("bootindex"), "{device:?}");
    }
}

#[test]
fn a_machine_without_network_has_no_card() {
    let machine = Machine { network: Card::None, ..machine() };
    check(&machine, &host(), &[], &["-netdev", "virtio-net", "hostfwd"]);
}

#[test]
fn a_machine_on_a_switch_has_the_card_that_the_switch_knows() {
    let mac = Mac([0x52, 0x54, 0, 1, 0, 10]);
    let network = Card::Cable { socket: "../net,1/cable-a.sock".into(), mac };
    let machine = Machine { network, ..machine() };
    let present = [
        "stream,id=net0,server=off,addr.type=unix,addr.path=../net,,1/cable-a.sock,reconnect-ms=100",
        "virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:01:00:0a",
    ];
    check(&machine, &host(), &present, &["hostfwd", "user,"]);
    let host = Host { version: Version(8, 2, 0), ..host() };
    check(&machine, &host, &["cable-a.sock,reconnect=1"], &["reconnect-ms"]);
}
