//! Containers beside those of others: one module per thing that is measured, each adds its rows.
//!
//! A module has `measure(&Setting, &mut Report)`. One that lacks a program to compare with says so and adds what
//! it can; one that fails is reported as such at the end, and the other figures are still shown.

pub(crate) mod guest;
mod pull;
mod runtime;
mod setting;
mod start;
mod unpack;

use anyhow::{Result, bail};

use crate::arguments::ContainersArguments;
use crate::report::Report;
use setting::Setting;

/// A part of the suite.
type Part = (&'static str, fn(&Setting, &mut Report) -> Result<()>);

/// All parts, in the order of the table.
const PARTS: &[Part] = &[
    ("runtime", runtime::measure),
    ("start", start::measure),
    ("pull", pull::measure),
    ("unpack", unpack::measure),
];

/// Runs the parts that were asked for; all, where none was named.
pub(crate) fn measure(arguments: &ContainersArguments, report: &mut Report) -> Result<()> {
    let setting = Setting::new(arguments)?;
    for name in &arguments.only {
        if !PARTS.iter().any(|(part, _)| part == name) {
            let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
            bail!("there is no part {name:?}; there are {}", known.join(", "));
        }
    }
    for (name, part) in PARTS {
        let asked = arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
        if !asked {
            continue;
        }
        if let Err(error) = part(&setting, report) {
            report.missing(&format!("{name}: {error:#}"));
        }
    }
    Ok(())
}
