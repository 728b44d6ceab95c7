//! Building a kernel of our own, with somebody in the compiler's place: what is kept, what is refused, and what a build
//! leaves that was cut off or met another.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

#[cfg(test)]
#[path = "kernel/committed.rs"]
mod committed;
#[cfg(test)]
#[path = "kernel/door.rs"]
mod door;
#[cfg(test)]
#[path = "kernel/full_disk.rs"]
mod full_disk;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;

use ferrite_image::kernel::build::{BuildKernel, WantedKernel, Workshop};
use ferrite_image::kernel::definition::Definition;
use ferrite_image::kernel::door::RunStep;
use ferrite_image::kernel::recipe::{OUTPUT_IN_ROOT, PRODUCTS, SOURCE_IN_ROOT, Step};
use ferrite_image::kernel::shelf::{BuiltKernel, Shelf};
use ferrite_image::packages::apt::Apt;
use ferrite_image::packages::cache::Cache;
use ferrite_image::packages::mirror::Mirrors;
use ferrite_image::packages::{Package, Wanted};
use ferrite_image::progress::{Progress, Silent};

/// What stands for a source's options.
const KCONFIG: &str = "config NET\nconfig TUN\n\tdepends on NET\nconfig MITIGATION_A\n";
const RESULT: &str = "CONFIG_NET=y\nCONFIG_TUN=y\nCONFIG_MITIGATION_A=y\n";

/// A kernel's folder, a cache, and all that a build wants.
struct Bench {
    folder: tempfile::TempDir,
    source: Package,
}

impl Bench {
    fn new(fragment: &str) -> Self {
        Self::within(&std::env::temp_dir(), fragment)
    }

    fn within(place: &Path, fragment: &str) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("fragment.config", fragment);
        write("result.config", RESULT);
        for name in ["mitigations.toml", "hardening.toml", "modules.toml"] {
            write(name, "");
        }
        let source = Package {
            name: "linux-source-6.12".to_owned(),
            version: "6.12.1-1".to_owned(),
            architecture: "all".to_owned(),
            sha256: "50".repeat(32),
            size_bytes: 1,
        };
        Self { folder, source }
    }

    fn shelf(&self) -> Shelf {
        Shelf::of(&Cache::open(self.folder.path().join("cache")).unwrap())
    }

    fn definition(&self) -> Definition {
        Definition::read(self.folder.path()).unwrap()
    }

    fn wanted<'bench>(&'bench self, definition: &'bench Definition) -> WantedKernel<'bench> {
        WantedKernel { definition, source: &self.source, toolchain: &[], jobs: 2 }
    }

    fn build(&self, workshop: &impl Workshop) -> Result<BuiltKernel, BuildKernel> {
        let definition = self.definition();
        self.wanted(&definition).build(&self.shelf(), workshop, &mut Silent)
    }

    /// Builds, and returns all that was said as well.
    fn build_aloud(
        &self,
        workshop: &impl Workshop,
    ) -> (Result<BuiltKernel, BuildKernel>, Vec<String>) {
        let (said, hears) = mpsc::channel();
        let definition = self.definition();
        let built = self.wanted(&definition).build(&self.shelf(), workshop, &mut Said(said));
        (built, hears.try_iter().collect())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Names of what is in the folder of kernels, without locks.
    fn left(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.shelf().folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }
}

/// Writes what `make` would; `compile` is called when it comes to that.
struct Stub<Compile>(Compile);

fn products(root: &Path) {
    for (name, below_output) in PRODUCTS.iter().filter(|(name, _)| *name != "config") {
        let path = root.join(OUTPUT_IN_ROOT).join(below_output);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = if *name == "release" { "6.12.1-ferrite\n" } else { "content" };
        fs::write(path, text).unwrap();
    }
}

fn failed(words: &Step, tail: &str) -> RunStep {
    let status = ExitStatus::from_raw(2 << 8);
    RunStep::Failed { words: words.words.join(" "), status, tail: tail.to_owned() }
}

