//! Parts of the cluster together: a leader, machines and a store.

mod leader;
mod machines;
mod story;
