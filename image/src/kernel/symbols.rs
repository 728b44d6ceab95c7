//! The options that a kernel's source knows: their names, and what each depends on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folder of the source with a subfolder for each kind of processor.
const ARCHITECTURES: &str = "arch";
/// The one of them that is built.
const ARCHITECTURE: &str = "x86";
/// Begins the name of every file that declares options.
const FILE_PREFIX: &str = "Kconfig";

/// Conditions of every option, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    conditions: BTreeMap<String, Vec<String>>,
}

impl Symbols {
    /// Reads every `Kconfig…` below the source's folder that counts for x86.
    ///
    /// # Errors
    /// A file or folder cannot be read; says which.
    pub fn collect(source: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let mut symbols = Self::default();
        let mut open = vec![source.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| (folder.clone(), error))? {
                let entry = entry.map_err(|error| (folder.clone(), error))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| (path.clone(), error))?;
                let name = entry.file_name();
                if kind.is_dir() {
                    let foreign = folder == source.join(ARCHITECTURES) && name != ARCHITECTURE;
                    if !foreign {
                        open.push(path);
                    }
                } else if name.to_string_lossy().starts_with(FILE_PREFIX) {
                    let text = fs::read(&path).map_err(|error| (path, error))?;
                    symbols.read(&String::from_utf8_lossy(&text));
                }
            }
        }
        Ok(symbols)
    }

    /// Adds what one file declares.
    pub fn read(&mut self, text: &str) {
        let mut current = None;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("config" | "menuconfig"), Some(name)) => {
                    self.conditions.entry(name.to_owned()).or_default();
                    current = Some(name.to_owned());
                }
                (Some("depends"), Some("on")) => {
                    let condition = words.collect::<Vec<_>>().join(" ");
                    if let Some(conditions) =
                        current.as_ref().and_then(|name| self.conditions.get_mut(name))
                    {
                        conditions.push(condition);
                    }
                }
                (
                    Some("menu" | "endmenu" | "choice" | "endchoice" | "if" | "endif" | "comment"),
                    _,
                ) => {
                    current = None;
                }
                _ => {}
            }
        }
    }

    /// The source has such an option.
    #[must_use]
    pub fn knows(&self, option: &str) -> bool {
        self.conditions.contains_key(option)
    }

    /// What an option says it depends on; each must hold.
    #[must_use]
    pub fn conditions(&self, option: &str) -> &[String] {
        self.conditions.get(option).map_or(&[], Vec::as_slice)
    }

    /// Options whose names begin with `prefix`, by name.
    pub fn starting_with<'all>(&'all self, prefix: &'all str) -> impl Iterator<Item = &'all str> {
        self.conditions.keys().map(String::as_str).filter(move |name| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "mainmenu \"x\"\nconfig ONE\n\tbool \"One\"\n\tdepends on NET && \\\n\thelp\n\t  About\n\n\
        menuconfig TWO\n\tdepends on ONE\n\tdepends on EFI\nmenu \"M\"\n\tdepends on NET\nconfig ONE_MORE\n\tbool\n";

    #[test]
    fn names_and_conditions_are_read() {
        let mut symbols = Symbols::default();
        symbols.read(TEXT);
        assert!(symbols.knows("ONE") && symbols.knows("TWO") && !symbols.knows("THREE"));
        assert_eq!(symbols.conditions("TWO"), ["ONE", "EFI"]);
        assert!(symbols.conditions("ONE_MORE").is_empty());
        assert_eq!(symbols.starting_with("ONE").collect::<Vec<_>>(), ["ONE", "ONE_MORE"]);
    }

    #[test]
    fn other_processors_options_are_passed_over() {
        let source = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = source.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Kconfig", "config TOP\n");
        write("arch/Kconfig", "config ARCH\n");
        write("arch/x86/Kconfig.cpu", "config X86\n");
        write("arch/arm64/Kconfig", "config ARM\n");
        write("drivers/Makefile", "config NONE\n");
        let symbols = Symbols::collect(source.path()).unwrap();
        let found: Vec<_> = symbols.starting_with("").collect();
        assert_eq!(found, ["ARCH", "TOP", "X86"]);
    }
}
