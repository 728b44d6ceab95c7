//! The command line: what can be asked for, with the words that `--help` shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cluster::ClusterCommand;
use crate::moment::{self, Moment};
use crate::output::Format;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ferrite",
    version,
    about = "Build, run and talk to Ferrite machines",
    disable_help_subcommand = true,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  ferrite image build              # make a disk image
  ferrite cluster up               # boot it in QEMU
  ferrite unit start hello.toml    # run a container on it
  ferrite unit logs -f hello       # and watch what it writes

`ferrite help exit-codes` lists the exit codes."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Node to talk to, as `ferrite context list` names it; the current one where absent
    #[arg(long, global = true, env = "FERRITE_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Form of the result
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, inspect and verify disk images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make keys that sign slots
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Machines in QEMU on this computer
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Write and check a node's configuration (cloud-config)
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Have the node fetch a container image from its registry
    #[command(after_help = "Examples:
  ferrite pull nginx                          # docker.io/library/nginx:latest
  ferrite pull registry.example:5000/team/app:1.2
  ferrite pull app@sha256:0123…               # exactly this one")]
    Pull {
        /// Name of the image, as other container tools write it
        #[arg(value_name = "REF")]
        reference: String,
    },
    /// Bring a container image from a file or folder onto the node
    #[command(after_help = "Examples:
  skopeo copy docker://docker.io/library/nginx oci-archive:nginx.tar
  ferrite import nginx.tar --name nginx
  docker save nginx | gzip > nginx.tar.gz && ferrite import nginx.tar.gz
  ferrite import layout/ --name nginx         # an OCI layout in a folder")]
    Import(ImportArguments),
    /// List the node's container images; remove and export them
    #[command(after_help = "Examples:
  ferrite images
  ferrite images remove nginx
  ferrite images prune
  ferrite images export nginx -f nginx.tar --format docker")]
    Images {
        /// What to do with them; they are listed where it is absent
        #[command(subcommand)]
        command: Option<ImagesCommand>,
    },
    /// List the node's named volumes; remove them
    #[command(after_help = "Examples:
  ferrite volumes
  ferrite volumes remove data               # with everything in it; no unit may name it")]
    Volumes {
        /// What to do with them; they are listed where it is absent
        #[command(subcommand)]
        command: Option<VolumesCommand>,
    },
    /// Run containers
    #[command(subcommand)]
    Unit(UnitCommand),
    /// Watch what units use: processors, memory, disks, processes
    #[command(after_help = "Examples:
  ferrite top
  ferrite top --once --sort memory
  ferrite top --once -o json")]
    Top(TopArguments),
    /// Show what happened: units that started, ended, ran out of memory, images that came
    #[command(after_help = "Examples:
  ferrite events --since 1h
  ferrite events -f --unit web
  ferrite events -o json                   # one JSON document per line")]
    Events(EventsArguments),
    /// Look at the machine, reboot it, switch it off
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Look at the two OS slots and choose between them
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Show where the time of the last boot went
    #[command(after_help = "Examples:
  ferrite boot
  ferrite boot --svg boot.svg
  ferrite boot -o json")]
    Boot(BootArguments),
    /// Choose the node that is talked to
    #[command(subcommand)]
    Context(ContextCommand),
    /// Write a shell's completions to standard output
    #[command(after_help = "Examples:
  ferrite completions bash > ~/.local/share/bash-completion/completions/ferrite
  ferrite completions zsh  > ~/.zfunc/_ferrite
  ferrite completions fish > ~/.config/fish/completions/ferrite.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Help on a command, or on `exit-codes`
    Help {
        /// Command, or `exit-codes`
        topic: Vec<String>,
    },
}

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
    /// Show what a disk image or a slot payload (slot.kern) holds
    #[command(after_help = "Examples:
  ferrite image inspect out/cloud
  ferrite image inspect out/cloud/disk.raw -o json
  ferrite image inspect slot.kern --trust release.pub")]
    Inspect {
        /// Raw disk image, slot payload, or the folder that `image build` wrote
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
    /// Mirror of Debian's packages; the one that this computer uses where absent
    #[arg(long, value_name = "URI")]
    pub mirror: Option<String>,
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

/// `ferrite config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a new cloud-config with every setting explained
    #[command(after_help = "Examples:
  ferrite config new --hostname web-1 web-1.toml
  ferrite config new > cloud-config.toml")]
    New {
        /// Name of the node
        #[arg(long, value_name = "NAME")]
        hostname: Option<String>,
        /// Replace the file if it exists
        #[arg(long, requires = "file")]
        force: bool,
        /// File to write; standard output where absent
        file: Option<PathBuf>,
    },
    /// Check cloud-configs without sending them anywhere
    #[command(after_help = "Examples:
  ferrite config validate cloud-config.toml
  ferrite config validate configs/*.toml -o json")]
    Validate {
        /// Files; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

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

/// `ferrite volumes`.
#[derive(Debug, Subcommand)]
pub enum VolumesCommand {
    /// List them with their sizes and the units that name them
    List,
    /// Remove a volume that no unit names, and everything in it
    Remove {
        /// Its name
        name: String,
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

/// `ferrite unit …`
#[derive(Debug, Subcommand)]
pub enum UnitCommand {
    /// Start units: a file is submitted first, a name must be known to the node or be an instance of a template
    #[command(after_help = "Examples:
  ferrite unit start hello.toml            # submit, start, wait until it runs or has ended
  ferrite unit start hello                 # start it again
  ferrite unit start worker@1 worker@2     # two instances of the template worker@
  ferrite unit start job.toml --until ended --timeout 5m")]
    Start {
        /// Unit files (TOML), or names of submitted units
        #[arg(value_name = "FILE-OR-NAME", required = true)]
        units: Vec<String>,
        /// How the start is waited for
        #[command(flatten)]
        wait: WaitArguments,
    },
    /// Bring units to the node without starting them
    #[command(after_help = "Examples:
  ferrite unit submit web.toml db.toml
  ferrite unit submit web@.toml            # a template; `ferrite unit start web@1` makes an instance")]
    Submit {
        /// Unit files (TOML); `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Have the node fetch units' images, so that their start does not wait for them
    Load {
        /// Which units
        #[command(flatten)]
        selection: Selection,
    },
    /// Stop units; instances of templates are forgotten
    Unload {
        /// Which units
        #[command(flatten)]
        selection: Selection,
    },
    /// Stop units and start them again, as their documents say now
    #[command(after_help = "Examples:
  ferrite unit restart web
  ferrite unit restart 'web@*'             # all instances
  ferrite unit restart --label tier=front")]
    Restart {
        /// Which units
        #[command(flatten)]
        selection: Selection,
        /// Return at once instead of when they run
        #[arg(long)]
        no_wait: bool,
        /// Longest wait for each
        #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Say in one line why a unit is not running
    #[command(after_help = "Examples:
  ferrite unit why web                     # web: backing off until …: it exited with status 3
  ferrite unit why '*'")]
    Why {
        /// Which units
        #[command(flatten)]
        selection: Selection,
    },
    /// Stop units: their stop signal, their grace period, then SIGKILL
    Stop {
        /// Which units
        #[command(flatten)]
        selection: Selection,
        /// Return at once instead of when it has stopped
        #[arg(long)]
        no_wait: bool,
        /// Longest wait
        #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Show what units are doing and why
    Status {
        /// Which units
        #[command(flatten)]
        selection: Selection,
    },
    /// Show what units wrote: standard output on ours, standard error on ours
    #[command(after_help = "Examples:
  ferrite unit logs hello
  ferrite unit logs -f --tail 20 web store     # until both have come to rest, over restarts
  ferrite unit logs --since 10m --stderr hello
  ferrite unit logs --previous hello           # the run before the latest
  ferrite unit logs -o json hello              # one JSON document per line")]
    Logs(LogsArguments),
    /// Run a command in a unit's container; its exit status is ours, 128 and its number for a signal
    #[command(after_help = "Examples:
  ferrite unit exec web -- nginx -T
  ferrite unit exec -it web -- sh          # a shell, with a terminal
  ferrite unit exec -i db -- psql < dump.sql
  ferrite unit exec -u 33 -w /srv -e A=b web -- env")]
    Exec(ExecArguments),
    /// Watch what a unit's container writes from now on, and type into it; ctrl-p ctrl-q detaches
    #[command(after_help = "Examples:
  ferrite unit attach repl                 # needs `stdin = true` to type, `tty = true` for a terminal
  ferrite unit attach --no-stdin web")]
    Attach {
        /// Name
        name: String,
        /// Only watch
        #[arg(long)]
        no_stdin: bool,
    },
    /// Copy files out of a unit's container, or into it
    #[command(after_help = "Examples:
  ferrite unit cp web:/etc/nginx/nginx.conf .
  ferrite unit cp site/ web:/srv/www")]
    Cp {
        /// NAME:/PATH, or a path here
        from: String,
        /// NAME:/PATH, or a path here
        to: String,
    },
    /// List units
    #[command(after_help = "Examples:
  ferrite unit list
  ferrite unit list 'web*' --label tier=front")]
    List {
        /// Names; `*` and `?` stand for any characters
        names: Vec<String>,
        /// Only units with this label
        #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
        labels: Vec<String>,
    },
    /// List what was submitted: units and templates, wanted or not
    ListFiles,
    /// Show a unit as it was submitted
    Cat {
        /// Name
        name: String,
    },
    /// Check unit files without sending them anywhere
    Verify {
        /// Files; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Stop units and forget them; their named volumes stay
    Destroy {
        /// Which units
        #[command(flatten)]
        selection: Selection,
        /// Return at once instead of when they are gone
        #[arg(long)]
        no_wait: bool,
        /// Longest wait
        #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
}

/// `ferrite unit exec …`
#[derive(Debug, Clone, Args)]
pub struct ExecArguments {
    /// Give it our standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run as this user, `user` or `user:group`; the unit's own where absent
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Run in this folder; the unit's own where absent
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Set a variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Name of the unit
    pub name: String,
    /// The command
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Which units a command is about.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Names; `*` and `?` stand for any characters
    #[arg(required_unless_present = "labels", value_name = "NAME")]
    pub names: Vec<String>,
    /// Only units with this label
    #[arg(short, long = "label", id = "labels", value_name = "KEY[=VALUE]")]
    pub labels: Vec<String>,
}

/// `ferrite unit logs …`
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Names; with several, each line begins with its unit's
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on as more is written, over restarts, until the units have come to rest
    #[arg(short, long, conflicts_with = "previous")]
    pub follow: bool,
    /// Put the time before every line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Lines not older than this: `10m`, `2h`, or a time such as `2026-02-14T09:30:00Z`
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub since: Option<Moment>,
    /// Lines older than this
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub until: Option<Moment>,
    /// At most so many lines of each unit: the last ones
    #[arg(short = 'n', long, value_name = "LINES")]
    pub tail: Option<u64>,
    /// Only what it wrote to its standard output
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only what it wrote to its standard error
    #[arg(long)]
    pub stderr: bool,
    /// The run before the latest one, after a crash for example
    #[arg(short, long)]
    pub previous: bool,
    /// Control characters as they are, also on a terminal, which obeys them
    #[arg(long)]
    pub raw: bool,
}

impl Command {
    /// Writes more than text to a terminal: it draws there, makes a container's words harmless by itself, or joins a
    /// container's terminal to it.
    #[must_use]
    pub const fn steers_terminal(&self) -> bool {
        match self {
            Self::Top(_) => true,
            Self::Unit(UnitCommand::Exec(arguments)) => arguments.tty,
            Self::Unit(UnitCommand::Logs(_) | UnitCommand::Attach { .. }) => true,
            _ => false,
        }
    }
}

/// `ferrite events …`
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Go on as more happens
    #[arg(short, long)]
    pub follow: bool,
    /// Events not older than this: `10m`, `2h`, or a time such as `2026-02-14T09:30:00Z`
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub since: Option<Moment>,
    /// Only those of this unit
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
}

/// `ferrite top …`
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Show one picture and end
    #[arg(long)]
    pub once: bool,
    /// Time between pictures
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// What is at the top
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN")]
    pub sort: SortBy,
}

/// Order of `ferrite top`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// Most processor time
    #[default]
    Cpu,
    /// Most memory
    Memory,
    /// Most read and written
    Io,
    /// Most processes
    Pids,
    /// The alphabet's first
    Name,
}

/// How long a start is waited for.
#[derive(Debug, Clone, Args)]
pub struct WaitArguments {
    /// What to wait for
    #[arg(long = "until", value_enum, default_value_t, value_name = "STATE")]
    pub until: Until,
    /// Return at once (the same as `--until accepted`)
    #[arg(long, conflicts_with = "until")]
    pub no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What `unit start` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    /// The node has taken the request
    Accepted,
    /// Its container runs, or has ended already
    #[default]
    Running,
    /// Its container has ended
    Ended,
}

/// `ferrite machine …`
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// Show what the machine is and how it is
    Status,
    /// Stop everything in order and restart the machine
    Reboot,
    /// Stop everything in order and switch the machine off
    Poweroff,
    /// Have a damaged STATE checked, or made anew
    #[command(subcommand)]
    State(StateCommand),
}

/// `ferrite machine state …`
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Restart, check the file system and repair what can be repaired, however hopeless it looks
    Check,
    /// Restart and make STATE anew, EMPTY: units, images, volumes and logs of this node are gone
    Recreate {
        /// Yes, everything on STATE is to be lost
        #[arg(long)]
        yes: bool,
    },
}

/// `ferrite slot …`
#[derive(Debug, Subcommand)]
pub enum SlotCommand {
    /// Show both slots, which one runs, and PID 1's services
    Status,
    /// Declare the running slot good: it needs no further tries
    MarkGood,
    /// Make the other slot the next to boot, on trial
    Stage,
    /// Give up the running slot: the other one is next
    Rollback,
}

/// `ferrite boot …`
#[derive(Debug, Args)]
pub struct BootArguments {
    /// Draw the timeline into this file instead
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `ferrite context …`
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the nodes that are known here
    List,
    /// Talk to this node from now on
    Use {
        /// Name
        name: String,
    },
}
