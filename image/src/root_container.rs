//! Root directory of a container that belongs to the OS: its programs and the shared libraries that they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};

use crate::packages::{PackageError, PackageStore, Resolved};
use crate::tree::{Tree, TreeError, read};
use crate::variant::Container;

/// Directories of a package that hold shared libraries.
const LIBRARY_DIRS: [&str; 3] = ["usr/lib/x86_64-linux-gnu", "usr/lib", "lib/x86_64-linux-gnu"];
/// Where they are put.
const LIBRARY_DIR: &str = "usr/lib/x86_64-linux-gnu";

/// Why a container's root cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ContainerError {
    #[error("unpack packages of container {container}")]
    Unpack { container: String, source: PackageError },
    #[error("add to container {container}")]
    Tree { container: String, source: TreeError },
    #[error(
        "find {path} for container {container}: none of its packages has it; add one to the variant"
    )]
    Missing { container: String, path: String },
    #[error("read {path}: not an ELF program")]
    Elf { path: PathBuf, source: object::Error },
}

/// Puts the container's files below `base`.
///
/// # Errors
/// A program or a library is in none of the container's packages.
pub fn add_to(
    tree: &mut Tree,
    base: &str,
    container: &Container,
    (store, resolved): (&PackageStore, &Resolved),
) -> Result<(), ContainerError> {
    let named = || container.name.clone();
    let in_tree = |source| ContainerError::Tree { container: named(), source };
    let mut roots = Vec::new();
    for package in container.packages.iter().filter_map(|name| resolved.package(name)) {
        let unpacked = store.unpacked(package);
        roots.push(
            unpacked.map_err(|source| ContainerError::Unpack { container: named(), source })?,
        );
    }
    let missing =
        |path: &str| ContainerError::Missing { container: named(), path: path.to_owned() };
    let mut libraries = BTreeSet::new();
    for program in &container.programs {
        let file = find(&roots, &[""], program.trim_start_matches('/'));
        let file = file.ok_or_else(|| missing(program))?;
        let content = read(&file).map_err(in_tree)?;
        let needs = needs(&file, &content)?;
        if let Some(interpreter) = needs.interpreter {
            let name = interpreter.rsplit('/').next().unwrap_or_default().to_owned();
            let target = format!("/{LIBRARY_DIR}/{name}");
            tree.symlink(&format!("{base}{interpreter}"), &target).map_err(in_tree)?;
            libraries.insert(name);
        }
        libraries.extend(needs.libraries);
        tree.program(&format!("{base}{program}"), content).map_err(in_tree)?;
    }
    let mut queue: Vec<String> = libraries.iter().cloned().collect();
    while let Some(name) = queue.pop() {
        let file = find(&roots, &LIBRARY_DIRS, &name).ok_or_else(|| missing(&name))?;
        let content = read(&file).map_err(in_tree)?;
        for library in needs(&file, &content)?.libraries {
            if libraries.insert(library.clone()) {
                queue.push(library);
            }
        }
        tree.program(&format!("{base}/{LIBRARY_DIR}/{name}"), content).map_err(in_tree)?;
    }
    Ok(())
}

fn find(roots: &[PathBuf], directories: &[&str], name: &str) -> Option<PathBuf> {
    roots
        .iter()
        .flat_map(|root| directories.iter().map(move |directory| root.join(directory).join(name)))
        .find(|path| path.is_file())
}

/// What a program or library asks the dynamic loader for.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

fn needs(path: &Path, content: &[u8]) -> Result<Needs, ContainerError> {
    parse(content).map_err(|source| ContainerError::Elf { path: path.to_owned(), source })
}

fn parse(content: &[u8]) -> Result<Needs, object::Error> {
    type Header = object::elf::FileHeader64<object::Endianness>;
    let file = ElfFile64::<object::Endianness>::parse(content)?;
    let endian = file.endian();
    let header: &Header = file.elf_header();
    let mut found = Needs { interpreter: None, libraries: Vec::new() };
    for segment in header.program_headers(endian, content)? {
        if let Some(interpreter) = segment.interpreter(endian, content)? {
            found.interpreter = Some(String::from_utf8_lossy(interpreter).into_owned());
        }
    }
    let sections = header.sections(endian, content)?;
    if let Some((entries, strings)) = sections.dynamic(endian, content)? {
        let strings = sections.strings(endian, content, strings)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED) {
            let name = entry.string(endian, strings)?;
            found.libraries.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(found)
}
