//! Machines with a guest of a few bytes: a boot sector that speaks on the serial console. Needs QEMU.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use ferrite_vm::console::{Console, ConsoleError, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::disk::{self, Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::host::{Acceleration, Host};
use ferrite_vm::machine::{Boot, Card, Clock, Lifetime, Machine, Timing};
use ferrite_vm::running::{self, MachineError, Running};
use ferrite_vm::switch::Switch;
use ferrite_vm::switch::client::Client;
use ferrite_vm::switch::topology::Network;

const SOON: Duration = Duration::from_secs(60);
const DISK_BYTES: usize = 1 << 20;

/// A boot sector that writes `text` to COM1 (the emulated port takes bytes at once) and halts for good.
fn boot_sector(text: &str) -> Vec<u8> {
    let code: [u8; 18] = [
        0xbe, 0x12, 0x7c, // mov si, 0x7c12: the text, right after the code
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0x2e, 0xac, // next: cs lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz halt
        0xee, // out dx, al
        0xeb, 0xf7, // jmp next
        0xf4, // halt: hlt
        0xeb, 0xfd, // jmp halt
    ];
    let mut disk = [&code, text.as_bytes()].concat();
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(DISK_BYTES, 0);
    disk
}

fn host() -> Host {
    // The same everywhere, so that a test that passes here passes there.
    Host { acceleration: Acceleration::Tcg, ..Host::probe().expect("QEMU is installed") }
}

fn machine(host: &Host, folder: &Path) -> Machine {
    let base = folder.join("base.raw");
    fs::write(&base, boot_sector("hello from the guest\r\n")).unwrap();
    let overlay = folder.join("disk.qcow2");
    disk::create_overlay(host, &base, Format::Raw, &overlay, None).unwrap();
    Machine {
        name: "test".to_owned(),
        directory: folder.to_owned(),
        cpus: 1,
        memory_mib: 64,
        boot: Boot::Bios,
        disks: vec![Disk {
            path: "disk.qcow2".into(),
            format: Format::Qcow2,
            cache: Cache::Unsafe,
            bus: Bus::Virtio,
            sector_bytes: 512,
            plugged: Plugged::AtPowerOn,
        }],
        fw_cfg: Vec::new(),
        network: Card::User,
        forwards: vec![7443],
        timing: Timing::Real,
        clock: Clock::Host,
        watchdog: true,
        screen: false,
        lifetime: Lifetime::Bound,
        extra_arguments: Vec::new(),
    }
}

fn wait_for(running: &Running, console: &mut Console, pattern: &str) -> String {
    let until = Until {
        deadline: Deadline::after(SOON),
        machine: Some(std::os::fd::AsFd::as_fd(running.process())),
        interrupt: None,
    };
    console.wait_for(&[pattern], until).unwrap().1
}

#[test]
fn a_machine_boots_speaks_and_obeys_its_buttons() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let mut running = Running::start(&machine(&host, folder.path()), &host).unwrap();
    let mut console = running.console().unwrap();
    wait_for(&running, &mut console, "hello from the guest");

    let qmp = running.qmp();
    qmp.pause().unwrap();
    assert_eq!(qmp.status().unwrap(), "paused");
    qmp.resume().unwrap();
    assert_eq!(qmp.status().unwrap(), "running");
    qmp.clear_events();
    qmp.power_button().unwrap();
    qmp.wait_event(&["POWERDOWN"], Deadline::after(SOON)).unwrap();
    qmp.press(&["ctrl", "alt", "delete"]).unwrap();
    qmp.reset().unwrap();
    let event = qmp.wait_event(&["RESET"], Deadline::after(SOON)).unwrap();
    assert_eq!(event.data["guest"], false);
    wait_for(&running, &mut console, "hello from the guest");

    let port = running.forwarded_port(7443).unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(matches!(running.forwarded_port(1), Err(MachineError::FindForward { guest_port: 1 })));
    assert_eq!(console.problems(&[]).unwrap(), []);
}

#[test]
fn it_hangs_on_a_switch_whoever_starts_first_and_is_off_it_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let network = Network::of(&["one"], 1);
    let card = network.card(folder.path(), "one").unwrap();
    let mut machine = Machine { network: card, ..machine(&host, folder.path()) };
    // Its guest says nothing on the network: it need not run.
    machine.extra_arguments.push("-S".to_owned());
    let is_plugged = || {
        let status = Client::connect(folder.path()).unwrap().status().unwrap();
        status.machines[0].plugged
    };
    let mut running = Running::start(&machine, &host).unwrap();
    let switch = Switch::start(network.clone(), folder.path()).unwrap();
    while !is_plugged() {}
    running.cut().unwrap();
    while is_plugged() {}
    let _running = Running::start(&machine, &host).unwrap();
    while !is_plugged() {}
    drop(switch);
    let _switch = Switch::start(network, folder.path()).unwrap();
    while !is_plugged() {}
}

