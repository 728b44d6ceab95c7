//! `ferrite images …` and `ferrite import …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `ferrite import …`
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// OCI archive, archive of `docker save`, either of them also with gzip or zstd, or folder with an OCI layout
    pub file: PathBuf,
    /// Name that units use for it; the one that the archive gives it where absent
    #[arg(long)]
    pub name: Option<String>,
}

/// `ferrite images …`
#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// List them with their sizes
    List,
    /// Remove an image that no unit uses
    Remove {
        /// Its name
        name: String,
    },
    /// Remove all images that no unit uses
    Prune,
    /// Write an image into an archive
    Export {
        /// Its name
        name: String,
        /// File that is written; standard output where it is `-`
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Kind of archive
        #[arg(long, value_enum, default_value_t, value_name = "KIND")]
        format: ArchiveFormat,
    },
}

/// Kind of archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ArchiveFormat {
    /// OCI image layout
    #[default]
    Oci,
    /// What `docker load` reads
    Docker,
}
