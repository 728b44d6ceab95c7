use std::os::unix::net::UnixListener;
use std::time::Duration;

use ferrite_schema::stream::{Decoder, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// Nothing here takes so long.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn sides() {
    assert!(matches!(side("web:/etc"), Side::Container("web", "/etc")));
    for text in ["./web:/etc", "web", "/etc", "web:etc"] {
        assert!(matches!(side(text), Side::Here(_)), "{text}");
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

async fn says(node: &mut DuplexStream, kind: Kind, payload: &[u8]) {
    let mut bytes = Vec::new();
    encode(&mut bytes, kind, payload);
    node.write_all(&bytes).await.unwrap();
}

fn end(end: &End) -> Vec<u8> {
    serde_json::to_vec(end).unwrap()
}

/// An archive with one file.
fn archive() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, vec![1; 20_000]).unwrap();
    let source = Source::open(&path).unwrap();
    let (sender, mut receiver) = mpsc::channel(100);
    source.pack(Sink(sender)).unwrap();
    let mut all = Vec::new();
    while let Some(piece) = receiver.blocking_recv() {
        all.extend(piece);
    }
    all
}

/// Fetches into a folder from a node that was told so much of the archive; the test goes on with the node.
async fn fetched(
    folder: &Path,
    count: usize,
    node: impl AsyncFnOnce(DuplexStream),
    interrupt: impl Future<Output = std::io::Result<()>>,
) -> Result<Said, Failure> {
    let archive = std::thread::spawn(archive).join().unwrap();
    let (client, mut other) = tokio::io::duplex(1 << 20);
    says(&mut other, Kind::Stdout, &archive[..count.min(archive.len())]).await;
    let destination = Destination::open(folder, Path::new("/srv/x"))?;
    let received = receive(FrameStream::with(client), destination, ("web", folder), interrupt);
    let (received, ()) =
        tokio::time::timeout(SOON, async { tokio::join!(received, node(other)) }).await.unwrap();
    received
}

#[tokio::test]
async fn a_copy_that_is_interrupted_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let begun = async {
        while names(folder.path()).is_empty() {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    // The node holds the stream open and says no more.
    let (_kept, wait) = tokio::sync::oneshot::channel::<()>();
    let node = async |stream: DuplexStream| {
        tokio::spawn(async move {
            drop(wait.await);
            drop(stream);
        });
    };
    let failure = fetched(folder.path(), 10_000, node, begun).await.unwrap_err();
    assert!(matches!(failure, Failure::CopyInterrupted { .. }), "{failure}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn a_copy_whose_node_vanishes_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gone = async |stream| drop(stream);
    fetched(folder.path(), 10_000, gone, std::future::pending()).await.unwrap_err();
    assert_eq!(names(folder.path()), [""; 0]);
    let broken = async |mut stream: DuplexStream| stream.write_all(&[99; 5]).await.unwrap();
    fetched(folder.path(), 10_000, broken, std::future::pending()).await.unwrap_err();
    assert_eq!(names(folder.path()), [""; 0]);
    let whole = async |mut stream: DuplexStream| {
        let code = ferrite_schema::api::Exit::Status { code: 0 };
        says(&mut stream, Kind::Stderr, b"left out a mount").await;
        says(&mut stream, Kind::Exit, &end(&End::Ended { exit: code })).await;
    };
    let said = fetched(folder.path(), usize::MAX, whole, std::future::pending()).await.unwrap();
    assert_eq!(said.as_deref(), Some("left out a mount"));
    assert_eq!(names(folder.path()), ["x"]);
}

#[tokio::test]
async fn what_cannot_be_packed_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    let pipe = folder.path().join("pipe");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for path in [pipe, folder.path().join("socket"), PathBuf::from("/proc/self/pagemap")] {
        // A node that waits for the end of the archive.
        let (client, _node) = tokio::io::duplex(1 << 20);
        let sent = deliver(FrameStream::with(client), Source::open(&path).unwrap(), "web");
        let failure = tokio::time::timeout(SOON, sent).await.unwrap().unwrap_err();
        assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
    }
    drop(socket);
}

#[tokio::test]
async fn a_node_that_refuses_a_copy_early_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    fs::write(&path, vec![1; 4 << 20]).unwrap();
    // Less than the file fits into the connection, and the node reads none of it.
    let (client, mut node) = tokio::io::duplex(4096);
    let refused = End::Refused { code: 1, reason: "a file is there".to_owned() };
    says(&mut node, Kind::Exit, &end(&refused)).await;
    let sent = deliver(FrameStream::with(client), Source::open(&path).unwrap(), "web");
    let failure = tokio::time::timeout(SOON, sent).await.unwrap().unwrap_err();
    assert!(failure.to_string().ends_with("a file is there"), "{failure}");
}

#[tokio::test]
async fn a_whole_copy_ends_with_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    fs::write(&path, vec![1; 4 << 20]).unwrap();
    let (client, mut node) = tokio::io::duplex(4096);
    let reads = async {
        let (mut decoder, mut chunk, mut all) = (Decoder::default(), vec![0; 4096], Vec::new());
        loop {
            let count = node.read(&mut chunk).await.unwrap();
            decoder.feed(&chunk[..count]);
            while let Some(frame) = decoder.frame().unwrap() {
                if frame.kind == Kind::CloseStdin {
                    let exit = ferrite_schema::api::Exit::Status { code: 0 };
                    says(&mut node, Kind::Exit, &end(&End::Ended { exit })).await;
                    return all;
                }
                all.extend(frame.payload);
            }
        }
    };
    let sent = deliver(FrameStream::with(client), Source::open(&path).unwrap(), "web");
    let both = async { tokio::join!(sent, reads) };
    let (sent, archive) = tokio::time::timeout(SOON, both).await.unwrap();
    sent.unwrap();
    assert_eq!(archive.len(), 512 + (4 << 20) + 1024);
}
