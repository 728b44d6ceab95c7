//! `ferrite image …` and `ferrite keys …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ferrite_image::packages::mirror::Mirrors;

/// `ferrite image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image: disk for BIOS and UEFI, files for direct boot, manifest and SBOM
    #[command(after_help = "Examples:
  ferrite image build
  ferrite image build --variant cloud --key release.key --out out/release
  ferrite image build --variant metal --cloud-config node1.toml --out out/node1
  ferrite image build --mirror https://deb.example.org/debian --refresh")]
    Build(Box<BuildArguments>),
    /// Build the kernel of a variant that has one of its own, or see about it
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Show what a disk image, a slot payload (slot.kern) or a kernel holds
    #[command(after_help = "Examples:
  ferrite image inspect out/cloud
  ferrite image inspect out/slim/vmlinux
  ferrite image inspect out/cloud/disk.raw -o json
  ferrite image inspect slot.kern --trust release.pub")]
    Inspect {
        /// Raw disk image, slot payload, kernel, or the folder that `image build` wrote
        file: PathBuf,
        /// Whose signatures are good
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Check everything in a disk image and name the first thing that is wrong
    #[command(after_help = "Examples:
  ferrite image verify out/cloud
  ferrite image verify disk.raw --trust release.pub")]
    Verify {
        /// Raw disk image, or the folder that `image build` wrote
        file: PathBuf,
        /// Whose signatures are good
        #[command(flatten)]
        trust: TrustArguments,
    },
}

/// `ferrite image kernel …`
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Say what the kernel is made from, and whether it is in the cache; asks no mirror
    #[command(after_help = "Examples:
  ferrite image kernel show
  ferrite image kernel show --cached && ferrite image build --variant slim")]
    Show {
        /// Which kernel
        #[command(flatten)]
        which: KernelSelection,
        /// Fail where the kernel is not in the cache
        #[arg(long)]
        cached: bool,
    },
    /// Build the kernel, unless it is in the cache
    #[command(after_help = "Examples:
  ferrite image kernel build
  ferrite image kernel build --refresh   # out of the newest source, as after a security notice")]
    Build {
        /// Which kernel
        #[command(flatten)]
        which: KernelSelection,
    },
    /// Make the kernel's configuration and compare it with the one beside its fragment
    #[command(after_help = "Examples:
  ferrite image kernel configure
  ferrite image kernel configure --bless && git diff configs/kernel")]
    Configure {
        /// Which kernel
        #[command(flatten)]
        which: KernelSelection,
        /// Write what came out beside the fragment
        #[arg(long)]
        bless: bool,
    },
}

/// A kernel, and where its packages come from.
#[derive(Debug, Clone, Args)]
pub struct KernelSelection {
    /// Image variant whose kernel it is
    #[arg(long, default_value = "slim", value_name = "NAME")]
    pub variant: String,
    /// Folder with variants and kernels
    #[arg(long, default_value = "configs", value_name = "DIR")]
    pub configs: PathBuf,
    /// Where packages come from
    #[command(flatten)]
    pub mirrors: MirrorSelection,
    /// Look for newer packages instead of using what is in the cache
    #[arg(long)]
    pub refresh: bool,
}

/// Debian's archives.
#[derive(Debug, Clone, Args)]
pub struct MirrorSelection {
    /// Mirror of Debian's packages; the one that this computer uses where absent
    #[arg(long, value_name = "URI")]
    pub mirror: Option<String>,
    /// Debian's security archive, beside --mirror (https://deb.example.org/debian-security)
    #[arg(long, value_name = "URI", requires = "mirror")]
    pub security_mirror: Option<String>,
}

impl MirrorSelection {
    /// The archives that were named.
    #[must_use]
    pub fn named(&self) -> Option<Mirrors> {
        let main = self.mirror.clone()?;
        Some(Mirrors { main, security: self.security_mirror.clone() })
    }
}

/// `ferrite image build …`
#[derive(Debug, Clone, Args)]
pub struct BuildArguments {
    /// Image variant: a file in the folder `variants` of the configuration
    #[arg(long, default_value = "cloud", value_name = "NAME")]
    pub variant: String,
    /// Folder that the image is written to; `out/VARIANT` where absent
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder with disk layout, variants and sysctls
    #[arg(long, default_value = "configs", value_name = "DIR")]
    pub configs: PathBuf,
    /// Folder with ferrite-init, ferrite-agent, ferrite-container and ferrite-shim; the one that `ferrite` itself is in where absent
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Program that is the image's agent, for test images; ferrite-agent where absent
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Further program in the image, for test images
    #[arg(long, value_name = "PATH=FILE", value_parser = path_and_file)]
    pub add: Vec<(String, PathBuf)>,
    /// Configuration of the machines that boot the image, on its OEM partition; see `ferrite config new`
    #[arg(long, value_name = "FILE")]
    pub cloud_config: Option<PathBuf>,
    /// Kernel arguments of the machines that boot the image, on its OEM partition: "nomodeset console=ttyS1"
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub kernel_args: Option<String>,
    /// Bytes of a sector of the disks that the image is for; images for 4096 boot under UEFI only
    #[arg(long, value_name = "BYTES", value_parser = ["512", "4096"])]
    pub sector_bytes: Option<String>,
    /// Version of the OS that the image says it is
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"), value_name = "VERSION")]
    pub os_version: String,
    /// Key that signs the slot (see `ferrite keys new`); a development key where absent
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Further public keys that the image trusts, for its updates
    #[arg(long, value_name = "FILE")]
    pub trust: Vec<PathBuf>,
    /// Where packages come from
    #[command(flatten)]
    pub mirrors: MirrorSelection,
    /// Look for newer packages instead of using what is in the cache
    #[arg(long)]
    pub refresh: bool,
}

/// Reads `PATH=FILE`: an absolute path in the image and a file here.
fn path_and_file(words: &str) -> Result<(String, PathBuf), String> {
    match words.split_once('=') {
        Some((path, file)) if path.starts_with('/') && !file.is_empty() => {
            Ok((path.to_owned(), file.into()))
        }
        Some(_) | None => Err("it must look like /path/in/the/image=file".to_owned()),
    }
}

/// Keys that are trusted while looking at an image.
#[derive(Debug, Clone, Args)]
pub struct TrustArguments {
    /// Public key to trust; those in the folder of your own keys where absent
    #[arg(long, value_name = "FILE")]
    pub trust: Vec<PathBuf>,
}

/// `ferrite keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: NAME.key signs and stays secret, NAME.pub is for everyone
    #[command(after_help = "Examples:
  ferrite keys new release
  ferrite keys new release --dir /media/safe")]
    New {
        /// Name, as slots and images show it
        name: String,
        /// Folder for the two files; that of your own keys where absent
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List your own keys
    List,
}
