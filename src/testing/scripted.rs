//! Pools whose workers are no processes: closures, or the test itself. Holds the pool, and the hand on its workers.

use super::{
    FakeWorkers, Launches, Script, ScriptedWorkers, StartBehavior, TestContext, TestPool, VirtualClock, pool_config,
    with_timeout,
};
use crate::{GetStatus, InvalidConfig, PoolConfig, PoolSupervisor, ShutdownReport, WorkerRef, pool::supervised};
use actix::Addr;
use std::{ops::Deref, time::Duration};

/// A pool whose workers are the closures of a [`Script`]. It is a [`TestPool`] for all that one is asked.
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

/// Starts a pool whose workers follow a script, and waits until they are ready. What the configuration would start is not started.
///
/// # Panics
/// When the configuration is none.
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
/// pool.end().await;
/// # }
/// ```
pub async fn scripted(
    hint: &str,
    script: Script,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> ScriptedPool {
    start(hint, script, None, build).await
}

/// The same, going by a clock that the test moves: see [`VirtualClock`] for what does. Also a restart waits for its backoff of 10 ms then.
///
/// # Panics
/// When the configuration is none.
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
/// assert!(pool.session("ann").await.unwrap().is_none(), "two hours later nobody knows it");
/// pool.end().await;
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
    let pool = launched(config, context, workers.clone(), clock.clone()).await;
    with_timeout("the workers of a script", pool.ready()).await.unwrap();
    ScriptedPool { pool, workers, clock }
}

async fn launched(
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
    /// The worker ends as by SIGKILL; false if it is gone.
    pub fn kill(&self, worker: WorkerRef) -> bool {
        self.workers.kill(worker)
    }

    /// The worker does nothing any more, as after SIGSTOP; false if it is gone.
    pub fn stop(&self, worker: WorkerRef) -> bool {
        self.workers.stop(worker)
    }

    /// It goes on; false if it is gone.
    pub fn resume(&self, worker: WorkerRef) -> bool {
        self.workers.resume(worker)
    }

    /// How the starts of workers go from now on; those that wait hear of it too.
    pub fn set_start_behavior(&self, how: StartBehavior) {
        self.workers.set_start_behavior(how);
    }

    /// Ends it, as [`TestPool::end`] does. What the shutdown waits for passes on a clock of the test's, too.
    ///
    /// # Panics
    /// When something is left.
    pub async fn end(self) -> ShutdownReport {
        let Self { pool, workers, clock } = self;
        workers.set_start_behavior(StartBehavior::Ready);
        let supervisor = pool.supervisor().clone();
        let end = pool.end();
        let Some(clock) = clock else { return end.await };
        tokio::select! {
            report = end => report,
            never = passes(&clock, &supervisor) => never,
        }
    }
}

/// Lets the time that a shutdown gives its calls pass on the test's clock, at the machine's leisure. Not more: the workers end at
/// the machine's pace, and the time they have for it must not run out meanwhile.
#[expect(clippy::disallowed_methods, reason = "sets the pace of a virtual clock")]
async fn passes<T>(clock: &VirtualClock, pool: &Addr<PoolSupervisor>) -> T {
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let queue = pool.send(GetStatus).await.map(|status| status.queue);
        if queue.is_ok_and(|queue| queue.in_flight + queue.waiting > 0) {
            clock.advance(Duration::from_secs(1)).await;
        }
    }
    std::future::pending().await
}

/// A pool whose workers the test plays itself, frame by frame.
#[derive(Debug)]
pub struct FramePool {
    /// The pool. Before it ends, drop the workers you play, or let them exit.
    pub pool: TestPool,
    /// What it launches.
    pub launches: Launches,
    /// How launches go.
    pub fake_workers: FakeWorkers,
}

/// Starts a pool whose workers the test plays itself. It does not wait for them. Whom the test plays at the end of the pool it also ends
/// (exits, drops it, or lets it serve); a process that it never took from the launches ends by itself.
///
/// # Panics
/// When the configuration is none.
///
/// ```
/// use herder::testing::{FramePool, frame_pool};
/// use serde_json::{Value, json};
/// # #[tokio::main]
/// # async fn main() {
/// let started = frame_pool("garbage", |context| context.basic().command(["played"]).pool_size(1).build()).await;
/// let FramePool { pool, mut launches, .. } = started;
/// let mut worker = launches.next().await.ready().await;
/// let call = pool.call::<Value>("echo", &json!({ "n": 1 })).reply();
/// worker.call().await;
/// worker.calls.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
/// let error = call.await.unwrap_err();
/// assert!(error.to_string().contains("protocol"), "{error}");
/// drop(worker);
/// let next = launches.next().await.ready().await; // the pool starts another
/// drop(next);
/// pool.end().await;
/// # }
/// ```
pub async fn frame_pool(
    hint: &str,
    build: impl FnOnce(&TestContext) -> Result<PoolConfig, InvalidConfig>,
) -> FramePool {
    start_frame_pool(hint, None, build).await
}

/// The same, going by a clock that the test moves.
///
/// # Panics
/// When the configuration is none.
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
    let pool = launched(config, context, peers.clone(), clock).await;
    FramePool { pool, launches, fake_workers: peers }
}
