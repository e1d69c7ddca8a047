//! Events of the log that are made on the thread of a pool, or of whoever serves. Holds nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that logs. The subscriber is the application's code: if it panics, that event is lost, and nothing else.
///
/// A subscriber that blocks cannot be helped: it blocks this thread (`docs/semantics.md`, "The log").
pub(crate) fn emit(event: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(event));
}
