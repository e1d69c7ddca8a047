//! A running pool of a test. Holds it with the folder and the census that belong to it.

use super::{POLL_INTERVAL, PoolProcesses, Signal, TestContext, capture, with_timeout};
use crate::{
    Call, InvalidConfig, Pool, PoolConfig, PoolState, ShutdownReport, Status, WorkerEntry, WorkerHealth, WorkerInfo,
    WorkerRef, WorkerState,
};
use rustix::process::{Pid, kill_process};
use serde::de::IgnoredAny;
use std::{collections::BTreeMap, ops::Deref, path::Path, time::Duration};
use tempfile::TempDir;

/// A pool of a test, and what belongs to it. It is a [`Pool`] for all that a pool is asked.
///
/// [`end`](Self::end) is part of each test. A test that fails before that leaves nothing either: with the pool its workers are killed.
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

/// Starts a pool and waits for its workers. The closure says what is special about it.
///
/// # Panics
/// When the configuration is none, or no worker starts.
///
/// ```
/// use herder::testing::{pool, wait_until};
/// use serde_json::json;
/// # #[tokio::main]
/// # async fn main() {
/// let pool = pool("killed", |context| context.enhanced().app("herder.demo:app").build()).await;
/// let victim = pool.base_workers().await[0].process();
/// assert!(pool.kill(victim).await);
/// wait_until("the death is noticed", async || pool.worker(victim).await.is_none()).await;
/// pool.wait_healthy("pid").await;
/// pool.end().await;
/// # }
/// ```
pub async fn pool(hint: &str, build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>) -> TestPool {
    let (config, context) = pool_config(hint, build);
    let pool = with_timeout("the pool's start", Pool::start(config)).await.unwrap();
    TestPool::new(pool, context)
}

/// The same, without waiting for its workers.
///
/// # Panics
/// When the configuration is none.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// let pool = herder::testing::starting_pool("soon", |context| context.basic().app("herder.demo:app").build()).await;
/// pool.ready().await.unwrap();
/// pool.end().await;
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

/// The configuration alone, for a pool that a test starts itself; then [`TestPool::new`] takes it in charge.
///
/// # Panics
/// When it is none.
///
/// ```
/// use herder::{Pool, testing::{TestPool, pool_config}};
/// # #[tokio::main]
/// # async fn main() {
/// let (config, context) = pool_config("mine", |context| context.basic().app("herder.demo:app").build());
/// let pool = Pool::start(config).await.unwrap();
/// TestPool::new(pool, context).end().await;
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
    /// Takes a pool in charge that a test started itself.
    pub fn new(pool: Pool, context: TestContext) -> Self {
        let processes = PoolProcesses::new(context.name());
        Self { pool, dir: context.into_dir(), processes }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its processes.
    pub fn processes(&self) -> &PoolProcesses {
        &self.processes
    }

    /// The base workers, as they are now.
    ///
    /// # Panics
    /// When the pool is gone.
    pub async fn base_workers(&self) -> Vec<WorkerInfo> {
        let mut workers = self.pool.workers().await.unwrap();
        workers.retain(|worker| !worker.overflow);
        workers
    }

    /// A worker as it is now; `None` if that process is gone.
    ///
    /// # Panics
    /// When the pool is gone.
    pub async fn worker(&self, worker_ref: WorkerRef) -> Option<WorkerInfo> {
        self.pool.workers().await.unwrap().into_iter().find(|worker| worker.process() == worker_ref)
    }

    /// The process id of a worker that lives.
    ///
    /// # Panics
    /// When it does not.
    pub async fn pid(&self, worker_ref: WorkerRef) -> u32 {
        self.worker(worker_ref).await.and_then(|worker| worker.pid).unwrap()
    }

    /// SIGKILL to a worker, from outside, as the kernel or an operator would; false if it is gone. (`Pool::kill_worker` is the pool's
    /// own way.)
    ///
    /// # Panics
    /// When the pool is gone.
    pub async fn kill(&self, worker: WorkerRef) -> bool {
        self.signal_worker(worker, Signal::KILL).await
    }

    /// SIGSTOP: the worker stays, and does nothing; false if it is gone. A pool with `health` on finds that out.
    ///
    /// # Panics
    /// When the pool is gone.
    pub async fn stop(&self, worker: WorkerRef) -> bool {
        self.signal_worker(worker, Signal::STOP).await
    }

    /// SIGCONT: it goes on; false if it is gone.
    ///
    /// # Panics
    /// When the pool is gone.
    pub async fn resume(&self, worker: WorkerRef) -> bool {
        self.signal_worker(worker, Signal::CONT).await
    }

    async fn signal_worker(&self, worker_ref: WorkerRef, signal: Signal) -> bool {
        let pid = self.worker(worker_ref).await.and_then(|worker| worker.pid);
        pid.is_some_and(|pid| self.processes.signal(pid, signal))
    }

    /// Waits until it is whole again: running, every base worker ready and healthy, nothing in flight; then a call of `command`,
    /// without arguments, must succeed.
    ///
    /// # Panics
    /// When it does not become whole, or the call fails.
    #[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
    pub async fn wait_healthy(&self, command: &str) {
        let looks = async {
            while !is_healthy(&self.pool.status().await.unwrap()) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("the pool is whole", looks).await;
        let call: Call<IgnoredAny> = self.pool.call(command, &BTreeMap::<(), ()>::new());
        with_timeout("a call of a pool that is whole", call).await.unwrap();
    }

    /// Ends it, and proves that nothing is left: no process, no zombie, no descriptor, no call that did not have exactly one end.
    ///
    /// # Panics
    /// When something is.
    pub async fn end(self) -> ShutdownReport {
        self.processes.look();
        let Self { pool, dir, processes } = self;
        let report = with_timeout("the shutdown", pool.shutdown(Duration::from_secs(5))).await.unwrap();
        drop(pool);
        every_call_has_one_end(&report);
        processes.nothing_left().await;
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

/// As the pool itself counts it.
fn every_call_has_one_end(report: &ShutdownReport) {
    let counted = report.counters;
    let ends = [
        counted.refused,
        counted.ok,
        counted.failed,
        counted.lost,
        counted.timeouts,
        counted.abandoned,
        counted.failed_by_pool,
    ];
    assert_eq!(counted.submitted, ends.iter().sum::<u64>(), "each call has exactly one end: {counted:?}");
}

/// A signal to any process. An error says that it is gone, or not ours.
///
/// # Errors
/// What the system says.
///
/// # Panics
/// When that is no process id.
///
/// ```
/// use herder::testing::{Signal, signal};
/// signal(std::process::id(), Signal::CONT).unwrap();
/// ```
#[track_caller]
pub fn signal(pid: u32, signal: Signal) -> std::io::Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal)?)
}
