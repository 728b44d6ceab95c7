//! Options before the verb.

use super::arguments::{Arguments, Usage};

/// Where containers are kept unless the caller says otherwise; a tmpfs.
const ROOT: &str = "/run/ferrite-oci";

/// Options before the verb.
pub(super) struct Globals {
    pub(super) root: String,
    pub(super) log: Option<String>,
    pub(super) json: bool,
    pub(super) debug: bool,
    pub(super) systemd: bool,
}

/// Reads them.
pub(super) fn globals(arguments: &mut Arguments) -> Result<Globals, Usage> {
    let mut globals =
        Globals { root: ROOT.to_owned(), log: None, json: false, debug: false, systemd: false };
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "--root" => globals.root = arguments.value(&option)?,
            "--log" | "-l" => globals.log = Some(arguments.value(&option)?),
            "--log-format" => globals.json = arguments.value(&option)? == "json",
            "--systemd-cgroup" => globals.systemd = true,
            "--cgroup-manager" => globals.systemd = arguments.value(&option)? == "systemd",
            "--debug" => globals.debug = true,
            "--rootless" => drop(arguments.value(&option)?),
            "--version" | "-v" => arguments.push_verb("version"),
            "--help" | "-h" => arguments.push_verb("help"),
            _ => return Err(Usage::UnknownOption { option }),
        }
    }
    Ok(globals)
}
