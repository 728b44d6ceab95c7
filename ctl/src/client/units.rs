//! Requests about units.

use ferrite_schema::api::{LogLine, Stream, UnitStatus};
use ferrite_schema::stream::{ExecRequest, FilesRequest};
use ferrite_schema::unit::Unit;
use hyper::Method;

use super::asking::empty;
use super::error::ClientError;
use super::requests::{Client, Lines};
use super::stream::FrameStream;
use super::upload;
use crate::moment::Moment;

/// Which part of a unit's output is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Go on as more is written.
    pub follow: bool,
    /// Not before.
    pub since: Option<Moment>,
    /// Before.
    pub until: Option<Moment>,
    /// At most so many, the last ones.
    pub tail: Option<u64>,
    /// Only this stream.
    pub stream: Option<Stream>,
    /// Only the run before the latest.
    pub previous: bool,
}

impl LogOptions {
    fn query(&self) -> String {
        let mut words = vec![format!("follow={}", self.follow)];
        words.extend(self.since.map(|since| since.parameter("since")));
        words.extend(self.until.map(|until| until.parameter("until")));
        words.extend(self.tail.map(|tail| format!("tail={tail}")));
        words.extend(self.stream.map(|stream| match stream {
            Stream::Stdout => "stream=stdout".to_owned(),
            Stream::Stderr => "stream=stderr".to_owned(),
        }));
        words.extend(self.previous.then(|| "previous=true".to_owned()));
        words.join("&")
    }
}

/// What a unit can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitVerb {
    /// Have its image fetched.
    Load,
    /// Run.
    Start,
    /// Stop and run.
    Restart,
    /// Not run.
    Stop,
    /// Not run; be forgotten where it is an instance of a template.
    Unload,
}

impl UnitVerb {
    const fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Unload => "unload",
        }
    }
}

impl Client {
    /// All units.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn units(&self) -> Result<Vec<UnitStatus>, ClientError> {
        self.get("list units", "/v1/units").await
    }

    /// One unit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unit(&self, name: &str) -> Result<UnitStatus, ClientError> {
        self.get(&format!("ask for unit {name:?}"), &unit_path(name, "")).await
    }

    /// A unit as it was submitted.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unit_definition(&self, name: &str) -> Result<Unit, ClientError> {
        self.get(&format!("read unit {name:?}"), &unit_path(name, "/definition")).await
    }

    /// Creates a unit or replaces it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_unit(&self, unit: &Unit) -> Result<UnitStatus, ClientError> {
        let act = format!("submit unit {:?}", unit.name);
        let body = self.document(&act, unit)?;
        self.json(&act, Method::PUT, &unit_path(&unit.name, ""), body).await
    }

    /// Has a unit started, stopped, …
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unit_verb(&self, verb: UnitVerb, name: &str) -> Result<UnitStatus, ClientError> {
        let word = verb.word();
        let act = format!("{word} unit {name:?}");
        self.json(&act, Method::POST, &unit_path(name, &format!("/{word}")), empty()).await
    }

    /// Removes a unit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn destroy_unit(&self, name: &str) -> Result<(), ClientError> {
        self.done(&format!("destroy unit {name:?}"), Method::DELETE, &unit_path(name, ""), empty())
            .await
    }

    /// A unit's output; with `follow` it goes on until the unit is at rest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unit_logs(
        &self,
        name: &str,
        options: &LogOptions,
    ) -> Result<Lines<LogLine>, ClientError> {
        let act = format!("read the output of unit {name:?}");
        let path = unit_path(name, &format!("/logs?{}", options.query()));
        self.lines(&act, &path, options.follow).await
    }

    /// Runs a command in a unit's container.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn exec(
        &self,
        name: &str,
        request: &ExecRequest,
    ) -> Result<FrameStream, ClientError> {
        let act = format!("run a command in unit {name:?}");
        let body = self.document(&act, request)?;
        self.stream(act, &unit_path(name, "/exec"), body).await
    }

    /// Attaches to a unit's container.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attach(&self, name: &str) -> Result<FrameStream, ClientError> {
        let act = format!("attach to unit {name:?}");
        self.stream(act, &unit_path(name, "/attach"), empty()).await
    }

    /// Copies files of a unit's container.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn files(
        &self,
        name: &str,
        request: &FilesRequest,
    ) -> Result<FrameStream, ClientError> {
        let act = format!("copy files of unit {name:?}");
        let body = self.document(&act, request)?;
        self.stream(act, &unit_path(name, "/files"), body).await
    }
}

fn unit_path(name: &str, rest: &str) -> String {
    format!("/v1/units/{}{rest}", upload::percent_encoded(name))
}
