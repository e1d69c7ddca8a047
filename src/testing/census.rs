//! What a pool leaves in the system: processes by a mark in their environment, which forks and children of workers inherit; zombies of
//! this process; pipes to workers that this process still holds. Holds the mark, and the pipes that were seen.

use super::{Seen, stat, until_seen};
use crate::processes::{all, carries, strike};
use herder_actors::Signal;
use std::{
    collections::HashSet,
    fs, process,
    sync::{Mutex, PoisonError},
};

/// The variable that marks the processes of a pool.
pub(super) const MARK: &str = "HERDER_TEST_POOL";

/// Who belongs to one pool. Where there is no `/proc` it sees nobody.
#[derive(Debug)]
pub struct Census {
    mark: Vec<u8>,
    pipes: Mutex<HashSet<String>>,
}

impl Census {
    /// Of the pool of this name, built from a [`Fresh`](super::Fresh).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// use herder::testing::{Census, Fresh};
    /// let fresh = Fresh::new("nobody");
    /// let census = Census::new(fresh.name());
    /// assert!(census.processes().is_empty());
    /// census.nothing_left().await;
    /// # }
    /// ```
    pub fn new(pool: &str) -> Self {
        Self { mark: format!("{MARK}={pool}").into_bytes(), pipes: Mutex::default() }
    }

    /// The living processes of the pool: workers and whatever descends from them, also what was adopted by others since.
    pub fn processes(&self) -> Vec<Seen> {
        all().filter(|seen| seen.state != 'Z' && carries(seen.pid, &self.mark)).collect()
    }

    /// Remembers the pipes that this process shares with the pool's processes; they must be gone in the end.
    pub fn look(&self) {
        let ours = pipes_of("self");
        let theirs = self.processes().into_iter().flat_map(|seen| pipes_of(&seen.pid.to_string()));
        let shared = theirs.filter(|pipe| ours.contains(pipe));
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).extend(shared);
    }

    /// Waits until no process of the pool, no zombie of ours and no descriptor of it is left.
    ///
    /// # Panics
    /// When something stays.
    pub async fn nothing_left(&self) {
        let zombies: Vec<Seen> = all().filter(is_our_zombie).collect();
        until_seen("the pool's zombies are reaped", || {
            zombies.iter().all(|zombie| stat(zombie.pid).as_ref() != Some(zombie))
        })
        .await;
        until_seen("the pool's processes are gone", || self.processes().is_empty()).await;
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        until_seen("the pool's descriptors are closed", || pipes_of("self").is_disjoint(&pipes)).await;
    }

    pub(super) fn strike(&self, pid: u32, signal: Signal) -> bool {
        strike(pid, &self.mark, signal)
    }
}

fn is_our_zombie(seen: &Seen) -> bool {
    seen.state == 'Z' && seen.parent == process::id()
}

fn pipes_of(pid: &str) -> HashSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok());
    targets.filter(|target| target.starts_with("pipe:")).collect()
}
