//! Kernel modules: which files a list of names stands for, and the index that PID 1 loads them by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::packages::cache::{CacheError, settle};
use crate::packages::{Package, PackageStore};
use crate::tools::{ToolError, Tools};
use crate::tree::{Tree, TreeError, read};

/// Where a package keeps its modules.
const MODULES_DIR: &str = "usr/lib/modules";
/// Index files that depmod writes and we use.
const INDEX_FILES: [&str; 3] = ["modules.dep", "modules.alias", "modules.softdep"];

/// Why modules cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModuleError {
    #[error("use the package cache")]
    Cache {
        #[from]
        source: CacheError,
    },
    #[error("find the kernel's modules: {path} must hold one release")]
    Release { path: PathBuf },
    #[error("{act} {path}")]
    Access { act: &'static str, path: PathBuf, source: io::Error },
    #[error("read kernel modules")]
    Tool {
        #[from]
        source: ToolError,
    },
    #[error("find module {name}: kernel {release} has none of that name, nor is it built in")]
    Unknown { name: String, release: String },
    #[error("add kernel modules")]
    Tree {
        #[from]
        source: TreeError,
    },
}

/// An unpacked kernel package with the index of its modules.
#[derive(Debug)]
pub struct KernelModules {
    /// Release, as `uname -r` says it.
    pub release: String,
    /// The package's content.
    pub directory: PathBuf,
    index: Index,
    builtin: String,
}

impl KernelModules {
    /// Unpacks the kernel package and indexes its modules; both are kept in the cache.
    ///
    /// # Errors
    /// It cannot be unpacked, or holds no modules.
    pub fn open(
        store: &PackageStore,
        tools: &Tools,
        package: &Package,
    ) -> Result<Self, ModuleError> {
        let directory = store.cache.unpacked(package)?;
        let release = only_release(&directory.join(MODULES_DIR))?;
        let index_dir = store.cache.root().join("module-index").join(&package.sha256);
        if !index_dir.is_dir() {
            let scratch = store.cache.scratch()?;
            let mut command = tools.command("depmod");
            command.arg("--basedir").arg(&directory).arg("--outdir").arg(scratch.path());
            command.args(["--moduledir", &format!("/{MODULES_DIR}"), &release]);
            tools.run("depmod", command)?;
            let made = scratch.path().join(MODULES_DIR).join(&release);
            let parent = index_dir.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent).map_err(access("make", parent))?;
            settle(&made, &index_dir).map_err(access("make", &index_dir))?;
        }
        let text = |path: PathBuf| fs::read_to_string(&path).map_err(access("read", &path));
        let [dependencies, aliases, soft] = INDEX_FILES.map(|name| text(index_dir.join(name)));
        let builtin = text(directory.join(MODULES_DIR).join(&release).join("modules.builtin"))?;
        let index = Index::parse(&dependencies?, &aliases?, &soft?);
        Ok(Self { release, directory, index, builtin })
    }

    /// Puts the modules called `names`, what they depend on, and their index below `lib_dir` (`lib` or `usr/lib`).
    ///
    /// # Errors
    /// The kernel has no such module, or one cannot be unpacked.
    pub fn add_to(
        &self,
        tree: &mut Tree,
        lib_dir: &str,
        names: &[&str],
        unpack: (&PackageStore, &Tools),
    ) -> Result<(), ModuleError> {
        let chosen = self.choose(names)?;
        let base = format!("{lib_dir}/modules/{}", self.release);
        for (path, content) in self.decompressed(&chosen, unpack)? {
            tree.file(&format!("{base}/{path}"), content)?;
        }
        let part = self.index.part(&chosen);
        tree.file(&format!("{base}/modules.dep"), part.dependencies.into_bytes())?;
        tree.file(&format!("{base}/modules.alias"), part.aliases.into_bytes())?;
        tree.file(&format!("{base}/modules.softdep"), part.soft.into_bytes())?;
        tree.file(&format!("{base}/modules.builtin"), self.builtin.clone().into_bytes())?;
        Ok(())
    }

    fn choose(&self, names: &[&str]) -> Result<BTreeSet<String>, ModuleError> {
        let builtin: BTreeSet<String> = self.builtin.lines().map(module_name).collect();
        let mut roots = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            if self.index.modules.contains_key(&name) {
                roots.push(name);
            } else if !builtin.contains(&name) {
                return Err(ModuleError::Unknown { name, release: self.release.clone() });
            }
        }
        Ok(self.index.closure(roots))
    }

    /// Content of each chosen module, by its path below the release's directory, ending in `.ko`.
    fn decompressed(
        &self,
        chosen: &BTreeSet<String>,
        (store, tools): (&PackageStore, &Tools),
    ) -> Result<Vec<(String, Vec<u8>)>, ModuleError> {
        let scratch = store.cache.scratch()?;
        let mut xz = tools.command("xz");
        xz.args(["--decompress", "--force", "--"]).current_dir(scratch.path());
        let mut any_compressed = false;
        let mut files = Vec::new();
        for name in chosen {
            let Some(module) = self.index.modules.get(name) else { continue };
            let from = self.directory.join(MODULES_DIR).join(&self.release).join(&module.path);
            let file = Path::new(&module.path).file_name().unwrap_or_default();
            let copy = scratch.path().join(file);
            fs::copy(&from, &copy).map_err(access("copy", &from))?;
            if copy.extension().is_some_and(|extension| extension == "xz") {
                xz.arg(file);
                any_compressed = true;
            }
            let plain = plain_path(&module.path);
            let unpacked = scratch.path().join(Path::new(plain).file_name().unwrap_or_default());
            files.push((plain.to_owned(), unpacked));
        }
        if any_compressed {
            tools.run("xz", xz)?;
        }
        files.into_iter().map(|(path, file)| Ok((path, read(&file)?))).collect()
    }
}

