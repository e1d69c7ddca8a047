//! What the whole-pool tests share: a pool of its own for each test, with its own name, folder and workers. Waits are for
//! events; the only time limit is a guard against hanging. Holds no state but the captured log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod census;
mod logs;

pub(crate) use census::{Census, Seen, stat};
pub(crate) use logs::{Line, lines_of};

use herder::{
    Basic, Config, Enhanced, Pool, PoolBuilder, PoolConfig, PoolState, Restart, ShutdownReport, WorkerInfo, WorkerRef,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// A guard against hanging, not a measure: generous on purpose, since the machine may be busy.
pub(crate) const HANGING: Duration = Duration::from_secs(120);

/// What a test builds its pool from: a name nobody else has, a folder of its own, and a mark in the environment of its workers.
pub(crate) struct Fresh {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
}

impl Fresh {
    pub(crate) fn new(hint: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{hint}_{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { name, dir: TempDir::new().unwrap() }
    }

    /// The builder of a basic pool: two workers, no overflow, quick restarts, paths from this folder.
    pub(crate) fn basic(&self) -> PoolBuilder<Basic> {
        self.begun(PoolConfig::basic(&self.name))
    }

    /// The builder of an enhanced pool, otherwise the same.
    pub(crate) fn enhanced(&self) -> PoolBuilder<Enhanced> {
        self.begun(PoolConfig::enhanced(&self.name))
    }

    /// A file's table for a pool of the demo, otherwise the same; `keys` are more lines of it.
    pub(crate) fn table(&self, keys: &str) -> String {
        let (name, mark) = (&self.name, census::MARK);
        let env = format!("env = {{ {mark} = '{name}' }}");
        format!("[pools.{name}]\napp = 'herder.demo:app'\npool_size = 2\noverflow = 0\n{env}\n{keys}\n")
    }

    /// What a file with this table alone makes.
    pub(crate) fn toml(&self, keys: &str) -> PoolConfig {
        Config::from_toml(&self.table(keys), self.dir.path()).unwrap().pools.remove(0)
    }

    /// Writes a file into the folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        worker_file(self.dir.path(), name, text)
    }

    fn begun<T>(&self, builder: PoolBuilder<T>) -> PoolBuilder<T> {
        let quick = Duration::from_millis(10);
        let restart = Restart::new().max(1000).backoff(quick).max_backoff(10 * quick);
        builder
            .env(census::MARK, &self.name)
            .relative_to(self.dir.path())
            .pool_size(2)
            .overflow(0)
            .timeout(HANGING)
            .start_timeout(HANGING)
            .queue(herder::Queue::new().timeout(HANGING))
            .restart(restart)
    }
}

/// Writes a worker's source into a folder; gives its path.
pub(crate) fn worker_file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A running pool with the folder and the census that belong to it. [`end`](Self::end) is part of each test.
pub(crate) struct TestPool {
    pool: Pool,
    pub(crate) dir: TempDir,
    pub(crate) census: Census,
}

impl Deref for TestPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// Starts a pool and waits for its workers. The closure says what is special about it:
///
/// `pool("kill", |fresh| fresh.enhanced().app("herder.demo:app").build())`
pub(crate) async fn pool(
    hint: &str,
    build: impl FnOnce(&Fresh) -> Result<PoolConfig, herder::InvalidConfig>,
) -> TestPool {
    let (config, fresh) = configured(hint, build);
    let pool = guarded("the pool's start", Pool::start(config)).await.unwrap();
    TestPool::new(pool, fresh)
}

/// The same, without waiting for its workers.
pub(crate) async fn pool_soon(
    hint: &str,
    build: impl FnOnce(&Fresh) -> Result<PoolConfig, herder::InvalidConfig>,
) -> TestPool {
    let (config, fresh) = configured(hint, build);
    let pool = guarded("the pool's start", Pool::start(config).without_waiting()).await.unwrap();
    TestPool::new(pool, fresh)
}

/// The configuration alone, for a pool that a test starts itself.
pub(crate) fn configured(
    hint: &str,
    build: impl FnOnce(&Fresh) -> Result<PoolConfig, herder::InvalidConfig>,
) -> (PoolConfig, Fresh) {
    logs::capture();
    let fresh = Fresh::new(hint);
    (build(&fresh).unwrap(), fresh)
}

impl TestPool {
    pub(crate) fn new(pool: Pool, fresh: Fresh) -> Self {
        let Fresh { name, dir } = fresh;
        Self { pool, dir, census: Census::new(&name) }
    }

    /// The base workers, as they are now.
    pub(crate) async fn base(&self) -> Vec<WorkerInfo> {
        let mut workers = self.pool.workers().await.unwrap();
        workers.retain(|worker| !worker.overflow);
        workers
    }

    /// A worker as it is now.
    pub(crate) async fn worker(&self, at: WorkerRef) -> Option<WorkerInfo> {
        self.pool.workers().await.unwrap().into_iter().find(|worker| worker.process() == at)
    }

    /// The process id of a worker that lives.
    pub(crate) async fn pid(&self, at: WorkerRef) -> u32 {
        self.worker(at).await.and_then(|worker| worker.pid).unwrap()
    }

    /// Waits until it is whole again: running, every base worker ready, nothing in flight; then a call must succeed.
    pub(crate) async fn whole(&self, command: &str) {
        until("the pool is whole", async || {
            let status = self.pool.status().await.unwrap();
            let ready = status.workers.iter().filter(|worker| !worker.status.overflow && is_ready(worker)).count();
            status.state == PoolState::Running && ready == status.pool_size as usize && status.queue.in_flight == 0
        })
        .await;
        let call: herder::Call<serde_json::Value> = self.pool.call(command, &json!({}));
        guarded("a call of a pool that is whole", call).await.unwrap();
    }

    /// Ends it, and checks that nothing is left: no process, no zombie, no descriptor, no call that was not answered.
    pub(crate) async fn end(self) -> ShutdownReport {
        self.census.look();
        let Self { pool, dir, census } = self;
        let report = guarded("the shutdown", pool.shutdown(Duration::from_secs(5))).await.unwrap();
        drop(pool);
        every_call_has_one_end(&report);
        census.nothing_left().await;
        drop(dir);
        report
    }
}

fn is_ready(worker: &herder::WorkerEntry) -> bool {
    worker.status.state == herder::WorkerState::Ready && worker.status.health == herder::WorkerHealth::Healthy
}

/// I1, as the pool itself counts it.
fn every_call_has_one_end(report: &ShutdownReport) {
    let counted = report.counters;
    let ends = [
        counted.refused,
        counted.ok,
        counted.failed,
        counted.lost,
        counted.timeouts,
        counted.abandoned,
        counted.closed,
    ];
    assert_eq!(counted.submitted, ends.iter().sum::<u64>(), "each call has exactly one end: {counted:?}");
}

/// A size that the environment may set, for a longer run than the usual.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// A signal to one process, from outside of the pool. An error says that it is gone.
pub(crate) fn signal(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal)
}

/// Waits until something is so. The pause between two looks is for the machine, not for the event.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await; // timing: the pause is no wait for the event
        }
    };
    guarded(what, looks).await;
}

/// Awaits something, with a guard against hanging.
pub(crate) async fn guarded<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(HANGING, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("gave up after {HANGING:?}: {what}"),
    }
}
