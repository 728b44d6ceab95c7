//! `ferrite etcd proxy`: a port of this computer's loopback, each connection of which leads to etcd's socket on a member.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, Which};
use crate::commands::ending::told_to_end;
use crate::etcd::EtcdProblem;
use crate::failure::{Failure, chain};
use crate::output::{self, printable};
use crate::session::Session;

/// Most connections that are carried at a time: what one member gives, see the agent's `api::cluster::etcd`.
const CONNECTIONS_MAX: usize = 32;
/// Delay after the kernel refused a connection, for want of file descriptors for example.
const REFUSED_DELAY: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize)]
struct Lent {
    endpoint: String,
}

pub(super) fn run(
    client: &Client,
    which: Which,
    port: u16,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let format = session.globals.output;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async {
        // Whoever cannot get there hears so now, and not from etcdctl.
        drop(client.etcd_connection(which).await?);
        let failed = |source| EtcdProblem::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
        output::show(session.out, format, &Lent { endpoint }, text)?;
        let err = &mut *session.err;
        let mut say = |why: &str| {
            // Where nobody reads standard error any more, nobody is told.
            drop(writeln!(err, "a connection to etcd: {}", printable(why)));
        };
        let open = || async { client.etcd_connection(which).await.map_err(|error| chain(&error)) };
        tokio::select! {
            biased;
            told = told_to_end() => told.map_err(|source| Failure::Runtime { source }),
            () = lend(&listener, &open, &mut say) => Ok(()),
        }
    })
}

fn text(lent: &Lent) -> String {
    format!(
        "etcd answers here until Ctrl-C, to everybody on this computer:\netcdctl --endpoints={}",
        lent.endpoint
    )
}

/// Carries connections, each to what `open` opens for it. Never ends: what goes wrong is said, once for as long as it is the same.
async fn lend<F, T>(listener: &TcpListener, open: &impl Fn() -> F, say: &mut impl FnMut(&str))
where
    F: Future<Output = Result<T, String>>,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut carried = FuturesUnordered::new();
    let mut said = String::new();
    loop {
        let why = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((local, _)) if carried.len() < CONNECTIONS_MAX => {
                    carried.push(carry(local, open()));
                    continue;
                }
                // Closed at once: its owner waits for nothing.
                Ok(_) => format!("{CONNECTIONS_MAX} are carried already, one more was closed"),
                Err(error) => {
                    tokio::time::sleep(REFUSED_DELAY).await;
                    format!("it was not taken: {error}")
                }
            },
            Some(ended) = carried.next() => match ended {
                Ok(()) => {
                    said.clear();
                    continue;
                }
                Err(why) => why,
            },
        };
        if said != why {
            say(&why);
            said = why;
        }
    }
}

/// Carries one until either end closes it. It is an error only where there is no other end.
async fn carry<T: AsyncRead + AsyncWrite + Unpin>(
    mut local: TcpStream,
    opening: impl Future<Output = Result<T, String>>,
) -> Result<(), String> {
    local.set_nodelay(true).map_err(|error: io::Error| error.to_string())?;
    let mut remote = opening.await?;
    // Whichever side breaks, both are closed, and each side's peer sees that.
    drop(tokio::io::copy_bidirectional(&mut local, &mut remote).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// Nothing here takes so long.
    const SOON: Duration = Duration::from_secs(60);

    /// What is asked of an etcd that answers all that it hears, or is not reached: why.
    async fn with_proxy<F: Future<Output = ()>>(
        reached: impl Fn() -> Result<(), String>,
        does: impl FnOnce(std::net::SocketAddr) -> F,
    ) -> Vec<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let said = RefCell::new(Vec::new());
        let open = || {
            let reached = reached();
            async move {
                reached?;
                let (near, far) = tokio::io::duplex(1 << 16);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = tokio::io::split(far);
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                });
                Ok::<DuplexStream, String>(near)
            }
        };
        let mut say = |why: &str| said.borrow_mut().push(why.to_owned());
        let done = async {
            tokio::select! {
                () = lend(&listener, &open, &mut say) => {}
                () = does(address) => {}
            }
        };
        tokio::time::timeout(SOON, done).await.unwrap();
        said.into_inner()
    }

    async fn echoed(stream: &mut TcpStream, words: &[u8]) {
        stream.write_all(words).await.unwrap();
        let mut back = vec![0; words.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, words);
    }

    #[tokio::test]
    async fn each_connection_gets_one_of_its_own_and_too_many_are_closed() {
        let opened = Cell::new(0);
        let reached = || {
            opened.set(opened.get() + 1);
            Ok(())
        };
        let said = with_proxy(reached, |address| async move {
            let mut all = Vec::new();
            for number in 0..CONNECTIONS_MAX {
                let mut stream = TcpStream::connect(address).await.unwrap();
                echoed(&mut stream, number.to_string().as_bytes()).await;
                all.push(stream);
            }
            for _ in 0..2 {
                let mut late = TcpStream::connect(address).await.unwrap();
                assert!(matches!(late.read(&mut [0]).await, Ok(0) | Err(_)));
            }
            // One that ends makes room, and what it wrote last has come back before.
            let mut first = all.remove(0);
            first.write_all(b"last").await.unwrap();
            first.shutdown().await.unwrap();
            let mut rest = Vec::new();
            first.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"last");
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                // It may be a moment until the proxy has seen the end.
                if next.write_all(b"x").await.is_ok() && next.read_u8().await.is_ok() {
                    break;
                }
            }
            echoed(&mut all[0], b"still").await;
        });
        let said = said.await;
        assert_eq!(said[0], "32 are carried already, one more was closed", "{said:?}");
        assert_eq!(opened.get(), CONNECTIONS_MAX + 1);
    }

    #[tokio::test]
    async fn what_is_not_reached_is_said_once_and_tried_again() {
        let tries = Cell::new(0);
        let reached = || {
            tries.set(tries.get() + 1);
            match tries.get() {
                1..=3 => Err("this node runs no etcd now".to_owned()),
                _ => Ok(()),
            }
        };
        let said = with_proxy(reached, |address| async move {
            for _ in 0..3 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
            }
            echoed(&mut TcpStream::connect(address).await.unwrap(), b"at last").await;
        });
        assert_eq!(said.await, ["this node runs no etcd now"]);
    }

    #[test]
    fn the_line_can_be_pasted() {
        let lent = Lent { endpoint: "http://127.0.0.1:41234".to_owned() };
        assert!(text(&lent).ends_with("\netcdctl --endpoints=http://127.0.0.1:41234"));
    }
}
