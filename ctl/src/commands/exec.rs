//! `ferrite unit exec` and `ferrite unit attach`: this terminal, or these pipes, at a process in a container.

mod keys;
mod terminal;

use std::io::{self, Read, Write};

use ferrite_schema::api::Exit;
use ferrite_schema::stream::{End, ExecRequest, Frame, Kind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::keys::{Keys, Typed};
use self::terminal::Raw;
use crate::cli::ExecArguments;
use crate::client::FrameStream;
use crate::failure::Failure;
use crate::output::OutputError;
use crate::session::Session;

/// Added to a signal's number for the exit status, as shells do.
const SIGNAL_BASE: i32 = 128;
/// Chunks of standard input on their way.
const INPUT_CHUNKS: usize = 4;
/// Read at once from standard input.
const CHUNK_BYTES: usize = 16 * 1024;

/// Runs a command in a unit's container and ends as it does.
pub(super) fn run(arguments: &ExecArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let (client, name) = session.client_of_unit(&arguments.name)?;
    let request = ExecRequest {
        command: arguments.command.clone(),
        tty: arguments.tty,
        stdin: arguments.interactive,
        user: arguments.user.clone(),
        workdir: arguments.workdir.clone(),
        env: arguments.env.iter().cloned().chain(own_term(arguments.tty)).collect(),
        size: arguments.tty.then(terminal::size).flatten(),
    };
    let shape = Shape { tty: arguments.tty, input: arguments.interactive, detachable: false };
    runtime()?.block_on(async {
        let stream = client.exec(&name, &request).await?;
        Talk { name: &name, shape, session }.through(stream).await
    })
}

/// Attaches to a unit's container; ends as it does, or with success when detached.
pub(super) fn attach(name: &str, input: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let (client, name) = &session.client_of_unit(name)?;
    runtime()?.block_on(async {
        let unit = client.unit_definition(name).await?;
        let stream = client.attach(name).await?;
        let shape =
            Shape { tty: unit.tty, input: input && (unit.stdin || unit.tty), detachable: true };
        Talk { name, shape, session }.through(stream).await
    })
}

/// The type of our terminal, for a command that gets one.
fn own_term(tty: bool) -> Option<String> {
    let term = std::env::var("TERM").ok().filter(|_| tty)?;
    Some(format!("TERM={term}"))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Runtime { source })
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    tty: bool,
    input: bool,
    detachable: bool,
}

struct Talk<'a, 'run> {
    name: &'a str,
    shape: Shape,
    session: &'a mut Session<'run>,
}

impl Talk<'_, '_> {
    async fn through(self, stream: FrameStream) -> Result<(), Failure> {
        // Restored when it is dropped, however this ends.
        let _raw = if self.shape.tty && self.shape.input { Raw::enter() } else { None };
        let input = self.shape.input.then(read_input);
        self.carry(stream, input).await
    }

    async fn carry(
        mut self,
        stream: FrameStream,
        mut input: Option<mpsc::Receiver<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let FrameStream { mut incoming, mut outgoing } = stream;
        let signals = |kind| signal(kind).map_err(|source| Failure::Runtime { source });
        let mut resized = signals(SignalKind::window_change())?;
        let (mut interrupts, mut terminations) = if self.shape.detachable {
            (None, None)
        } else {
            (Some(signals(SignalKind::interrupt())?), Some(signals(SignalKind::terminate())?))
        };
        let mut keys = Keys::new(self.shape.detachable && self.shape.tty);
        if self.shape.detachable
            && let Some(size) = terminal::size()
        {
            outgoing.queue_size(size);
        }
        loop {
            // While something is sent, what comes is read: a command may wait for that before it reads on.
            tokio::select! {
                frame = incoming.next() => match frame? {
                    Some(frame) => {
                        if self.take(&frame)? {
                            return Ok(());
                        }
                    }
                    None => return Err(self.broken("the node closed the stream")),
                },
                () = outgoing.advance(), if !outgoing.is_idle() => {}
                chunk = next(&mut input), if outgoing.is_idle() => match chunk {
                    Some(chunk) => match keys.type_in(&chunk) {
                        Typed::Pass(bytes) => outgoing.queue(Kind::Stdin, &bytes),
                        Typed::Detach => return Ok(()),
                    },
                    None => {
                        input = None;
                        outgoing.queue(Kind::CloseStdin, &[]);
                    }
                },
                _ = resized.recv(), if self.shape.tty => {
                    if let Some(size) = terminal::size() {
                        outgoing.queue_size(size);
                    }
                }
                () = caught(&mut interrupts) => outgoing.queue(Kind::Signal, &[2]),
                () = caught(&mut terminations) => outgoing.queue(Kind::Signal, &[15]),
            }
        }
    }

