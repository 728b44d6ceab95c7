//! Units' logs as files: names that writer (shim) and reader (API) share.

pub use ferrite_schema::shim::{LOG_CURRENT as CURRENT, LOG_PREVIOUS as PREVIOUS};