fn only_release(directory: &Path) -> Result<String, ModuleError> {
    let entries: Vec<_> =
        fs::read_dir(directory).map_err(access("read", directory))?.flatten().collect();
    match entries.as_slice() {
        [entry] => Ok(entry.file_name().to_string_lossy().into_owned()),
        _ => Err(ModuleError::Release { path: directory.to_owned() }),
    }
}

/// One module of `modules.dep`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    path: String,
    /// Names, in the order of the file.
    needs: Vec<String>,
}

/// depmod's three text files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    modules: BTreeMap<String, Module>,
    /// `(pattern, module)`, in the order of the file.
    aliases: Vec<(String, String)>,
    /// `(module, words)`, in the order of the file.
    soft: Vec<(String, String)>,
}

/// The text files for some of the modules.
#[derive(Debug, PartialEq, Eq)]
struct IndexPart {
    dependencies: String,
    aliases: String,
    soft: String,
}

impl Index {
    fn parse(dependencies: &str, aliases: &str, soft: &str) -> Self {
        let modules = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_ascii_whitespace().map(module_name).collect();
                (module_name(path), Module { path: path.to_owned(), needs })
            })
            .collect();
        let aliases = aliases
            .lines()
            .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
            .map(|(pattern, module)| (pattern.to_owned(), module.to_owned()))
            .collect();
        let soft = soft
            .lines()
            .filter_map(|line| line.strip_prefix("softdep ")?.split_once(' '))
            .map(|(module, words)| (module.to_owned(), words.to_owned()))
            .collect();
        Self { modules, aliases, soft }
    }

    /// `roots` and everything that they need, soft dependencies included where the kernel has them as modules.
    fn closure(&self, roots: Vec<String>) -> BTreeSet<String> {
        let mut chosen = BTreeSet::new();
        let mut queue = roots;
        while let Some(name) = queue.pop() {
            let Some(module) = self.modules.get(&name) else { continue };
            queue.extend(module.needs.iter().filter(|need| !chosen.contains(*need)).cloned());
            let soft = self.soft.iter().filter(|(module, _)| *module == name);
            for word in soft.flat_map(|(_, words)| words.split(' ')) {
                let named = word.replace('-', "_");
                let aliased = self.aliases.iter().filter(|(pattern, _)| pattern == word);
                queue.extend(
                    std::iter::once(&named)
                        .chain(aliased.map(|(_, module)| module))
                        .filter(|name| !chosen.contains(*name))
                        .cloned(),
                );
            }
            chosen.insert(name);
        }
        chosen
    }

    fn part(&self, chosen: &BTreeSet<String>) -> IndexPart {
        let mut part =
            IndexPart { dependencies: String::new(), aliases: String::new(), soft: String::new() };
        let path = |name: &String| self.modules.get(name).map(|module| plain_path(&module.path));
        for name in chosen {
            let Some(module) = self.modules.get(name) else { continue };
            part.dependencies.push_str(plain_path(&module.path));
            part.dependencies.push(':');
            for need in module.needs.iter().filter_map(path) {
                part.dependencies.push(' ');
                part.dependencies.push_str(need);
            }
            part.dependencies.push('\n');
        }
        for (pattern, module) in self.aliases.iter().filter(|(_, module)| chosen.contains(module)) {
            part.aliases.push_str(&format!("alias {pattern} {module}\n"));
        }
        for (module, words) in self.soft.iter().filter(|(module, _)| chosen.contains(module)) {
            part.soft.push_str(&format!("softdep {module} {words}\n"));
        }
        part
    }
}

/// Path without the suffix of a compression.
fn plain_path(path: &str) -> &str {
    path.find(".ko").and_then(|end| path.get(..end + ".ko".len())).unwrap_or(path)
}

/// `kernel/drivers/md/dm-verity.ko.xz` is `dm_verity`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn access<'path>(
    act: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> ModuleError + 'path {
    move |source| ModuleError::Access { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index::parse(
            "kernel/md/dm-verity.ko.xz: kernel/md/dm-mod.ko.xz\nkernel/md/dm-mod.ko.xz:\n\
             kernel/fs/erofs.ko: kernel/lib/libcrc32c.ko.xz\nkernel/lib/libcrc32c.ko.xz:\n\
             kernel/crypto/crc32c-intel.ko.xz:\nkernel/other.ko.xz:\n",
            "# Aliases\nalias crc32c crc32c_intel\nalias pci:v1* other\nalias fs-erofs erofs\n",
            "softdep libcrc32c pre: crc32c\nsoftdep other pre: dm-mod\n",
        )
    }

    #[test]
    fn hard_and_soft_dependencies_come_along() {
        let chosen = index().closure(vec!["erofs".to_owned(), "dm_verity".to_owned()]);
        let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
        assert_eq!(names, ["crc32c_intel", "dm_mod", "dm_verity", "erofs", "libcrc32c"]);
    }

    #[test]
    fn the_index_of_a_part_names_only_what_is_there_uncompressed() {
        let chosen = index().closure(vec!["erofs".to_owned()]);
        let part = index().part(&chosen);
        assert_eq!(
            part.dependencies,
            "kernel/crypto/crc32c-intel.ko:\nkernel/fs/erofs.ko: kernel/lib/libcrc32c.ko\n\
             kernel/lib/libcrc32c.ko:\n"
        );
        assert_eq!(part.aliases, "alias crc32c crc32c_intel\nalias fs-erofs erofs\n");
        assert_eq!(part.soft, "softdep libcrc32c pre: crc32c\n");
    }
}
