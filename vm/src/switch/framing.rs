//! Frames on a byte stream, as QEMU's `-netdev stream` sends them: each behind its length.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 4 | length of the frame in bytes, big-endian |
//! | 4 | length | the frame |
//!
//! Source: `net_fill_rstate` in QEMU's `net/net.c`.

use super::port::Frame;

const LENGTH_BYTES: usize = 4;
/// Longest frame: QEMU's own limit (`NET_BUFSIZE`, 64 KiB of payload and 4 KiB for headers).
pub(crate) const FRAME_MAX_BYTES: usize = (64 << 10) + (4 << 10);

/// A stream that holds no frames. Nothing behind it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "read a frame: its length is said to be {length} bytes; 1 to {FRAME_MAX_BYTES} are possible"
)]
pub(crate) struct WrongLength {
    length: u32,
}

/// Puts a stream's pieces together.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// How many of `bytes` are taken.
    taken: usize,
}

impl Decoder {
    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// Takes the next frame that is there completely.
    ///
    /// # Errors
    /// The length is impossible: the stream is lost.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, WrongLength> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes == 0 || bytes > FRAME_MAX_BYTES {
            return Err(WrongLength { length });
        }
        let Some(frame) = rest.get(..bytes) else { return Ok(None) };
        self.taken += LENGTH_BYTES + bytes;
        Ok(Some(frame.into()))
    }
}

/// Adds a frame to what is to be sent. One that is empty or too long is left out, and the answer is false.
pub(crate) fn encode(frame: &[u8], to: &mut Vec<u8>) -> bool {
    let Ok(length) = u32::try_from(frame.len()) else { return false };
    if frame.is_empty() || frame.len() > FRAME_MAX_BYTES {
        return false;
    }
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(frame);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(decoder: &mut Decoder) -> Result<Vec<Frame>, WrongLength> {
        let mut found = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            found.push(frame);
        }
        Ok(found)
    }

    #[test]
    fn impossible_lengths_end_the_stream_before_anything_is_kept() {
        let longest = u32::try_from(FRAME_MAX_BYTES).unwrap();
        for length in [0, longest + 1, 1 << 24, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.push(&[0, 0, 0, 1, 7]);
            decoder.push(&length.to_be_bytes());
            assert_eq!(decoder.next_frame(), Ok(Some([7][..].into())));
            assert_eq!(decoder.next_frame(), Err(WrongLength { length }));
        }
        let mut decoder = Decoder::default();
        decoder.push(&longest.to_be_bytes());
        decoder.push(&vec![1; FRAME_MAX_BYTES - 1]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.push(&[2]);
        assert_eq!(decoder.next_frame().unwrap().unwrap().len(), FRAME_MAX_BYTES);
    }

    #[test]
    fn what_no_peer_would_take_is_not_sent() {
        let mut bytes = Vec::new();
        assert!(!encode(&[], &mut bytes));
        assert!(!encode(&vec![0; FRAME_MAX_BYTES + 1], &mut bytes));
        assert_eq!(bytes, [0; 0]);
        assert!(encode(&vec![0; FRAME_MAX_BYTES], &mut bytes));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_frames_are_the_same(
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..20),
            sizes in proptest::collection::vec(1..300_usize, 1..20),
        ) {
            let mut bytes = Vec::new();
            for frame in &sent {
                prop_assert!(encode(frame, &mut bytes));
            }
            let (mut decoder, mut received, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            for size in sizes.iter().cycle() {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                decoder.push(piece);
                received.extend(frames(&mut decoder).unwrap());
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>(), sent);
        }

        #[test]
        fn rubbish_keeps_no_more_than_a_frame(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..5000), 0..30)
        ) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.push(&piece);
                if frames(&mut decoder).is_err() {
                    break;
                }
                let kept = decoder.bytes.len() - decoder.taken;
                prop_assert!(kept < LENGTH_BYTES + FRAME_MAX_BYTES, "{}", kept);
            }
        }
    }
}
