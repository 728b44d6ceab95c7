//! What libcontainer says while it makes a container: its errors come back as texts without their causes, which it only
//! writes to the log.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is listened to. In memory, so that processes that are forked write to it, too.
#[derive(Debug)]
pub(crate) struct Heard(Arc<File>);

impl Heard {
    /// Listens from now on, once per process.
    pub(crate) fn begin() -> io::Result<Self> {
        let (heard, subscriber) = Self::apart()?;
        subscriber.try_init().map_err(io::Error::other)?;
        Ok(heard)
    }

    /// Listens to what is said to the subscriber, which is nobody's yet.
    pub(crate) fn apart() -> io::Result<(Self, impl Subscriber + Send + Sync + 'static)> {
        let file = rustix::fs::memfd_create(c"libcontainer", MemfdFlags::CLOEXEC)?;
        let file = Arc::new(File::from(file));
        let form = tracing_subscriber::fmt().with_ansi(false).without_time();
        let form = form.with_level(false).with_target(false).with_max_level(LevelFilter::ERROR);
        let subscriber = form.with_writer(Arc::clone(&file)).finish();
        Ok((Self(file), subscriber))
    }

    /// The first that was said, which is nearest to the cause; what follows is said by its callers.
    pub(crate) fn cause(&self) -> Option<String> {
        let (mut said, mut file) = (Vec::new(), &*self.0);
        // What cannot be read back is only missing from the message.
        drop(file.rewind().and_then(|()| file.read_to_end(&mut said)));
        let text = String::from_utf8_lossy(&said);
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}
