//! Loads modules into the running kernel.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::modules::index::{Index, Step, Texts, canonical};
use crate::modules::urgency::Urgency;

/// Where modules lie; in the initramfs and, through a link, in the root.
const MODULES_DIR: &str = "/lib/modules";
/// The running kernel's modules, one a line, its name first.
const LOADED: &str = "/proc/modules";
/// `MODULE_INIT_COMPRESSED_FILE` of `<linux/module.h>`: the kernel decompresses.
const COMPRESSED: i32 = 4;

/// When a driver looks for its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// While its module is loaded: what it finds is there afterwards.
    AtOnce,
    /// Behind our back, so that slow hardware (a SATA port without a disk takes a second) keeps nobody waiting
    /// who waits for the device anyway.
    InBackground,
}

impl Probe {
    /// Parameter of every module, see `do_init_module` in the kernel's `kernel/module/main.c`.
    const fn parameter(self) -> &'static str {
        match self {
            Self::AtOnce => "",
            Self::InBackground => "async_probe",
        }
    }
}

fn loaded_modules(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split(' ').next())
}

/// A module that did not get into the kernel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LoadModule {
    #[error("open module {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("load module {path}")]
    Load { path: PathBuf, source: Errno },
}

/// The running kernel's modules.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    command_line: String,
    probe: Probe,
    index: Index,
    loaded: HashSet<String>,
}

impl Loader {
    /// Reads the index of the running kernel's modules. Without a directory there is nothing to load.
    #[must_use]
    pub fn open(probe: Probe) -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut loader = Self::open_in(&Path::new(MODULES_DIR).join(release), probe);
        // What is there is not even read again: the kernel would check its signature before it says so.
        let there = fs::read_to_string(LOADED).unwrap_or_default();
        loader.command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        loader.loaded.extend(loaded_modules(&there).map(str::to_owned));
        loader
    }

    fn open_in(directory: &Path, probe: Probe) -> Self {
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let index = Index::parse(Texts {
            dependencies: &text("modules.dep"),
            aliases: &text("modules.alias"),
            soft_dependencies: &text("modules.softdep"),
            builtin: &text("modules.builtin"),
        });
        Self {
            directory: directory.to_owned(),
            command_line: String::new(),
            probe,
            index,
            loaded: HashSet::new(),
        }
    }

    /// From now on drivers look for their hardware like this.
    pub fn set_probe(&mut self, probe: Probe) {
        self.probe = probe;
    }

    /// The kernel has no modules at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Loads the module of that name and what it needs; returns what was new. A name without a file is taken
    /// for built in.
    ///
    /// # Errors
    /// The first module that the kernel refuses.
    pub fn load(&mut self, name: &str) -> Result<Vec<String>, LoadModule> {
        let mut new = Vec::new();
        for Step { name, path, optional } in self.index.load_order(name, &self.loaded) {
            let parameters = parameters(&self.command_line, name, self.probe);
            match insert(&self.directory.join(path), &parameters) {
                Ok(was_new) => {
                    self.loaded.insert(name.to_owned());
                    if was_new {
                        new.push(name.to_owned());
                    }
                }
                Err(_) if optional => {}
                Err(error) => return Err(error),
            }
        }
        Ok(new)
    }

    /// Loads every module that is for `modalias`. One that fails does not keep others from being tried: the
    /// failures come back beside the names of what was new.
    pub fn load_for(&mut self, modalias: &str) -> (Vec<String>, Vec<LoadModule>) {
        self.load_urgent_for(modalias, |_| true)
    }

    /// As [`Loader::load_for`], but only those for which somebody waits whom `wanted` names.
    pub fn load_urgent_for(
        &mut self,
        modalias: &str,
        wanted: impl Fn(Urgency) -> bool,
    ) -> (Vec<String>, Vec<LoadModule>) {
        let modules: Vec<String> = self
            .index
            .matching(modalias)
            .into_iter()
            .filter(|module| !self.loaded.contains(*module))
            .filter(|module| wanted(Urgency::of(self.index.path(module))))
            .map(str::to_owned)
            .collect();
        let mut new = Vec::new();
        let mut failures = Vec::new();
        for module in modules {
            match self.load(&module) {
                Ok(names) => new.extend(names),
                Err(error) if is_absence(&error) => {
                    // Asking again for every device of the same kind would cost time and say nothing new.
                    self.loaded.insert(module);
                }
                Err(error) => {
                    self.loaded.insert(module);
                    failures.push(error);
                }
            }
        }
        (new, failures)
    }
}

