//! The timeouts of a server's connections. Pure data.

use std::time::Duration;

/// The slowest rate, in bytes per second, at which a client may read a response after its first `write` timeout.
const SLOWEST_READER: u64 = 8 * 1024;

/// The timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The longest idle time between two requests. With 0, each connection closes after its response.
    pub(super) keep_alive: Duration,
    /// The longest time for the head of a request; on a new connection, also for its first byte.
    pub(super) head: Duration,
    /// The longest time without progress while a response waits for the client to read.
    pub(super) write: Duration,
}

impl Settings {
    /// Returns how long a response may wait for its client in total, if the client has read `taken` bytes of it.
    pub(super) fn time_for(&self, taken: u64) -> Duration {
        self.write.saturating_add(Duration::from_millis(taken.saturating_mul(1000) / SLOWEST_READER))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep_alive: Duration::from_secs(75), head: Duration::from_secs(5), write: Duration::from_secs(30) }
    }
}