impl<Compile: Fn(&Path, &Step) -> Result<(), RunStep>> Workshop for Stub<Compile> {
    fn furnish(&self, root: &Path, _: &mut dyn Progress) -> Result<(), BuildKernel> {
        for folder in [SOURCE_IN_ROOT, OUTPUT_IN_ROOT] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        Ok(())
    }

    fn run(
        &self,
        root: &Path,
        step: &Step,
        log: &Path,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), RunStep> {
        let last = step.words.last().unwrap();
        fs::write(log, "what it said").unwrap();
        match last.as_str() {
            "alldefconfig" => {
                fs::write(root.join(SOURCE_IN_ROOT).join("Kconfig"), KCONFIG).unwrap();
                fs::write(root.join(OUTPUT_IN_ROOT).join(".config"), RESULT).unwrap();
            }
            "bzImage" => {
                on_line("  CC      init/main.o");
                return (self.0)(root, step);
            }
            _ => {}
        }
        Ok(())
    }
}

fn whole(root: &Path, _: &Step) -> Result<(), RunStep> {
    products(root);
    Ok(())
}

fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[test]
fn a_kernel_is_built_once_per_content() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let kernel = bench.build(&Stub(whole)).unwrap();
    assert_eq!(kernel.release, "6.12.1-ferrite");
    assert_eq!(bench.left(), std::slice::from_ref(&kernel.key));
    for (name, _) in PRODUCTS {
        assert!(kernel.product(name).is_file(), "{name}");
    }
    let never = Stub(|_: &Path, _: &Step| panic!("it was built already"));
    assert_eq!(bench.build(&never).unwrap(), kernel);

    let other = Bench::new("# Another comment is another content.\nCONFIG_TUN=y\n");
    assert_ne!(other.build(&Stub(whole)).unwrap().key, kernel.key);
}

