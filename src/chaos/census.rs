//! What a pool leaves in the system, read from /proc: processes by a mark in their environment, which forks and children of workers
//! inherit; zombies and descriptors of this process. Reads only. Where there is no /proc it sees nothing.

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
        pids()
            .filter(|pid| *pid != own && state_of(*pid).is_some_and(|(state, _)| state != 'Z') && self.has(*pid))
            .collect()
    }

    /// Whether this process is one of them.
    pub fn has(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.0)
    }
}

/// Children of this process that ended and were not waited for.
pub fn zombies() -> BTreeSet<u32> {
    pids().filter(|pid| state_of(*pid) == Some(('Z', process::id()))).collect()
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

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process' state and its parent.
fn state_of(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold any character, these included.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
