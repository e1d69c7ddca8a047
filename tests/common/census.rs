//! What a pool leaves in the system, read from /proc: processes by a mark in their environment, which forks and children of
//! workers inherit; zombies of this process; pipes to workers that this process still holds.

use super::until;
use std::{
    collections::HashSet,
    fs, process,
    sync::{Mutex, PoisonError},
};

/// The variable that marks the processes of a pool.
pub(crate) const MARK: &str = "HERDER_TEST_POOL";

/// Who belongs to one pool.
pub(crate) struct Census {
    mark: Vec<u8>,
    pipes: Mutex<HashSet<String>>,
}

/// A process as /proc/PID/stat tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// With the pid, this names a process for good.
    started: u64,
}

impl Census {
    pub(crate) fn new(pool: &str) -> Self {
        Self { mark: format!("{MARK}={pool}").into_bytes(), pipes: Mutex::default() }
    }

    /// The living processes of the pool: workers and whatever descends from them, also what was adopted by others since.
    pub(crate) fn processes(&self) -> Vec<Seen> {
        all().filter(|seen| seen.state != 'Z' && self.is_marked(seen.pid)).collect()
    }

    /// Remembers the pipes that this process shares with the pool's processes; they must be gone in the end.
    pub(crate) fn look(&self) {
        let ours = pipes_of("self");
        let theirs = self.processes().into_iter().flat_map(|seen| pipes_of(&seen.pid.to_string()));
        let shared = theirs.filter(|pipe| ours.contains(pipe));
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).extend(shared);
    }

    /// Waits until no process of the pool, no zombie of ours and no descriptor of it is left.
    pub(crate) async fn nothing_left(&self) {
        let zombies: Vec<Seen> = all().filter(is_our_zombie).collect();
        until("the pool's zombies are reaped", async || {
            zombies.iter().all(|zombie| stat(zombie.pid).as_ref() != Some(zombie))
        })
        .await;
        until("the pool's processes are gone", async || self.processes().is_empty()).await;
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        until("the pool's descriptors are closed", async || pipes_of("self").is_disjoint(&pipes)).await;
    }

    fn is_marked(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.mark)
    }
}

/// A process as it is now.
pub(crate) fn stat(pid: u32) -> Option<Seen> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold any character, these included.
    let (name, rest) = (text.split_once('(')?.1.rsplit_once(')')?.0, text.rsplit_once(')')?.1);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let small = |at: usize| u32::try_from(number(at)?).ok();
    let state = fields.first()?.chars().next()?;
    Some(Seen { pid, name: name.into(), state, parent: small(1)?, group: small(2)?, started: number(19)? })
}

fn all() -> impl Iterator<Item = Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

fn is_our_zombie(seen: &Seen) -> bool {
    seen.state == 'Z' && seen.parent == process::id()
}

fn pipes_of(pid: &str) -> HashSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok());
    targets.filter(|target| target.starts_with("pipe:")).collect()
}
