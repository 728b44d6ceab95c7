use super::*;

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);
const PATIENCE: [Patience; 4] = [Patience::Fresh, Patience::Quiet, Patience::Late, Patience::Over];

fn kinds() -> [Kind; 3] {
    [
        Kind::NotOurs("no table".to_owned()),
        Kind::NotTrusted("signed by key x".to_owned()),
        Kind::Trusted,
    ]
}

fn candidate(name: &str, id: Uuid, kind: Kind) -> Candidate {
    Candidate {
        name: name.to_owned(),
        place: format!("/sys/devices/pci0000:00/0000:00:05.0/virtio3/block/{name}"),
        guid: Some(id),
        partitions: vec![id],
        fat_serial: u32::try_from(id.as_u128()).ok(),
        kind,
    }
}

/// Every set of up to two disks, alike or not, of every kind.
fn every_set() -> Vec<Vec<Candidate>> {
    let one = |name: &'static str| {
        [HERE, THERE].into_iter().flat_map(move |id| kinds().map(|kind| candidate(name, id, kind)))
    };
    let mut sets = vec![Vec::new()];
    sets.extend(one("vda").map(|a| vec![a]));
    sets.extend(one("vda").flat_map(|a| one("vdb").map(move |b| vec![a.clone(), b])));
    sets
}

fn every_origin() -> [Origin; 6] {
    [
        Origin::Device("vda".to_owned()),
        Origin::Device("vdb".to_owned()),
        Origin::Disk(HERE),
        Origin::Partition(HERE),
        Origin::Fat(1),
        Origin::Unknown,
    ]
}

fn fits(candidate: &Candidate, origin: &Origin) -> bool {
    match origin {
        Origin::Device(name) => candidate.name == *name,
        Origin::Disk(_) | Origin::Partition(_) | Origin::Fat(_) => candidate.guid == Some(HERE),
        Origin::Unknown => false,
    }
}

#[test]
fn whatever_the_evidence_no_disk_is_taken_by_a_guess() {
    let mut cells = 0;
    for set in every_set() {
        let trusted = set.iter().filter(|one| one.kind == Kind::Trusted).count();
        for origin in every_origin() {
            let fitting: Vec<_> = set.iter().filter(|one| fits(one, &origin)).collect();
            for patience in PATIENCE {
                cells += 1;
                let choice = choose(&set, &origin, patience);
                let case = format!("{set:?} {origin:?} {patience:?}: {choice:?}");
                if patience == Patience::Over {
                    assert!(!matches!(choice, Choice::Wait(_)), "waits for ever: {case}");
                }
                let Choice::Use { name, .. } = choice else { continue };
                let used = set.iter().find(|one| one.name == name).unwrap();
                assert_eq!(used.kind, Kind::Trusted, "{case}");
                let rivals =
                    fitting.iter().filter(|one| one.kind == Kind::Trusted && one.name != name);
                assert_eq!(rivals.count(), 0, "there is another that fits as well: {case}");
                if !fits(used, &origin) {
                    // Not the one that was asked for or started from: only where nothing is known of that.
                    assert_eq!(trusted, 1, "{case}");
                    let ours = |one: &&&Candidate| !matches!(one.kind, Kind::NotOurs(_));
                    assert_eq!(fitting.iter().filter(ours).count(), 0, "{case}");
                    assert!(!matches!(origin, Origin::Device(_) | Origin::Disk(_)), "{case}");
                    assert!(patience > Patience::Fresh, "{case}");
                }
            }
        }
    }
    assert_eq!(cells, (1 + 6 + 36) * 6 * 4);
}

#[test]
fn the_disk_that_was_started_from_is_taken_at_once_and_waited_for() {
    let ours = candidate("vdb", HERE, Kind::Trusted);
    let other = candidate("vda", THERE, Kind::Trusted);
    for origin in [Origin::Disk(HERE), Origin::Partition(HERE), Origin::Fat(1)] {
        let choice = choose(&[other.clone(), ours.clone()], &origin, Patience::Fresh);
        let expected = Choice::Use { name: "vdb".to_owned(), others: vec!["vda".to_owned()] };
        assert_eq!(choice, expected, "{origin:?}");
        for patience in [Patience::Fresh, Patience::Quiet] {
            let choice = choose(std::slice::from_ref(&other), &origin, patience);
            assert!(matches!(choice, Choice::Wait(_)), "{origin:?} {choice:?}");
        }
    }
}

#[test]
fn a_person_gets_to_know_what_to_do() {
    let two = [candidate("vda", HERE, Kind::Trusted), candidate("vdb", THERE, Kind::Trusted)];
    let Choice::Refuse(text) = choose(&two, &Origin::Unknown, Patience::Fresh) else {
        panic!("one of two was taken")
    };
    assert!(text.contains("ferrite.disk=") && text.contains("vda (00000000-"), "{text}");
    assert!(text.contains("at 0000:00:05.0"), "{text}");
    assert!(!text.contains("copies of one image"), "{text}");
    let alike = [candidate("vda", HERE, Kind::Trusted), candidate("vdb", HERE, Kind::Trusted)];
    let Choice::Refuse(text) = choose(&alike, &Origin::Partition(HERE), Patience::Fresh) else {
        panic!("one of two was taken")
    };
    assert!(text.contains("copies of one image") && text.contains("ferrite.disk="), "{text}");
    let [_, not_trusted, _] = kinds();
    let foreign = [candidate("vda", HERE, not_trusted)];
    let Choice::Refuse(text) = choose(&foreign, &Origin::Partition(HERE), Patience::Fresh) else {
        panic!("a disk that is not trusted was taken")
    };
    assert!(text.contains("key x") && text.contains("Nothing was written"), "{text}");
}

#[test]
fn a_place_names_a_disk_whatever_the_kernel_calls_it() {
    let mut other = candidate("vda", HERE, Kind::Trusted);
    other.place = "/sys/devices/pci0000:00/0000:00:04.0/virtio2/block/vda".to_owned();
    let disks = [other, candidate("vdb", HERE, Kind::Trusted)];
    for word in ["0000:00:05.0", "virtio3", "vdb"] {
        let Choice::Use { name, .. } = choose(&disks, &named(word), Patience::Fresh) else {
            panic!("{word} names none")
        };
        assert_eq!(name, "vdb");
    }
}

#[test]
fn what_names_a_disk_is_read() {
    assert_eq!(named("vdb"), Origin::Device("vdb".to_owned()));
    assert_eq!(named("/dev/nvme0n1"), Origin::Device("nvme0n1".to_owned()));
    assert_eq!(named("00000000-0000-0000-0000-000000000001"), Origin::Disk(HERE));
}
