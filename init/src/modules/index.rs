//! What depmod says about a kernel's modules: where each lies, what it needs, which hardware it is for.
//!
//! # Source
//! `modules.dep(5)`, `modprobe.d(5)` for soft dependencies; kmod writes the files.

use std::collections::{HashMap, HashSet};

use crate::modules::glob;

/// The texts of depmod's files; an absent file is an empty text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'text> {
    /// `modules.dep`: `PATH: PATH…`.
    pub dependencies: &'text str,
    /// `modules.alias`: `alias PATTERN NAME`.
    pub aliases: &'text str,
    /// `modules.softdep`: `softdep NAME pre: NAME… post: NAME…`.
    pub soft_dependencies: &'text str,
    /// `modules.builtin`: a path per line.
    pub builtin: &'text str,
}

/// All modules of a kernel.
#[derive(Debug, Clone, Default)]
pub struct Index {
    modules: HashMap<String, Module>,
    /// Patterns by what stands before their first `:` where that part is literal: `pci`, `virtio`.
    aliases: HashMap<String, Vec<Alias>>,
    /// Patterns without such a part.
    wild_aliases: Vec<Alias>,
    builtin: HashSet<String>,
}

#[derive(Debug, Clone, Default)]
struct Module {
    path: String,
    needs: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
}

#[derive(Debug, Clone)]
struct Alias {
    pattern: String,
    module: String,
}

/// One name for a module: the kernel takes `-` and `_` for the same, and a path ends in `.ko` or `.ko.xz`.
#[must_use]
pub fn canonical(name_or_path: &str) -> String {
    let file = name_or_path.rsplit_once('/').map_or(name_or_path, |(_, file)| file);
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    stem.replace('-', "_")
}

impl Index {
    /// Reads depmod's files. Lines that make no sense are left out: a damaged index must not stop a boot.
    #[must_use]
    pub fn parse(texts: Texts<'_>) -> Self {
        let mut index = Self::default();
        for line in texts.dependencies.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_ascii_whitespace().map(canonical).collect();
            let module = Module { path: path.trim().to_owned(), needs, ..Module::default() };
            index.modules.insert(canonical(path.trim()), module);
        }
        index.builtin = texts.builtin.lines().map(|path| canonical(path.trim())).collect();
        for line in texts.aliases.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                index.add_alias(pattern, canonical(module));
            }
        }
        for line in texts.soft_dependencies.lines() {
            index.add_soft_dependencies(line);
        }
        index
    }

    /// There is nothing to load.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The kernel has it inside.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&canonical(name))
    }

    /// There is a file for it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.modules.contains_key(&canonical(name))
    }

    /// Where the file of a module lies; empty where there is none.
    #[must_use]
    pub fn path(&self, name: &str) -> &str {
        self.modules.get(&canonical(name)).map_or("", |module| &module.path)
    }

    /// Modules for what a device says of itself, each once, in the order of the index. A module's own name
    /// is an alias of it.
    #[must_use]
    pub fn matching(&self, modalias: &str) -> Vec<&str> {
        let bus = modalias.split_once(':').map_or("", |(bus, _)| bus);
        let mut seen = HashSet::new();
        let named = self.modules.get_key_value(&canonical(modalias)).map(|(name, _)| name.as_str());
        let of_bus = self.aliases.get(bus).into_iter().flatten();
        let by_alias = of_bus
            .chain(&self.wild_aliases)
            .filter(|alias| glob::matches(&alias.pattern, modalias))
            .map(|alias| alias.module.as_str());
        named
            .into_iter()
            .chain(by_alias)
            .filter(|module| self.modules.contains_key(*module) && seen.insert(*module))
            .collect()
    }

    /// What a soft dependency means: a module of that name or, as for `crc32c`, everything it is an alias of.
    fn meant_by<'name>(&'name self, word: &'name str) -> Vec<&'name str> {
        if self.modules.contains_key(word) { vec![word] } else { self.matching(word) }
    }

    /// Paths to load for module `name`, in order: what it needs first. Empty where there is no such file or
    /// it is in `loaded`. Circles in a damaged index end.
    #[must_use]
    pub fn load_order(&self, name: &str, loaded: &HashSet<String>) -> Vec<Step<'_>> {
        let mut order = Vec::new();
        let mut visited = loaded.clone();
        self.visit(&canonical(name), false, &mut visited, &mut order);
        order
    }

    fn visit<'index>(
        &'index self,
        name: &str,
        optional: bool,
        visited: &mut HashSet<String>,
        order: &mut Vec<Step<'index>>,
    ) {
        let Some((name, module)) = self.modules.get_key_value(name) else { return };
        if !visited.insert(name.clone()) {
            return;
        }
        for other in module.before.iter().flat_map(|word| self.meant_by(word)) {
            self.visit(other, true, visited, order);
        }
        // depmod lists the nearest need first; the farthest must be loaded first.
        for other in module.needs.iter().rev() {
            self.visit(other, optional, visited, order);
        }
        order.push(Step { name, path: &module.path, optional });
        for other in module.after.iter().flat_map(|word| self.meant_by(word)) {
            self.visit(other, true, visited, order);
        }
    }

    fn add_alias(&mut self, pattern: &str, module: String) {
        let alias = Alias { pattern: pattern.to_owned(), module };
        match pattern.split_once(':') {
            Some((bus, _)) if !bus.contains(['*', '?', '[']) => {
                self.aliases.entry(bus.to_owned()).or_default().push(alias);
            }
            None if !pattern.contains(['*', '?', '[']) => {
                self.aliases.entry(String::new()).or_default().push(alias);
            }
            Some(_) | None => self.wild_aliases.push(alias),
        }
    }

    fn add_soft_dependencies(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("softdep") {
            return;
        }
        let Some(module) = words.next().and_then(|name| self.modules.get_mut(&canonical(name)))
        else {
            return;
        };
        let mut after = false;
        for word in words {
            match word {
                "pre:" => after = false,
                "post:" => after = true,
                name if after => module.after.push(canonical(name)),
                name => module.before.push(canonical(name)),
            }
        }
    }
}

