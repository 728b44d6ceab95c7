//! Names of images are read as the field reads them: the grammar of the distribution project's `reference`, as crate
//! oci-spec carries it, beside ours.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

use ferrite_schema::reference::Reference;
use oci_spec::distribution::Reference as Theirs;
use proptest::prelude::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What ours refuses though the grammar has it: ports that are none or are spelled in a second way, hosts that are
/// numbers and no addresses, and digests that nothing here checks.
fn is_stricter(theirs: &Theirs) -> bool {
    let port = theirs.registry().rsplit_once(':').map(|(_, port)| port);
    let bad_port = port.is_some_and(|port| port.starts_with('0') || port.parse::<u16>().is_err());
    let other_digest = theirs.digest().is_some_and(|digest| {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        hex.len() != 64 || hex.bytes().any(|byte| byte.is_ascii_uppercase())
    });
    // With the registry that a short name belongs to it may be longer than any registry takes.
    let hub = theirs.registry().to_ascii_lowercase().ends_with("docker.io");
    let library = if hub && !theirs.repository().contains('/') { "library/".len() } else { 0 };
    let too_long = theirs.registry().len() + 1 + library + theirs.repository().len() > 255;
    let host = theirs.registry().split(':').next().unwrap_or_default().to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(hexadecimal);
    let no_address = number && host.parse::<std::net::Ipv4Addr>().is_err();
    // Upper case alone makes no registry here; theirs takes it for one and then for a folder.
    let upper = theirs.repository().bytes().any(|byte| byte.is_ascii_uppercase());
    // What has a point in it is a registry to both, and theirs does not look whether it can be a host.
    let no_host = theirs.registry().contains('_');
    // Its expression's word characters are Unicode's.
    let foreign = theirs.tag().is_some_and(|tag| !tag.is_ascii());
    bad_port || no_address || other_digest || too_long || upper || no_host || foreign
}

/// What ours takes and the grammar of that crate has not: addresses of IPv6, which the distribution project's has.
fn is_wider(text: &str) -> bool {
    text.starts_with('[')
}

fn compare(text: &str) {
    match (text.parse::<Reference>(), text.parse::<Theirs>()) {
        (Ok(ours), Ok(theirs)) => {
            let registry = theirs.registry().to_ascii_lowercase();
            // Theirs knows one other name of Docker Hub, and that in lower case alone.
            if ours.registry() == "docker.io" {
                let host = registry.strip_suffix(":443").unwrap_or(&registry);
                assert!(host.ends_with("docker.io"), "{text}: {theirs}");
            } else {
                let registry = registry.strip_suffix(":443").unwrap_or(&registry);
                assert_eq!(ours.registry(), registry, "{text}");
                assert_eq!(ours.repository(), theirs.repository(), "{text}");
            }
            assert!(ours.repository().ends_with(theirs.repository()), "{text}: {ours}");
            assert_eq!(ours.digest(), theirs.digest(), "{text}");
            if theirs.digest().is_none() {
                assert_eq!(ours.tag(), theirs.tag(), "{text}");
            }
            let full = ours.to_string();
            assert_eq!(full.parse::<Reference>().unwrap(), ours, "{text} is not stable");
            assert!(full.parse::<Theirs>().is_ok(), "{text} becomes {full}");
        }
        (Err(_), Err(_)) => {}
        (Ok(ours), Err(error)) => {
            assert!(is_wider(text), "{text:?} is taken as {ours}: {error}");
        }
        (Err(error), Ok(theirs)) => {
            assert!(is_stricter(&theirs), "{text:?} is refused: {error}");
        }
    }
}

/// Pieces that names are made of, and that they are spoiled with.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{1,4}",
        2 => prop::sample::select(vec!["/", ":", "@", ".", "-", "_", "__", "--", "//", "..", "___"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "docker.io/", "index.docker.io/", "Docker.io/", "registry-1.docker.io:443/", "localhost/", "localhost:5000/", "x.y/", "x.y:80/",
            "x.y:080/", "x.y:+80/", "x.y:70000/", "x.y:443/", "10.0.514/", "10.0.514:80/", "library/", "http://", "10.0.2.2:5000/", "A", "é", "%2f", " ",
            "sha512:", "latest",
        ])
        .prop_map(str::to_owned),
        1 => Just(format!("@sha256:{HEX}")),
        1 => Just(format!("@sha256:{}", HEX.to_uppercase())),
        1 => Just(format!("@sha512:{HEX}{HEX}")),
        1 => (120_usize..136).prop_map(|length| format!(":{}", "t".repeat(length))),
        1 => (240_usize..260).prop_map(|length| "r".repeat(length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn texts_of_pieces_are_read_alike(pieces in prop::collection::vec(piece(), 0..7)) {
        compare(&pieces.concat());
    }

    #[test]
    fn any_printable_text_is_read_alike(text in "[ -~]{0,24}") {
        compare(&text);
    }
}

#[test]
fn what_was_once_taken_for_a_name_is_none_for_either() {
    for text in ["a:", ":1", "http://x/y", "a:b:c", "", "a@", "a@sha256:000"] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
        assert!(text.parse::<Theirs>().is_err(), "{text:?}");
        compare(text);
    }
}
