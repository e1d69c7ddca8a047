//! Counts starts that fail for the same reason, so that the log has the traceback of a broken app once. Holds the last reason.

use herder_core::Timestamp;
use std::time::Duration;

/// After this time without a failed start, the next one is logged in full again.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The reason of the last failed start, and how often it occurred in a row.
#[derive(Debug, Default)]
pub(super) struct StartErrors {
    last: Option<(String, Timestamp)>,
    times: u32,
}

impl StartErrors {
    /// Notes a failed start. Returns how many starts in a row have failed for this reason, this one included.
    pub(super) fn note(&mut self, reason: &str, now: Timestamp) -> u32 {
        let is_same = |(last, at): &(String, Timestamp)| last == reason && now.since(*at) < FORGOTTEN;
        self.times = if self.last.as_ref().is_some_and(is_same) { self.times.saturating_add(1) } else { 1 };
        self.last = Some((reason.to_owned(), now));
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_in_a_row_are_counted() {
        let mut errors = StartErrors::default();
        let at = |seconds: u64| Timestamp(Duration::from_secs(seconds).as_nanos() as u64);
        let notes = [("a", 0), ("a", 5), ("b", 6), ("a", 7), ("a", 8), ("a", 607), ("a", 1207)];
        assert_eq!(notes.map(|(reason, seconds)| errors.note(reason, at(seconds))), [1, 2, 1, 1, 2, 3, 1]);
    }
}
