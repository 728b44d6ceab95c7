//! Types of the node's API: JSON over HTTPS with mutual TLS, under `/v1`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/machine` | | [`Machine`] |
//! | `POST /v1/machine/reboot`, `/poweroff` | | 202 |
//! | `GET /v1/boot` | | [`crate::timeline::Timeline`] |
//! | `GET /v1/slots` | | [`crate::control::Status`] |
//! | `POST /v1/slots/mark-good`, `/stage`, `/rollback` | | 200 |
//! | `GET /v1/images` | | list of [`Image`] |
//! | `POST /v1/images?name=NAME` | OCI or Docker archive (tar, also compressed) | [`Image`] |
//! | `DELETE /v1/images?name=NAME` | | [`Pruned`] |
//! | `POST /v1/images/prune` | | [`Pruned`] |
//! | `POST /v1/images/pull?name=NAME` | | lines of [`PullEvent`], JSON, one per line |
//! | `GET /v1/images/export?name=NAME&format=FORMAT` | | archive (tar) |
//! | `GET /v1/units` | | list of [`UnitStatus`] |
//! | `PUT /v1/units/NAME` | [`crate::unit::Unit`] | [`UnitStatus`] |
//! | `GET /v1/units/NAME` | | [`UnitStatus`] |
//! | `GET /v1/units/NAME/definition` | | [`crate::unit::Unit`], as it was submitted |
//! | `DELETE /v1/units/NAME` | | 204 |
//! | `POST /v1/units/NAME/exec`, upgrade to `ferrite-stream/1` | [`crate::stream::ExecRequest`] | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/files`, upgrade to `ferrite-stream/1` | [`crate::stream::FilesRequest`] | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/attach`, upgrade to `ferrite-stream/1` | | 101, then frames of [`crate::stream`] |
//! | `POST /v1/units/NAME/load`, `/start`, `/restart`, `/stop`, `/unload` | | [`UnitStatus`] |
//! | `GET /v1/units/NAME/logs?follow=BOOL&since_us=…&until_us=…&tail=N&stream=…&previous=BOOL` | | lines of [`LogLine`], JSON, one per line |
//! | `GET /v1/events?follow=BOOL&since_us=…&unit=NAME` | | lines of [`Event`], JSON, one per line |
//! | `GET /v1/stats?follow=BOOL&interval_ms=N` | | [`Stats`]; with `follow` one per line |
//! | `GET /metrics` | | Prometheus' text format, version 0.0.4 |
//! | `GET /v1/cluster` | | [`ClusterStatus`] |
//! | `GET /v1/machines` | | list of [`ClusterMachine`] |
//! | `PATCH /v1/machines/ID` | [`MachineChange`] | [`ClusterMachine`] |
//! | `POST /v1/machines/ID/connect`, upgrade to `ferrite-stream/1` | | 101, then the bytes of a connection to that machine's API |
//! | `GET /v1/cluster/units` | | list of [`ClusterUnit`] |
//! | `GET /v1/cluster/units/NAME` | | [`ClusterUnit`] |
//! | `PUT /v1/cluster/units/NAME?target=TARGET&revision=N` | [`crate::unit::Unit`] | [`ClusterUnit`] |
//! | `PATCH /v1/cluster/units/NAME` | [`UnitChange`] | [`ClusterUnit`] |
//! | `DELETE /v1/cluster/units/NAME` | | 204 |
//! | `GET /v1/cluster/services` | | list of [`ServiceInstance`] |
//! | `GET /v1/cluster/tokens` | | list of [`JoinToken`] |
//! | `PUT /v1/cluster/tokens/DIGEST` | [`NewJoinToken`] | [`JoinToken`] |
//! | `DELETE /v1/cluster/tokens/DIGEST` | | 204 |
//! | `GET /v1/cluster/access` | | list of [`Access`] |
//! | `POST /v1/cluster/access` | [`NewAccess`] | [`GivenAccess`] |
//! | `DELETE /v1/cluster/access/SERIAL` | | 204 |
//! | `GET /v1/services` | | lines of [`ServiceAnswers`] |
//! | `GET /v1/etcd` | | [`EtcdStatus`] |
//! | `GET /v1/etcd/members` | | list of [`EtcdMember`] |
//! | `PATCH /v1/etcd/members` | [`EtcdMembersChange`] | [`EtcdMembersPlan`] |
//! | `GET /v1/etcd/snapshot?serving=BOOL` | | all that this node's etcd has, and after it its SHA-256 |
//! | `POST /v1/etcd/connect?serving=BOOL`, upgrade to `ferrite-stream/1` | | 101, then the bytes of a connection to this node's etcd |
//! | `GET /v1/etcd/recovery` | | [`EtcdRemains`] |
//! | `POST /v1/etcd/recovery` | [`EtcdRecovery`] | [`EtcdRecoveryOrdered`] |
//! | `GET /v1/openapi.json` | | OpenAPI 3.1 document of all this |
//!
//! Errors are [`ApiError`] with a fitting status code.

mod access;
mod cluster;
mod etcd;
mod figures;
mod happening;
mod image;
mod machine;
mod unit;

pub use self::access::{Access, AccessRole, GivenAccess, NewAccess, NoRole};
pub use self::cluster::{
    ClusterInstance, ClusterMachine, ClusterMember, ClusterStatus, ClusterUnit, JoinToken,
    MachineChange, MachineState, NewJoinToken, ServiceAnswers, ServiceInstance, UnitChange,
    UnitTarget,
};
pub use self::etcd::{
    EtcdMember, EtcdMembersChange, EtcdMembersPlan, EtcdRecovery, EtcdRecoveryOrdered, EtcdRemains,
    EtcdStatus,
};
pub use self::figures::{NodeStats, Stats, UnitStats};
pub use self::happening::{Event, EventKind, LogLine, Stream};
pub use self::image::{
    ExportFormat, Image, LayerPhase, LayerProgress, Pruned, PullEvent, PullProgress,
};
pub use self::machine::{ApiError, Machine, MachineContent};
pub use self::unit::{Exit, HealthState, Origin, UnitState, UnitStatus, Volume};
