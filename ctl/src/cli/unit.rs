//! `ferrite unit …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::moment::{self, Moment};

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
    /// Make a unit file of a systemd unit (fleet's too) whose container `docker run` or `rkt run` starts
    #[command(
        after_help = "What of each line could not be carried over is said on standard error. Nothing is sent anywhere.

Examples:
  ferrite unit import web.service                      # shows the unit file
  ferrite unit import web@.service -f web@.toml        # writes it
  ferrite unit import backup.service --timer backup.timer -f backup.toml
  for unit in *.service; do ferrite unit import $unit -f ${unit%.service}.toml; done"
    )]
    Import(ImportUnitArguments),
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

/// `ferrite unit import …`
#[derive(Debug, Clone, Args)]
pub struct ImportUnitArguments {
    /// The `.service` file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub unit: PathBuf,
    /// A `.timer` file that starts it
    #[arg(long, value_name = "FILE")]
    pub timer: Option<PathBuf>,
    /// What the unit is called; the file's name without `.service` where absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// File that is written; standard output where absent
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace that file
    #[arg(long, requires = "file")]
    pub force: bool,
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
