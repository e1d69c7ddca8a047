//! The log records that a worker sends as datagrams: their form and how they are shown. Pure: no descriptors, no logging.
//!
//! A datagram is not trusted: it may have any content and size. What it holds becomes fields of one event.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The maximum size of a record in bytes. A worker shortens its records to this.
pub(crate) const RECORD_MAX: usize = 32 * 1024;
/// The part of a malformed record that is logged, in bytes.
const MALFORMED_MAX: usize = 1024;
/// The maximum length of a line in the output tail, in characters.
const TAIL_LINE_MAX: usize = 2 * 1024;

/// One log record of a worker. A field that the worker has not sent is `None`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) level: Level,
    /// The name of the level in the worker, if it is not the usual one.
    pub(crate) level_name: Option<String>,
    pub(crate) logger: Option<String>,
    /// `None` in a record that only reports dropped ones.
    pub(crate) message: Option<String>,
    /// The wire id of the call in which the record was created.
    pub(crate) attempt: Option<u64>,
    pub(crate) session: Option<String>,
    pub(crate) command: Option<String>,
    /// The id of the process, if it is not the worker itself but one that it has forked.
    pub(crate) process: Option<u32>,
    /// The application's own fields.
    pub(crate) fields: Option<Map<String, Value>>,
    pub(crate) traceback: Option<String>,
    pub(crate) stack: Option<String>,
    /// The number of records that the worker has dropped since the last one, because the host did not read them in time.
    #[serde(default)]
    pub(crate) dropped: u64,
}

/// A level of `tracing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Record {
    /// Parses a datagram. What is no record becomes one with level WARN that shows the beginning of the datagram.
    pub(crate) fn parse(datagram: &[u8]) -> Self {
        let parsed = match datagram.len() {
            0..=RECORD_MAX => serde_json::from_slice(datagram).map_err(|error| error.to_string()),
            _ => Err(format!("longer than {RECORD_MAX} bytes")),
        };
        parsed.unwrap_or_else(|reason| Self::malformed(datagram, &reason))
    }

    fn malformed(datagram: &[u8], reason: &str) -> Self {
        let start = String::from_utf8_lossy(&datagram[..datagram.len().min(MALFORMED_MAX)]);
        let message = Some(format!("malformed log record ({reason}): {start}"));
        Self { level: Level::Warn, message, ..Self::default() }
    }

    /// Returns the application's fields as JSON.
    pub(crate) fn fields_as_json(&self) -> Option<String> {
        self.fields.as_ref().filter(|fields| !fields.is_empty()).and_then(|fields| serde_json::to_string(fields).ok())
    }

    /// Returns the lines that show the record in the output tail of its worker, as `logging` would print it.
    pub(crate) fn tail_lines(&self) -> Vec<String> {
        let Some(message) = &self.message else { return Vec::new() };
        let level = self.level_name.as_deref().unwrap_or(self.level.name());
        let summary = format!("{level} {}: {message}", self.logger.as_deref().unwrap_or("log"));
        let traceback = self.traceback.as_deref().unwrap_or_default();
        summary.lines().chain(traceback.lines()).map(cut).collect()
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARNING",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// Returns the beginning of a line that is too long.
fn cut(line: &str) -> String {
    line.char_indices().nth(TAIL_LINE_MAX).map_or(line, |(end, _)| &line[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_fields_that_were_sent() {
        let record = Record::parse(
            br#"{"level":"error","logger":"shop.db","message":"lost","attempt":7,"session":"ann","command":"buy",
                "fields":{"n":1,"who":{"a":[null]}},"traceback":"T\nE","dropped":3,"unknown":true}"#,
        );
        assert_eq!((record.level, record.attempt, record.dropped), (Level::Error, Some(7), 3));
        assert_eq!(record.fields_as_json().as_deref(), Some(r#"{"n":1,"who":{"a":[null]}}"#));
        assert_eq!(record.tail_lines(), ["ERROR shop.db: lost", "T", "E"]);
        let report = Record::parse(br#"{"dropped":9}"#);
        assert_eq!((report.dropped, report.message.is_none(), report.tail_lines().len()), (9, true, 0));
    }

    /// A worker can send anything: it becomes one bounded event at level WARN.
    #[test]
    fn what_is_no_record_is_shown_as_a_warning() {
        let huge = vec![b'['; RECORD_MAX + 1];
        let datagrams: [&[u8]; 9] = [
            b"",
            b"\xff\x00\x1b[2J",
            b"{",
            b"[]",
            b"17",
            br#"{"level":"loud"}"#,
            br#"{"message":1}"#,
            br#"{"message":"a"} {}"#,
            &huge,
        ];
        for datagram in datagrams {
            let record = Record::parse(datagram);
            let message = record.message.unwrap_or_default();
            assert_eq!(record.level, Level::Warn, "{message}");
            assert!(message.starts_with("malformed log record (") && message.len() < 8 * MALFORMED_MAX, "{message}");
        }
    }

    #[test]
    fn lines_of_the_tail_are_cut_between_characters() {
        let record = Record { message: Some("\u{e9}".repeat(2 * TAIL_LINE_MAX)), ..Record::default() };
        assert_eq!(record.tail_lines()[0].chars().count(), TAIL_LINE_MAX);
    }
}
