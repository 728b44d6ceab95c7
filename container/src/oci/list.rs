//! Looking at containers: `list` and `ps`.

use std::fs;

use libcontainer::container::Container;

use super::arguments::{Arguments, Usage};
use super::containers::{cgroup_folder, load, processes};
use super::output::say;
use super::problem::{Problem, VerbProblem};

/// `ferrite-oci list`.
pub(super) fn list(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let (mut json, mut quiet) = (false, false);
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "-f" | "--format" => json = arguments.value(&option)? == "json",
            "-q" | "--quiet" => quiet = true,
            _ => return Err(Usage::UnknownOption { option }.into()),
        }
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        // What is being made or removed has no state.
        if let Ok(mut container) = Container::load(entry.path())
            && container.refresh_status().is_ok()
        {
            found.push(container);
        }
    }
    found.sort_by(|a, b| a.id().cmp(b.id()));
    if quiet {
        let ids: Vec<&str> = found.iter().map(Container::id).collect();
        return Ok(say(&ids.join("\n"))?);
    }
    if json {
        let states: Vec<_> = found.iter().map(|container| &container.state).collect();
        let text = serde_json::to_string(&states).map_err(VerbProblem::Encode)?;
        return Ok(say(&text)?);
    }
    let mut text = "ID\tPID\tSTATUS\tBUNDLE".to_owned();
    for container in &found {
        let pid = container.pid().map_or(0, |pid| pid.as_raw());
        let status = container.status().to_string().to_lowercase();
        let bundle = container.bundle().display();
        text.push_str(&format!("\n{}\t{pid}\t{status}\t{bundle}", container.id()));
    }
    Ok(say(&text)?)
}

/// `ferrite-oci ps`.
pub(super) fn ps(arguments: &mut Arguments, root: &str) -> Result<u8, Problem> {
    let mut json = false;
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "-f" | "--format" => json = arguments.value(&option)? == "json",
            _ => return Err(Usage::UnknownOption { option }.into()),
        }
    }
    let container = load(root, &arguments.word("ID")?)?;
    let cgroup = container.spec().map_err(VerbProblem::from)?.cgroup_path;
    let pids = processes(&cgroup_folder(&cgroup))?;
    if json {
        return Ok(say(&serde_json::json!(pids).to_string())?);
    }
    let words: Vec<String> = pids.iter().map(i32::to_string).collect();
    Ok(say(&format!("PID\n{}", words.join("\n")))?)
}
