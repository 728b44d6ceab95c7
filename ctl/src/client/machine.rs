//! Requests about the machine, its slots, and what happens on it.

use std::time::Duration;

use ferrite_schema::api::{Event, Machine, MachineContent, Stats};
use ferrite_schema::control::Status;
use ferrite_schema::timeline::Timeline;
use hyper::Method;

use super::asking::empty;
use super::error::ClientError;
use super::requests::{Client, Lines};
use super::upload;
use crate::moment::Moment;

/// How a machine is sent down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Reset.
    Reboot,
    /// Switch off.
    Poweroff,
    /// Reset, and make STATE anew, empty.
    RecreateState,
    /// Reset, and make STATE anew, empty, unless the machine is one that must not be lost by mistake.
    Reset,
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

impl Client {
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
            Down::Reset => ("have the machine made anew", "/v1/machine/reset"),
            Down::CheckState => ("have STATE checked", "/v1/machine/state/check"),
        };
        self.done(act, Method::POST, path, empty()).await
    }

    /// What is on its STATE.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn machine_content(&self) -> Result<MachineContent, ClientError> {
        self.get("ask what is on STATE", "/v1/machine/state").await
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
}
