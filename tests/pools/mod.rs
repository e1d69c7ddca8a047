//! Pools of real Python processes, through the public API: sessions, the separation of pools and worker types, supervision,
//! concurrency, shutdown, and a host that is killed.

mod affinity_modes;
mod batches;
mod breaker;
mod buffers;
mod busy_sessions;
mod call_log;
mod cancels;
mod concurrency;
mod efficiency;
mod embedded;
pub(crate) mod environment;
mod error_reports;
mod expiry;
#[cfg(target_os = "linux")]
mod few_descriptors;
mod host_killed;
mod hung;
mod in_advance;
mod isolation;
mod kills;
mod lazy;
mod liveness;
mod losses;
mod other_user;
mod overflow;
mod panics;
mod python_logs;
mod queue;
mod recorder;
mod reload;
mod restarts;
mod retries;
mod separation;
mod session_ends;
mod sessions;
mod shutdown;
#[cfg(target_os = "linux")]
mod slab_copies;
#[cfg(target_os = "linux")]
mod slabs;
pub(crate) mod steps;
#[cfg(target_os = "linux")]
mod template;
mod unread_answers;
mod values;

/// Returns the number in this environment variable, or `usual`. A longer run sets it.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
