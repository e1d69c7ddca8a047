//! The budget of file descriptors: raises the limit, reserves what workers need, and gives the rest to connections.
//! Without the reserve, a server whose connections use all descriptors could not restart a worker. Holds numbers.

use crate::{
    error::{CommandError, Outcome},
    logs::PROGRAM,
    units::counted,
};
use herder::PoolConfig;
use std::fs;

/// Descriptors of one connection.
const PER_CONNECTION: u64 = 1;
/// Descriptors of one worker: four sockets, two pipes, and one that signals its exit.
const PER_WORKER: u64 = 7;
/// Descriptors of one pool: the runtime of its thread, and the files that are read while its workers start.
const PER_POOL: u64 = 8;
/// Descriptors of one thread that serves HTTP.
const PER_THREAD: u64 = 4;
/// Descriptors of everything else that is opened after the start: the runtime, the signals, the watchdog, and what the
/// start of a worker opens temporarily.
const SERVER: u64 = 32;
/// The number of connections below which a warning is logged.
const FEW: u64 = 16;
/// The largest number of connections for each thread; the default of actix-web.
const MAX_PER_THREAD: u64 = 25_600;

/// The limit, and what needs descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The limit in force; `None` if there is none.
    limit: Option<u64>,
    /// The number of open descriptors at the start.
    open: u64,
    threads: u64,
    pools: u64,
    /// The number of base workers of all pools.
    workers: u64,
    /// The number of overflow workers of all pools.
    overflow: u64,
}

impl Descriptors {
    /// Raises the limit, and counts what is needed. Worker processes get the limit that the server had before.
    pub(crate) fn raise(threads: usize, pools: &[PoolConfig]) -> Self {
        let limit = herder::process::raise_descriptor_limit();
        let sum = |number: fn(&PoolConfig) -> u32| pools.iter().map(|pool| u64::from(number(pool))).sum();
        let (workers, overflow) = (sum(PoolConfig::pool_size), sum(|pool| pool.settings().overflow));
        Self { limit, open: open(), threads: threads as u64, pools: pools.len() as u64, workers, overflow }
    }

    /// Returns how many connections one HTTP thread may have open. Further clients wait until a connection closes.
    ///
    /// # Errors
    /// Fails if the limit is too small for the workers and one connection per thread.
    pub(crate) fn connections_per_thread(&self) -> Outcome<usize> {
        let Some(limit) = self.limit else { return Ok(per_thread(MAX_PER_THREAD)) };
        let (needed, workers) = (self.needed(), self.workers);
        let available = limit.checked_sub(needed).filter(|available| *available >= PER_CONNECTION * self.threads);
        let available = available.ok_or_else(|| {
            let least = needed + PER_CONNECTION * self.threads;
            let workers = counted(workers, "worker");
            CommandError::failed(format_args!(
                "the limit of open file descriptors is {limit} (`ulimit -n`); the server and {workers} need at least {least}: \
                 raise the limit, or start fewer workers"
            ))
        })?;
        // Overflow workers are optional: if descriptors are scarce, some connections have priority over them.
        let without_overflow = available.saturating_sub(self.overflow * PER_WORKER) / PER_CONNECTION;
        let connections = without_overflow.max(FEW.min(available / PER_CONNECTION));
        if without_overflow < FEW {
            tracing::warn!(
                target: PROGRAM,
                limit,
                connections,
                "the limit of open file descriptors (`ulimit -n`) is low for these connections and overflow workers: raise it"
            );
        }
        Ok(per_thread((connections / self.threads).min(MAX_PER_THREAD)))
    }

    /// Returns the limit in force; `None` if there is none.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Returns what the server and all base workers need.
    pub(crate) fn needed(&self) -> u64 {
        self.open + SERVER + self.threads * PER_THREAD + self.pools * PER_POOL + self.workers * PER_WORKER
    }
}

fn per_thread(connections: u64) -> usize {
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// Returns the number of open descriptors. If it is unknown, returns the number that a program typically starts with.
fn open() -> u64 {
    let entries = fs::read_dir("/dev/fd").map(|entries| entries.count() as u64);
    // One of the entries is the directory that is being read.
    entries.map_or(8, |count| count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a budget with this limit, one pool with one base and one overflow worker, and one thread. It needs 60
    /// descriptors.
    fn with(limit: u64) -> Descriptors {
        Descriptors { limit: Some(limit), open: 9, threads: 1, pools: 1, workers: 1, overflow: 1 }
    }

    fn per(descriptors: usize) -> usize {
        descriptors / PER_CONNECTION as usize
    }

    fn error_text(outcome: Outcome<usize>) -> String {
        if let Err(CommandError::Failed(text)) = outcome { text } else { String::new() }
    }

    /// R28: connections get what the server, the workers and the overflow do not need.
    #[test]
    fn r28_connections_get_what_is_left() {
        assert_eq!(with(1024).needed(), 60);
        assert_eq!(with(1024).connections_per_thread().unwrap(), per(1024 - 60 - 7));
        let two = Descriptors { threads: 2, ..with(1024) };
        assert_eq!(two.connections_per_thread().unwrap(), per(1024 - 64 - 7) / 2);
        let many = Descriptors { workers: 100, pools: 10, ..with(1024) };
        assert_eq!(many.connections_per_thread().unwrap(), per(1024 - 60 - 99 * 7 - 9 * 8 - 7));
    }

    /// A few connections have priority over the overflow, but not over the base workers.
    #[test]
    fn r28_a_limit_that_is_too_small_is_reported_with_the_needed_one() {
        let (few, one) = (FEW * PER_CONNECTION, PER_CONNECTION);
        assert_eq!(with(60 + 7 + few + one).connections_per_thread().unwrap(), 17);
        assert_eq!(with(60 + 2 + few).connections_per_thread().unwrap(), 16, "the overflow gets 2");
        assert_eq!(with(60 + one).connections_per_thread().unwrap(), 1);
        let error = error_text(with(59 + one).connections_per_thread());
        assert!(error.contains(&format!("is {} (`ulimit -n`)", 59 + one)), "{error}");
        assert!(error.contains(&format!("need at least {}", 60 + one)), "{error}");
        assert!(error_text(with(20).connections_per_thread()).contains("is 20 (`ulimit -n`)"));
    }

    #[test]
    fn without_a_limit_connections_are_bounded_by_actix() {
        for limit in [None, Some(1 << 30)] {
            let all = Descriptors { limit, ..with(0) };
            assert_eq!(all.connections_per_thread().unwrap(), 25_600);
        }
    }
}
