//! Draws a boot timeline.

use std::fmt::Write;

use ferrite_schema::timeline::{Phase, Span, Timeline};

/// Width of the drawing.
const WIDTH_PX: i64 = 1000;
/// Space left of the bars, for the steps' names.
const LEFT_PX: i64 = 220;
/// Space right of the bars, so that the last label fits.
const RIGHT_PX: i64 = 90;
/// Space above the bars: title, legend, scale.
const TOP_PX: i64 = 92;
/// Height of a step.
const ROW_PX: i64 = 22;
/// Height of a step's bar.
const BAR_PX: i64 = 14;
/// Marks on the scale that are aimed at.
const MARKS: i64 = 8;
/// Narrowest bar: a step of no length is still seen.
const BAR_MIN_TENTHS: i64 = 15;
/// Longest name that fits left of the bars; the whole one is in the tooltip.
const NAME_MAX_CHARS: usize = 32;

const PHASES: [(Phase, &str, &str); 5] = [
    (Phase::Firmware, "firmware", "#8d99ae"),
    (Phase::Kernel, "kernel", "#577590"),
    (Phase::Initramfs, "initramfs", "#f9844a"),
    (Phase::Init, "init", "#c1440e"),
    (Phase::Agent, "agent", "#43aa8b"),
];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:17px;font-weight:600}\
.faint{fill:#6e7781}\
.took{fill:#6e7781;paint-order:stroke;stroke:#ffffff;stroke-width:3px}.grid{stroke:#d8dee4}.ready{stroke:#1a7f37;stroke-width:1.5;stroke-dasharray:4 3}\
.is-ready{fill:#1a7f37;font-weight:600}";

/// The timeline as an SVG document: a row for each step, coloured by who ran it, over a scale of time since
/// the kernel started. The same timeline always gives the same bytes.
#[must_use]
pub fn render(timeline: &Timeline) -> String {
    let scale = Scale::of(timeline);
    let rows = i64::try_from(timeline.spans.len()).unwrap_or(i64::MAX / ROW_PX / 2);
    let bottom_px = TOP_PX + rows.max(1) * ROW_PX;
    let height_px = bottom_px + 26;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH_PX} {height_px}\" \
         width=\"{WIDTH_PX}\" height=\"{height_px}\" role=\"img\" aria-label=\"boot timeline\">\n\
         <style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    svg.push_str(&title(timeline));
    svg.push_str(&legend(timeline));
    svg.push_str(&grid(&scale, bottom_px));
    if let Some(ready_us) = timeline.ready_us {
        svg.push_str(&ready(&scale, ready_us, bottom_px));
    }
    for (row, span) in (0..).zip(&timeline.spans) {
        svg.push_str(&bar(&scale, span, TOP_PX + row * ROW_PX));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a time is on the drawing.
struct Scale {
    start_us: i64,
    length_us: i64,
}

impl Scale {
    fn of(timeline: &Timeline) -> Self {
        let starts = timeline.spans.iter().map(|span| span.start_us);
        let ends = timeline.spans.iter().map(|span| span.end_us).chain(timeline.ready_us);
        let start_us = starts.min().unwrap_or(0).min(0);
        let length_us = ends.max().unwrap_or(0).saturating_sub(start_us).max(1);
        Self { start_us, length_us }
    }

    /// Tenths of a pixel from the left edge: fine enough, and exact in decimal.
    fn tenths(&self, time_us: i64) -> i64 {
        let width_tenths = i128::from(WIDTH_PX - LEFT_PX - RIGHT_PX) * 10;
        let since_us = i128::from(time_us.saturating_sub(self.start_us));
        let along = since_us * width_tenths / i128::from(self.length_us);
        LEFT_PX * 10 + i64::try_from(along).unwrap_or(0)
    }

    /// Distance between marks: 1, 2 or 5 times a power of ten.
    fn step_us(&self) -> i64 {
        let wanted = (self.length_us / MARKS).max(1);
        let mut power = 1_i64;
        loop {
            for step in [power, power.saturating_mul(2), power.saturating_mul(5)] {
                if step >= wanted {
                    return step;
                }
            }
            power = power.saturating_mul(10);
        }
    }
}

fn title(timeline: &Timeline) -> String {
    let words = match timeline.ready_us {
        Some(ready_us) => format!("Boot: ready after {}", time(ready_us)),
        None => "Boot: not ready yet".to_owned(),
    };
    format!("<text class=\"title\" x=\"16\" y=\"28\">{words}</text>\n")
}

/// One entry for each phase that occurs.
fn legend(timeline: &Timeline) -> String {
    let mut text = String::new();
    let occurs = |phase: Phase| timeline.spans.iter().any(|span| span.phase == phase);
    let shown = PHASES.into_iter().filter(|(phase, ..)| occurs(*phase));
    for (index, (_, name, colour)) in (0_i64..).zip(shown) {
        let x = 16 + index * 100;
        line(
            &mut text,
            format_args!(
                "<rect x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"52\">{name}</text>",
                x + 18
            ),
        );
    }
    text
}

fn grid(scale: &Scale, bottom_px: i64) -> String {
    let mut text = String::new();
    let step_us = scale.step_us();
    let end_us = scale.start_us.saturating_add(scale.length_us);
    let mut mark_us = scale.start_us.div_euclid(step_us).saturating_mul(step_us);
    while mark_us <= end_us {
        if mark_us >= scale.start_us {
            let x = decimal(scale.tenths(mark_us));
            line(
                &mut text,
                format_args!(
                    "<line class=\"grid\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom_px}\"/>\
                     <text class=\"faint\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    TOP_PX - 6,
                    TOP_PX - 12,
                    time(mark_us)
                ),
            );
        }
        mark_us = mark_us.saturating_add(step_us);
    }
    text
}

fn bar(scale: &Scale, span: &Span, top_px: i64) -> String {
    let colour = PHASES
        .iter()
        .find(|(phase, ..)| *phase == span.phase)
        .map_or("#000000", |(_, _, colour)| colour);
    let took_us = span.end_us.saturating_sub(span.start_us).max(0);
    let x = scale.tenths(span.start_us);
    let width = scale.tenths(span.end_us).saturating_sub(x).max(BAR_MIN_TENTHS);
    let base_px = top_px + 12;
    let tooltip = match &span.detail {
        Some(detail) => format!("{}: {} ({detail})", span.name, time(took_us)),
        None => format!("{}: {}", span.name, time(took_us)),
    };
    format!(
        "<g><title>{}</title>\
         <text x=\"{}\" y=\"{base_px}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{}\" y=\"{top_px}\" width=\"{}\" height=\"{BAR_PX}\" rx=\"2\" fill=\"{colour}\"/>\
         <text class=\"took\" x=\"{}\" y=\"{base_px}\">{}</text></g>\n",
        escaped(&tooltip),
        LEFT_PX - 10,
        escaped(&shortened(&span.name)),
        decimal(x),
        decimal(width),
        decimal(x + width + 50),
        time(took_us),
    )
}

fn ready(scale: &Scale, ready_us: i64, bottom_px: i64) -> String {
    let x = decimal(scale.tenths(ready_us));
    format!(
        "<line class=\"ready\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom_px}\"/>\
         <text class=\"is-ready\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">ready</text>\n",
        TOP_PX - 6,
        bottom_px + 16
    )
}

/// `850 µs`, `12.3 ms`, `4.01 s`: three digits or so, whatever the size.
fn time(count_us: i64) -> String {
    let sign = if count_us < 0 { "−" } else { "" };
    let count_us = count_us.unsigned_abs();
    match count_us {
        0 => "0".to_owned(),
        1..1_000 => format!("{sign}{count_us} µs"),
        1_000..1_000_000 => {
            format!("{sign}{}.{} ms", count_us / 1_000, count_us % 1_000 / 100)
        }
        _ => format!("{sign}{}.{:02} s", count_us / 1_000_000, count_us % 1_000_000 / 10_000),
    }
}

fn decimal(tenths: i64) -> String {
    format!("{}.{}", tenths / 10, (tenths % 10).abs())
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX_CHARS {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_MAX_CHARS - 1).collect();
    format!("{kept}…")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to say most control characters.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Appends a formatted line; writing to a string cannot fail.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if writeln!(text, "{arguments}").is_err() {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::{Scale, escaped, render, shortened, time};
    use ferrite_schema::timeline::{Phase, Span, Timeline};

    fn boot() -> Timeline {
        let span = |phase, name: &str, start_us, end_us| Span {
            phase,
            name: name.to_owned(),
            start_us,
            end_us,
            detail: None,
        };
        let mut spans = vec![
            span(Phase::Firmware, "firmware and boot loader", -1_850_000, 0),
            span(Phase::Kernel, "kernel", 0, 4_120_000),
            span(Phase::Initramfs, "load modules", 4_120_000, 4_480_000),
            span(Phase::Initramfs, "choose slot", 4_480_000, 4_480_900),
            span(Phase::Init, "mount STATE", 4_700_000, 4_912_000),
            span(Phase::Agent, "serve API <7443>", 4_950_000, 5_210_000),
        ];
        spans[3].detail = Some("A & tries=2".to_owned());
        Timeline { spans, ready_us: Some(5_230_000), init_tsc: None, ready_tsc: None }
    }

    /// Compares with the file in `golden/`; `FERRITE_BLESS=1` writes it anew.
    fn check(name: &str, timeline: &Timeline) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let drawn = render(timeline);
        if std::env::var_os("FERRITE_BLESS").is_some() {
            std::fs::write(&path, &drawn).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(drawn, expected, "{} differs", path.display());
    }

    #[test]
    fn golden() {
        check("boot.svg", &boot());
        check("empty.svg", &Timeline::default());
    }

    #[test]
    fn marks_are_round_and_few() {
        for length_us in [1, 999, 12_345, 7_080_000, 600_000_000, i64::MAX] {
            let step_us = Scale { start_us: 0, length_us }.step_us();
            let count = length_us / step_us;
            assert!(count <= 8, "{length_us} µs has {count} marks of {step_us}");
            let digits = step_us.to_string();
            assert!("125".contains(&digits[..1]) && digits[1..].bytes().all(|byte| byte == b'0'));
        }
    }

    #[test]
    fn times() {
        for (count_us, expected) in [
            (0, "0"),
            (850, "850 µs"),
            (12_345, "12.3 ms"),
            (4_012_345, "4.01 s"),
            (-1_850_000, "−1.85 s"),
        ] {
            assert_eq!(time(count_us), expected);
        }
    }

    #[test]
    fn nothing_in_a_name_breaks_the_document() {
        assert_eq!(escaped("<a href=\"x\">&\u{1}"), "&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}");
        assert_eq!(shortened(&"é".repeat(33)), format!("{}…", "é".repeat(31)));
    }
}
