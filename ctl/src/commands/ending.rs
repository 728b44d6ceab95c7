//! How a command ends that would go on, or leave something behind.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody wants the command to end. From then on signals end it no more by themselves, so that it can tidy up.
pub(super) async fn told_to_end() -> io::Result<()> {
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    let each = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(each).await;
    Ok(())
}
