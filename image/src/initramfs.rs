//! The initramfs: PID 1, the keys that it trusts, the modules that it needs, the command line that it is meant for, and the
//! boot ID.

use std::io;
use std::path::Path;

use ferrite_schema::names::{BOOT_ID_FILE, COMMAND_LINE_FILE, SLOT_KEYS_DIR};

use crate::initramfs_archive::{ArchiveError, cpio};
use crate::modules::{KernelModules, ModuleError};
use crate::packages::PackageStore;
use crate::packages::cache::sha256_hex;
use crate::tools::Tools;
use crate::tree::{Tree, TreeError, read};

/// Level of compression: the highest one takes eight times as long and saves a tenth.
const ZSTD_LEVEL: i32 = 12;

/// Why an initramfs cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum InitramfsError {
    #[error("add modules to the initramfs")]
    Modules {
        #[from]
        source: ModuleError,
    },
    #[error("add to the initramfs")]
    Tree {
        #[from]
        source: TreeError,
    },
    #[error("archive the initramfs")]
    Archive {
        #[from]
        source: ArchiveError,
    },
    #[error("compress the initramfs")]
    Compress { source: io::Error },
}

/// A public key that may sign slots, as it is kept in images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Name of the key.
    pub name: String,
    /// The key: 64 hexadecimal digits.
    pub hex: String,
}

impl PublicKey {
    /// Content of the key's file.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        format!("{}\n", self.hex).into_bytes()
    }
}

/// An initramfs that lacks only what depends on the rest.
#[derive(Debug)]
pub struct Contents {
    tree: Tree,
}

/// A finished initramfs.
#[derive(Debug)]
pub struct Initramfs {
    /// What the kernel gets.
    pub bytes: Vec<u8>,
    /// Boot ID in it.
    pub boot_id: String,
}

impl Contents {
    /// Collects PID 1, keys and modules; a kernel that has everything built in has none of them.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn collect(
        init: &Path,
        keys: &[PublicKey],
        modules: (Option<&KernelModules>, &[String]),
        unpack: (&PackageStore, &Tools),
    ) -> Result<Self, InitramfsError> {
        let mut tree = Tree::default();
        tree.program("init", read(init)?)?;
        for key in keys {
            tree.file(&format!("{SLOT_KEYS_DIR}/{}.pub", key.name), key.text())?;
        }
        let (kernel, names) = modules;
        if let Some(kernel) = kernel {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            kernel.add_to(&mut tree, "lib", &names, unpack)?;
        }
        Ok(Self { tree })
    }

    /// Identifies kernel, initramfs and command line together.
    #[must_use]
    pub fn boot_id(&self, kernel: &[u8], command_line: &str) -> String {
        let parts = [sha256_hex(kernel), self.tree.sha256(), sha256_hex(command_line.as_bytes())];
        sha256_hex(parts.join(" ").as_bytes())
    }

    /// Adds boot ID and command line, and archives everything. PID 1 takes what else it finds in its command line for a
    /// person's.
    ///
    /// # Errors
    /// The archive cannot be made.
    pub fn finish(
        mut self,
        boot_id: &str,
        command_line: &str,
    ) -> Result<Initramfs, InitramfsError> {
        self.tree.file(COMMAND_LINE_FILE, format!("{command_line}\n").into_bytes())?;
        self.tree.file(BOOT_ID_FILE, format!("{boot_id}\n").into_bytes())?;
        let archive = cpio(&self.tree)?;
        let bytes = zstd::stream::encode_all(archive.as_slice(), ZSTD_LEVEL)
            .map_err(|source| InitramfsError::Compress { source })?;
        Ok(Initramfs { bytes, boot_id: boot_id.to_owned() })
    }
}