#[test]
fn a_kernel_in_the_cache_is_held_against_what_is_committed_since() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let kernel = bench.build(&Stub(whole)).unwrap();
    let never = Stub(|_: &Path, _: &Step| panic!("it was built already"));
    let refused = |expected: &str| {
        let error = text(&bench.build(&never).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    bench.write("result.config", &RESULT.replace("CONFIG_NET=y", "# CONFIG_NET is not set"));
    refused("result.config:1: CONFIG_NET was n and is y");
    bench.write("result.config", RESULT);
    bench.write("hardening.toml", "[expected]\nNET = \"n\"\n");
    refused("CONFIG_NET is y; hardening.toml expects n");
    bench.write("hardening.toml", "");
    bench.write("modules.toml", "[built_in]\nbridge = \"BRIDGE\"\n");
    refused("module bridge should be built in by CONFIG_BRIDGE, which is off");
    bench.write("modules.toml", "");
    assert_eq!(bench.build(&never).unwrap(), kernel, "and it is still there");
}

/// Who clones the project on the day after an update gets a kernel, and whoever looks after it hears what to do.
#[test]
fn what_an_update_of_debians_changes_is_told_and_stops_nobody() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let head = "# Linux/x86 6.12.0 Kernel Configuration\n";
    bench.write("result.config", &format!("{head}{RESULT}CONFIG_OLD=y\n"));
    let (kernel, said) = bench.build_aloud(&Stub(whole));
    let kernel = kernel.unwrap();
    let never = Stub(|_: &Path, _: &Step| panic!("it was built already"));
    let (again, said_again) = bench.build_aloud(&never);
    assert_eq!(again.unwrap(), kernel);
    for said in [said, said_again] {
        let said = said.join("\n");
        for part in [
            "Debian has updated the kernel's source or its tools",
            "result.config:5: CONFIG_OLD was y and is absent",
            "`ferrite image kernel configure --bless`",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    // An update that takes away what was asked for stops everybody.
    let lost = Bench::new("CONFIG_TUN=n\n");
    lost.write("result.config", &format!("{head}{RESULT}"));
    let error = text(&lost.build(&never).unwrap_err());
    for part in [
        "Debian has updated the kernel's source or its tools",
        "CONFIG_TUN=n is asked for and came out as y",
        "FERRITE_TEST_VARIANT=cloud scripts/test",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_product_that_was_emptied_is_no_kernel() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let kernel = bench.build(&Stub(whole)).unwrap();
    fs::write(kernel.product("vmlinux"), "").unwrap();
    assert_eq!(bench.shelf().find(&kernel.key), None);
    assert_eq!(bench.build(&Stub(whole)).unwrap(), kernel);
    assert_eq!(fs::read_to_string(kernel.product("vmlinux")).unwrap(), "content");
}

#[test]
fn what_does_not_come_out_ends_the_build_before_anything_is_compiled() {
    let never = Stub(|_: &Path, _: &Step| panic!("it must not come to that"));
    let check = |fragment: &str, expected: &str| {
        let bench = Bench::new(fragment);
        let error = text(&bench.build(&never).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(bench.left().iter().filter(|name| !name.ends_with(".log")).count(), 0);
    };
    check(
        "CONFIG_TUN=y\nCONFIG_TUNN=y\n",
        "fragment.config:2: this kernel has no option CONFIG_TUNN",
    );
    check(
        "CONFIG_TUN=n\n",
        "fragment.config:1: CONFIG_TUN=n is asked for and came out as y; it depends on NET",
    );
    let bench = Bench::new("CONFIG_TUN=y\n");
    fs::write(bench.folder.path().join("result.config"), "CONFIG_NET=y\nCONFIG_OLD=y\n").unwrap();
    let error = text(&bench.build(&never).unwrap_err());
    for part in [
        "result.config:2: CONFIG_OLD was y and is absent",
        "result.config: CONFIG_TUN was absent and is y",
        "`ferrite image kernel configure --bless` writes it",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_contradiction_is_named_with_both_lines_and_nothing_is_begun() {
    let bench = Bench::new("CONFIG_TUN=y\nCONFIG_NET=y\n# CONFIG_TUN is not set\n");
    let error = text(&Definition::read(bench.folder.path()).unwrap_err());
    assert!(
        error.ends_with(
            "fragment.config: line 3: CONFIG_TUN=n was \"y\" in line 1 already; remove one of them"
        ),
        "{error}"
    );
}

#[test]
fn a_compiler_that_fails_leaves_its_log_and_nothing_else() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let full = |root: &Path, step: &Step| {
        products(root);
        Err(failed(step, "ld: final link failed: No space left on device"))
    };
    let error = bench.build(&Stub(full)).unwrap_err();
    let definition = bench.definition();
    let key = bench.wanted(&definition).key();
    let log = bench.shelf().log(&key);
    assert_eq!(bench.left(), [format!("{key}.log")]);
    assert!(text(&error).contains(&format!("all of it is in {}", log.display())));
    assert!(text(&error).contains("No space left on device"));

    let kernel = bench.build(&Stub(whole)).unwrap();
    assert_eq!(bench.left(), [kernel.key], "the log of a build that went well is of no use");
}

#[test]
fn a_product_that_is_missing_is_named() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let less = |root: &Path, _: &Step| {
        products(root);
        fs::write(root.join(OUTPUT_IN_ROOT).join("vmlinux"), "").unwrap();
        Ok(())
    };
    let error = text(&bench.build(&Stub(less)).unwrap_err());
    assert!(
        error.contains("build/output/vmlinux: the build was content and did not leave it"),
        "{error}"
    );
    let definition = bench.definition();
    assert_eq!(bench.shelf().find(&bench.wanted(&definition).key()), None);
}

#[test]
fn a_package_that_the_archive_does_not_have_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mirrors = Mirrors { main: "file:/nonexistent".to_owned(), security: None };
    // Without package lists: an archive that has nothing at all.
    let apt = Apt::new(folder.path(), &mirrors).unwrap();
    let names = |name: &str| std::collections::BTreeSet::from([name.to_owned()]);
    let nothing = Wanted {
        exact: Default::default(),
        with_dependencies: Default::default(),
        kernels: Default::default(),
    };
    let source = Wanted { exact: names("linux-source-6.99"), ..nothing.clone() };
    let error = text(&apt.resolve(&source).unwrap_err());
    assert_eq!(error, "resolve package linux-source-6.99: the archive does not have it in trixie");
    let tools = Wanted { with_dependencies: names("gccc"), ..nothing };
    let error = text(&apt.resolve(&tools).unwrap_err());
    assert!(error.contains("Unable to locate package gccc"), "{error}");
}

/// Names the folder of the bench to the process that is to be killed.
const VICTIM: &str = "FERRITE_TEST_KERNEL_VICTIM";

#[test]
fn a_build_that_is_killed_leaves_nothing_that_is_taken_for_whole() {
    let half = |root: &Path, _: &Step| {
        products(root);
        println!("half done");
        // Until it is killed.
        loop {
            std::thread::park();
        }
    };
    // This test is two processes: the one that is killed runs it as well.
    if let Some(folder) = std::env::var_os(VICTIM) {
        let definition = Definition::read(Path::new(&folder)).unwrap();
        let bench = Bench::new("");
        let shelf = Shelf::of(&Cache::open(PathBuf::from(folder).join("cache")).unwrap());
        bench.wanted(&definition).build(&shelf, &Stub(half), &mut Silent).unwrap();
        unreachable!("nobody killed it");
    }
    let bench = Bench::new("CONFIG_TUN=y\n");
    let name = "a_build_that_is_killed_leaves_nothing_that_is_taken_for_whole";
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, bench.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("half done")));
    victim.kill().unwrap();
    victim.wait().unwrap();

    let definition = bench.definition();
    let key = bench.wanted(&definition).key();
    assert_eq!(bench.left(), [format!("{key}.log"), format!("{key}.work")]);
    assert_eq!(bench.shelf().find(&key), None);
    // Remains of another kernel go as well, and it is built from its beginning.
    let other = bench.shelf().folder().join("other.work");
    fs::create_dir(&other).unwrap();
    let kernel = bench.build(&Stub(whole)).unwrap();
    assert_eq!(bench.left(), [kernel.key]);
}

/// Tells what is said through a channel.
struct Said(mpsc::Sender<String>);

impl Progress for Said {
    fn say(&mut self, what: &str) {
        self.0.send(what.to_owned()).unwrap();
    }
    fn begin(&mut self, _: &str) {}
    fn advance(&mut self, _: u64, _: u64) {}
    fn end(&mut self, _: &str) {}
}

#[test]
fn of_two_builds_at_once_one_waits_and_takes_the_others_kernel() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let definition = bench.definition();
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (said, hears) = mpsc::channel();
    std::thread::scope(|scope| {
        let (bench, definition) = (&bench, &definition);
        let first = scope.spawn(move || {
            let waits = move |root: &Path, step: &Step| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                whole(root, step)
            };
            bench.wanted(definition).build(&bench.shelf(), &Stub(waits), &mut Silent).unwrap()
        });
        has_begun.recv().unwrap();
        let second = scope.spawn(move || {
            let never = Stub(|_: &Path, _: &Step| panic!("somebody else built it"));
            bench.wanted(definition).build(&bench.shelf(), &never, &mut Said(said)).unwrap()
        });
        let needs = hears.recv().unwrap();
        assert!(
            needs.starts_with(
                "builds Linux 6.12.1-1 from source: about 9 minutes on 2 processors, 3 GB"
            ),
            "{needs}"
        );
        assert!(hears.recv().unwrap().contains("another process builds the same kernel"));
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), second.join().unwrap());
    });
    assert_eq!(bench.left().len(), 1);
}

#[test]
fn a_build_of_another_kernel_is_not_disturbed() {
    let bench = Bench::new("CONFIG_TUN=y\n");
    let shelf = bench.shelf();
    let place = shelf.begin("a", || panic!("nobody is there")).unwrap();
    fs::write(place.path().join("object"), "").unwrap();
    let other = shelf.begin("b", || panic!("another kernel keeps nobody out")).unwrap();
    assert!(place.path().join("object").is_file() && other.path().is_dir());
    drop((place, other));
    assert_eq!(bench.left(), [""; 0]);
}
