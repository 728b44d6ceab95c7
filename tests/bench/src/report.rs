//! What was measured: one row a figure, with what it is compared to and what it should be.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

/// A figure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// Name and value of the other side.
    against: Option<(String, f64)>,
    /// `value` divided by the other side's.
    ratio: Option<f64>,
    /// Largest value, or ratio where there is another side, that we aim for.
    target: Option<f64>,
}

impl Row {
    fn met(&self) -> Option<bool> {
        self.target.map(|target| self.ratio.unwrap_or(self.value) <= target)
    }
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    /// What could not be measured, and why.
    missing: Vec<String>,
}

impl Report {
    /// Adds a figure without a target.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str) {
        self.rows.push(Row {
            name: name.to_owned(),
            value,
            unit,
            against: None,
            ratio: None,
            target: None,
        });
    }

    /// Adds a figure that should not be above `target`.
    pub(crate) fn target(&mut self, name: &str, value: f64, unit: &'static str, target: f64) {
        self.figure(name, value, unit);
        if let Some(row) = self.rows.last_mut() {
            row.target = Some(target);
        }
    }

    /// Adds a figure beside the other side's; their ratio should not be above `target`.
    pub(crate) fn against(
        &mut self,
        name: &str,
        (value, unit): (f64, &'static str),
        (other, other_value): (&str, f64),
        target: f64,
    ) {
        self.target(name, value, unit, target);
        if let Some(row) = self.rows.last_mut() {
            row.against = Some((other.to_owned(), other_value));
            row.ratio = Some(value / other_value);
        }
    }

    /// Adds a figure beside the other side's, of which nothing is asked.
    pub(crate) fn beside(
        &mut self,
        name: &str,
        (value, unit): (f64, &'static str),
        (other, other_value): (&str, f64),
    ) {
        self.figure(name, value, unit);
        if let Some(row) = self.rows.last_mut() {
            row.against = Some((other.to_owned(), other_value));
            row.ratio = Some(value / other_value);
        }
    }

    /// Says that something could not be measured.
    pub(crate) fn missing(&mut self, what: &str) {
        self.missing.push(what.to_owned());
    }

    /// Writes the figures to `path`.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Prints the figures as a table.
    pub(crate) fn print(&self) -> Result<()> {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["figure", "value", "against", "ratio", "target", ""]);
        for row in &self.rows {
            let against = row
                .against
                .as_ref()
                .map(|(name, value)| format!("{name}: {value:.2} {}", row.unit))
                .unwrap_or_default();
            let unit = if row.ratio.is_some() { "×" } else { row.unit };
            table.add_row([
                row.name.clone(),
                format!("{:.2} {}", row.value, row.unit),
                against,
                row.ratio.map(|ratio| format!("{ratio:.2}×")).unwrap_or_default(),
                row.target.map(|target| format!("≤ {target} {unit}")).unwrap_or_default(),
                row.met().map(|met| if met { "met" } else { "MISSED" }).unwrap_or_default().into(),
            ]);
        }
        for column in [1, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut out = std::io::stdout();
        writeln!(out, "{table}").context("print the table")?;
        for what in &self.missing {
            writeln!(out, "not measured: {what}").context("print what is missing")?;
        }
        Ok(())
    }
}

/// The middle of `values`.
pub(crate) fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no run succeeded")
}

/// The least of `values` that such a share of them does not exceed.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |value: f64| sorted.iter().filter(|other| **other <= value).count();
    #[expect(clippy::cast_precision_loss, reason = "as many as runs")]
    let enough = |count: usize| count as f64 >= share * sorted.len() as f64;
    sorted.iter().copied().find(|value| enough(below(*value)))
}

#[cfg(test)]
mod tests {
    use super::{Report, median, percentile};

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let of = |share| percentile(&twenty, share);
        assert_eq!((of(0.5), of(0.95), of(1.0)), (Some(10.0), Some(19.0), Some(20.0)));
        assert_eq!(percentile(&[3.0], 0.95), Some(3.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_ratio_is_held_against_the_target_and_not_the_value() {
        let mut report = Report::default();
        report.against("boot", (3.0, "G"), ("bare", 2.0), 1.5);
        report.against("boot", (3.2, "G"), ("bare", 2.0), 1.5);
        report.target("memory", 3.0, "MiB", 2.0);
        report.figure("size", 1.0, "MB");
        let met: Vec<_> = report.rows.iter().map(super::Row::met).collect();
        assert_eq!(met, [Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![9.0, 1.0, 2.0]).unwrap() - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_err());
    }
}
