//! Pools whose workers are not processes, but closures or the test itself. Holds the pool, and the handles that control
//! its workers.

use super::{TestContext, TestPool, pool_config};
use crate::pool::supervised;
use actix::Addr;
use herder_actors::{
    GetStatus, InvalidConfig, PoolConfig, PoolSupervisor, ShutdownReport, WorkerRef,
    testing::{FakeWorkers, Launches, Script, ScriptedWorkers, StartBehavior, VirtualClock, with_timeout},
};
use std::{ops::Deref, time::Duration};

/// A pool whose workers are the closures of a [`Script`]. Dereferences to [`TestPool`].
#[derive(Debug)]
pub struct ScriptedPool {
    pool: TestPool,
    workers: ScriptedWorkers,
    clock: Option<VirtualClock>,
}

impl Deref for ScriptedPool {
    type Target = TestPool;

    fn deref(&self) -> &TestPool {
        &self.pool
    }
}

/// Starts a pool whose workers follow a script, and waits until they are ready. The program of the configuration is not
/// started.
///
/// # Panics
/// If the configuration is invalid.
///
/// ```
/// use herder::testing::{Fault, Script, scripted};
/// use serde_json::{Value, json};
/// # #[tokio::main]
/// # async fn main() {
/// let script = Script::new()
///     .command("echo", async |call| Ok(call.arguments().clone()))
///     .command("crash", async |_| Err(Fault::killed(11)));
/// let pool = scripted("crash", script, |context| context.enhanced().app("app.py:app").build()).await;
/// let error = pool.call::<Value>("crash", &json!({})).await.unwrap_err();
/// assert!(error.to_string().contains("SIGSEGV"), "{error}");
/// pool.wait_healthy("echo").await;
/// pool.shutdown_and_check().await;
/// # }
/// ```
pub async fn scripted(
    hint: &str,
    script: Script,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> ScriptedPool {
    start(hint, script, None, build).await
}

/// Like [`scripted`], with a clock that the test advances: see [`VirtualClock`] for what uses it. A restart then waits
/// for its backoff of 10 ms on this clock, too.
///
/// # Panics
/// If the configuration is invalid.
///
/// ```
/// use herder::testing::{VirtualClock, Script, scripted_on};
/// use serde_json::{Value, json};
/// use std::time::Duration;
/// # #[tokio::main]
/// # async fn main() {
/// let clock = VirtualClock::new();
/// let script = Script::new().command("ok", async |_| Ok(Value::Null));
/// let pool = scripted_on(&clock, "expiry", script, |context| context.enhanced().app("app.py:app").build()).await;
/// pool.call::<Value>("ok", &json!({})).session("ann").await.unwrap();
/// clock.advance(Duration::from_secs(7200)).await;
/// assert!(pool.session("ann").await.unwrap().is_none(), "the session expires within two hours");
/// pool.shutdown_and_check().await;
/// # }
/// ```
pub async fn scripted_on(
    clock: &VirtualClock,
    hint: &str,
    script: Script,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> ScriptedPool {
    start(hint, script, Some(clock.clone()), build).await
}

async fn start(
    hint: &str,
    script: Script,
    clock: Option<VirtualClock>,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> ScriptedPool {
    let (config, context) = pool_config(hint, build);
    let workers = match &clock {
        Some(clock) => script.workers_on(clock),
        None => script.workers(),
    };
    let pool = start_with_launcher(config, context, workers.clone(), clock.clone()).await;
    with_timeout("the workers of a script", pool.ready()).await.unwrap();
    ScriptedPool { pool, workers, clock }
}

async fn start_with_launcher(
    config: PoolConfig,
    context: TestContext,
    launcher: impl herder_actors::Launcher + Send,
    clock: Option<VirtualClock>,
) -> TestPool {
    let supervise = move |config| {
        let supervisor = PoolSupervisor::with_launcher(config, launcher);
        match clock {
            Some(clock) => supervisor.with_clock(clock),
            None => supervisor,
        }
    };
    let pool = with_timeout("the pool's start", supervised(config, supervise)).await.unwrap();
    TestPool::new(pool, context)
}

impl ScriptedPool {
    /// Ends a worker as by SIGKILL, and waits until the pool has noticed its death. Returns false if the worker no longer
    /// exists.
    ///
    /// # Panics
    /// If the pool has ended, or does not notice the death in time.
    pub async fn kill(&self, worker: WorkerRef) -> bool {
        let exists = self.workers.kill(worker);
        if exists {
            self.pool.wait_noticed(worker).await;
        }
        exists
    }

    /// Pauses a worker as by SIGSTOP. Returns false if it no longer exists.
    pub fn stop(&self, worker: WorkerRef) -> bool {
        self.workers.stop(worker)
    }

    /// Resumes a paused worker. Returns false if it no longer exists.
    pub fn resume(&self, worker: WorkerRef) -> bool {
        self.workers.resume(worker)
    }

    /// Sets how workers start from now on, including those that are waiting to start.
    pub fn set_start_behavior(&self, how: StartBehavior) {
        self.workers.set_start_behavior(how);
    }

    /// Shuts the pool down and checks that nothing is left, like [`TestPool::shutdown_and_check`]. On a virtual clock, the
    /// time that the shutdown waits for passes automatically.
    ///
    /// # Panics
    /// If something is left.
    pub async fn shutdown_and_check(self) -> ShutdownReport {
        let Self { pool, workers, clock } = self;
        // Let waiting workers start: a worker that never becomes ready would end only at the start timeout.
        workers.set_start_behavior(StartBehavior::Ready);
        let supervisor = pool.supervisor().clone();
        let shutdown = pool.shutdown_and_check();
        let Some(clock) = clock else { return shutdown.await };
        tokio::select! {
            report = shutdown => report,
            never = advance_during_shutdown(&clock, &supervisor) => never,
        }
    }
}

/// Advances the virtual clock while the shutdown waits for calls, with real pauses in between. Never returns.
///
/// It does not advance the clock after the last call: the workers stop in real time, and their time for it must not run
/// out on the virtual clock.
#[expect(clippy::disallowed_methods, reason = "sets the pace of a virtual clock")]
async fn advance_during_shutdown<T>(clock: &VirtualClock, pool: &Addr<PoolSupervisor>) -> T {
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let queue = pool.send(GetStatus).await.map(|status| status.queue);
        if queue.is_ok_and(|queue| queue.in_flight + queue.waiting > 0) {
            clock.advance(Duration::from_secs(1)).await;
        }
    }
    std::future::pending().await
}

/// A pool whose workers the test drives, frame by frame.
#[derive(Debug)]
pub struct FramePool {
    /// The pool. Before it ends, drop the fake workers, or let them exit.
    pub pool: TestPool,
    /// The launches of workers.
    pub launches: Launches,
    /// Controls the outcome of launches.
    pub fake_workers: FakeWorkers,
}

/// Starts a pool whose workers the test drives. Does not wait for them. The test must end each fake worker that
/// it has taken from the launches before the pool ends: let it exit, drop it, or let it serve. A launch that the test
/// has not taken ends automatically.
///
/// # Panics
/// If the configuration is invalid.
///
/// ```
/// use herder::testing::{FramePool, frame_pool};
/// use serde_json::{Value, json};
/// # #[tokio::main]
/// # async fn main() {
/// let started = frame_pool("garbage", |context| context.basic().command(["fake"]).pool_size(1).build()).await;
/// let FramePool { pool, mut launches, .. } = started;
/// let mut worker = launches.next().await.ready().await;
/// let call = pool.call::<Value>("echo", &json!({ "n": 1 })).reply();
/// worker.call().await;
/// worker.calls.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
/// let error = call.await.unwrap_err();
/// assert!(error.to_string().contains("protocol"), "{error}");
/// drop(worker);
/// let next = launches.next().await.ready().await; // the pool starts another one
/// drop(next);
/// pool.shutdown_and_check().await;
/// # }
/// ```
pub async fn frame_pool(
    hint: &str,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> FramePool {
    start_frame_pool(hint, None, build).await
}

/// Like [`frame_pool`], with a clock that the test advances.
///
/// # Panics
/// If the configuration is invalid.
pub async fn frame_pool_on(
    clock: &VirtualClock,
    hint: &str,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> FramePool {
    start_frame_pool(hint, Some(clock.clone()), build).await
}

async fn start_frame_pool(
    hint: &str,
    clock: Option<VirtualClock>,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> FramePool {
    let (config, context) = pool_config(hint, build);
    let (peers, launches) = FakeWorkers::new();
    let pool = start_with_launcher(config, context, peers.clone(), clock).await;
    FramePool { pool, launches, fake_workers: peers }
}
