//! The time of a line, as RFC 3339 in UTC with microseconds. Holds no state.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// Writes the current time into lines of text. `humantime` writes it in a tenth of the time of `tracing_subscriber`, which matters
/// for a log of all requests.
#[derive(Clone, Copy)]
pub(super) struct Timestamp;

impl FormatTime for Timestamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", now())
    }
}

/// Returns the current time as it stands in the log.
pub(super) fn now() -> impl fmt::Display {
    // `humantime` panics before the epoch, where a clock that was never set may be.
    humantime::format_rfc3339_micros(SystemTime::now().max(UNIX_EPOCH))
}
