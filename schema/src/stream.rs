//! Frames of a stream between a person's terminal and a process in a container: `ferrite-stream/1`.
//!
//! `POST /v1/units/NAME/exec` and `/attach` answer 101 with this protocol; so do shims and exec processes on their
//! sockets. Each frame is
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 1 | [`Kind`] |
//! | 1 | 4 | length of the payload, big endian, at most [`PAYLOAD_MAX_BYTES`] |
//! | 5 | length | payload |

use serde::{Deserialize, Serialize};

use crate::api::Exit;

/// Name of the protocol in the HTTP upgrade.
pub const PROTOCOL: &str = "ferrite-stream/1";
/// Longest payload: a peer that announces more is broken.
pub const PAYLOAD_MAX_BYTES: usize = 64 * 1024;
/// Exit status of a command that was not started because its node failed, which says nothing of the command; as of `docker run`.
pub const NODE_FAILED: u8 = 125;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To the process: bytes for its standard input.
    Stdin,
    /// From the process: its standard output, or everything on its terminal.
    Stdout,
    /// From the process: its standard error.
    Stderr,
    /// To the process: its terminal's new size, columns and rows as two big-endian `u16`.
    Resize,
    /// To the process: a signal, its number as one byte.
    Signal,
    /// From the process, the last frame: how it ended, [`End`] as JSON.
    Exit,
    /// To the process: its standard input ends here. No payload.
    CloseStdin,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Resize => 3,
            Self::Signal => 4,
            Self::Exit => 5,
            Self::CloseStdin => 6,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Resize,
            4 => Self::Signal,
            5 => Self::Exit,
            6 => Self::CloseStdin,
            _ => return None,
        })
    }
}

/// How a process at the other end of a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// It ran and ended.
    Ended {
        /// How.
        exit: Exit,
    },
    /// It never ran.
    Refused {
        /// Exit status that a shell would give: 127 where there is no such program, [`NODE_FAILED`] where it is the node that
        /// failed, 126 otherwise.
        code: u8,
        /// Why, one sentence.
        reason: String,
    },
    /// It goes on, and the stream does not: the peer read too slowly.
    Detached,
}

/// The body of a request to run a command in a unit's container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// It gets a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Its standard input is what the client sends; empty otherwise.
    #[serde(default)]
    pub stdin: bool,
    /// `user` or `user:group`, names of the container or numbers; the unit's own where absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Working directory; the unit's own where absent.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Environment on top of the unit's, `NAME=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
    /// The terminal's first size, columns and rows.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(schema_with = terminal_size))]
    pub size: Option<(u16, u16)>,
}

/// Two numbers, which the derived schema does not say.
#[cfg(feature = "openapi")]
fn terminal_size() -> utoipa::openapi::schema::Array {
    use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, SchemaType, Type};
    let side = || {
        let side = ObjectBuilder::new().schema_type(Type::Integer);
        utoipa::openapi::Schema::from(side.minimum(Some(0)).maximum(Some(u16::MAX)))
    };
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .description(Some("The terminal's first size, columns and rows."))
        .items(ArrayItems::False)
        .prefix_items([side(), side()])
        .min_items(Some(2))
        .max_items(Some(2))
        .build()
}

/// The body of a request to copy files. What comes out is a tar stream in [`Kind::Stdout`], and what is to be said about it,
/// a sentence, in [`Kind::Stderr`]; what goes in is a tar stream in [`Kind::Stdin`], ended by [`Kind::CloseStdin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FilesRequest {
    /// Out of the container.
    Get {
        /// Absolute path in it.
        path: String,
    },
    /// Into the container.
    Put {
        /// Absolute path in it: a folder, or the copy's new name.
        path: String,
    },
}

/// A frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The size that a [`Kind::Resize`] carries, columns and rows.
    #[must_use]
    pub fn size(&self) -> Option<(u16, u16)> {
        let bytes: [u8; 4] = self.payload.as_slice().try_into().ok()?;
        let [a, b, c, d] = bytes;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }
}

/// The peer does not speak this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a frame: its kind is {kind}, its length {length}")]
pub struct BadFrame {
    kind: u8,
    length: u32,
}

/// Appends a frame to `out`, or several where the payload is long.
pub fn encode(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    if payload.is_empty() {
        out.extend_from_slice(&[kind.byte(), 0, 0, 0, 0]);
    }
    for part in payload.chunks(PAYLOAD_MAX_BYTES) {
        out.push(kind.byte());
        // A part is at most `PAYLOAD_MAX_BYTES` long.
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
}

/// Appends a resize to `out`.
pub fn encode_size(out: &mut Vec<u8>, (columns, rows): (u16, u16)) {
    let [a, b] = columns.to_be_bytes();
    let [c, d] = rows.to_be_bytes();
    encode(out, Kind::Resize, &[a, b, c, d]);
}

/// Bytes that arrived, as frames.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes bytes from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The peer does not speak this protocol.
    pub fn frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        let Some((header, rest)) = self.pending.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [kind_byte, a, b, c, d] = *header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let bad = BadFrame { kind: kind_byte, length };
        let kind = Kind::of(kind_byte).ok_or(bad)?;
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > PAYLOAD_MAX_BYTES {
            return Err(bad);
        }
        let Some(payload) = rest.get(..bytes) else { return Ok(None) };
        let payload = payload.to_vec();
        self.pending.drain(..HEADER_BYTES + bytes);
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Stdout, b"hello\0\xff");
        encode(&mut bytes, Kind::CloseStdin, b"");
        encode_size(&mut bytes, (80, 24));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            let (left, right) = bytes.split_at(cut);
            for part in [left, right] {
                decoder.feed(part);
                while let Some(frame) = decoder.frame().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found[0], Frame { kind: Kind::Stdout, payload: b"hello\0\xff".to_vec() });
            assert_eq!(found[1].kind, Kind::CloseStdin);
            assert_eq!((found[2].size(), found.len()), (Some((80, 24)), 3));
        }
    }

    #[test]
    fn long_payloads_become_several_frames() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Stdin, &vec![7; PAYLOAD_MAX_BYTES + 1]);
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        assert_eq!(decoder.frame().unwrap().unwrap().payload.len(), PAYLOAD_MAX_BYTES);
        assert_eq!(decoder.frame().unwrap().unwrap().payload, [7]);
        assert_eq!(decoder.frame(), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [[9, 0, 0, 0, 0], [0, 0, 1, 0, 1], [1, 255, 255, 255, 255]] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            assert!(decoder.frame().is_err(), "{bytes:?}");
        }
    }
}
