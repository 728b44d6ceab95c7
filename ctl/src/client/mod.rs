//! Client of the node's API: HTTP/1.1 over mutual TLS, one connection per request, a deadline on each.

mod connection;
mod error;
mod images;
mod stream;
mod tls;
mod upload;
mod volumes;

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use ferrite_schema::api::{Event, Image, LogLine, Machine, Stats, Stream, UnitStatus};
use ferrite_schema::control::Status;
use ferrite_schema::stream::{ExecRequest, FilesRequest, PROTOCOL};
use ferrite_schema::timeline::Timeline;
use ferrite_schema::unit::Unit;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde::de::DeserializeOwned;

use self::connection::{Body, Exchange, Node};
pub use self::error::ClientError;
pub use self::images::{PullStep, Pulling};
pub use self::stream::{FrameStream, Incoming, Outgoing};
pub use self::tls::CredentialsError;
use crate::context::Context;
use crate::moment::Moment;

/// Longest wait for an answer that needs no work. Emulated nodes are slow: a TLS handshake alone may take
/// a second there when the host is busy.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait where the node has to write to its disk or stop something first.
const WORK: Duration = Duration::from_secs(120);
/// An import that is slower than this many bytes per second is given up.
const UPLOAD_MIN_BYTES_PER_S: u64 = 512 * 1024;

/// How a machine is sent down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Reset.
    Reboot,
    /// Switch off.
    Poweroff,
    /// Reset, and make STATE anew, empty.
    RecreateState,
    /// Reset, and check STATE.
    CheckState,
}

/// A verb on the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotVerb {
    /// The running slot is good.
    MarkGood,
    /// The other slot is next, on trial.
    Stage,
    /// The running slot is given up.
    Rollback,
}

/// A node that can be talked to. Cheap to make: nothing is sent before the first request.
#[derive(Debug)]
pub struct Client {
    node: Node,
}

