//! Parts of the cluster together: a leader, machines and a store.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod corpus;
mod differential;
mod etcd;
mod leader;
mod machines;
mod maintenance;
mod story;
