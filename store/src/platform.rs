//! What machines an image is for, as indexes and configurations say it. Pure.

use std::fmt;

use serde::Deserialize;

/// What this node runs.
pub const HERE: &str = "linux/amd64";
/// Longest part of a platform that is shown.
const SHOWN_MAX_CHARS: usize = 40;

/// A platform, as somebody else wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `amd64`
    pub architecture: Option<String>,
    /// `linux`
    pub os: Option<String>,
    /// `v8`
    pub variant: Option<String>,
}

/// Whether a platform is this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    Exact,
    /// It does not say what machines it is for.
    Unstated,
    /// It is not.
    Other,
    /// It is none at all: how builders mark what they say about an image.
    Unknown,
}

impl Platform {
    fn architecture(&self) -> String {
        match word(self.architecture.as_ref()).as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        }
    }

    /// Linux where nothing is said.
    fn os(&self) -> String {
        Some(word(self.os.as_ref()))
            .filter(|os| !os.is_empty())
            .unwrap_or_else(|| "linux".to_owned())
    }

    /// Of an index's entry. Every x86-64 machine runs `v1`; later levels need what this one may lack.
    #[must_use]
    pub fn fit(&self) -> Fit {
        let (os, variant) = (self.os(), word(self.variant.as_ref()));
        match (os.as_str(), self.architecture().as_str()) {
            ("linux", "") => Fit::Unstated,
            ("linux", "amd64") if matches!(variant.as_str(), "" | "v1") => Fit::Exact,
            ("unknown", _) | (_, "unknown") => Fit::Unknown,
            _ => Fit::Other,
        }
    }

    /// Of an image that nothing else was chosen over: programs of 32 bits run where the kernel has what they need, and
    /// levels are what the image needs at most.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.os() == "linux" && matches!(self.architecture().as_str(), "" | "amd64" | "386")
    }
}

fn word(text: Option<&String>) -> String {
    text.map(|text| text.trim().to_ascii_lowercase()).unwrap_or_default()
}

impl fmt::Display for Platform {
    /// `linux/arm/v7`, without anything that steers a terminal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.os(), self.architecture(), word(self.variant.as_ref())];
        for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
            formatter.write_str(if index == 0 { "" } else { "/" })?;
            let shown: String =
                part.chars().filter(|c| !c.is_control()).take(SHOWN_MAX_CHARS).collect();
            formatter.write_str(&shown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_told_apart_however_they_are_written() {
        for (text, fit, may_run, shown) in [
            (r#"{"os":"linux","architecture":"amd64"}"#, Fit::Exact, true, "linux/amd64"),
            (
                r#"{"os":"linux","architecture":"amd64","variant":"v1"}"#,
                Fit::Exact,
                true,
                "linux/amd64/v1",
            ),
            (
                r#"{"os":"linux","architecture":"amd64","variant":"v3"}"#,
                Fit::Other,
                true,
                "linux/amd64/v3",
            ),
            (r#"{"os":"Linux","architecture":"x86_64","variant":null}"#, Fit::Exact, true, HERE),
            (r#"{"architecture":"amd64"}"#, Fit::Exact, true, HERE),
            (r#"{"os":"","architecture":"AMD64","os.version":"1"}"#, Fit::Exact, true, HERE),
            ("{}", Fit::Unstated, true, "linux"),
            (r#"{"os":"linux"}"#, Fit::Unstated, true, "linux"),
            (r#"{"os":null,"architecture":""}"#, Fit::Unstated, true, "linux"),
            (r#"{"os":"linux","architecture":"386"}"#, Fit::Other, true, "linux/386"),
            (r#"{"os":"linux","architecture":"aarch64"}"#, Fit::Other, false, "linux/arm64"),
            (
                r#"{"os":"linux","architecture":"arm","variant":"v7"}"#,
                Fit::Other,
                false,
                "linux/arm/v7",
            ),
            (r#"{"os":"windows","architecture":"amd64"}"#, Fit::Other, false, "windows/amd64"),
            (r#"{"os":"windows"}"#, Fit::Other, false, "windows"),
            (
                r#"{"os":"unknown","architecture":"unknown"}"#,
                Fit::Unknown,
                false,
                "unknown/unknown",
            ),
            (r#"{"os":"\u001b[2J","architecture":"a"}"#, Fit::Other, false, "[2j/a"),
        ] {
            let platform: Platform = serde_json::from_str(text).unwrap();
            assert_eq!((platform.fit(), platform.may_run()), (fit, may_run), "{text}");
            assert_eq!(platform.to_string(), shown, "{text}");
        }
    }
}
