//! Looking at units until they are as wished.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::node::{Node, SOON};

/// Between two looks.
pub const POLL: Duration = Duration::from_millis(300);

/// Waits until the unit's status is as `wished`.
///
/// # Errors
/// It is not soon enough: the error has the last status.
pub fn until(node: &Node, name: &str, wished: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let status = node.ask(&["unit", "status", name])?;
        if wished(&status) {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "{name} is still {status}");
        std::thread::park_timeout(POLL);
    }
}

/// Waits until the unit is in a state.
///
/// # Errors
/// See [`until`].
pub fn until_state(node: &Node, name: &str, state: &str) -> Result<Value> {
    until(node, name, |status| status["state"] == state)
}

/// What the node says of why the unit is as it is.
///
/// # Errors
/// The node does not know it.
pub fn why(node: &Node, name: &str) -> Result<String> {
    node.ferrite(&["unit", "why", name])
}

/// The text of a file of the node once it is there: files of sysfs tell nobody.
///
/// # Errors
/// It does not come.
pub fn read_until(node: &mut Node, path: &str) -> Result<String> {
    let deadline = Instant::now() + SOON;
    loop {
        match node.probe(&["read", path]) {
            Ok(found) => {
                return Ok(found
                    .get("text")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned());
            }
            Err(error) => ensure!(Instant::now() < deadline, "{error:#}"),
        }
        std::thread::park_timeout(POLL);
    }
}

/// Checks that `fields` of a unit's status are what they were. One that is absent is no field, and never the same.
///
/// # Errors
/// One is not, or there was none.
pub fn same(before: &Value, after: &Value, fields: &[&str]) -> Result<()> {
    for field in fields {
        let known = before.get(field).filter(|known| !known.is_null());
        ensure!(known.is_some(), "there was no {field:?} to compare with in {before}");
        ensure!(known == after.get(field), "{field:?} changed from {before} to {after}");
    }
    Ok(())
}
