//! A connection that became a stream of frames: see `ferrite_schema::stream`.

use std::fmt;
use std::io;

use ferrite_schema::stream::{Decoder, Frame, Kind, encode, encode_size};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::error::ClientError;

/// Read at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// Both directions of a connection.
trait Wire: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Wire for T {}

/// Both directions of a stream. Dropping them closes the connection.
#[derive(Debug)]
pub struct FrameStream {
    /// What comes from the node.
    pub incoming: Incoming,
    /// What goes to the node.
    pub outgoing: Outgoing,
}

/// Frames from the node.
#[derive(Debug)]
pub struct Incoming {
    reader: ReadHalf<Box<dyn Wire>>,
    decoder: Decoder,
    act: String,
    node: String,
    _connection: JoinSet<()>,
}

/// Frames to the node: they are queued, and sent by [`Self::advance`] beside what comes from it, since who only sends while
/// the other only sends waits for ever.
#[derive(Debug)]
pub struct Outgoing {
    writer: WriteHalf<Box<dyn Wire>>,
    waiting: Vec<u8>,
    /// Something was written that may wait in the connection.
    unflushed: bool,
    broken: bool,
}

impl FrameStream {
    pub(super) fn new(
        act: String,
        node: String,
        (upgraded, connection): (Upgraded, JoinSet<()>),
    ) -> Self {
        Self::over(act, node, (Box::new(TokioIo::new(upgraded)), connection))
    }

    fn over(act: String, node: String, (wire, connection): (Box<dyn Wire>, JoinSet<()>)) -> Self {
        let (reader, writer) = tokio::io::split(wire);
        let decoder = Decoder::default();
        Self {
            incoming: Incoming { reader, decoder, act, node, _connection: connection },
            outgoing: Outgoing { writer, waiting: Vec::new(), unflushed: false, broken: false },
        }
    }

    /// A stream with a node that a test plays.
    #[cfg(test)]
    pub(crate) fn with(node: tokio::io::DuplexStream) -> Self {
        Self::over("test".to_owned(), "node".to_owned(), (Box::new(node), JoinSet::new()))
    }
}

impl Incoming {
    /// The next frame; `None` where the node closed the stream.
    ///
    /// # Errors
    /// The connection broke, or the node does not speak this protocol.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        let broke = |act: &str, node: &str, source| ClientError::Stream {
            act: act.to_owned(),
            node: node.to_owned(),
            source,
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.decoder.frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(bad) => {
                    let source = io::Error::new(io::ErrorKind::InvalidData, bad);
                    return Err(broke(&self.act, &self.node, source));
                }
            }
            match self.reader.read(&mut chunk).await {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.feed(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(source) => return Err(broke(&self.act, &self.node, source)),
            }
        }
    }
}

impl Outgoing {
    /// Puts a frame behind those that wait.
    pub fn queue(&mut self, kind: Kind, payload: &[u8]) {
        if !self.broken {
            encode(&mut self.waiting, kind, payload);
        }
    }

    /// Puts a terminal's new size behind what waits.
    pub fn queue_size(&mut self, size: (u16, u16)) {
        if !self.broken {
            encode_size(&mut self.waiting, size);
        }
    }

    /// Nothing waits to be sent, so that more may come.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unflushed
    }

    /// Sends some of what waits. It may be dropped at any time, and called again. Where the connection broke, what is queued
    /// is thrown away: the other direction says why.
    pub async fn advance(&mut self) {
        if self.send().await.is_err() {
            self.broken = true;
            self.waiting.clear();
            self.unflushed = false;
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.writer.write(&self.waiting).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => drop(self.waiting.drain(..count)),
            }
            self.unflushed = true;
        }
        self.writer.flush().await?;
        self.unflushed = false;
        Ok(())
    }
}
