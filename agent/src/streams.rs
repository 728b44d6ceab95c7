//! Connections of the API that became streams.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

/// Most streams at a time; each command costs a process.
pub const STREAMS_MAX: usize = 128;

/// Read at once in each direction.
const CHUNK_BYTES: usize = 8 * 1024;
/// How long somebody who sends on is listened to once all is said: a connection that is closed with something unread in it
/// is reset, and takes along what is still on its way to the other end.
const LINGER: Duration = Duration::from_secs(5);

/// Streams that are carried, until their ends.
#[derive(Debug, Default)]
pub struct Streams(Mutex<JoinSet<()>>);

impl Streams {
    /// Carries one more, unless there are too many.
    pub fn carry(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        let room = running.len() < STREAMS_MAX;
        if room {
            running.spawn(work);
        }
        room
    }
}

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// In order.
    Whole,
    /// The sender broke off.
    Broken,
    /// The receiver takes no more.
    Refused,
}

/// Carries bytes between a client, `outer`, and what answers it, `inner`, until one of them is gone. Each direction ends by
/// itself: a process that ends without having read its input has said how it ended, and the client hears that.
pub async fn between(outer: impl AsyncRead + AsyncWrite, inner: impl AsyncRead + AsyncWrite) {
    let (mut outer_reader, mut outer_writer) = tokio::io::split(outer);
    let (mut inner_reader, mut inner_writer) = tokio::io::split(inner);
    let outward = async {
        // What `inner` sent before it broke off came all the same.
        let passed = pass(&mut inner_reader, &mut outer_writer).await;
        drop(outer_writer.shutdown().await);
        passed
    };
    let inward = async {
        let mut passed = pass(&mut outer_reader, &mut inner_writer).await;
        drop(inner_writer.shutdown().await);
        if passed == Passed::Refused {
            passed = pass(&mut outer_reader, &mut tokio::io::sink()).await;
        }
        passed
    };
    tokio::pin!(outward, inward);
    tokio::select! {
        passed = &mut outward => if passed != Passed::Refused {
            drop(tokio::time::timeout(LINGER, inward).await);
        },
        passed = &mut inward => if passed != Passed::Broken {
            outward.await;
        },
    }
}

async fn pass(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Passed {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match reader.read(&mut chunk).await {
            Ok(0) => return Passed::Whole,
            Ok(count) => count,
            Err(_) => return Passed::Broken,
        };
        let sent = writer.write_all(chunk.get(..count).unwrap_or_default()).await;
        // A connection with TLS keeps back what is not flushed.
        if sent.is_err() || writer.flush().await.is_err() {
            return Passed::Refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    /// Nothing here takes so long.
    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_end_of_a_process_is_heard_that_did_not_read_its_input() {
        let (inner, mut process) = UnixStream::pair().unwrap();
        let (outer, mut client) = tokio::io::duplex(16 * 1024);
        // It ends with something unread, so that what is sent to it fails from the beginning.
        client.write_all(b"y\ny\n").await.unwrap();
        let mut unread = inner;
        unread.write_all(b"y\n").await.unwrap();
        process.write_all(b"exit 0").await.unwrap();
        drop(process);
        let (mut hears, mut says) = tokio::io::split(client);
        let mut all = JoinSet::new();
        all.spawn(between(outer, unread));
        all.spawn(async move { while says.write_all(&[b'y'; 1000]).await.is_ok() {} });
        let mut heard = Vec::new();
        tokio::time::timeout(SOON, hears.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, b"exit 0");
        // The client goes on writing, and is not listened to for ever.
        tokio::time::timeout(SOON, all.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_stream() {
        let (inner, mut process) = UnixStream::pair().unwrap();
        let (outer, mut client) = tokio::io::duplex(16 * 1024);
        let mut all = JoinSet::new();
        all.spawn(between(outer, inner));
        client.write_all(b"input").await.unwrap();
        drop(client);
        let mut heard = Vec::new();
        tokio::time::timeout(SOON, process.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, b"input");
        drop(process);
        tokio::time::timeout(SOON, all.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_says_no_more_is_answered_to_the_end() {
        let (inner, mut process) = UnixStream::pair().unwrap();
        let (outer, mut client) = tokio::io::duplex(16 * 1024);
        let mut all = JoinSet::new();
        all.spawn(between(outer, inner));
        client.shutdown().await.unwrap();
        assert_eq!(process.read(&mut [0; 10]).await.unwrap(), 0);
        process.write_all(b"late").await.unwrap();
        drop(process);
        let mut heard = Vec::new();
        tokio::time::timeout(SOON, client.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, b"late");
    }
}
