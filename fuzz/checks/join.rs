//! Requests of machines that want in, which anybody may send: refused with a sentence, or understood within the bounds, with a
//! key that has signed.

use ferrite_agent::join::service::understood;
use ferrite_schema::join::{REQUEST_MAX_BYTES, RefusalReason, WORD_MAX_BYTES};

/// Reads `data` as the body of a request.
pub(crate) fn check(data: &[u8]) {
    match understood(data) {
        Ok((request, key)) => {
            assert!(data.len() <= REQUEST_MAX_BYTES);
            assert!((1..=WORD_MAX_BYTES).contains(&request.hardware.len()));
            assert!((1..=WORD_MAX_BYTES).contains(&request.boot.len()));
            let again = serde_json::to_vec(&request).expect("it is written");
            // Keys that it does not know are gone; what is left is no longer, but for its escapes.
            if let Ok((same, of_same)) = understood(&again) {
                assert_eq!((same, of_same.digest), (request, key.digest));
            } else {
                assert!(again.len() > REQUEST_MAX_BYTES);
            }
        }
        Err(refusal) => {
            assert_eq!(refusal.reason, RefusalReason::BadRequest);
            assert!(!refusal.error.is_empty());
            assert!(refusal.error.len() < 2 * REQUEST_MAX_BYTES, "{}", refusal.error);
        }
    }
}