/// The module is there for hardware that it then did not find, which is no failure; or the image leaves it out.
fn is_absence(error: &LoadModule) -> bool {
    match error {
        LoadModule::Load { source, .. } => matches!(*source, Errno::NODEV | Errno::NXIO),
        LoadModule::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
    }
}

/// Parameters of a module: those that the kernel's command line has for it, `NAME.PARAMETER=VALUE`, as the kernel takes
/// them for what is built in, and how it probes.
fn parameters(command_line: &str, name: &str, probe: Probe) -> CString {
    let own = command_line.split_ascii_whitespace().filter_map(|word| {
        let (module, parameter) = word.split_once('.')?;
        (canonical(module) == name && !module.contains('=')).then_some(parameter)
    });
    let words: Vec<&str> = own.chain([probe.parameter()]).filter(|word| !word.is_empty()).collect();
    // A command line has no zero in it.
    CString::new(words.join(" ")).unwrap_or_default()
}

/// `false` when it was loaded already.
fn insert(path: &Path, parameters: &CStr) -> Result<bool, LoadModule> {
    let open = |source| LoadModule::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let flags =
        if path.extension().is_some_and(|extension| extension == "ko") { 0 } else { COMPRESSED };
    match rustix::system::finit_module(&file, parameters, flags) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(source) => Err(LoadModule::Load { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_modules_needs_none() {
        let mut loader = Loader::open_in(Path::new("/nonexistent"), Probe::AtOnce);
        assert!(loader.is_empty());
        assert!(loader.load("dm_verity").unwrap().is_empty());
        let (new, failures) = loader.load_for("virtio:d00000002v00001AF4");
        assert!(new.is_empty() && failures.is_empty());
    }

    #[test]
    fn a_file_that_the_image_leaves_out_is_not_a_failure_of_hardware() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("modules.dep"), "kernel/x.ko:\n").unwrap();
        fs::write(directory.path().join("modules.alias"), "alias pci:v1* x\n").unwrap();
        let mut loader = Loader::open_in(directory.path(), Probe::AtOnce);
        assert!(matches!(loader.load("x"), Err(LoadModule::Open { .. })));
        let (new, failures) = loader.load_for("pci:v1d2");
        assert!(new.is_empty() && failures.is_empty());
    }

    #[test]
    fn parameters_come_from_the_command_line() {
        let line = "console=ttyS0,115200 watchdog.stop_on_reboot=0 nvme-core.io_timeout=60 a.b=c.d watchdog.open_timeout=9";
        let check = |name, probe, expected: &CStr| {
            assert_eq!(parameters(line, name, probe).as_c_str(), expected, "{name}");
        };
        check("watchdog", Probe::AtOnce, c"stop_on_reboot=0 open_timeout=9");
        check("nvme_core", Probe::InBackground, c"io_timeout=60 async_probe");
        check("ahci", Probe::InBackground, c"async_probe");
        check("ahci", Probe::AtOnce, c"");
    }

    #[test]
    fn the_kernel_says_what_it_has() {
        let text = "nf_tables 372736 4 nft_ct, Live 0x0\noverlay 217088 2 - Live 0x0\n";
        assert_eq!(loaded_modules(text).collect::<Vec<_>>(), ["nf_tables", "overlay"]);
    }
}
