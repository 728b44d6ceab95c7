//! A connection that became a stream of frames: see `ferrite_schema::stream`.

use std::io;

use ferrite_schema::stream::{Decoder, Frame, Kind, encode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::error::ClientError;

/// Read at once.
const CHUNK_BYTES: usize = 32 * 1024;

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
    reader: ReadHalf<TokioIo<Upgraded>>,
    decoder: Decoder,
    act: String,
    node: String,
    _connection: JoinSet<()>,
}

/// Frames to the node.
#[derive(Debug)]
pub struct Outgoing {
    writer: WriteHalf<TokioIo<Upgraded>>,
}

impl FrameStream {
    pub(super) fn new(
        act: String,
        node: String,
        (upgraded, connection): (Upgraded, JoinSet<()>),
    ) -> Self {
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let decoder = Decoder::default();
        Self {
            incoming: Incoming { reader, decoder, act, node, _connection: connection },
            outgoing: Outgoing { writer },
        }
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
    /// Sends bytes that [`encode`] and its siblings made.
    ///
    /// # Errors
    /// The connection broke, which the other direction says as well.
    pub async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.writer.write_all(frames).await?;
        self.writer.flush().await
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub async fn send_frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, kind, payload);
        self.send(&bytes).await
    }
}
