//! Requests and certificates under the eyes of openssl, and what is believed in whole handshakes.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId, MachineName, Role};
use proptest::prelude::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::*;

const NOW_S: u64 = 1_795_000_000;

fn openssl(arguments: &[&str], folder: &Path) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    if output.status.success() { Ok(out + &err) } else { Err(out + &err) }
}

#[test]
fn openssl_understands_our_requests() {
    let folder = tempfile::tempdir().unwrap();
    let key = make_key().unwrap();
    let request = make_request(&key).unwrap();
    std::fs::write(folder.path().join("csr"), &request).unwrap();
    std::fs::write(folder.path().join("key"), &key).unwrap();
    let said =
        openssl(&["req", "-in", "csr", "-noout", "-verify", "-text"], folder.path()).unwrap();
    assert!(said.contains("verify OK") && said.contains("prime256v1"), "{said}");
    let of_key = openssl(
        &["pkey", "-in", "key", "-pubout", "-outform", "DER", "-out", "der"],
        folder.path(),
    );
    of_key.unwrap();
    let der = std::fs::read(folder.path().join("der")).unwrap();
    assert_eq!(read_request(&request).unwrap().digest, digest(&der));
    assert_ne!(
        read_request(&make_request(&make_key().unwrap()).unwrap()).unwrap().digest,
        digest(&der)
    );
}

fn id(digit: char) -> String {
    digit.to_string().repeat(32)
}

fn cluster() -> (ClusterId, ClusterName) {
    (id('c').parse().unwrap(), "dev".parse().unwrap())
}

fn machine(digit: char, cluster: &str) -> MachineName {
    MachineName { machine: id(digit).parse().unwrap(), cluster: cluster.parse().unwrap() }
}

struct Made {
    root: Identity,
    issuer: Issuer,
}

fn made() -> Made {
    let root = make_root("root", 1, Dates::ALWAYS).unwrap();
    let nodes = Issuer::root(&root).unwrap().make_issuer("nodes", Dates::ALWAYS).unwrap();
    let issuer = Issuer::below(&nodes, &root.certificate).unwrap();
    Made { root, issuer }
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Whether a client that knows `pin` speaks to a server that shows `shown`.
fn shake(pin: Pin, only: Option<MachineId>, shown: &Identity) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = NodeVerifier::new(pin, cluster(), only, Arc::clone(&provider));
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&shown.certificate).unwrap(), key)
        .unwrap();
    let name = ServerName::try_from("10.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut io::Cursor::new(std::mem::take(&mut wire))).unwrap();
        server.process_new_packets().map_err(|error| sentence(&error))?;
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut io::Cursor::new(std::mem::take(&mut wire))).unwrap();
        client.process_new_packets().map_err(|error| sentence(&error))?;
    }
    assert!(!client.is_handshaking());
    Ok(())
}

#[test]
fn nodes_of_the_cluster_are_believed_and_nobody_else() {
    let (ours, theirs) = (made(), made());
    let root = certificates(&ours.root.certificate).unwrap().remove(0);
    let print = fingerprint(&root);
    let pins = [Pin::Root(root), Pin::Fingerprint(print)];
    let node = |made: &Made, digit, name: &str, cluster: char, made_s| {
        let leaf = node_leaf(&id(cluster).parse().unwrap(), &machine(digit, name), made_s);
        made.issuer.issue(&leaf).unwrap()
    };
    let good = node(&ours, '1', "dev", 'c', now_s());
    let user = user_leaf(&cluster().0, "ann", Role::Admin, Dates::ALWAYS);
    let user = ours.issuer.issue(&Leaf { uses: Uses::Both, ..user }).unwrap();
    let named = Leaf {
        role: Some((cluster().0, Role::Admin)),
        ..node_leaf(&cluster().0, &machine('1', "dev"), now_s())
    };
    let named = ours.issuer.issue(&named).unwrap();
    let client_only =
        Leaf { uses: Uses::Client, ..node_leaf(&cluster().0, &machine('1', "dev"), now_s()) };
    let client_only = ours.issuer.issue(&client_only).unwrap();
    let peer = ours.issuer.issue(&peer_leaf(&cluster().0, &machine('1', "dev"), now_s())).unwrap();
    for pin in pins {
        shake(pin.clone(), None, &good).unwrap();
        shake(pin.clone(), id('1').parse().ok(), &good).unwrap();
        for (shown, only, words) in [
            (&good, id('2').parse().ok(), "it is machine 1111"),
            (&node(&theirs, '1', "dev", 'c', now_s()), None, "or somebody else"),
            (&node(&ours, '1', "prod", 'c', now_s()), None, "of another cluster"),
            (&node(&ours, '1', "dev", 'd', now_s()), None, "of another cluster"),
            (
                &node(&ours, '1', "dev", 'c', now_s() - 40 * 24 * 60 * 60),
                None,
                "its certificate is valid until",
            ),
            (
                &node(&ours, '1', "dev", 'c', now_s() + 2 * 24 * 60 * 60),
                None,
                "its certificate is valid from",
            ),
            (&user, None, "names no machine"),
            (&named, None, "names no machine"),
            (&peer, None, "names no machine"),
            (&client_only, None, "extended key usage"),
        ] {
            let said = shake(pin.clone(), only, shown).unwrap_err();
            assert!(said.contains(words), "{said}, not {words}");
        }
    }
}

