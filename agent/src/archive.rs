//! An image of the store as an archive that goes somewhere bit by bit.

use std::io::{self, Write};

use axum::body::Bytes;
use ferrite_store::export::{Export, Plan};
use tokio::sync::mpsc;

/// Pieces of an archive that wait for the network.
const PIECES_MAX: usize = 8;
/// Bytes of a piece.
const PIECE_BYTES: usize = 256 * 1024;

/// Begins to write an archive, in a thread of its own. Where it breaks off, the last piece is an error; whoever drops the pieces
/// ends it.
pub(crate) fn begin(plan: Plan) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (pieces, queue) = mpsc::channel(PIECES_MAX);
    let work = move || {
        let mut out = Pieces { pieces, pending: Vec::new() };
        let result = plan.write(&mut out).and_then(|()| out.flush().map_err(Export::Write));
        if let Err(error) = result {
            tracing::warn!(error = ferrite_schema::chain(&error), "image-export-broke-off");
            drop(out.pieces.blocking_send(Err(io::Error::other("the export broke off"))));
        }
    };
    std::thread::Builder::new().name("export".to_owned()).spawn(work)?;
    Ok(queue)
}

/// A writer whose bytes become pieces.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.pending));
        self.pieces.blocking_send(Ok(piece)).map_err(|_gone| io::ErrorKind::BrokenPipe.into())
    }
}
