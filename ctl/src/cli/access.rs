//! `ferrite access …`: who may come in.

use std::path::PathBuf;

use clap::Subcommand;
use ferrite_schema::api::AccessRole;

/// `ferrite access …`
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// List certificates of users: whose they are, what they open, until when, and who gave them
    List,
    /// Give somebody a certificate, and write a context file with it
    #[command(after_help = "Examples:
  ferrite access grant ann --role reader --days 30     # writes ann.toml, for its owner alone
  ferrite access grant ci --role operator --days 365 -f /secrets/ci.toml

Whoever has the file has the access: hand it over unseen, and delete it here. It is used with `ferrite context add ann.toml`.
The key is made here and nowhere else.")]
    Grant {
        /// Whose it is: letters, digits, `-`, `_`, `.` and `@`
        name: String,
        /// What it opens: `admin`, `operator` or `reader`
        #[arg(long, value_name = "ROLE")]
        role: AccessRole,
        /// How long: 3660 days at most
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3660), value_name = "N")]
        days: u32,
        /// The file, which must not exist; `NAME.toml` where absent
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Have certificates open nothing any more, within seconds and on every node that hears of it
    #[command(after_help = "Examples:
  ferrite access revoke ann            # all that ann has
  ferrite access revoke 5f03a8c1       # one of them, by the start of its number
  ferrite access revoke 4c0e…          # one that the cluster never gave, by its whole number")]
    Revoke {
        /// Whose, or the start of one's serial number; the whole number of one that is not listed
        #[arg(value_name = "NAME|SERIAL")]
        what: String,
    },
}