/// Somebody shows the pinned root, which is no secret, behind a certificate that it has not signed.
#[test]
fn a_root_that_is_shown_is_not_a_chain_that_leads_to_it() {
    let (ours, theirs) = (made(), made());
    let leaf = node_leaf(&cluster().0, &machine('1', "dev"), now_s());
    let mut forged = theirs.issuer.issue(&leaf).unwrap();
    forged.certificate += &ours.root.certificate;
    let root = certificates(&ours.root.certificate).unwrap().remove(0);
    for pin in [Pin::Fingerprint(fingerprint(&root)), Pin::Root(root)] {
        let said = shake(pin, None, &forged).unwrap_err();
        assert!(said.contains("has not vouched for it"), "{said}");
    }
}

#[test]
fn what_certifies_nobody_makes_no_issuer() {
    let Made { root, issuer } = made();
    let leaf = issuer.issue(&node_leaf(&cluster().0, &machine('1', "dev"), NOW_S)).unwrap();
    assert!(matches!(Issuer::root(&leaf), Err(UseIssuer::NoIssuer)));
    let other = Identity { key: make_key().unwrap(), ..root.clone() };
    assert!(matches!(Issuer::root(&other), Err(UseIssuer::OtherKey)));
    let none = Identity { key: "x".to_owned(), ..root.clone() };
    assert!(matches!(Issuer::root(&none), Err(UseIssuer::ReadKey(_))));
    let none = Identity { certificate: root.key.clone(), ..root };
    assert!(matches!(Issuer::root(&none), Err(UseIssuer::ReadCertificate(_))));
}

#[test]
fn a_certificate_says_what_was_put_into_it() {
    let Made { issuer, .. } = made();
    let identity = issuer.issue(&node_leaf(&cluster().0, &machine('1', "dev"), NOW_S)).unwrap();
    let read = first_facts(&identity.certificate).unwrap();
    assert_eq!(read.machine, Some(machine('1', "dev")));
    assert_eq!(read.role, Some((cluster().0, Role::Node)));
    assert_eq!(read.dates, Dates { from_s: NOW_S - 86_400, until_s: NOW_S + 30 * 86_400 });
    assert_eq!(read.serial.len(), 32);
    assert!(!format!("{identity:?}").contains("PRIVATE"), "a log would show the key");
    // The chain leads up to the root, which is last.
    assert_eq!(certificates(&identity.certificate).unwrap().len(), 3);
    // Renewed for the same key it can be told from the one before.
    let key = read_request(&make_request(&identity.key).unwrap()).unwrap();
    let again =
        issuer.certify(&node_leaf(&cluster().0, &machine('1', "dev"), NOW_S), &key).unwrap();
    let again = first_facts(&again).unwrap();
    assert_eq!(again.key, read.key);
    assert_ne!(again.serial, read.serial);
    // Years after 2049 are written another way.
    let dates = Dates::since(4_000_000_000);
    let late = make_root("late", 0, dates).unwrap();
    assert_eq!(first_facts(&late.certificate).unwrap().dates, dates);
}

#[test]
fn roles_that_are_not_known_open_nothing() {
    use rcgen::{CertificateParams, KeyPair, SanType};
    let with = |uris: &[&str]| {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        facts(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    };
    let admin = format!("ferrite://{}/admin", id('c'));
    let known = with(&["https://example.org/", &admin]).unwrap();
    assert_eq!(known.role, Some((cluster().0, Role::Admin)));
    assert!(matches!(
        with(&[&format!("ferrite://{}/root", id('c'))]),
        Err(ReadCertificate::Role(_))
    ));
    assert!(matches!(with(&[&admin, &admin]), Err(ReadCertificate::TwoRoles)));
    assert_eq!(with(&["https://example.org/"]).unwrap().role, None);
}

fn changed(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0..good.len(), any::<u8>()), 0..4).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]
    /// Whatever the bytes are, they are read or refused; a request that is understood has the key
    /// that has signed it.
    #[test]
    fn no_bytes_are_too_strange(
        request in changed(request_der()),
        certificate in changed(certificate_der()),
        garbage in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        drop(facts(&certificate));
        drop(facts(&garbage));
        for bytes in [&request, &garbage] {
            let text = pem_of(bytes);
            if let Ok(read) = read_request(&text) {
                prop_assert_eq!(&read.digest, &read_request(&pem_of(&request_der())).unwrap().digest);
            }
        }
        drop(read_request(&String::from_utf8_lossy(&garbage)));
    }
}

fn request_der() -> Vec<u8> {
    static DER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        use rustls::pki_types::CertificateSigningRequestDer;
        let text = make_request(&make_key().unwrap()).unwrap();
        CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
    };
    DER.get_or_init(make).clone()
}

fn certificate_der() -> Vec<u8> {
    static DER: std::sync::OnceLock<CertificateDer<'static>> = std::sync::OnceLock::new();
    let make = || {
        let leaf = node_leaf(&cluster().0, &machine('1', "dev"), NOW_S);
        certificates(&made().issuer.issue(&leaf).unwrap().certificate).unwrap().remove(0)
    };
    DER.get_or_init(make).to_vec()
}

/// As a PEM text.
fn pem_of(der: &[u8]) -> String {
    let alphabet: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let sextet = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap();
            text.push(if place <= three.len() { alphabet[sextet] } else { '=' });
        }
    }
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}
