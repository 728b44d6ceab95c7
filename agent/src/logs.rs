//! Units' logs as files: names that writer (shim) and reader (API) share.

/// The file being written.
pub const CURRENT: &str = "current.jsonl";
/// The file before it.
pub const PREVIOUS: &str = "previous.jsonl";
