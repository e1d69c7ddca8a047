//! A running pool of a test, with its directory and its processes.

use super::{PoolProcesses, TestContext, processes::POLL_INTERVAL};
use crate::{Call, Pool};
use herder_actors::{
    InvalidConfig, PoolConfig, PoolState, ShutdownReport, Signal, Status, WorkerEntry, WorkerHealth, WorkerInfo,
    WorkerRef, WorkerState,
    testing::{capture, wait_until, with_timeout},
};
use rustix::process::{Pid, kill_process};
use serde::de::IgnoredAny;
use std::{collections::BTreeMap, ops::Deref, path::Path, time::Duration};
use tempfile::TempDir;

/// A pool of a test, with its directory and its processes. Dereferences to [`Pool`].
///
/// Call [`shutdown_and_check`](Self::shutdown_and_check) in each test. If a test fails before that, dropping the pool
/// kills its workers.
#[derive(Debug)]
pub struct TestPool {
    pool: Pool,
    dir: TempDir,
    processes: PoolProcesses,
}

impl Deref for TestPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// Starts a pool, and waits until its workers are ready. The closure returns the configuration.
///
/// # Panics
/// If the configuration is invalid, or no worker starts.
///
/// ```
/// use herder::testing::pool;
/// use serde_json::json;
/// # #[tokio::main]
/// # async fn main() {
/// let pool = pool("killed", |context| context.enhanced().app("herder.demo:app").build()).await;
/// let worker = pool.base_workers().await[0].process();
/// assert!(pool.kill(worker).await);
/// assert_eq!(pool.status().await.unwrap().counters.exits, 1);
/// pool.wait_healthy("pid").await;
/// pool.shutdown_and_check().await;
/// # }
/// ```
pub async fn pool(hint: &str, build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>) -> TestPool {
    let (config, context) = pool_config(hint, build);
    let pool = with_timeout("the pool's start", Pool::start(config)).await.unwrap();
    TestPool::new(pool, context)
}

