//! What an image's configuration says, as far as anything here goes by it. Pure.

use serde::Deserialize;

use super::bounded::Bounded;
use super::digest::{Digest, NotADigest};
use super::documents::LAYERS_MAX;
use super::platform::Platform;

/// Most words of a command, and most variables: more than any image in use, less than the kernel takes.
const WORDS_MAX: usize = 4096;

/// An image's configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageConfig {
    /// What machines it is for, where it says so.
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    #[serde(default)]
    config: Option<Run>,
    rootfs: Option<RootFs>,
}

#[derive(Debug, Clone, Deserialize)]
struct RootFs {
    diff_ids: Option<Bounded<String, LAYERS_MAX>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    user: Option<String>,
    env: Option<Bounded<String, WORDS_MAX>>,
    entrypoint: Option<Bounded<String, WORDS_MAX>>,
    cmd: Option<Bounded<String, WORDS_MAX>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

impl ImageConfig {
    fn run(&self) -> Option<&Run> {
        self.config.as_ref()
    }

    fn words(&self, pick: fn(&Run) -> &Option<Bounded<String, WORDS_MAX>>) -> &[String] {
        self.run().and_then(|run| pick(run).as_ref()).map_or(&[], |words| &words.0)
    }

    /// Digests of the layers' tars, bottom first.
    ///
    /// # Errors
    /// One is none.
    pub fn tars(&self) -> Result<Vec<Digest>, NotADigest> {
        let tars = self.rootfs.as_ref().and_then(|rootfs| rootfs.diff_ids.as_ref());
        tars.map_or(&[][..], |tars| &tars.0).iter().map(|tar| tar.parse()).collect()
    }

    /// What machines it is for, where it is not for this node's.
    #[must_use]
    pub fn elsewhere(&self) -> Option<Platform> {
        let (os, variant) = (self.os.clone(), self.variant.clone());
        let platform = Platform { architecture: self.architecture.clone(), os, variant };
        Some(platform).filter(|platform| !platform.may_run())
    }

    /// Whose rights it runs with, if it says so.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.run()?.user.as_deref()
    }

    /// `NAME=VALUE`.
    #[must_use]
    pub fn env(&self) -> &[String] {
        self.words(|run| &run.env)
    }

    /// First words of the command.
    #[must_use]
    pub fn entrypoint(&self) -> &[String] {
        self.words(|run| &run.entrypoint)
    }

    /// Further words.
    #[must_use]
    pub fn cmd(&self) -> &[String] {
        self.words(|run| &run.cmd)
    }

    /// Where it starts, if it says so.
    #[must_use]
    pub fn working_dir(&self) -> Option<&str> {
        self.run()?.working_dir.as_deref()
    }

    /// What stops it, if it says so.
    #[must_use]
    pub fn stop_signal(&self) -> Option<&str> {
        self.run()?.stop_signal.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_or_null_is_nothing_said() {
        let head =
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}"#;
        for rest in
            ["}", r#","config":null}"#, r#","config":{"Env":null,"Cmd":null,"Labels":{"a":"b"}}}"#]
        {
            let config: ImageConfig = serde_json::from_str(&format!("{head}{rest}")).unwrap();
            assert!(config.env().is_empty() && config.cmd().is_empty() && config.user().is_none());
        }
        let said = r#","config":{"Env":["A=1"],"Entrypoint":["/e"],"WorkingDir":"/w","StopSignal":"9","User":"u"}}"#;
        let config: ImageConfig = serde_json::from_str(&format!("{head}{said}")).unwrap();
        assert_eq!((config.env(), config.entrypoint()), (&["A=1".into()][..], &["/e".into()][..]));
        let rest = (config.working_dir(), config.stop_signal(), config.user());
        assert_eq!(rest, (Some("/w"), Some("9"), Some("u")));
    }

    #[test]
    fn lists_that_are_null_are_empty_and_machines_need_not_be_named() {
        for (text, elsewhere) in [
            ("{}", None),
            (r#"{"rootfs":null,"architecture":null,"os":""}"#, None),
            (r#"{"rootfs":{"type":"layers","diff_ids":null}}"#, None),
            (r#"{"rootfs":{"diff_ids":[]},"architecture":"amd64"}"#, None),
            (r#"{"rootfs":{},"architecture":"386","os":"linux"}"#, None),
            (r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#, Some("linux/arm64/v8")),
            (r#"{"architecture":"amd64","os":"windows"}"#, Some("windows/amd64")),
        ] {
            let config: ImageConfig = serde_json::from_str(text).unwrap();
            assert_eq!(config.tars().unwrap(), [], "{text}");
            let shown = config.elsewhere().map(|platform| platform.to_string());
            assert_eq!(shown.as_deref(), elsewhere, "{text}");
        }
    }

    #[test]
    fn lists_without_end_are_refused_and_what_nobody_reads_is_passed_over() {
        let long = vec!["\"x\""; WORDS_MAX + 1].join(",");
        let history = vec!["{}"; 100_000].join(",");
        let head = r#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["#;
        let parse = |text: String| serde_json::from_str::<ImageConfig>(&text);
        assert!(parse(format!(r#"{head}]}},"config":{{"Env":[{long}]}}}}"#)).is_err());
        assert!(parse(format!("{head}{long}]}}}}")).is_err());
        assert!(parse(format!(r#"{head}]}},"history":[{history}]}}"#)).is_ok());
    }
}
