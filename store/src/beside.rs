//! Work that waits for the disk, beside the agent's one thread: an fsync or a large folder must not make names and
//! requests of others wait.
//!
//! Each piece has a thread of its own: the runtime's few are taken for minutes by pulls and imports, and the runtime
//! waits for them when it ends.

use std::sync::{Arc, Mutex, PoisonError};
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
    begin(thread::Builder::new().name("beside".to_owned()), work);
}

/// Where the kernel gives no thread the work is done at once, by whoever asks for it: late answers are better than an
/// agent that ends, or work that is lost.
fn begin(builder: thread::Builder, work: impl FnOnce() + Send + 'static) {
    let work = Arc::new(Mutex::new(Some(work)));
    let own = Arc::clone(&work);
    let there = builder.spawn(move || take(&own).map(|work| work()));
    if let Err(error) = there {
        tracing::warn!(%error, "no-thread-for-work");
        if let Some(work) = take(&work) {
            work();
        }
    }
}

fn take<T>(work: &Mutex<Option<T>>) -> Option<T> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_is_done_once_with_a_thread_or_without() {
        let (sender, done) = mpsc::channel();
        let work = |word| {
            let sender = sender.clone();
            move || sender.send((word, thread::current().id())).unwrap()
        };
        begin(thread::Builder::new(), work("beside"));
        let (word, by) = done.recv().unwrap();
        assert!(word == "beside" && by != thread::current().id());
        // No machine has that much for a stack.
        begin(thread::Builder::new().stack_size(1 << 62), work("here"));
        assert_eq!(done.try_recv(), Ok(("here", thread::current().id())));
        assert!(done.try_recv().is_err());
    }
}
