//! What a pool leaves in the system: processes by a mark in their environment, which forks and children of workers inherit; zombies
//! and descriptors of this process. Reads only. Where there is no /proc it sees nothing.

use crate::processes::{all, carries, strike};
use rustix::process::Signal;
use std::{collections::BTreeSet, fs, process};

/// The variable that marks the processes of a run.
pub const MARK: &str = "HERDER_CHAOS";

/// The processes of one run.
#[derive(Clone, Debug)]
pub struct Census(Vec<u8>);

impl Census {
    /// Of those whose environment has this value for [`MARK`].
    pub fn new(mark: &str) -> Self {
        Self(format!("{MARK}={mark}").into_bytes())
    }

    /// Those that live: workers and whatever descends from them, also what was adopted by others since. Not this process, and no
    /// zombies.
    pub fn processes(&self) -> BTreeSet<u32> {
        let own = process::id();
        all().filter(|seen| seen.pid != own && seen.state != 'Z' && self.has(seen.pid)).map(|seen| seen.pid).collect()
    }

    /// Whether this process is one of them.
    pub fn has(&self, pid: u32) -> bool {
        carries(pid, &self.0)
    }

    /// A signal to one of them; false if it is gone, or none of them.
    pub(super) fn strike(&self, pid: u32, signal: Signal) -> bool {
        strike(pid, &self.0, signal)
    }
}

/// Children of this process that ended and were not waited for.
pub fn zombies() -> BTreeSet<u32> {
    all().filter(|seen| seen.state == 'Z' && seen.parent == process::id()).map(|seen| seen.pid).collect()
}

/// How many descriptors this process has open.
pub fn descriptors() -> u64 {
    // The folder itself is open while it is read.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

/// What this process has in main memory, in bytes.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
