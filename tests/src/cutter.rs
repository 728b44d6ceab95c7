//! A bad line to a server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// Passes connections on, and cuts each after so many bytes from the server.
#[derive(Debug)]
pub struct Cutter {
    /// Where it listens.
    pub port: u16,
    /// How much came from the server so far.
    pub passed_bytes: Arc<AtomicU64>,
}

impl Cutter {
    /// In front of the port `to` of the loopback.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub fn start(to: u16, after_bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let passed_bytes = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&passed_bytes);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let passed = Arc::clone(&passed);
                thread::spawn(move || pass(&client, to, after_bytes, &passed));
            }
        });
        Ok(Self { port, passed_bytes })
    }
}

fn pass(client: &TcpStream, to: u16, after_bytes: usize, passed: &AtomicU64) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let mut buffer = vec![0; 16 * 1024];
    let mut count = 0;
    while count < after_bytes {
        let length = from_server.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        to_client.write_all(buffer.get(..length).unwrap_or_default())?;
        count += length;
        passed.fetch_add(length as u64, Ordering::Relaxed);
    }
    client.shutdown(std::net::Shutdown::Both)?;
    server.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}
