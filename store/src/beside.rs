//! Work that waits for the disk, beside the agent's one thread: an fsync or a large folder must not make names and
//! requests of others wait.
//!
//! Each piece has a thread of its own: the runtime's few are taken for minutes by pulls and imports, and the runtime
//! waits for them when it ends.

use std::thread;

use tokio::sync::oneshot;

/// Does `work` and waits for it. Once begun it is finished, whoever waits or not.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    unwaited(move || drop(sender.send(work())));
    match receiver.await {
        Ok(done) => done,
        // It panicked, which is said on standard error and ends the agent: nobody knows what was done.
        Err(_) => std::process::abort(),
    }
}

/// Does `work` while nobody waits.
pub fn unwaited(work: impl FnOnce() + Send + 'static) {
    let name = "beside".to_owned();
    if let Err(error) = thread::Builder::new().name(name).spawn(work) {
        // The kernel gives no thread: the node is at its end, and what was to be done is done at the next start.
        tracing::error!(%error, "work-not-begun");
    }
}
