//! Bodies of requests that come from files, and names in addresses.

use std::io;
use std::path::Path;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio::io::AsyncReadExt;

use super::asking::Body;
use super::error::ClientError;

/// Bytes per piece: large enough that the system calls do not show, small enough for smooth progress.
const PIECE_BYTES: usize = 128 * 1024;

/// Opens `path` as a request's body and returns it with its size.
pub(super) async fn file(
    path: &Path,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(Body, u64), ClientError> {
    let failed = |source| ClientError::Upload { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let size_bytes = file.metadata().await.map_err(failed)?.len();
    let pieces = stream::try_unfold((file, progress), |(mut file, progress)| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read(&mut piece).await?;
        if length == 0 {
            return Ok::<_, io::Error>(None);
        }
        piece.truncate(length);
        progress(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(Some((Frame::data(Bytes::from(piece)), (file, progress))))
    });
    Ok((StreamBody::new(pieces).boxed_unsync(), size_bytes))
}

/// `text` with everything but RFC 3986's unreserved characters escaped.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn names_cannot_leave_their_place_in_the_address() {
        for (name, expected) in [
            ("hello", "hello"),
            ("local/hello:1.0", "local%2Fhello%3A1.0"),
            ("../machine/poweroff", "..%2Fmachine%2Fpoweroff"),
            ("a b&c=d", "a%20b%26c%3Dd"),
            ("grün", "gr%C3%BCn"),
        ] {
            assert_eq!(percent_encoded(name), expected);
        }
    }
}
