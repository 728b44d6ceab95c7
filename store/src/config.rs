//! What an image's configuration says, as far as anything here goes by it. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bounded::{Bounded, Keys};
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
    // What nobody goes by: where it is not what it should be it keeps no image from being used.
    healthcheck: Option<Box<RawValue>>,
    volumes: Option<Box<RawValue>>,
}

/// A health check as images for Docker name it. Times are in nanoseconds; 0 is Docker's own default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    test: Option<Bounded<String, WORDS_MAX>>,
    /// From one check to the next.
    pub interval: u64,
    /// What a check may take.
    pub timeout: u64,
    /// How long failures do not count.
    pub start_period: u64,
    /// Failures in a row.
    pub retries: u64,
}

impl Healthcheck {
    /// `CMD` and words, `CMD-SHELL` and a line for a shell, or `NONE`; empty where the image says nothing of its own.
    #[must_use]
    pub fn test(&self) -> &[String] {
        self.test.as_ref().map_or(&[], |words| &words.0)
    }
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

    /// How its health is to be seen, if it says so. Nothing goes by it: a unit says it itself.
    #[must_use]
    pub fn healthcheck(&self) -> Option<Healthcheck> {
        serde_json::from_str(self.run()?.healthcheck.as_ref()?.get()).ok()
    }

    /// Folders whose content should outlive a container. Nothing goes by them: a unit says it itself.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        let said = self.run().and_then(|run| run.volumes.as_ref());
        let keys = said.and_then(|said| serde_json::from_str::<Keys<WORDS_MAX>>(said.get()).ok());
        keys.map_or_else(Vec::new, |keys| keys.0)
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
    fn what_nobody_goes_by_keeps_no_image_from_being_used() {
        for (said, test, volumes) in [
            (r#""Healthcheck":null,"Volumes":null"#, None, vec![]),
            (r#""Healthcheck":{"Test":"curl"},"Volumes":["/data"]"#, None, vec![]),
            (r#""Healthcheck":{"Test":["CMD"],"Interval":-1},"Volumes":7"#, None, vec![]),
            (
                r#""Healthcheck":{"Test":["CMD","a"],"StartInterval":5},"Volumes":{"/b":{},"/a":null}"#,
                Some(vec!["CMD", "a"]),
                vec!["/b", "/a"],
            ),
        ] {
            let config: ImageConfig =
                serde_json::from_str(&format!(r#"{{"config":{{{said},"Cmd":["c"]}}}}"#)).unwrap();
            let found = config.healthcheck().map(|check| check.test().to_vec());
            assert_eq!(found, test.map(|words| words.into_iter().map(str::to_owned).collect()));
            assert_eq!(config.volumes(), volumes, "{said}");
            assert_eq!(config.cmd(), ["c"]);
        }
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
