//! A connection that ends when the certificate at its other end opens nothing any more: whatever it carries then, requests or a stream.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Serial numbers of certificates that open nothing any more, as that changes.
pub type Revoked = watch::Receiver<Arc<BTreeSet<String>>>;

/// Ends when the certificate with this serial number is revoked; never where nobody says so any more.
async fn revoked(serial: String, mut all: Revoked) {
    if all.wait_for(|all| all.contains(&serial)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The connection. Both of its directions must be worked on by one task, which hears of the end wherever it waits.
pub(super) struct Cut<S> {
    stream: S,
    /// Absent once it has come.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Cut<S> {
    /// Cuts `stream` when the certificate with this serial number is revoked; never where nothing is.
    pub(super) fn when_revoked(stream: S, serial: String, all: Option<Revoked>) -> Self {
        let end: Pin<Box<dyn Future<Output = ()> + Send>> = match all {
            Some(all) => Box::pin(revoked(serial, all)),
            None => Box::pin(std::future::pending()),
        };
        Self { stream, end: Some(end) }
    }

    /// Nothing more goes through it.
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            self.end = None;
        }
        self.end.is_none()
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "its certificate was revoked")
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Nothing here takes so long.
    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_connection_is_cut_in_the_middle_of_a_wait_and_only_its_own() {
        let all = watch::Sender::new(Arc::default());
        let (own, other) = (tokio::io::duplex(64), tokio::io::duplex(64));
        let cuts = |stream, serial: &str| {
            Cut::when_revoked(stream, serial.to_owned(), Some(all.subscribe()))
        };
        let (mut mine, mut theirs) = (cuts(own.0, "0a"), cuts(other.0, "0b"));
        let mut client = own.1;
        client.write_all(b"x").await.unwrap();
        assert_eq!(mine.read_u8().await.unwrap(), b'x');
        let waits = async { mine.read_u8().await.unwrap_err().kind() };
        let revokes = async { drop(all.send_replace(Arc::new(["0a".to_owned()].into()))) };
        let both = async { tokio::join!(waits, revokes).0 };
        let kind = tokio::time::timeout(SOON, both).await.expect("it hears of it");
        assert_eq!(kind, io::ErrorKind::ConnectionAborted);
        assert!(mine.write_all(b"y").await.is_err() && mine.flush().await.is_err());
        theirs.write_all(b"z").await.unwrap();
        // Nobody says anything any more, which revokes nothing.
        drop(all);
        theirs.write_all(b"z").await.unwrap();
        let alone = Cut::when_revoked(tokio::io::duplex(64).0, "0a".to_owned(), None);
        assert!(alone.end.is_some());
    }
}
