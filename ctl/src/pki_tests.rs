//! Whole handshakes, in memory, between the client that the contexts make and a server that demands a
//! client certificate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.identity)).unwrap();
    Arc::new(roots)
}

fn client(authority: &Authority, identity: &Identity, name: &str) -> ClientConnection {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(authority))
        .with_client_auth_cert(vec![certificate(identity)], key(identity))
        .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

fn server(authority: &Authority, identity: &Identity) -> ServerConnection {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(authority), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(identity)], key(identity))
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Carries bytes between the two until neither has anything to say.
fn shake(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut io::Cursor::new(std::mem::take(&mut wire))).unwrap();
        server.process_new_packets()?;
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut io::Cursor::new(std::mem::take(&mut wire))).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

#[test]
fn both_sides_accept_each_other_under_every_name_of_the_node() {
    let authority = make_authority("dev").unwrap();
    let node = make_server(&authority, "dev-1").unwrap();
    let user = make_client(&authority, "me").unwrap();
    for name in ["127.0.0.1", "::1", "localhost", "dev-1"] {
        shake(client(&authority, &user, name), server(&authority, &node)).unwrap();
    }
    let other = client(&authority, &user, "dev-2");
    assert!(shake(other, server(&authority, &node)).is_err());
}

/// A clock that stands.
#[derive(Debug)]
struct Always(u64);

impl TimeProvider for Always {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

#[test]
fn the_nodes_certificate_is_good_whatever_the_clock_says() {
    let authority = make_authority("dev").unwrap();
    let node = make_server(&authority, "dev-1").unwrap();
    let user = make_client(&authority, "me").unwrap();
    // 1970, 2031, 2099, 9999.
    for now_s in [0, 1_924_992_000, 4_070_908_800, 253_402_300_799] {
        let (provider, clock) =
            (Arc::new(rustls::crypto::ring::default_provider()), Arc::new(Always(now_s)));
        let config = ClientConfig::builder_with_details(Arc::clone(&provider), clock.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&authority))
            .with_client_auth_cert(vec![certificate(&user)], key(&user))
            .unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(&authority), Arc::clone(&provider))
                .build()
                .unwrap();
        let server = ServerConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate(&node)], key(&node))
            .unwrap();
        let name = ServerName::try_from("dev-1").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        shake(client, ServerConnection::new(Arc::new(server)).unwrap()).unwrap();
    }
}

#[test]
fn certificates_of_another_cluster_are_refused_by_both_sides() {
    let (ours, theirs) = (make_authority("dev").unwrap(), make_authority("dev").unwrap());
    let node = make_server(&ours, "dev-1").unwrap();
    let stranger = make_client(&theirs, "me").unwrap();
    assert!(shake(client(&ours, &stranger, "localhost"), server(&ours, &node)).is_err());
    let user = make_client(&ours, "me").unwrap();
    let impostor = make_server(&theirs, "dev-1").unwrap();
    assert!(shake(client(&ours, &user, "localhost"), server(&ours, &impostor)).is_err());
}

#[test]
fn a_client_certificate_does_not_make_a_server() {
    let authority = make_authority("dev").unwrap();
    let node = make_server(&authority, "dev-1").unwrap();
    let user = make_client(&authority, "me").unwrap();
    // As a server, the user; as a client, the node.
    assert!(shake(client(&authority, &user, "localhost"), server(&authority, &user)).is_err());
    assert!(shake(client(&authority, &node, "localhost"), server(&authority, &node)).is_err());
}

#[test]
fn a_name_that_is_no_host_name_is_refused() {
    let authority = make_authority("dev").unwrap();
    let error = make_server(&authority, "dév").unwrap_err();
    assert_eq!(error.to_string(), "make a certificate for \"dév\"");
}
