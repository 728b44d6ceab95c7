//! The text that Prometheus reads, version 0.0.4.
//!
//! # Source
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>: a family has one `HELP` and one `TYPE`, before all of its samples;
//! in a label's value a backslash, a quote and a line end are escaped, in a help text a backslash and a line end.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// How a figure moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, until what it counts begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A figure, or several that differ in labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of its labels.
    pub(super) labels: &'static [&'static str],
    /// One sentence.
    pub(super) help: &'static str,
}

/// A value. Prometheus has floating-point numbers alone; whole ones are written whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => write!(out, "{value}"),
            Self::Real(value) if value.is_nan() => out.write_str("NaN"),
            Self::Real(value) if value.is_infinite() => {
                out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Real(value) => write!(out, "{value}"),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// Samples so far, by family.
#[derive(Debug, Default)]
pub(super) struct Text {
    families: BTreeMap<&'static str, (&'static Metric, String)>,
}

impl Text {
    /// Adds a sample; `labels` are the values of the metric's labels, in their order.
    pub(super) fn add(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        value: impl Into<Value>,
    ) {
        let (_, samples) =
            self.families.entry(metric.name).or_insert_with(|| (metric, String::new()));
        samples.push_str(metric.name);
        for (index, (name, value)) in metric.labels.iter().zip(labels).enumerate() {
            samples.push_str(if index == 0 { "{" } else { "," });
            samples.push_str(name);
            samples.push_str("=\"");
            escaped(samples, value, true);
            samples.push('"');
        }
        if !labels.is_empty() {
            samples.push('}');
        }
        // Writing to a text cannot fail.
        writeln!(samples, " {}", value.into()).ok();
    }

    /// Adds a sample where there is a value.
    pub(super) fn maybe(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        value: Option<impl Into<Value>>,
    ) {
        if let Some(value) = value {
            self.add(metric, labels, value);
        }
    }

    /// All of it.
    pub(super) fn whole(self) -> String {
        let mut out = String::new();
        for (metric, samples) in self.families.into_values() {
            out.push_str(&format!("# HELP {} ", metric.name));
            escaped(&mut out, metric.help, false);
            out.push_str(&format!("\n# TYPE {} {}\n", metric.name, metric.kind.word()));
            out.push_str(&samples);
        }
        out
    }
}

fn escaped(out: &mut String, text: &str, quote: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quote => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Metric = Metric {
        name: "a_total",
        kind: Kind::Counter,
        labels: &["x", "y"],
        help: "Says \\ and\nmore.",
    };
    static B: Metric = Metric { name: "b", kind: Kind::Gauge, labels: &[], help: "B." };

    #[test]
    fn families_stand_together_and_labels_are_escaped() {
        let mut text = Text::default();
        text.add(&B, &[], 0.25);
        text.add(&A, &["1", "plain"], 7_u64);
        text.maybe(&B, &[], None::<u64>);
        text.add(&A, &["a\"b\\c\nd{}=,ä", ""], true);
        assert_eq!(
            text.whole(),
            "# HELP a_total Says \\\\ and\\nmore.\n# TYPE a_total counter\n\
             a_total{x=\"1\",y=\"plain\"} 7\n\
             a_total{x=\"a\\\"b\\\\c\\nd{}=,ä\",y=\"\"} 1\n\
             # HELP b B.\n# TYPE b gauge\nb 0.25\n"
        );
    }

    #[test]
    fn numbers_are_what_prometheus_reads() {
        let shown = |value: Value| value.to_string();
        assert_eq!(shown(u64::MAX.into()), "18446744073709551615");
        assert_eq!(shown(1e21.into()), "1000000000000000000000");
        assert_eq!(shown(f64::NAN.into()), "NaN");
        assert_eq!(
            (shown(f64::INFINITY.into()), shown(f64::NEG_INFINITY.into())),
            ("+Inf".into(), "-Inf".into())
        );
        assert_eq!((shown(false.into()), shown(Value::from(3_usize))), ("0".into(), "3".into()));
    }
}
