//! Whom the container's program runs as: names are looked up in the *image's* files, read without following
//! them out of the root.

use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Largest `passwd` or `group` that is read; a cut one could end in a number that was longer.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The user could not be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserProblem {
    #[error("read the image's /etc/{file}")]
    Read { file: &'static str, source: io::Error },
    #[error("read the image's /etc/{file}: it is no file")]
    NoFile { file: &'static str },
    #[error("read the image's /etc/{file}: it has more than {FILE_MAX_BYTES} bytes")]
    TooLong { file: &'static str },
    #[error("find {word:?} in the image's /etc/{file}")]
    Find { word: String, file: &'static str },
}

/// A user as the kernel knows it, and where it is at home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: Option<String>,
}

/// Finds the user that an image's configuration names.
pub(super) fn find(text: &str, root: &Path) -> Result<User, UserProblem> {
    resolve(text, &read(root, "passwd")?, &read(root, "group")?)
}

/// An absent file is an empty one.
fn read(root: &Path, file: &'static str) -> Result<String, UserProblem> {
    let failed = |source| UserProblem::Read { file, source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, folder, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let path = format!("etc/{file}");
    let fd = match rustix::fs::openat2(&root, path.as_str(), flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(String::new()),
        Err(errno) => return Err(failed(errno.into())),
    };
    let opened = std::fs::File::from(fd);
    let metadata = opened.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(UserProblem::NoFile { file });
    }
    let mut bytes = Vec::new();
    let read = opened.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if read as u64 > FILE_MAX_BYTES {
        return Err(UserProblem::TooLong { file });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, UserProblem> {
    let (user_word, group_word) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user_word = if user_word.is_empty() { "0" } else { user_word };
    let number = id(user_word);
    let entry = passwd.lines().map(fields).find(|fields| match number {
        // A word of digits is a number, whatever a passwd file calls its users.
        Some(number) => fields.get(2).and_then(|field| id(field)) == Some(number),
        None => fields.first() == Some(&user_word),
    });
    let field = |index: usize| entry.as_ref().and_then(|fields| fields.get(index).copied());
    let missing = || UserProblem::Find { word: user_word.to_owned(), file: "passwd" };
    let uid = number.or_else(|| field(2).and_then(id)).ok_or_else(missing)?;
    let name = field(0);
    let gid = match group_word {
        None | Some("") => field(3).and_then(id).unwrap_or(0),
        Some(word) => find_group(word, group)?,
    };
    let groups = if group_word.is_none() { supplementary(name, group) } else { Vec::new() };
    Ok(User {
        uid,
        gid,
        groups,
        home: field(5).filter(|home| home.starts_with('/')).map(str::to_owned),
    })
}

fn find_group(word: &str, group: &str) -> Result<u32, UserProblem> {
    id(word)
        .or_else(|| {
            let entry = group.lines().map(fields).find(|fields| fields.first() == Some(&word))?;
            id(entry.get(2)?)
        })
        .ok_or_else(|| UserProblem::Find { word: word.to_owned(), file: "group" })
}

fn supplementary(name: Option<&str>, group: &str) -> Vec<u32> {
    let Some(name) = name else { return Vec::new() };
    let entries = group.lines().map(fields);
    let member = |entry: &Vec<&str>| {
        entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    entries.filter(member).filter_map(|entry| id(entry.get(2)?)).collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(':').collect()
}

/// A number in the range of IDs; the largest one means "unchanged" to the kernel and is none.
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// Where a user of an image is at home: read from the image's own files, without running anything of it.
pub(crate) fn home_of(uid: u32, root: &Path) -> String {
    let found = find(&uid.to_string(), root).ok();
    found.and_then(|user| user.home).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n77:x:5:5::/x:/x\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:40:web,other\n";

    fn check(text: &str, uid: u32, gid: u32, groups: &[u32], home: Option<&str>) {
        let user = resolve(text, PASSWD, GROUP).unwrap();
        let expected = User { uid, gid, groups: groups.to_vec(), home: home.map(str::to_owned) };
        assert_eq!(user, expected, "{text:?}");
    }

    #[test]
    fn names_and_numbers_are_found() {
        check("", 0, 0, &[], Some("/root"));
        check("web", 33, 34, &[40], Some("/srv"));
        check("33", 33, 34, &[40], Some("/srv"));
        check("web:root", 33, 0, &[], Some("/srv"));
        check("1000", 1000, 0, &[], None);
        check("1000:logs", 1000, 40, &[], None);
    }

    #[test]
    fn digits_are_never_a_name() {
        check("77", 77, 0, &[], None);
    }

    #[test]
    fn unknown_and_overflowing_users_are_refused() {
        for text in
            ["nobody-here", "4294967296", "4294967295", "-1", "web:nobody", "+0", "0:4294967296"]
        {
            assert!(resolve(text, PASSWD, GROUP).is_err(), "{text}");
        }
        for text in ["0x0", "1000:99999999999", "0:-1", "0:0x0", " 0", "0 ", "1e3", "web:", "٣"] {
            assert_eq!(resolve(text, PASSWD, GROUP).is_err(), text != "web:", "{text}");
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let check = |expected: &str| {
            let problem = find("web", folder.path()).unwrap_err().to_string();
            assert_eq!(problem, expected);
            std::fs::remove_file(etc.join("passwd")).unwrap();
        };
        // Opened as it is, it would wait for a writer.
        let fifo = etc.join("passwd");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        check("read the image's /etc/passwd: it is no file");
        std::fs::write(&fifo, "x".repeat(1 << 20) + "\nweb:x:1:1::/:/x\n").unwrap();
        check("read the image's /etc/passwd: it has more than 1048576 bytes");
        // Out of the root it would be the node's.
        std::os::unix::fs::symlink("/dev/zero", &fifo).unwrap();
        check("find \"web\" in the image's /etc/passwd");
        std::os::unix::fs::symlink("../../../../../../../etc/passwd", &fifo).unwrap();
        let problem = find("root", folder.path()).unwrap_err().to_string();
        assert_eq!(problem, "read the image's /etc/passwd");
    }
}