impl Client {
    /// Reads the context's address and credentials.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(context: &Context) -> Result<Self, ClientError> {
        Ok(Self { node: Node::new(context)? })
    }

    /// The machine.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every other request.
    pub async fn machine(&self) -> Result<Machine, ClientError> {
        self.get("ask for the machine's status", "/v1/machine").await
    }

    /// Sends the machine down.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn down(&self, how: Down) -> Result<(), ClientError> {
        let (act, path) = match how {
            Down::Reboot => ("reboot", "/v1/machine/reboot"),
            Down::Poweroff => ("power off", "/v1/machine/poweroff"),
            Down::RecreateState => ("have STATE made anew", "/v1/machine/state/recreate"),
            Down::CheckState => ("have STATE checked", "/v1/machine/state/check"),
        };
        self.done(act, Method::POST, path, empty()).await
    }

    /// The boot timeline.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn boot(&self) -> Result<Timeline, ClientError> {
        self.get("ask for the boot timeline", "/v1/boot").await
    }

    /// PID 1's view: slots and services.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn slots(&self) -> Result<Status, ClientError> {
        self.get("ask for the slots", "/v1/slots").await
    }

    /// Changes slots.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn slot(&self, verb: SlotVerb) -> Result<(), ClientError> {
        let (act, path) = match verb {
            SlotVerb::MarkGood => ("mark the running slot good", "/v1/slots/mark-good"),
            SlotVerb::Stage => ("stage the other slot", "/v1/slots/stage"),
            SlotVerb::Rollback => ("roll back", "/v1/slots/rollback"),
        };
        self.done(act, Method::POST, path, empty()).await
    }

    /// Images in the node's store.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn images(&self) -> Result<Vec<Image>, ClientError> {
        self.get("list images", "/v1/images").await
    }

    /// Uploads an archive of an image; `progress` hears of every piece, in bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn import(
        &self,
        archive: &Path,
        name: Option<&str>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Image, ClientError> {
        let (body, size_bytes) = upload::file(archive, progress).await?;
        let act = format!("import {}", archive.display());
        let path = match name {
            Some(name) => format!("/v1/images?name={}", upload::percent_encoded(name)),
            None => "/v1/images".to_owned(),
        };
        let request = request(&act, Method::POST, &path, body).map(|mut request| {
            request.headers_mut().insert(hyper::header::CONTENT_LENGTH, size_bytes.into());
            request
        })?;
        let within = WORK + Duration::from_secs(size_bytes / UPLOAD_MIN_BYTES_PER_S);
        let answer = self.node.exchange(&act, request, within).await?;
        answer.json().await
    }

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

    /// What happened; with `follow` it goes on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(
        &self,
        follow: bool,
        since: Option<Moment>,
        unit: Option<&str>,
    ) -> Result<Lines<Event>, ClientError> {
        let mut path = format!("/v1/events?follow={follow}");
        if let Some(since) = since {
            path = format!("{path}&{}", since.parameter("since"));
        }
        if let Some(unit) = unit {
            path = format!("{path}&unit={}", upload::percent_encoded(unit));
        }
        self.lines("read the events", &path, follow).await
    }

    /// What the node and its containers use, a sample after each `interval`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stats(&self, interval: Duration) -> Result<Lines<Stats>, ClientError> {
        let path = format!("/v1/stats?follow=true&interval_ms={}", interval.as_millis());
        self.lines("watch what units use", &path, true).await
    }

    /// What the node and its containers use now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn usage(&self) -> Result<Stats, ClientError> {
        self.get("ask what units use", "/v1/stats").await
    }

    async fn lines<T>(
        &self,
        act: &str,
        path: &str,
        endless: bool,
    ) -> Result<Lines<T>, ClientError> {
        let request = request(act, Method::GET, path, empty())?;
        let exchange = self.node.exchange(act, request, ANSWER).await?;
        let quiet = (!endless).then_some(ANSWER);
        Ok(Lines { exchange, quiet, kind: PhantomData })
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

    fn document<T: serde::Serialize>(&self, act: &str, document: &T) -> Result<Body, ClientError> {
        let body = serde_json::to_vec(document).map_err(|source| ClientError::Answer {
            act: act.to_owned(),
            node: self.node.name.clone(),
            source,
        })?;
        Ok(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync())
    }

    async fn stream(
        &self,
        act: String,
        path: &str,
        body: Body,
    ) -> Result<FrameStream, ClientError> {
        let mut request = request(&act, Method::POST, path, body)?;
        let upgrade = hyper::header::HeaderValue::from_static("upgrade");
        let protocol = hyper::header::HeaderValue::from_static(PROTOCOL);
        request.headers_mut().insert(hyper::header::CONNECTION, upgrade);
        request.headers_mut().insert(hyper::header::UPGRADE, protocol);
        let upgraded = self.node.upgrade(&act, request, ANSWER).await?;
        Ok(FrameStream::new(act, self.node.name.clone(), upgraded))
    }

    async fn get<T: DeserializeOwned>(&self, act: &str, path: &str) -> Result<T, ClientError> {
        let request = request(act, Method::GET, path, empty())?;
        self.node.exchange(act, request, ANSWER).await?.json().await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        act: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ClientError> {
        let request = request(act, method, path, body)?;
        self.node.exchange(act, request, WORK).await?.json().await
    }

    async fn done(
        &self,
        act: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(), ClientError> {
        let request = request(act, method, path, body)?;
        self.node.exchange(act, request, WORK).await.map(drop)
    }
}

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

/// An answer of many lines, as they arrive.
#[derive(Debug)]
pub struct Lines<T> {
    exchange: Exchange,
    /// Longest silence; `None` where silence is normal.
    quiet: Option<Duration>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// The connection broke or the line is not one.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        self.exchange.next_line(self.quiet).await
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

fn unit_path(name: &str, rest: &str) -> String {
    format!("/v1/units/{}{rest}", upload::percent_encoded(name))
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn request(
    act: &str,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Request<Body>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .header(hyper::header::USER_AGENT, concat!("ferrite/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .map_err(|source| ClientError::Request { act: act.to_owned(), source })
}
