//! Frames: how messages are told apart in a stream of bytes.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 4 | number of bytes that follow, big-endian; 1 to [`FRAME_MAX_BYTES`] |
//! | 4 | that many | the message |

/// Most bytes of a message: the biggest records of a machine, and room for what is around them.
pub const FRAME_MAX_BYTES: usize = 2 << 20;
const LENGTH_BYTES: usize = 4;

const _: () =
    assert!(FRAME_MAX_BYTES > <crate::records::State as crate::records::Record>::MAX_BYTES);

/// A frame that is none. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It is longer than any may be.
    #[error("a frame says that it has {size_bytes} bytes, and {FRAME_MAX_BYTES} are the most")]
    TooLong {
        /// What it says, or what was to be sent.
        size_bytes: usize,
    },
    /// Nothing is in it.
    #[error("a frame is empty")]
    Empty,
}

/// A message as a frame.
///
/// # Errors
/// It is empty or too long.
pub fn framed(message: &[u8]) -> Result<Vec<u8>, BadFrame> {
    let size_bytes = message.len();
    check(size_bytes)?;
    let length = u32::try_from(size_bytes).map_err(|_too_long| BadFrame::TooLong { size_bytes })?;
    let mut frame = Vec::with_capacity(size_bytes.saturating_add(LENGTH_BYTES));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame)
}

const fn check(size_bytes: usize) -> Result<(), BadFrame> {
    match size_bytes {
        0 => Err(BadFrame::Empty),
        1..=FRAME_MAX_BYTES => Ok(()),
        _ => Err(BadFrame::TooLong { size_bytes }),
    }
}

/// Takes bytes as they come and gives whole messages. It holds no more than one frame and what was given to it last.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, once it is whole.
    ///
    /// # Errors
    /// What came is no frame.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, BadFrame> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let size_bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        // Before anything is waited for: a length alone takes no memory.
        check(size_bytes)?;
        let Some(message) = rest.get(..size_bytes) else { return Ok(None) };
        let message = message.to_vec();
        self.buffer.drain(..size_bytes.saturating_add(LENGTH_BYTES));
        Ok(Some(message))
    }

    /// All that was given to it and is no message yet: what follows is none.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Bytes of a message that is not whole yet: a stream that ends with some was cut off.
    #[must_use]
    pub fn left_bytes(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_frame_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        let size_bytes = u32::MAX as usize;
        assert_eq!(decoder.next_message(), Err(BadFrame::TooLong { size_bytes }));
        let mut decoder = Decoder::default();
        decoder.push(&[0; 4]);
        assert_eq!(decoder.next_message(), Err(BadFrame::Empty));
        assert_eq!(framed(b""), Err(BadFrame::Empty));
        assert!(framed(&vec![0; FRAME_MAX_BYTES]).is_ok());
        assert!(framed(&vec![0; FRAME_MAX_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_bytes_come(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(1..20_usize, 1..50),
        ) {
            let bytes: Vec<u8> =
                messages.iter().flat_map(|message| framed(message).unwrap()).collect();
            let (mut decoder, mut found, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.push(now);
                rest = later;
                while let Some(message) = decoder.next_message().unwrap() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(decoder.left_bytes(), 0);
        }

        #[test]
        fn no_bytes_end_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(message)) = decoder.next_message() {
                prop_assert!(!message.is_empty());
            }
        }
    }
}
