//! A unit's log as a stream of lines: what is there, and, if asked, what is written from then on.
//!
//! Following goes on over rotations and restarts. The files are held open, so that a rotation loses nothing; only
//! a reader that is two whole files behind finds that the one between has been given up.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use ferrite_files::small::open_file;
use futures_util::Stream;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::logs::backwards::last_lines;
use crate::logs::{CURRENT, Filter, PREVIOUS};

/// Read and sent at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// Looks for two files that belong together: a log that is rotated faster than this is read by nobody.
const LOOKS_MAX: usize = 16;

/// Resolves when there is nothing more to follow.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What part of a log is read.
pub(super) struct Part {
    /// Which lines.
    pub(super) filter: Filter,
    /// At most so many of those that are there already, the last ones.
    pub(super) tail: Option<u64>,
    /// Go on with what is written, until this resolves.
    pub(super) follow: Option<Rest>,
}

/// A file being read, line by line.
struct Lines {
    file: File,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

struct Reader {
    path: PathBuf,
    previous: PathBuf,
    filter: Filter,
    /// Oldest first; the last one is being written, as far as we know.
    files: VecDeque<Lines>,
    watch: Option<AsyncFd<OwnedFd>>,
    rest: Option<Rest>,
}

/// Opens the log in `folder`; a unit that never ran has an empty one.
pub(super) fn open(
    folder: &Path,
    part: Part,
) -> io::Result<impl Stream<Item = io::Result<Vec<u8>>> + use<>> {
    let watch = if part.follow.is_some() { Some(watch(folder)?) } else { None };
    let (path, previous) = (folder.join(CURRENT), folder.join(PREVIOUS));
    let files = both(|| open_optional(&previous), || open_optional(&path))?;
    let files = match part.tail {
        None => files.into_iter().map(|file| Lines::at(file, 0)).collect(),
        Some(wanted) => last_of(files, &part.filter, wanted)?,
    };
    let reader = Reader { path, previous, filter: part.filter, files, watch, rest: part.follow };
    Ok(futures_util::stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|chunk| (chunk, reader)))
    }))
}

/// Both files, the older one first. A rotation between two looks would hide one of them, and with it lines that are there:
/// so it is looked again until the older one has stayed the same. It is held open, so that no other file is taken for it.
fn both(
    older: impl Fn() -> io::Result<Option<File>>,
    newer: impl Fn() -> io::Result<Option<File>>,
) -> io::Result<VecDeque<File>> {
    let mut before = older()?;
    for _ in 0..LOOKS_MAX {
        let current = newer()?;
        let after = older()?;
        let same = match (&before, &after) {
            (Some(before), Some(after)) => inode(before)? == inode(after)?,
            (before, after) => before.is_none() && after.is_none(),
        };
        if same {
            return Ok(before.into_iter().chain(current).collect());
        }
        before = after;
    }
    Ok(before.into_iter().collect())
}

fn watch(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    fs::create_dir_all(folder)?;
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, folder, events)?;
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps the descriptor open")]
    AsyncFd::new(watch)
}

