//! What an image asks for that Ferrite leaves to its unit, and what to write there instead: a person who has moved an image from
//! another engine is told, once, at the start. Pure.

use std::path::Path;

use ferrite_schema::unit::Unit;
use ferrite_store::config::ImageConfig;

/// Longest text of an image's that is shown; more is nobody's to read in a line.
const SHOWN_MAX_CHARS: usize = 300;
/// Most folders that are named.
const VOLUMES_MAX: usize = 8;
/// Longest name of a volume.
const NAME_MAX_BYTES: usize = 64;
const NANOSECONDS_PER_S: u64 = 1_000_000_000;

/// What a person should know about a unit with an image of this configuration, a line each.
pub(crate) fn of(unit: &Unit, config: &ImageConfig) -> Vec<String> {
    health(unit, config).into_iter().chain(volumes(unit, config)).collect()
}

fn health(unit: &Unit, config: &ImageConfig) -> Option<String> {
    let check = config.healthcheck().filter(|_| unit.health.is_none())?;
    let command = command(check.test())?;
    let keys = [
        ("interval_s", seconds(check.interval)),
        ("timeout_s", seconds(check.timeout)),
        ("start_period_s", seconds(check.start_period)),
        ("retries", check.retries),
    ];
    let keys = keys.into_iter().filter(|(_, value)| *value > 0);
    let keys: String = keys.map(|(key, value)| format!(", {key} = {value}")).collect();
    let exec = list(&command);
    let exec = if exec.chars().count() > SHOWN_MAX_CHARS { "[…]" } else { &exec };
    Some(format!(
        "its image's HEALTHCHECK is not used: write `health = {{ exec = {exec}{keys} }}` in the unit"
    ))
}

/// The command of a check that is one.
fn command(test: &[String]) -> Option<Vec<String>> {
    let (kind, words) = test.split_first()?;
    match (kind.as_str(), words) {
        ("CMD", [_, ..]) => Some(words.to_vec()),
        ("CMD-SHELL", [line, ..]) => Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec()),
        _ => None,
    }
}

/// Whole seconds, no fewer than the image says.
const fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(NANOSECONDS_PER_S)
}

fn volumes(unit: &Unit, config: &ImageConfig) -> Option<String> {
    let is_kept =
        |path: &str| unit.volumes.iter().any(|volume| Path::new(path).starts_with(&volume.target));
    let mut said = config.volumes();
    said.sort();
    let lost: Vec<&str> = said
        .iter()
        .map(|path| path.trim_end_matches('/'))
        .filter(|path| path.starts_with('/') && !is_kept(path))
        .filter(|path| path.chars().count() <= SHOWN_MAX_CHARS)
        .take(VOLUMES_MAX)
        .collect();
    if lost.is_empty() {
        return None;
    }
    let table = |path: &&str| {
        format!("{{ name = {}, target = {} }}", word(&name(&unit.name, path)), word(path))
    };
    let tables: Vec<String> = lost.iter().map(table).collect();
    Some(format!(
        "its image's VOLUME is not made, and what it writes to {} is gone with its next start: write `volumes = [{}]` in the unit",
        lost.join(", "),
        tables.join(", ")
    ))
}

/// A name for the volume of a unit's folder.
fn name(unit: &str, path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
    let name: String = unit.chars().chain(path.chars()).map(plain).collect();
    name.chars().take(NAME_MAX_BYTES).collect::<String>().trim_end_matches('-').to_owned()
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|text| word(text)).collect();
    format!("[{}]", words.join(", "))
}

/// A text as TOML has it: what JSON escapes TOML does, too.
fn word(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(said: &str, more: &str) -> Vec<String> {
        let config: ImageConfig =
            serde_json::from_str(&format!(r#"{{"config":{{{said}}}}}"#)).unwrap();
        let unit = format!("name = \"web@1\"\nimage = \"i\"\n{more}");
        let unit: Unit = toml::from_str(&unit).unwrap();
        of(&unit, &config)
    }

    /// What is to be written can be written.
    fn check(said: &str, more: &str, expected: &[&str]) {
        let notes = notes(said, more);
        for note in &notes {
            let line = note.split('`').nth(1).unwrap();
            let unit = format!("name = \"a\"\nimage = \"i\"\n{line}");
            ferrite_schema::unit::parse(&unit).unwrap();
        }
        let lines: Vec<&str> = notes.iter().map(|note| note.split('`').nth(1).unwrap()).collect();
        assert_eq!(lines, expected, "{said} {more}");
    }

    #[test]
    fn a_health_check_is_named_with_what_to_write() {
        let shell = r#""Healthcheck":{"Test":["CMD-SHELL","curl -f \"http://x\" || exit 1"],"Interval":1500000000,"Retries":5}"#;
        let expected = "health = { exec = [\"/bin/sh\", \"-c\", \"curl -f \\\"http://x\\\" || exit 1\"], \
                        interval_s = 2, retries = 5 }";
        check(shell, "", &[expected]);
        check(shell, "[health]\ntcp = 80", &[]);
        let words = r#""Healthcheck":{"Test":["CMD","/x","a\u007fb\n"],"Timeout":30000000000,"StartPeriod":1}"#;
        let expected =
            "health = { exec = [\"/x\", \"a\\u007fb\\n\"], timeout_s = 30, start_period_s = 1 }";
        check(words, "", &[expected]);
        for none in [r#"["NONE"]"#, "[]", r#"["CMD"]"#, r#"["CMD-SHELL"]"#, r#"["WHAT","x"]"#] {
            check(&format!(r#""Healthcheck":{{"Test":{none}}}"#), "", &[]);
        }
        let long = format!(r#""Healthcheck":{{"Test":["CMD","{}"]}}"#, "x".repeat(400));
        assert!(notes(&long, "")[0].contains("exec = […] }"));
    }

    #[test]
    fn folders_that_a_unit_does_not_keep_are_named() {
        let said = r#""Volumes":{"/var/lib/data/":{},"/tmp/x y":{},"odd":{},"/":{}}"#;
        let expected = "volumes = [{ name = \"web-1-tmp-x-y\", target = \"/tmp/x y\" }, \
                        { name = \"web-1-var-lib-data\", target = \"/var/lib/data\" }]";
        check(said, "", &[expected]);
        assert!(notes(said, "")[0].contains(" to /tmp/x y, /var/lib/data is gone with"));
        // One above it keeps it, too.
        let kept = "[[volumes]]\nname = \"a\"\ntarget = \"/var/lib\"\n[[volumes]]\ntmpfs = \"1MiB\"\ntarget = \"/tmp/x y\"";
        check(said, kept, &[]);
        check(
            r#""Volumes":{"/var/library":{}}"#,
            kept,
            &["volumes = [{ name = \"web-1-var-library\", target = \"/var/library\" }]"],
        );
    }
}