/// One module to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'index> {
    /// Canonical name.
    pub name: &'index str,
    /// Relative to the modules' directory.
    pub path: &'index str,
    /// A soft dependency: its failure does not matter to the module that was asked for.
    pub optional: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_dependency_may_be_an_alias() {
        let index = Index::parse(Texts {
            dependencies: "lib/libcrc32c.ko:\ncrypto/crc32c_generic.ko:\n",
            aliases: "alias crc32c crc32c_generic\n",
            soft_dependencies: "softdep libcrc32c pre: crc32c\n",
            builtin: "",
        });
        let order = index.load_order("libcrc32c", &HashSet::new());
        let names: Vec<&str> = order.iter().map(|step| step.name).collect();
        assert_eq!(names, ["crc32c_generic", "libcrc32c"]);
    }

    const DEPENDENCIES: &str = "\
kernel/drivers/md/dm-mod.ko:
kernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko
kernel/lib/reed_solomon/reed_solomon.ko:
kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-mod.ko kernel/lib/reed_solomon/reed_solomon.ko
kernel/drivers/block/virtio_blk.ko.xz:
kernel/lib/libcrc32c.ko:
kernel/lib/crc32c.ko:
kernel/lib/late.ko:
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
";
    const ALIASES: &str = "\
# Aliases extracted from modules themselves.
alias virtio:d00000002v* virtio_blk
alias dm-target-verity dm_verity
alias * a
alias virtio:d00000002v* not_in_the_image
alias acpi*:X:* late
";

    fn index() -> Index {
        Index::parse(Texts {
            dependencies: DEPENDENCIES,
            aliases: ALIASES,
            soft_dependencies: "softdep libcrc32c pre: crc32c post: late\nsoftdep absent pre: x\n",
            builtin: "kernel/fs/ext4/ext4.ko\n",
        })
    }

    fn order(name: &str, loaded: &[&str]) -> Vec<String> {
        let loaded = loaded.iter().map(|name| (*name).to_owned()).collect();
        index().load_order(name, &loaded).iter().map(|step| step.name.to_owned()).collect()
    }

    #[test]
    fn needs_are_loaded_first() {
        assert_eq!(order("dm-verity", &[]), ["reed_solomon", "dm_mod", "dm_bufio", "dm_verity"]);
        assert_eq!(order("dm_verity", &["dm_mod", "dm_bufio"]), ["reed_solomon", "dm_verity"]);
        assert_eq!(order("dm_verity", &["dm_verity"]), [""; 0]);
        assert_eq!(order("ext4", &[]), [""; 0]);
    }

    #[test]
    fn soft_dependencies_are_around_and_optional() {
        assert_eq!(order("libcrc32c", &[]), ["crc32c", "libcrc32c", "late"]);
        let index = index();
        let optional: Vec<bool> = index
            .load_order("libcrc32c", &HashSet::new())
            .iter()
            .map(|step| step.optional)
            .collect();
        assert_eq!(optional, [true, false, true]);
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(order("a", &[]), ["b", "a"]);
    }

    #[test]
    fn hardware_finds_its_modules() {
        let index = index();
        assert_eq!(index.matching("virtio:d00000002v00001AF4"), ["virtio_blk", "a"]);
        assert_eq!(index.matching("dm-target-verity"), ["dm_verity", "a"]);
        assert_eq!(index.matching("dm-verity"), ["dm_verity", "a"]);
        assert_eq!(index.matching("acpi:X:"), ["a", "late"]);
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(canonical("kernel/drivers/md/dm-verity.ko.xz"), "dm_verity");
        assert_eq!(canonical("dm-verity"), "dm_verity");
        assert!(index().is_builtin("ext4"));
        assert!(!index().is_builtin("dm_verity"));
    }

    #[test]
    fn nonsense_is_an_empty_index() {
        let text = "\u{0}garbage\nalias\nalias x\n:::\n";
        let index = Index::parse(Texts {
            dependencies: "no colon",
            aliases: text,
            soft_dependencies: text,
            builtin: "",
        });
        assert!(index.is_empty());
        assert!(index.matching("x").is_empty());
    }
}