    /// Shows what came; true at a good end.
    fn take(&mut self, frame: &Frame) -> Result<bool, Failure> {
        match frame.kind {
            Kind::Stdout => write(self.session.out, &frame.payload)?,
            Kind::Stderr => write(self.session.err, &frame.payload)?,
            Kind::Exit => return self.ended(&frame.payload).map(|()| true),
            Kind::Stdin | Kind::Resize | Kind::Signal | Kind::CloseStdin => {}
        }
        Ok(false)
    }

    fn ended(&self, payload: &[u8]) -> Result<(), Failure> {
        match serde_json::from_slice(payload) {
            Ok(End::Ended { exit: Exit::Status { code: 0 } }) => Ok(()),
            Ok(End::Ended { exit: Exit::Status { code } }) => Err(Failure::Command { code }),
            Ok(End::Ended { exit: Exit::Signal { signal } }) => {
                let code = u8::try_from(SIGNAL_BASE + signal).unwrap_or(u8::MAX);
                Err(Failure::Command { code })
            }
            Ok(End::Refused { code, reason }) => {
                Err(Failure::NotRun { name: self.name.to_owned(), reason, code })
            }
            Ok(End::Detached) => Err(self.broken("it read too slowly and was left behind")),
            Err(_) => {
                Err(self.broken("the node said how it ended in words that are not known here"))
            }
        }
    }

    fn broken(&self, what: &str) -> Failure {
        Failure::Unit { name: self.name.to_owned(), what: format!("cannot be heard: {what}") }
    }
}

fn write(sink: &mut dyn Write, bytes: &[u8]) -> Result<(), OutputError> {
    sink.write_all(bytes)
        .and_then(|()| sink.flush())
        .map_err(|source| OutputError::Write { source })
}

/// Standard input, read by a thread that ends with the program: nothing else can wait for a terminal and for
/// a connection at once and still end when the connection does.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_CHUNKS);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => {
                    let bytes = chunk.get(..count).unwrap_or_default().to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The next chunk; waits for ever where there is no input any more.
async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn caught(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use ferrite_schema::stream::{Decoder, encode};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cli::Globals;
    use crate::output::Format;

    const SOON: std::time::Duration = std::time::Duration::from_secs(60);
    const MUCH_BYTES: usize = 1 << 20;

    /// A command that writes much before it reads anything, and then ends when its input does.
    async fn writes_first(mut stream: tokio::io::DuplexStream) -> usize {
        let mut frames = Vec::new();
        encode(&mut frames, Kind::Stdout, &vec![b'o'; MUCH_BYTES]);
        stream.write_all(&frames).await.unwrap();
        let (mut decoder, mut chunk, mut read) = (Decoder::default(), vec![0; 4096], 0);
        loop {
            let count = stream.read(&mut chunk).await.unwrap();
            decoder.feed(&chunk[..count]);
            while let Some(frame) = decoder.frame().unwrap() {
                read += frame.payload.len();
                if frame.kind == Kind::CloseStdin {
                    let end = End::Ended { exit: Exit::Status { code: 7 } };
                    frames.clear();
                    encode(&mut frames, Kind::Exit, &serde_json::to_vec(&end).unwrap());
                    stream.write_all(&frames).await.unwrap();
                    return read;
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_sent_waits_for_nobody_who_sends() {
        let (client, node) = tokio::io::duplex(4096);
        let node = tokio::spawn(writes_first(node));
        let (sender, input) = mpsc::channel(INPUT_CHUNKS);
        tokio::spawn(async move {
            for _ in 0..MUCH_BYTES / CHUNK_BYTES {
                sender.send(vec![b'i'; CHUNK_BYTES]).await.unwrap();
            }
        });
        let globals = Globals { context: None, machine: None, output: Format::Table };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut session = Session { globals: &globals, out: &mut out, err: &mut err };
        let shape = Shape { tty: false, input: true, detachable: false };
        let talk = Talk { name: "x", shape, session: &mut session };
        let carried = talk.carry(FrameStream::with(client), Some(input));
        let failure = tokio::time::timeout(SOON, carried).await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::Command { code: 7 }), "{failure}");
        assert_eq!((out.len(), node.await.unwrap()), (MUCH_BYTES, MUCH_BYTES));
    }
}
