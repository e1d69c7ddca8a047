//! What a pool leaves in the system: marked processes, zombies of this process, and open pipes to workers. Holds the
//! names of the pipes that were seen.

use herder_actors::{
    inspect::{self, descriptors, stat, zombies},
    testing::with_timeout,
};
use std::{
    collections::HashSet,
    ops::Deref,
    process,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The interval between two polls.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The processes of one pool, and the pipes to them. Finds none on systems without `/proc`.
#[derive(Debug)]
pub struct PoolProcesses {
    processes: inspect::MarkedProcesses,
    pipes: Mutex<HashSet<String>>,
}

impl Deref for PoolProcesses {
    type Target = inspect::MarkedProcesses;

    fn deref(&self) -> &inspect::MarkedProcesses {
        &self.processes
    }
}

impl PoolProcesses {
    /// Finds the processes of the pool with this name, which was built from a [`TestContext`](super::TestContext).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// use herder::testing::{PoolProcesses, TestContext};
    /// let context = TestContext::new("nobody");
    /// let processes = PoolProcesses::new(context.name());
    /// assert!(processes.processes().is_empty());
    /// processes.nothing_left().await;
    /// # }
    /// ```
    pub fn new(pool: &str) -> Self {
        Self { processes: inspect::MarkedProcesses::new(pool), pipes: Mutex::default() }
    }

    /// Records the pipes that this process shares with the pool's processes. [`nothing_left`](Self::nothing_left) waits
    /// until they are closed.
    pub fn record_pipes(&self) {
        let ours = pipes_of(process::id());
        let theirs = self.processes().into_iter().flat_map(|seen| pipes_of(seen.pid));
        let shared = theirs.filter(|pipe| ours.contains(pipe));
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).extend(shared);
    }

    /// Waits until no process of the pool, no zombie of this process and no recorded pipe is left.
    ///
    /// # Panics
    /// If something is left after [`HANG_TIMEOUT`](super::HANG_TIMEOUT).
    pub async fn nothing_left(&self) {
        // Check only the zombies that exist now. Later ones may belong to other tests in this process.
        let zombies = zombies();
        wait_until_seen("the pool's zombies are reaped", || {
            zombies.iter().all(|zombie| stat(zombie.pid).as_ref() != Some(zombie))
        })
        .await;
        wait_until_seen("the pool's processes are gone", || self.processes().is_empty()).await;
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_until_seen("the pool's descriptors are closed", || pipes_of(process::id()).is_disjoint(&pipes)).await;
    }
}

fn pipes_of(pid: u32) -> HashSet<String> {
    descriptors(pid).into_values().filter(|target| target.starts_with("pipe:")).collect()
}

/// Like [`wait_until`](super::wait_until), for a condition that can be checked without waiting. The future is `Send`.
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
async fn wait_until_seen(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(what, poll).await;
}
