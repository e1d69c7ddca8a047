//! The times a server gives to its connections. Pure data.

use std::time::Duration;

/// After its first `write` time a client must have taken, on average, this many bytes of a response in a second.
const SLOWEST_READER: u64 = 8 * 1024;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Idle, between two requests. With 0 each connection closes after its response.
    pub(super) keep_alive: Duration,
    /// For the head of a request; for its first byte as well on a new connection.
    pub(super) head: Duration,
    /// Without progress, while a response waits to be read by the client.
    pub(super) write: Duration,
}

impl Settings {
    /// How long after the first wait a client may have taken for a response of which it has taken this many bytes.
    pub(super) fn time_for(&self, taken: u64) -> Duration {
        self.write.saturating_add(Duration::from_millis(taken.saturating_mul(1000) / SLOWEST_READER))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep_alive: Duration::from_secs(75), head: Duration::from_secs(5), write: Duration::from_secs(30) }
    }
}
