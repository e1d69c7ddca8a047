//! How many descriptors the server may open, and what for: raises the limit, keeps what workers need, and leaves the rest to connections. A server
//! whose connections use all descriptors could not start a worker again. Holds numbers.

use crate::error::{CommandError, Outcome};
use herder::PoolConfig;
use std::fs;

/// Descriptors of one connection.
const PER_CONNECTION: u64 = 1;
/// Descriptors of one worker: two sockets, two pipes, and one that tells its end.
const PER_WORKER: u64 = 5;
/// Descriptors of one pool: its thread's runtime, and the files that are read while its workers start.
const PER_POOL: u64 = 8;
/// Descriptors of one thread that serves HTTP.
const PER_THREAD: u64 = 4;
/// Descriptors of everything else that is opened once the server runs: its runtime and its signals, the watchdog, and what the start of a worker opens
/// for a moment.
const SERVER: u64 = 32;
/// With fewer connections than these the limit is called too small.
const FEW: u64 = 16;
/// The default of actix-web, for each thread.
const MOST_PER_THREAD: u64 = 25_600;

/// What there is, and what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// The limit in force; `None` is none.
    limit: Option<u64>,
    /// Open already.
    open: u64,
    threads: u64,
    pools: u64,
    /// Base workers of all pools.
    workers: u64,
    /// Overflow workers of all pools.
    overflow: u64,
}

impl Descriptors {
    /// Raises the limit, and counts. Workers get the limit that the server had before.
    pub(super) fn raise(threads: usize, pools: &[PoolConfig]) -> Self {
        let limit = herder::raise_descriptor_limit();
        let sum = |number: fn(&PoolConfig) -> u32| pools.iter().map(|pool| u64::from(number(pool))).sum();
        let (workers, overflow) = (sum(PoolConfig::pool_size), sum(|pool| pool.settings().overflow));
        Self { limit, open: open(), threads: threads as u64, pools: pools.len() as u64, workers, overflow }
    }

    /// How many connections one HTTP thread may have. More wait until one of them closes.
    ///
    /// # Errors
    /// The limit is too small for the workers and one connection.
    pub(super) fn connections_per_thread(&self) -> Outcome<usize> {
        let Some(limit) = self.limit else { return Ok(per_thread(MOST_PER_THREAD)) };
        let (needed, workers) = (self.needed(), self.workers);
        let left = limit.checked_sub(needed).filter(|left| *left >= PER_CONNECTION * self.threads);
        let left = left.ok_or_else(|| {
            let least = needed + PER_CONNECTION * self.threads;
            CommandError::failed(format_args!(
                "the limit of open file descriptors is {limit} (`ulimit -n`); the server and {workers} workers need at least {least}: \
                 raise the limit, or start fewer workers"
            ))
        })?;
        let beside_overflow = left.saturating_sub(self.overflow * PER_WORKER) / PER_CONNECTION;
        let connections = beside_overflow.max(FEW.min(left / PER_CONNECTION));
        if beside_overflow < FEW {
            tracing::warn!(
                limit,
                connections,
                "the limit of open file descriptors (`ulimit -n`) is low for these connections and overflow workers: raise it"
            );
        }
        Ok(per_thread((connections / self.threads).min(MOST_PER_THREAD)))
    }

    /// What the server and all base workers need.
    fn needed(&self) -> u64 {
        self.open + SERVER + self.threads * PER_THREAD + self.pools * PER_POOL + self.workers * PER_WORKER
    }
}

fn per_thread(connections: u64) -> usize {
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// How many are open; as many as a program starts with where that cannot be told.
fn open() -> u64 {
    let entries = fs::read_dir("/dev/fd").map(|entries| entries.count() as u64);
    entries.map_or(8, |count| count.saturating_sub(1)) // one is the folder itself
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `limit`, one pool of one worker with one of the overflow, and one thread: 58 are needed.
    fn with(limit: u64) -> Descriptors {
        Descriptors { limit: Some(limit), open: 9, threads: 1, pools: 1, workers: 1, overflow: 1 }
    }

    fn per(descriptors: usize) -> usize {
        descriptors / PER_CONNECTION as usize
    }

    fn told(outcome: Outcome<usize>) -> String {
        if let Err(CommandError::Failed(text)) = outcome { text } else { String::new() }
    }

    /// R28: what is left after the server, the workers and the overflow is for connections.
    #[test]
    fn r28_connections_get_what_is_left() {
        assert_eq!(with(1024).needed(), 58);
        assert_eq!(with(1024).connections_per_thread().unwrap(), per(1024 - 58 - 5));
        let two = Descriptors { threads: 2, ..with(1024) };
        assert_eq!(two.connections_per_thread().unwrap(), per(1024 - 62 - 5) / 2);
        let many = Descriptors { workers: 100, pools: 10, ..with(1024) };
        assert_eq!(many.connections_per_thread().unwrap(), per(1024 - 58 - 99 * 5 - 9 * 8 - 5));
    }

    /// Few connections come before the overflow, and none before the workers.
    #[test]
    fn r28_a_limit_that_is_too_small_is_told_with_its_number() {
        let (few, one) = (FEW * PER_CONNECTION, PER_CONNECTION);
        assert_eq!(with(58 + 5 + few + one).connections_per_thread().unwrap(), 17);
        assert_eq!(with(58 + 2 + few).connections_per_thread().unwrap(), 16, "the overflow gets 2");
        assert_eq!(with(58 + one).connections_per_thread().unwrap(), 1);
        let error = told(with(57 + one).connections_per_thread());
        assert!(error.contains(&format!("is {} (`ulimit -n`)", 57 + one)), "{error}");
        assert!(error.contains(&format!("need at least {}", 58 + one)), "{error}");
        assert!(told(with(20).connections_per_thread()).contains("is 20 (`ulimit -n`)"));
    }

    #[test]
    fn without_a_limit_there_are_as_many_as_actix_allows() {
        for limit in [None, Some(1 << 30)] {
            let all = Descriptors { limit, ..with(0) };
            assert_eq!(all.connections_per_thread().unwrap(), 25_600);
        }
    }
}
