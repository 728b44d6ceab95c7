//! What types cannot say about a unit: contradictions, and values that a unit must not have.

use super::bad_value::{BadValue, Check, bad, twice};
use super::container_check;
use super::definition::Unit;
use super::life_check;
use super::names::{NAME_MAX_BYTES, is_unit_name};
use super::placement_check;
use super::secret;
use super::template;
use crate::reference::Reference;

/// Longest label name and value.
const LABEL_MAX_BYTES: usize = 256;

const CHECKS: [Check<Unit>; 7] = [name, program, environment, secret::check, files, labels, image];

/// Checks what types cannot say.
///
/// # Errors
/// The first value that a unit must not have.
pub fn check(unit: &Unit) -> Result<(), BadValue> {
    name(unit)?;
    if template::is_template(&unit.name) {
        // What its values mean shows in an instance; one is as good as another.
        let instance = template::expanded(unit, &format!("{}1", unit.name))?;
        return check_instance(&instance);
    }
    check_instance(unit)
}

fn check_instance(unit: &Unit) -> Result<(), BadValue> {
    let all = CHECKS
        .iter()
        .chain(&container_check::CHECKS)
        .chain(&life_check::CHECKS)
        .chain(&placement_check::CHECKS);
    all.into_iter().try_for_each(|check| check(unit))
}

fn name(unit: &Unit) -> Result<(), BadValue> {
    if is_unit_name(&unit.name) {
        return Ok(());
    }
    bad(
        ["name"],
        format!(
            "use letters, digits, `-`, `_` and `.`, a letter or digit first, at most {NAME_MAX_BYTES} of them; \
             one `@` makes it a template (`web@`) or an instance of one (`web@1`)"
        ),
    )
}

fn image(unit: &Unit) -> Result<(), BadValue> {
    match unit.image.parse::<Reference>() {
        Ok(_) => Ok(()),
        Err(problem) => {
            bad(["image"], format!("this is no reference to an image: {}", problem.why))
        }
    }
}

fn words(key: &[&str], words: &[String]) -> Result<(), BadValue> {
    match words.iter().position(|word| word.contains('\0')) {
        None => Ok(()),
        Some(index) => {
            let index = index.to_string();
            Err(BadValue::at(&[key, &[&index]].concat(), "a word holds a NUL character"))
        }
    }
}

fn program(unit: &Unit) -> Result<(), BadValue> {
    for (key, list) in [
        ("entrypoint", unit.entrypoint.as_deref()),
        ("command", unit.command.as_deref()),
        ("args", Some(unit.args.as_slice())),
    ] {
        words(&[key], list.unwrap_or_default())?;
    }
    for (key, commands) in [("pre_start", &unit.pre_start), ("post_stop", &unit.post_stop)] {
        for (index, command) in commands.iter().enumerate() {
            let index = index.to_string();
            if command.first().is_none_or(String::is_empty) {
                return bad([key, &index], "name a program, as the first word of the command");
            }
            words(&[key, &index], command)?;
        }
    }
    if unit.entrypoint.as_ref().is_some_and(Vec::is_empty)
        && unit.command.as_ref().is_some_and(Vec::is_empty)
        && unit.args.is_empty()
    {
        return bad(
            ["command"],
            "entrypoint and command are both empty: name a program in one of them",
        );
    }
    Ok(())
}

fn environment(unit: &Unit) -> Result<(), BadValue> {
    for (name, value) in &unit.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let why = "a variable has a name, without `=`, and no NUL character";
            return bad(["env", name], why);
        }
    }
    if let Some(index) = twice(&unit.env_files) {
        return bad(["env_files", &index.to_string()], "it is in the list twice: drop one");
    }
    match unit.env_files.iter().position(String::is_empty) {
        Some(index) => {
            bad(["env_files", &index.to_string()], "name a file of the node's `[env_files]`")
        }
        None => Ok(()),
    }
}

fn files(unit: &Unit) -> Result<(), BadValue> {
    if unit.workdir.as_ref().is_some_and(|workdir| !workdir.starts_with('/')) {
        return bad(["workdir"], "use an absolute path, which begins with `/`");
    }
    if unit.workdir.as_ref().is_some_and(|workdir| workdir.contains('\0')) {
        return bad(["workdir"], "it holds a NUL character");
    }
    Ok(())
}

fn labels(unit: &Unit) -> Result<(), BadValue> {
    for (name, value) in &unit.labels {
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !name.bytes().all(fits)
            || !ends(name.bytes().next())
            || !ends(name.bytes().last())
            || name.len() > LABEL_MAX_BYTES
        {
            let why = "a label's name has letters, digits, `-`, `_`, `.` and `/` in its middle, at most 256 of them";
            return bad(["labels", name], why);
        }
        if value.len() > LABEL_MAX_BYTES || value.chars().any(char::is_control) {
            return bad(["labels", name], "a label's value is one line of at most 256 bytes");
        }
    }
    Ok(())
}
