//! Tests of the command line.

use crate::disk::{Cache, Format};
use crate::host::{Firmware, Version};
use crate::machine::{Clock, FwCfg, Lifetime};

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
        }],
        fw_cfg: vec![FwCfg { name: "opt/x".to_owned(), file: "cloud-config".into() }],
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
        "virtio-blk-pci,drive=disk0,bootindex=1",
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
    check(&machine, &host(), &["-rtc base=2099-01-01T00:00:00"], &["i6300esb", "-action"]);
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
    for (bus, device) in [
        (Bus::Nvme, "nvme,serial=disk0,drive=disk0"),
        (Bus::Sata, "ide-hd,bus=ide.0,drive=disk0"),
        (Bus::VirtioScsi, "-device virtio-scsi-pci,id=scsi0 -device scsi-hd,bus=scsi0.0"),
    ] {
        let mut machine = machine();
        machine.disks.iter_mut().for_each(|disk| disk.bus = bus);
        check(&machine, &host(), &[device], &["virtio-blk-pci"]);
    }
}
