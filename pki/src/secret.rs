//! Random words, and digests by which they are known without being kept.

use ring::digest::SHA256;
use ring::rand::{SecureRandom, SystemRandom};

/// The system has no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("draw random numbers")]
pub struct DrawSecret;

/// Random bytes as hexadecimal digits.
///
/// # Errors
/// The system has none.
pub fn draw(bytes: usize) -> Result<String, DrawSecret> {
    let mut drawn = vec![0; bytes];
    SystemRandom::new().fill(&mut drawn).map_err(|_unspecified| DrawSecret)?;
    Ok(hex::encode(drawn))
}

/// SHA-256 as hexadecimal digits: how a cluster knows a token, and a machine's key. What is drawn here has too many
/// possibilities to be found from it.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&SHA256, bytes))
}
