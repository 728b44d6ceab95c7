//! What is still to be read of a stream once its writers have ended.
//!
//! Whoever else holds the other end does not count: another container may have been handed it, a child that was left
//! behind writes on, and a pipe can be opened again for reading by those who wrote to it. So this never waits for an
//! end that may not come, and takes no more than was there.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Most that is read. It is the largest pipe that can be asked for (`/proc/sys/fs/pipe-max-size`) unless somebody is
/// privileged on the node, and far more than a terminal holds.
const REST_MAX_BYTES: usize = 1 << 20;
/// A terminal hands on what was written a moment later, and says only through its end that nothing will follow. Where
/// somebody holds it open and nothing came for this long, nothing will.
const QUIET: Duration = Duration::from_millis(100);
/// Bound of the whole for a terminal into which somebody writes on.
const WHOLE: Duration = Duration::from_secs(1);

/// What kind of stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A pipe's reading end.
    Pipe,
    /// A terminal's master.
    Terminal,
}

/// Reads it through `chunk`; it must be non-blocking.
pub fn read(fd: &OwnedFd, kind: Stream, chunk: &mut [u8], mut take: impl FnMut(&[u8])) {
    let mut left = match kind {
        Stream::Pipe => rustix::io::ioctl_fionread(fd)
            .map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX)),
        Stream::Terminal => usize::MAX,
    }
    .min(REST_MAX_BYTES);
    let deadline = Instant::now() + WHOLE;
    while left > 0 {
        let size = chunk.len().min(left);
        let Some(room) = chunk.get_mut(..size) else { return };
        match rustix::io::read(fd, room) {
            Ok(0) => return,
            Ok(count) => {
                take(chunk.get(..count).unwrap_or_default());
                left = left.saturating_sub(count);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if kind == Stream::Terminal && is_there(fd, deadline) => {}
            // Somebody else has read it, or nobody has the terminal open any more.
            Err(_) => return,
        }
        if kind == Stream::Terminal && Instant::now() >= deadline {
            return;
        }
    }
}

/// Something comes within a moment.
fn is_there(fd: &OwnedFd, deadline: Instant) -> bool {
    let wait = deadline.saturating_duration_since(Instant::now()).min(QUIET);
    let Ok(wait) = Timespec::try_from(wait) else { return false };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&wait)), Ok(1..) | Err(Errno::INTR))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use rustix::fs::OFlags;
    use rustix::pipe::PipeFlags;
    use rustix::pty::OpenptFlags;

    use super::*;

    /// What is read of it; a failure where that does not end.
    fn all(fd: OwnedFd, kind: Stream) -> (Vec<u8>, OwnedFd) {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut found = Vec::new();
            read(&fd, kind, &mut [0; 1000], |bytes| found.extend_from_slice(bytes));
            sender.send((found, fd)).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn pipe() -> (OwnedFd, std::fs::File) {
        let (reader, writer) =
            rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        rustix::fs::fcntl_setfl(&writer, flags - OFlags::NONBLOCK).unwrap();
        (reader, writer.into())
    }

    fn terminal() -> (OwnedFd, std::fs::File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let flags = rustix::fs::fcntl_getfl(&master).unwrap();
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).unwrap();
        (master, slave.into())
    }

    #[test]
    fn a_pipe_that_somebody_holds_gives_what_is_in_it() {
        let (reader, mut writer) = pipe();
        writer.write_all(&[b'x'; 5000]).unwrap();
        let (found, reader) = all(reader, Stream::Pipe);
        assert_eq!(found, [b'x'; 5000]);
        drop(writer);
        assert_eq!(all(reader, Stream::Pipe).0, b"");
    }

    #[test]
    fn the_largest_pipe_is_read_to_its_end() {
        let (reader, mut writer) = pipe();
        rustix::pipe::fcntl_setpipe_size(&writer, REST_MAX_BYTES).unwrap();
        writer.write_all(&vec![b'x'; REST_MAX_BYTES]).unwrap();
        assert_eq!(all(reader, Stream::Pipe).0.len(), REST_MAX_BYTES);
    }

    #[test]
    fn who_writes_on_for_ever_is_not_heard_to_the_end() {
        for (kind, (reader, mut writer)) in [(Stream::Pipe, pipe()), (Stream::Terminal, terminal())]
        {
            let flood =
                std::thread::spawn(move || while writer.write_all(&[b'y'; 4096]).is_ok() {});
            let (found, reader) = all(reader, kind);
            assert!(found.len() <= REST_MAX_BYTES, "{kind:?}: {}", found.len());
            drop(reader);
            flood.join().unwrap();
        }
    }

    #[test]
    fn a_terminal_gives_all_that_was_written_whether_somebody_holds_it_or_not() {
        for held in [false, true] {
            let (master, mut slave) = terminal();
            slave.write_all(b"last words\n").unwrap();
            let kept = held.then_some(slave);
            assert_eq!(all(master, Stream::Terminal).0, b"last words\r\n", "held: {held}");
            drop(kept);
        }
    }
}
