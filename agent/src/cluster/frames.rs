//! Messages of `ferrite-node/1` over a connection.

use std::io;

use ferrite_cluster::protocol::frame::{BadFrame, Decoder, framed};
use ferrite_cluster::protocol::{Message, Unintelligible, decode, encode_in_pieces};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// Read at once.
const READ_BYTES: usize = 16 * 1024;

/// The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It ended.
    #[error("the other end hung up")]
    Ended,
    /// It ended in the middle of a message.
    #[error("the other end hung up in the middle of a message")]
    CutOff,
    /// It failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no frame, or what was to be sent.
    #[error(transparent)]
    Frame(#[from] BadFrame),
    /// What came is no message.
    #[error(transparent)]
    Message(#[from] Unintelligible),
}

/// What comes.
#[derive(Debug)]
pub(super) struct Hears<S> {
    stream: ReadHalf<S>,
    decoder: Decoder,
}

/// What goes.
#[derive(Debug)]
pub(super) struct Says<S> {
    stream: WriteHalf<S>,
}

/// Both ends' halves of a connection.
pub(super) fn frames<S: AsyncRead + AsyncWrite>(stream: S) -> (Hears<S>, Says<S>) {
    let (read, write) = tokio::io::split(stream);
    (Hears { stream: read, decoder: Decoder::default() }, Says { stream: write })
}

impl<S: AsyncRead> Hears<S> {
    /// The next message. Cancelled, it loses nothing: what has come is kept.
    pub(super) async fn next(&mut self) -> Result<Message, Broken> {
        let mut bytes = [0; READ_BYTES];
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(decode(&message)?);
            }
            let count = self.stream.read(&mut bytes).await?;
            match bytes.get(..count) {
                Some(read) if !read.is_empty() => self.decoder.push(read),
                _ if self.decoder.left_bytes() == 0 => return Err(Broken::Ended),
                _ => return Err(Broken::CutOff),
            }
        }
    }
}

impl<S: AsyncRead> Hears<S> {
    /// The next bytes, once what comes is no messages any more; none at the end.
    pub(super) async fn bytes(&mut self) -> Result<Vec<u8>, Broken> {
        let rest = self.decoder.take_rest();
        if !rest.is_empty() {
            return Ok(rest);
        }
        let mut bytes = vec![0; READ_BYTES];
        let count = self.stream.read(&mut bytes).await?;
        bytes.truncate(count);
        Ok(bytes)
    }
}

impl<S: AsyncWrite> Says<S> {
    /// Sends bytes that are no message.
    pub(super) async fn pass(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends a message, in as many frames as it takes.
    pub(super) async fn say(&mut self, message: &Message) -> Result<(), Broken> {
        for piece in encode_in_pieces(message)? {
            self.stream.write_all(&framed(&piece)?).await?;
        }
        Ok(self.stream.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard_and_what_is_no_message_ends_it() {
        let (here, there) = tokio::io::duplex(64);
        let ((_, mut says), (mut hears, answers)) = (frames(here), frames(there));
        let said = Message::Refused { why: "x".repeat(1000), copy: false, revoked: false };
        let (sent, heard) = tokio::join!(says.say(&said), hears.next());
        sent.unwrap();
        assert_eq!(heard.unwrap(), said);
        let nonsense = framed(b"{}").unwrap();
        let (sent, heard) = tokio::join!(says.stream.write_all(&nonsense), hears.next());
        sent.unwrap();
        assert!(matches!(heard, Err(Broken::Message(_))), "{heard:?}");
        says.stream.write_all(b"\0\0\0\x09{").await.unwrap();
        says.stream.shutdown().await.unwrap();
        assert!(matches!(hears.next().await, Err(Broken::CutOff)));
        drop(answers);
    }
}
