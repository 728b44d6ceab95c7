//! Secrets in a mount namespace of a test's own.

use std::os::unix::fs::{MetadataExt, symlink};

use ferrite_schema::shim::IdRange;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::*;
use crate::spec;

const IDS: IdRange = IdRange { first: 1_048_576, count: 65_536 };

/// A container's root that is only a folder, and its run folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.root().join("etc")).unwrap();
        let users = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n";
        fs::write(place.root().join("etc/passwd"), users).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn run(&self) -> PathBuf {
        self.0.path().join("run")
    }

    /// Gives the root these secrets, each with what it holds, as they come from the agent.
    fn mount(&self, user: &str, secrets: &[(&str, &str)]) -> Result<(), SecretsProblem> {
        let mut request = request(user);
        for (index, (target, content)) in secrets.iter().enumerate() {
            let given = self.run().join(shim::SECRETS);
            durable::private_folder(&given).unwrap();
            durable::write(&given.join(index.to_string()), content.as_bytes()).unwrap();
            let (file, target) = (index.to_string(), (*target).to_owned());
            request.secrets.push(SecretMount { file, target });
        }
        let owners = Owners::without_namespace(IDS, &[]);
        let user = spec::user(&request, &self.root(), &owners).unwrap();
        mount(&request, (&owners, &user), &self.root(), &self.run())
    }
}

fn request(user: &str) -> Request {
    let text = format!(
        r#"{{"unit":"u","layers":[],"scratch":"/s","read_only_root":false,"args":["/p"],"env":{{}},"cwd":"/",
        "user":"{user}","hostname":"u","tty":false,"stdin":false,"privileged":false,
        "ids":{{"first":{},"count":{}}},"capabilities":[],"devices":[],"mounts":[],"resources":{{}},"sysctls":{{}},
        "ulimits":{{}},"network":"none","cgroup":"/u","shim_cgroup":"/s","log_dir":"/l","stop_signal":15}}"#,
        IDS.first, IDS.count
    );
    serde_json::from_str(&text).unwrap()
}

/// Runs a test where its mounts are nobody else's.
fn apart(test: impl FnOnce() + Send) {
    let inside = || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        test();
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap();
}

/// What a file is: whose in the container, its mode, what it holds.
fn file(path: &Path) -> (u32, u32, u32, String) {
    let found = fs::symlink_metadata(path).unwrap();
    let (uid, gid) = (found.uid() - IDS.first, found.gid() - IDS.first);
    (uid, gid, found.mode() & 0o7777, fs::read_to_string(path).unwrap())
}

fn is_read_only_memory(path: &Path) -> bool {
    let flags = statvfs(path).unwrap().flags();
    let expected = FsFlags::ST_RDONLY | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC | FsFlags::ST_NOSUID;
    statfs(path).unwrap().filesystem_type() == TMPFS_MAGIC && flags.contains(expected)
}

#[test]
fn they_are_files_of_the_units_user_whoever_that_is() {
    for (user, uid, gid) in
        [("", 0, 0), ("web", 33, 34), ("33", 33, 34), ("1000", 1000, 0), ("1000:40", 1000, 40)]
    {
        apart(|| {
            let place = Place::new();
            let secrets = [("/run/secrets/db", "sesame\n"), ("/etc/tls/key.pem", "key")];
            place.mount(user, &secrets).unwrap();
            for (target, content) in secrets {
                let path = place.root().join(target.trim_start_matches('/'));
                assert_eq!(file(&path), (uid, gid, 0o400, content.to_owned()), "{user:?} {target}");
                assert!(is_read_only_memory(&path), "{target}");
                let refused = fs::write(&path, "other").unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem, "{target}");
            }
            let folder = place.root().join("run/secrets");
            let found = fs::metadata(&folder).unwrap();
            assert_eq!((found.uid(), found.mode() & 0o7777), (IDS.first, 0o755));
            assert!(fs::write(folder.join("more"), "").is_err());
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
            // Nothing of them stays where they came from.
            assert!(!place.run().join(shim::SECRETS).exists());
        });
    }
}

#[test]
fn links_of_the_image_lead_nowhere_else() {
    apart(|| {
        let place = Place::new();
        let outside = place.0.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink("/var/run", place.root().join("run")).unwrap();
        symlink(&outside, place.root().join("etc/tls")).unwrap();
        place.mount("", &[("/run/secrets/sub/db", "a"), ("/etc/tls/key", "b")]).unwrap();
        assert_eq!(file(&place.root().join("var/run/secrets/sub/db")).3, "a");
        let inner = place.root().join(outside.strip_prefix("/").unwrap()).join("key");
        assert_eq!(file(&inner).3, "b");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    });
}

#[test]
fn what_an_image_has_in_their_place_is_named() {
    let check = |prepare: fn(&Path), target: &str, expected: &str| {
        apart(|| {
            let place = Place::new();
            prepare(&place.root());
            let problem = place.mount("", &[(target, "sesame")]).unwrap_err();
            let words = ferrite_schema::chain(&problem);
            assert!(words.starts_with(expected) && !words.contains("sesame"), "{words}");
        });
    };
    check(
        |root| fs::create_dir_all(root.join("etc/key")).unwrap(),
        "/etc/key",
        "mount a secret's file on /etc/key: the image or a volume has a folder there",
    );
    check(
        |root| {
            fs::create_dir(root.join("run")).unwrap();
            fs::write(root.join("run/secrets"), "").unwrap();
        },
        "/run/secrets/db",
        "mount the folder of secrets on /run/secrets: the image or a volume has a file there",
    );
    check(
        |root| {
            fs::create_dir(root.join("proc")).unwrap();
            symlink("/proc", root.join("x")).unwrap();
        },
        "/x/key",
        "mount a secret on /x/key: /proc/key of the container is the runtime's own",
    );
    check(
        |root| fs::write(root.join("x"), "").unwrap(),
        "/x/key",
        "make a place for the secret at /x/key, in the image or the volume that it is in: ",
    );
}

#[test]
fn one_that_was_not_handed_over_starts_nothing() {
    apart(|| {
        let place = Place::new();
        let mut request = request("");
        let target = "/run/secrets/db".to_owned();
        request.secrets.push(SecretMount { file: "0".to_owned(), target });
        let owners = Owners::without_namespace(IDS, &[]);
        let mounted = mount(&request, (&owners, &User::default()), &place.root(), &place.run());
        let words = mounted.unwrap_err().to_string();
        assert_eq!(words, "read the secret for /run/secrets/db: it was not handed over");
    });
}

#[test]
fn many_and_long_ones_have_room() {
    apart(|| {
        let place = Place::new();
        let long = "x".repeat(SECRET_MAX_BYTES);
        let targets: Vec<String> =
            (0..64).map(|number| format!("/run/secrets/s{number}")).collect();
        let secrets: Vec<(&str, &str)> =
            targets.iter().map(|target| (target.as_str(), long.as_str())).collect();
        place.mount("1000", &secrets).unwrap();
        let last = place.root().join("run/secrets/s63");
        assert_eq!(fs::metadata(last).unwrap().len(), SECRET_MAX_BYTES as u64);
    });
}