/// Starts a pool without waiting for its workers.
///
/// # Panics
/// If the configuration is invalid.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// let pool = herder::testing::starting_pool("soon", |context| context.basic().app("herder.demo:app").build()).await;
/// pool.ready().await.unwrap();
/// pool.shutdown_and_check().await;
/// # }
/// ```
pub async fn starting_pool(
    hint: &str,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> TestPool {
    let (config, context) = pool_config(hint, build);
    let pool = with_timeout("the pool's start", Pool::start(config).without_waiting()).await.unwrap();
    TestPool::new(pool, context)
}

/// Creates a configuration for a pool that the test starts itself. Pass the pool to [`TestPool::new`] afterwards.
///
/// # Panics
/// If the configuration is invalid.
///
/// ```
/// use herder::{Pool, testing::{TestPool, pool_config}};
/// # #[tokio::main]
/// # async fn main() {
/// let (config, context) = pool_config("mine", |context| context.basic().app("herder.demo:app").build());
/// let pool = Pool::start(config).await.unwrap();
/// TestPool::new(pool, context).shutdown_and_check().await;
/// # }
/// ```
#[track_caller]
pub fn pool_config(
    hint: &str,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> (PoolConfig, TestContext) {
    capture();
    let context = TestContext::new(hint);
    (build(&context).unwrap(), context)
}

impl TestPool {
    /// Wraps a pool that the test started itself.
    pub fn new(pool: Pool, context: TestContext) -> Self {
        let processes = PoolProcesses::new(context.name());
        Self { pool, dir: context.into_dir(), processes }
    }

    /// Returns the pool's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the pool's processes.
    pub fn processes(&self) -> &PoolProcesses {
        &self.processes
    }

    /// Lists the base workers.
    ///
    /// # Panics
    /// If the pool has ended.
    pub async fn base_workers(&self) -> Vec<WorkerInfo> {
        let mut workers = self.pool.workers().await.unwrap();
        workers.retain(|worker| !worker.overflow);
        workers
    }

    /// Returns the state of a worker process; `None` if it no longer exists.
    ///
    /// # Panics
    /// If the pool has ended.
    pub async fn worker(&self, worker_ref: WorkerRef) -> Option<WorkerInfo> {
        self.pool.workers().await.unwrap().into_iter().find(|worker| worker.process() == worker_ref)
    }

    /// Returns the process id of a running worker.
    ///
    /// # Panics
    /// If the process no longer exists, or the pool has ended.
    pub async fn pid(&self, worker_ref: WorkerRef) -> u32 {
        self.worker(worker_ref).await.and_then(|worker| worker.pid).unwrap()
    }

    /// Sends SIGKILL to a worker from outside of the pool, as the kernel or an operator would, and waits until the pool
    /// has noticed its death. Returns false if the process no longer exists. ([`Pool::kill_worker`] lets the pool kill
    /// it.)
    ///
    /// # Panics
    /// If the pool has ended, or does not notice the death in time.
    pub async fn kill(&self, worker: WorkerRef) -> bool {
        let exists = self.signal_worker(worker, Signal::KILL).await;
        if exists {
            self.wait_noticed(worker).await;
        }
        exists
    }

    /// Sends SIGSTOP to a worker: the process exists, but does not run. A pool with health checks detects this. Returns
    /// false if the process no longer exists.
    ///
    /// # Panics
    /// If the pool has ended.
    pub async fn stop(&self, worker: WorkerRef) -> bool {
        self.signal_worker(worker, Signal::STOP).await
    }

    /// Sends SIGCONT to a worker, which runs again. Returns false if the process no longer exists.
    ///
    /// # Panics
    /// If the pool has ended.
    pub async fn resume(&self, worker: WorkerRef) -> bool {
        self.signal_worker(worker, Signal::CONT).await
    }

    /// Waits until the pool has noticed that a process exited. Its slot may keep the terminated process until the restart.
    pub(super) async fn wait_noticed(&self, process: WorkerRef) {
        wait_until("the pool has noticed the death of a worker", async || {
            self.worker(process).await.is_none_or(|worker| worker.state == WorkerState::Terminated)
        })
        .await;
    }

    async fn signal_worker(&self, worker_ref: WorkerRef, signal: Signal) -> bool {
        let pid = self.worker(worker_ref).await.and_then(|worker| worker.pid);
        pid.is_some_and(|pid| self.processes.signal(pid, signal))
    }

    /// Waits until the pool has recovered: it is running, every base worker is ready and healthy, and no call is in
    /// flight. Then runs `command` without arguments, which must succeed.
    ///
    /// # Panics
    /// If the pool does not recover in time, or the call fails.
    #[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
    pub async fn wait_healthy(&self, command: &str) {
        let poll = async {
            while !is_healthy(&self.pool.status().await.unwrap()) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("the pool has recovered", poll).await;
        let call: Call<IgnoredAny> = self.pool.call(command, &BTreeMap::<(), ()>::new());
        with_timeout("a call of a recovered pool", call).await.unwrap();
    }

    /// Shuts the pool down, and checks that nothing is left: no process, no zombie, no descriptor, and no call without
    /// exactly one outcome.
    ///
    /// # Panics
    /// If something is left.
    pub async fn shutdown_and_check(self) -> ShutdownReport {
        // Note the pipes before the shutdown: afterwards, there is no process to compare them with.
        self.processes.record_pipes();
        let Self { pool, dir, processes } = self;
        let report = with_timeout("the shutdown", pool.shutdown(Duration::from_secs(5))).await.unwrap();
        // The last handle: dropping it closes the descriptors that are checked below.
        drop(pool);
        check_that_each_call_has_one_outcome(&report);
        processes.nothing_left().await;
        // Workers may use their directory until they have exited.
        drop(dir);
        report
    }
}

fn is_healthy(status: &Status) -> bool {
    let ready = status.workers.iter().filter(|worker| !worker.status.overflow && is_ready(worker)).count();
    status.state == PoolState::Running && ready == status.pool_size as usize && status.queue.in_flight == 0
}

fn is_ready(worker: &WorkerEntry) -> bool {
    worker.status.state == WorkerState::Ready && worker.status.health == WorkerHealth::Healthy
}

/// Checks the pool's counters: each submitted call has exactly one outcome.
fn check_that_each_call_has_one_outcome(report: &ShutdownReport) {
    let counters = report.counters;
    let outcomes = [
        counters.refused,
        counters.ok,
        counters.failed,
        counters.lost,
        counters.timeouts,
        counters.abandoned,
        counters.failed_by_pool,
    ];
    assert_eq!(counters.submitted, outcomes.iter().sum::<u64>(), "each call has exactly one outcome: {counters:?}");
}

/// Sends a signal to any process.
///
/// # Errors
/// Returns the error of the system: the process does not exist, or may not be signalled.
///
/// # Panics
/// If `pid` is not a process id.
///
/// ```
/// use herder::testing::{Signal, signal};
/// signal(std::process::id(), Signal::CONT).unwrap();
/// ```
#[track_caller]
pub fn signal(pid: u32, signal: Signal) -> std::io::Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal)?)
}