/// The files, newest last, placed so that only the last `wanted` lines are read. A line may begin in one and end in the
/// next one.
fn last_of(files: VecDeque<File>, filter: &Filter, wanted: u64) -> io::Result<VecDeque<Lines>> {
    let mut missing = wanted;
    // Only then the file before has something of what is wanted, the beginning of a line at least.
    let mut from_its_first = wanted > 0;
    let mut placed = VecDeque::new();
    for file in files.into_iter().rev() {
        let (offset, found) = match from_its_first {
            true => last_lines(&file, filter, missing)?,
            false => (file.metadata()?.len(), 0),
        };
        missing -= found;
        from_its_first &= missing > 0 || offset == 0;
        placed.push_front(Lines::at(file, offset));
    }
    Ok(placed)
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

impl Lines {
    const fn at(file: File, offset: u64) -> Self {
        Self { file, offset, partial: Vec::new() }
    }

    /// The next whole lines that `filter` takes; `None` at the end. They may be none at all.
    fn next(&mut self, filter: &Filter) -> io::Result<Option<Vec<u8>>> {
        if self.file.metadata()?.len() < self.offset {
            // A full disk tore the line that was begun, and the writer took it away again.
            self.offset -= self.partial.len() as u64;
            self.partial.clear();
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = self.file.read_at(&mut chunk, self.offset)?;
        if count == 0 {
            return Ok(None);
        }
        self.offset += count as u64;
        chunk.truncate(count);
        let mut lines = std::mem::take(&mut self.partial);
        lines.append(&mut chunk);
        let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.partial = lines.split_off(whole);
        Ok(Some(taken(&lines, filter)))
    }
}

fn taken(lines: &[u8], filter: &Filter) -> Vec<u8> {
    let mut taken = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if filter.takes_bytes(line) {
            taken.extend_from_slice(line);
        }
    }
    taken
}

fn open_optional(path: &Path) -> io::Result<Option<File>> {
    Ok(open_file(path)?)
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(lines) = self.files.front_mut() {
                match lines.next(&self.filter)? {
                    // A filter that takes nothing must not keep others from their turn.
                    Some(chunk) if chunk.is_empty() => tokio::task::yield_now().await,
                    Some(chunk) => return Ok(Some(chunk)),
                    None if self.files.len() > 1 => drop(self.files.pop_front()),
                    None if self.watch.is_some() && self.rotated()? => {}
                    None if self.rest.is_none() => return Ok(None),
                    None => self.wait().await?,
                }
            } else if self.watch.is_none() || (!self.rotated()? && self.rest.is_none()) {
                return Ok(None);
            } else if self.files.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Looks for newer files than the last one, which may still hold lines that came between its end and this look.
    fn rotated(&mut self) -> io::Result<bool> {
        let Some(newest) = open_optional(&self.path)? else { return Ok(false) };
        let known = self.files.back().map(|lines| inode(&lines.file)).transpose()?;
        if known == Some(inode(&newest)?) {
            return Ok(false);
        }
        if let (Some(between), Some(known)) = (open_optional(&self.previous)?, known) {
            let is_new = ![known, inode(&newest)?].contains(&inode(&between)?);
            if is_new {
                self.files.push_back(Lines::at(between, 0));
            }
        }
        self.files.push_back(Lines::at(newest, 0));
        Ok(true)
    }

    /// Until something was written or there is nothing more to come.
    async fn wait(&mut self) -> io::Result<()> {
        let (Some(watch), Some(rest)) = (&self.watch, &mut self.rest) else { return Ok(()) };
        tokio::select! {
            // What was written before is read once more, and then it ends.
            () = rest => self.rest = None,
            guard = watch.readable() => {
                // What changed is found by reading; the events themselves only wake.
                if let Ok(result) = guard?.try_io(|watch| drain(watch.get_ref())) {
                    result?;
                }
            }
        }
        Ok(())
    }
}

fn drain(watch: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    loop {
        reader.next()?;
        if reader.is_buffer_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::pin::pin;

    use ferrite_schema::api::{self, LogLine};
    use futures_util::StreamExt;

    use super::*;

    /// A line for each number, as the shim writes it.
    fn lines(numbers: &[u64]) -> String {
        let line = |number: &u64| {
            let stream = if *number < 5 { api::Stream::Stderr } else { api::Stream::Stdout };
            let line =
                LogLine { time_us: *number, stream, run: 1, line: String::new(), partial: false };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        numbers.iter().map(line).collect()
    }

    /// The numbers of lines.
    fn numbers(lines: &[u8]) -> Vec<u64> {
        let number = |line| serde_json::from_str::<LogLine>(line).unwrap().time_us;
        std::str::from_utf8(lines).unwrap().lines().map(number).collect()
    }

    const ALL: Filter =
        Filter { since_us: None, until_us: None, stream: None, run: None, not_run: None };

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn there(tail: Option<u64>, filter: Filter) -> Part {
        Part { filter, tail, follow: None }
    }

    fn for_ever() -> Part {
        Part { filter: ALL, tail: None, follow: Some(Box::pin(std::future::pending())) }
    }

    fn all_of(folder: &Path, part: Part) -> Vec<u64> {
        let chunks = runtime().block_on(open(folder, part).unwrap().collect::<Vec<_>>());
        numbers(&chunks.into_iter().flat_map(Result::unwrap).collect::<Vec<u8>>())
    }

    #[test]
    fn both_files_are_read_in_order_and_the_stream_ends() {
        let folder = tempfile::tempdir().unwrap();
        assert!(all_of(&folder.path().join("never-ran"), there(None, ALL)).is_empty());
        fs::write(folder.path().join(PREVIOUS), lines(&[1, 2])).unwrap();
        fs::write(folder.path().join(CURRENT), lines(&[3, 4]) + "{\"torn").unwrap();
        assert_eq!(all_of(folder.path(), there(None, ALL)), [1, 2, 3, 4]);
        for (tail, expected) in [(0, &[][..]), (1, &[4]), (3, &[2, 3, 4]), (9, &[1, 2, 3, 4])] {
            assert_eq!(all_of(folder.path(), there(Some(tail), ALL)), expected, "{tail}");
        }
    }

    /// A log whose older file changes between looks: what stands at its two names after so many.
    fn rotating(looks: &[[Option<&str>; 2]]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for name in looks.iter().flatten().flatten() {
            fs::write(folder.path().join(name), *name).unwrap();
        }
        let at = std::cell::Cell::new(0);
        // Each look at either name is one later.
        let look = |which: usize| {
            let now = looks[at.get().min(looks.len() - 1)];
            at.set(at.get() + 1);
            now[which].map(|name| File::open(folder.path().join(name))).transpose()
        };
        let files = both(|| look(0), || look(1)).unwrap();
        files.into_iter().map(|file| io::read_to_string(file).unwrap()).collect()
    }

    #[test]
    fn a_rotation_between_two_looks_hides_no_file() {
        let (one, two) = ([Some("1"), Some("2")], [Some("2"), Some("3")]);
        assert_eq!(rotating(&[one]), ["1", "2"]);
        // Before the first look at the newer one, and after it.
        assert_eq!(rotating(&[one, two]), ["2", "3"]);
        assert_eq!(rotating(&[one, one, two]), ["2", "3"]);
        // Moved, and the next one not made yet.
        assert_eq!(rotating(&[one, [Some("2"), None]]), ["2"]);
        assert_eq!(rotating(&[[None, Some("1")]]), ["1"]);
        assert_eq!(
            rotating(&[[None, Some("1")], [None, Some("1")], [Some("1"), Some("2")]]),
            ["1", "2"]
        );
        assert!(rotating(&[[None, None]]).is_empty());
    }

    #[test]
    fn a_line_that_was_rotated_in_its_middle_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let piece = |time_us, partial| {
            let (stream, line) = (api::Stream::Stdout, String::new());
            let line = LogLine { time_us, stream, run: 1, line, partial };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        let older = [piece(1, false), piece(2, true), piece(3, true)].concat();
        fs::write(folder.path().join(PREVIOUS), older).unwrap();
        let newer = [piece(4, true), piece(5, false), piece(6, false)].concat();
        fs::write(folder.path().join(CURRENT), newer).unwrap();
        let whole = [1, 2, 3, 4, 5, 6];
        for (tail, from) in [(0, 6), (1, 5), (2, 1), (3, 0), (9, 0)] {
            assert_eq!(all_of(folder.path(), there(Some(tail), ALL)), whole[from..], "{tail}");
        }
    }

    #[test]
    fn a_line_that_a_power_cut_tore_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = lines(&[1]) + "{\"time_us\":2,\"str" + &lines(&[3]) + &lines(&[4]);
        fs::write(folder.path().join(CURRENT), text).unwrap();
        assert_eq!(all_of(folder.path(), there(None, ALL)), [1, 4]);
        assert_eq!(all_of(folder.path(), there(Some(2), ALL)), [1, 4]);
    }

    #[test]
    fn a_filter_holds_for_the_tail_as_well() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), lines(&[1, 2, 3, 4, 5, 6, 7])).unwrap();
        let filter = Filter { stream: Some(api::Stream::Stderr), ..ALL };
        assert_eq!(all_of(folder.path(), there(Some(2), filter)), [3, 4]);
    }

    #[test]
    fn following_sees_new_lines_and_rotations() {
        let folder = tempfile::tempdir().unwrap();
        let rotate = |number| {
            let (current, previous) = (folder.path().join(CURRENT), folder.path().join(PREVIOUS));
            fs::rename(&current, previous).unwrap();
            fs::write(&current, lines(&[number])).unwrap();
        };
        runtime().block_on(async {
            let mut stream = pin!(open(folder.path(), for_ever()).unwrap());
            let mut file = File::create(folder.path().join(CURRENT)).unwrap();
            file.write_all(lines(&[1]).as_bytes()).unwrap();
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [1]);
            file.write_all(lines(&[2]).as_bytes()).unwrap();
            rotate(3);
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [2]);
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [3]);
            // Twice between two looks.
            rotate(4);
            rotate(5);
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [4]);
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [5]);
        });
    }

    #[test]
    fn a_line_that_was_taken_away_again_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let mut file = File::create(folder.path().join(CURRENT)).unwrap();
            let whole = lines(&[1]);
            file.write_all(whole.as_bytes()).unwrap();
            file.write_all(&b"x".repeat(200)).unwrap();
            let mut stream = pin!(open(folder.path(), for_ever()).unwrap());
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [1]);
            file.set_len(whole.len() as u64).unwrap();
            file.write_at(lines(&[3]).as_bytes(), whole.len() as u64).unwrap();
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [3]);
        });
    }

    #[test]
    fn following_ends_with_the_unit_and_reads_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join(CURRENT);
        fs::write(&current, lines(&[1])).unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let rest: Rest = Box::pin(async { drop(ended.await) });
        runtime().block_on(async {
            let part = Part { filter: ALL, tail: Some(0), follow: Some(rest) };
            let mut stream = pin!(open(folder.path(), part).unwrap());
            fs::write(&current, lines(&[1, 2])).unwrap();
            end.send(()).unwrap();
            assert_eq!(numbers(&stream.next().await.unwrap().unwrap()), [2]);
            assert!(stream.next().await.is_none());
        });
    }
}