#[test]
fn a_power_cut_ends_it_and_it_starts_again_on_the_same_console() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let machine = machine(&host, folder.path());
    let mut running = Running::start(&machine, &host).unwrap();
    let mut console = running.console().unwrap();
    wait_for(&running, &mut console, "hello");
    assert!(matches!(Running::start(&machine, &host), Err(MachineError::AlreadyRunning { .. })));
    running.cut().unwrap();
    assert!(running::find(folder.path()).unwrap().is_none());
    let until = Until {
        deadline: Deadline::after(SOON),
        machine: Some(std::os::fd::AsFd::as_fd(running.process())),
        interrupt: None,
    };
    assert!(matches!(console.wait_for(&["x"], until), Err(ConsoleError::Ended { .. })));

    let running = Running::start(&machine, &host).unwrap();
    wait_for(&running, &mut console, "hello");
}

#[test]
fn a_bound_machine_ends_with_its_handle_and_a_detached_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let machine = machine(&host, folder.path());
    drop(Running::start(&machine, &host).unwrap());
    assert!(running::find(folder.path()).unwrap().is_none());
    assert!(Running::attach(folder.path()).unwrap().is_none());

    let detached = Machine { lifetime: Lifetime::Detached, ..machine };
    drop(Running::start(&detached, &host).unwrap());
    let mut running = Running::attach(folder.path()).unwrap().expect("it still runs");
    assert_eq!(running.qmp().status().unwrap(), "running");
    running.qmp().quit().unwrap();
    running.wait_end(Deadline::after(SOON)).unwrap();
}

#[test]
fn what_qemu_refuses_is_said_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let good = machine(&host, folder.path());
    let bad = Machine { extra_arguments: vec!["-nonsense".to_owned()], ..good.clone() };
    let error = Running::start(&bad, &host).unwrap_err();
    assert!(error.to_string().contains("-nonsense: invalid option"), "{error}");

    let mut absent = good;
    absent.disks[0].path = "absent.qcow2".into();
    let error = Running::start(&absent, &host).unwrap_err();
    assert!(error.to_string().contains("absent.qcow2"), "{error}");
    assert!(running::find(folder.path()).unwrap().is_none());
}

#[test]
fn the_image_under_an_overlay_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let base = folder.path().join("base.raw");
    let machine = machine(&host, folder.path());
    let before = fs::metadata(&base).unwrap().modified().unwrap();
    let running = Running::start(&machine, &host).unwrap();
    let mut console = running.console().unwrap();
    wait_for(&running, &mut console, "hello");
    drop(running);
    assert_eq!(fs::metadata(&base).unwrap().modified().unwrap(), before);

    let larger = folder.path().join("larger.qcow2");
    disk::create_overlay(&host, &base, Format::Raw, &larger, Some(8 << 20)).unwrap();
    let absent = folder.path().join("absent.raw");
    let overlay = folder.path().join("none.qcow2");
    assert!(disk::create_overlay(&host, &absent, Format::Raw, &overlay, None).is_err());
    assert!(!overlay.exists());
}

#[test]
fn qemu_takes_every_kind_of_disk_at_once_and_later() {
    let folder = tempfile::tempdir().unwrap();
    let host = host();
    let mut machine = Machine { network: Card::None, ..machine(&host, folder.path()) };
    machine.clock = Clock::At("2031-01-01T00:00:00".to_owned());
    let kinds = [
        (Bus::Sata, 512, Plugged::AtPowerOn),
        (Bus::Nvme, 4096, Plugged::AtPowerOn),
        (Bus::VirtioScsi, 4096, Plugged::AtPowerOn),
        (Bus::Virtio, 4096, Plugged::Later),
        (Bus::Nvme, 512, Plugged::Later),
        (Bus::VirtioScsi, 512, Plugged::Later),
    ];
    for (number, (bus, sector_bytes, plugged)) in kinds.into_iter().enumerate() {
        let path = folder.path().join(format!("further{number}.raw"));
        disk::create_empty(&host, &path, Format::Raw, 8 << 20).unwrap();
        let (format, cache) = (Format::Raw, Cache::Unsafe);
        machine.disks.push(Disk { path, format, cache, bus, sector_bytes, plugged });
    }
    let mut running = Running::start(&machine, &host).unwrap();
    let mut console = running.console().unwrap();
    wait_for(&running, &mut console, "hello from the guest");
    for (index, disk) in machine.disks.iter().enumerate() {
        let plugged = running.plug(disk, index);
        assert_eq!(plugged.is_ok(), disk.plugged == Plugged::Later, "{disk:?}: {plugged:?}");
    }
    // Each is there once.
    assert!(running.plug(&machine.disks[4], 4).is_err());
}
