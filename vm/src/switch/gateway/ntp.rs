//! The host's time for machines that ask for it.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 1 | leap indicator (2 bits), version (3), mode (3) |
//! | 1 | 1 | stratum |
//! | 2 | 1, 1 | poll interval and precision, as powers of two of a second |
//! | 4 | 4, 4 | delay and dispersion to the reference |
//! | 12 | 4 | who the reference is |
//! | 16 | 8 | when the clock was last set |
//! | 24 | 8 | origin: the client's transmit time |
//! | 32 | 8 | receive |
//! | 40 | 8 | transmit |
//!
//! Times are seconds since 1900 and their 32-bit fractions. Source: RFC 5905, section 7.3.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MESSAGE_BYTES: usize = 48;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// Seconds from 1900 to 1970.
const TO_UNIX: u64 = 2_208_988_800;
/// What a host's clock can tell: a microsecond.
const PRECISION: i8 = -20;

/// The answer to a client's message that came at `received`; `None` where it is none.
pub(crate) fn answer(message: &[u8], received: SystemTime, now: SystemTime) -> Option<[u8; 48]> {
    let request = message.first_chunk::<MESSAGE_BYTES>()?;
    let [first, _, poll, ..] = *request;
    let version = first >> 3 & 7;
    if first & 7 != CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let (_, transmitted) = request.split_last_chunk::<8>()?;
    let head = [version << 3 | SERVER, 1, poll, PRECISION.cast_unsigned()];
    let mut reply = [0; MESSAGE_BYTES];
    let fields = head
        .into_iter()
        .chain([0; 4])
        .chain([0, 0, 0, 1])
        .chain(*b"HOST")
        .chain(timestamp(received))
        .chain(*transmitted)
        .chain(timestamp(received))
        .chain(timestamp(now));
    for (byte, field) in reply.iter_mut().zip(fields) {
        *byte = field;
    }
    Some(reply)
}

fn timestamp(moment: SystemTime) -> [u8; 8] {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // Seconds wrap in 2036, as the protocol means it.
    let seconds = since.as_secs().wrapping_add(TO_UNIX) << 32;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_gets_its_own_time_back_and_the_hosts() {
        let mut request = [0; MESSAGE_BYTES];
        request[0] = 4 << 3 | CLIENT;
        request[2] = 6;
        request[40..].copy_from_slice(b"mytime..");
        let received = UNIX_EPOCH + Duration::new(1, 500_000_000);
        let now = UNIX_EPOCH + Duration::from_secs(2);
        let reply = answer(&request, received, now).unwrap();
        assert_eq!(reply[..4], [4 << 3 | SERVER, 1, 6, 0xec]);
        assert_eq!(reply[24..32], *b"mytime..");
        // 1900 to 1970 are 0x83aa7e80 seconds.
        assert_eq!(reply[32..40], [0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0]);
        assert_eq!(reply[40..], [0x83, 0xaa, 0x7e, 0x82, 0, 0, 0, 0]);
    }

    #[test]
    fn servers_and_strange_versions_get_no_answer() {
        let at = UNIX_EPOCH;
        for first in [4 << 3 | SERVER, CLIENT, 5 << 3 | CLIENT, 4 << 3 | 6, 4 << 3 | 1] {
            let mut request = [0; MESSAGE_BYTES];
            request[0] = first;
            assert_eq!(answer(&request, at, at), None, "{first:#x}");
        }
        assert_eq!(answer(&[4 << 3 | CLIENT; 47], at, at), None);
    }

    proptest! {
        #[test]
        fn rubbish_is_answered_with_one_message_or_not(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), seconds: u32
        ) {
            let at = UNIX_EPOCH + Duration::from_secs(seconds.into());
            let is_request = bytes.len() >= 48 && bytes[0] & 7 == 3 && matches!(bytes[0] >> 3 & 7, 1..=4);
            prop_assert_eq!(answer(&bytes, at, at).is_some(), is_request);
        }
    }
}
