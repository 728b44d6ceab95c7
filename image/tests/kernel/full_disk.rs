//! Real disks that are too small or fill up, as file systems in memory that nobody else sees: this test program runs each test
//! again in a namespace of its own, where that is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use ferrite_image::kernel::build::BuildKernel;
use ferrite_image::kernel::plan::{KernelPlan, PlanKernel};
use ferrite_image::kernel::recipe::{SPACE_BYTES, Step};
use ferrite_image::packages::cache::{Cache, CacheError};
use ferrite_image::packages::mirror::Mirrors;
use ferrite_image::packages::{PackageError, PackageStore};
use ferrite_image::progress::Silent;
use ferrite_image::variant::{KernelOrigin, Variant};

use crate::{Bench, Said, Stub, products, text, whole};

/// Names the folder to who runs inside.
const INSIDE: &str = "FERRITE_TEST_SMALL_DISK";

/// Runs `test` with a file system of its own, which `options` (of tmpfs) make small. `name` is the caller's.
fn on_disk(name: &str, options: &str, test: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return test(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o "$1" none "$0" && exec "$2" --exact "$3" --nocapture"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(folder.path())
        .arg(options)
        .arg(std::env::current_exe().unwrap())
        .arg(format!("full_disk::{name}"))
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let more = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{more}");
    assert!(said.contains("test result: ok. 1 passed"), "{said}{more}");
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// What is said of the needs of the kernel of `slim` by a cache in `folder` that has nothing yet.
fn needs(folder: &Path) -> (Result<(), PlanKernel>, Vec<String>) {
    let variant = Variant::read(&configs().join("variants/slim.toml")).unwrap();
    let KernelOrigin::Source(source) = &variant.kernel.origin else { panic!("it is built") };
    // Whoever asked it would hear that it is not there.
    let nowhere = Mirrors { main: "file:/nonexistent".to_owned(), security: None };
    let cache = Cache::open(folder.join("cache")).unwrap();
    let store = PackageStore { cache, mirrors: Some(nowhere), refresh: false };
    let (said, hears) = mpsc::channel();
    let configs = configs();
    let result =
        KernelPlan::say_needs((&configs, source), &variant.wanted(), &store, &mut Said(said));
    (result, hears.try_iter().collect())
}

#[test]
fn a_disk_that_is_too_small_is_named_before_anything_is_fetched_or_begun() {
    let name = "a_disk_that_is_too_small_is_named_before_anything_is_fetched_or_begun";
    on_disk(name, "size=64m", |folder| {
        let (result, said) = needs(folder);
        let error = result.unwrap_err();
        let PlanKernel::Packages { source: PackageError::Cache { source } } = &error else {
            panic!("{error:?}")
        };
        let CacheError::Space { needed_mb, free_mb, .. } = source else { panic!("{source:?}") };
        assert!(*needed_mb > SPACE_BYTES >> 20 && *free_mb <= 64, "{source}");
        assert_eq!(said, [""; 0]);

        let bench = Bench::within(folder, "CONFIG_TUN=y\n");
        let never = Stub(|_: &Path, _: &Step| panic!("it must not come to that"));
        let error = bench.build(&never).unwrap_err();
        assert!(
            matches!(&error, BuildKernel::Cache { source: CacheError::Space { .. } }),
            "{error:?}"
        );
        assert_eq!(bench.left(), [""; 0]);
    });
}

#[test]
fn what_a_build_needs_is_said_before_anything_is_fetched() {
    // Nothing is put there, so it takes no memory.
    on_disk("what_a_build_needs_is_said_before_anything_is_fetched", "size=8g", |folder| {
        let (result, said) = needs(folder);
        result.unwrap();
        let [said] = said.as_slice() else { panic!("{said:?}") };
        let start = "kernel/slim is a kernel of its own, which is not in the cache: 240 MB of source and tools to fetch, about ";
        assert!(said.starts_with(start), "{said}");
        assert!(
            said.contains(" minutes of building on ") && said.contains(" 3.2 GB below "),
            "{said}"
        );
    });
}

/// Files until the kernel says that there is no place for another.
fn fill(folder: &Path) -> std::io::Error {
    (0_u32..).find_map(|number| fs::write(folder.join(number.to_string()), "").err()).unwrap()
}

#[test]
fn a_disk_that_fills_up_while_a_kernel_is_built_is_named_and_nothing_stays() {
    let name = "a_disk_that_fills_up_while_a_kernel_is_built_is_named_and_nothing_stays";
    // Space is there, as a build looks for it; places for files run out.
    on_disk(name, "size=8g,nr_inodes=400", |folder| {
        let bench = Bench::within(folder, "CONFIG_TUN=y\n");
        let fills = |root: &Path, _: &Step| {
            products(root);
            assert_eq!(fill(root).kind(), std::io::ErrorKind::StorageFull);
            Ok(())
        };
        let error = text(&bench.build(&Stub(fills)).unwrap_err());
        assert!(error.contains("No space left on device"), "{error}");
        assert!(error.contains(".work/made"), "{error}");
        let left = bench.left();
        assert!(left.iter().all(|name| name.ends_with(".log")), "{left:?}");
        // What it took is free again.
        let kernel = bench.build(&Stub(whole)).unwrap();
        assert_eq!(bench.left(), [kernel.key]);
        let definition = bench.definition();
        let shelf = bench.shelf();
        assert!(bench.wanted(&definition).find(&shelf, &mut Silent).unwrap().is_some());
    });
}
