//! The measurements of a calibration: a few starts of a small pool, and a few calls of it, serially and in parallel.

use super::{
    MeasureError,
    callers::{CallBatch, Workload},
    machine::cores,
    watch::UsageWatch,
};
use crate::Pool;
use herder_actors::{Direction, PoolConfig, RecordedFrame, Recording};
use herder_efficiency::{
    concurrency::{AccountError, CpuTime, Interval, Operation},
    performance::{Environment, Spread},
};
use serde_json::Value;
use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The number of times that the pool is started.
const STARTS: usize = 3;
/// The number of blocks of calls of each kind. Averages of blocks vary like those of runs; single calls vary more.
const BLOCKS: usize = 8;
/// The longest time for all blocks of a kind. It is exceeded if single calls are too long, because a block has at least
/// one call.
const BUDGET: Duration = Duration::from_secs(2);
/// The largest number of calls in a block.
const BLOCK: usize = 25;
/// The timeout for the shutdown of a pool.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures an environment with a separate pool.
pub(super) async fn environment(
    config: &PoolConfig,
    command: &str,
    arguments: &Value,
) -> Result<Environment, MeasureError> {
    let config = config.clone().with_pool_size(cores() as usize)?;
    let mut starts = Starts::default();
    for _ in 1..STARTS {
        starts.start_pool(&config).await?.shutdown(SHUTDOWN_TIMEOUT).await?;
    }
    let pool = starts.start_pool(&config).await?;
    let calls = Calls::of(&pool, command, arguments).await;
    pool.shutdown(SHUTDOWN_TIMEOUT).await?;
    calls?.environment(&starts).ok_or_else(|| AccountError::NoOperations(0).into())
}

/// The measured starts of workers.
#[derive(Default)]
struct Starts {
    interpreters: Vec<Duration>,
    app_starts: Vec<Duration>,
}

impl Starts {
    async fn start_pool(&mut self, config: &PoolConfig) -> Result<Pool, MeasureError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("calibration-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let pool = Pool::start(config.clone().with_name(&name)?).await?;
        for worker in pool.workers().await? {
            self.record(&*pool.recorder(worker.id, Some(worker.generation)).await?);
        }
        Ok(pool)
    }

    /// Records the start of a worker. A worker sends its hello when its interpreter runs, and ready when its app has
    /// been loaded.
    #[expect(clippy::disallowed_methods, reason = "measures durations")]
    fn record(&mut self, recording: &Recording) {
        let received_at = |kind| {
            let frame = |frame: &&RecordedFrame| frame.direction == Direction::Received && frame.kind == kind;
            recording.frames.iter().find(frame).map(|frame| frame.at)
        };
        if let (Some(started), Some(hello), Some(ready)) =
            (recording.started_at, received_at("hello"), received_at("ready"))
        {
            self.interpreters.push(hello.duration_since(started).unwrap_or_default());
            self.app_starts.push(ready.duration_since(hello).unwrap_or_default());
        }
    }
}

/// The measured calls.
#[derive(Default)]
struct Calls {
    uncontended: Vec<Duration>,
    contention_factor: Vec<Duration>,
    overheads: Vec<Duration>,
    worst: Duration,
    used: Duration,
    ran: Duration,
    other_load: f64,
}

impl Calls {
    async fn of(pool: &Pool, command: &str, arguments: &Value) -> Result<Self, MeasureError> {
        let work = Workload::without_progress(pool, command, arguments);
        let workers = pool.config().pool_size() as usize;
        let warm = work.run(workers, workers).await.checked()?;
        let (block, mut calls) = (block_size(&warm), Self::default());
        let watch = UsageWatch::begin(pool).await?;
        for _ in 0..BLOCKS {
            let (one, many) = (Block::run(&work, block, 1).await?, Block::run(&work, block * workers, workers).await?);
            calls.used += one.cpu_time.used;
            calls.ran += one.batch.work();
            calls.worst = calls.worst.max(one.longest());
            calls.overheads.extend(one.overhead().into_iter().chain(many.overhead()));
            calls.uncontended.extend(one.handler());
            calls.contention_factor.extend(many.handler());
        }
        let nothing = Interval { started: 0, ended: 0 };
        calls.other_load = watch.end(pool, nothing, &[]).await?.machine.other_load.unwrap_or(0.0);
        Ok(calls)
    }

    fn environment(self, starts: &Starts) -> Option<Environment> {
        let (call, contention_factor) = (Spread::of(self.uncontended)?, Spread::of(self.contention_factor)?);
        let spread = |durations: &[Duration]| Spread::of(durations.iter().copied());
        Some(Environment {
            start: spread(&starts.interpreters).unwrap_or(Spread::exactly(Duration::ZERO)),
            app_start: spread(&starts.app_starts).unwrap_or(Spread::exactly(Duration::ZERO)),
            parallel_starts: cores() as usize,
            call,
            worst_call: self.worst,
            overhead: Spread::of(self.overheads)?,
            cpu_share: (self.used.as_secs_f64() / self.ran.as_secs_f64().max(1e-9)).min(1.0),
            contention_factor: (contention_factor.likely().as_secs_f64() / call.likely().as_secs_f64().max(1e-9))
                .max(1.0),
            cores: cores(),
            other_load: self.other_load,
        })
    }
}

/// A series of calls, and the CPU time of the workers during it.
struct Block {
    batch: CallBatch,
    cpu_time: CpuTime,
}

impl Block {
    async fn run(work: &Workload, calls: usize, callers: usize) -> Result<Self, MeasureError> {
        let watch = UsageWatch::begin(&work.pool).await?;
        let batch = work.run(calls, callers).await.checked()?;
        let window = batch.window().unwrap_or(Interval { started: 0, ended: 0 });
        let watched = watch.end(&work.pool, window, &batch.operations).await?;
        Ok(Self { batch, cpu_time: watched.cpu_time().unwrap_or_default() })
    }

    /// Returns the average duration of a handler without its waits for a core.
    fn handler(&self) -> Option<Duration> {
        mean(&self.batch, super::pairs::without_waits(self.batch.work(), self.batch.floor(), self.cpu_time))
    }

    /// Returns the average time of a call without its handler.
    fn overhead(&self) -> Option<Duration> {
        let overhead = |operation: &Operation| {
            let total = operation.answered.since(operation.queued);
            total.saturating_sub(operation.interval().duration())
        };
        mean(&self.batch, self.batch.operations.iter().map(overhead).sum())
    }

    fn longest(&self) -> Duration {
        self.batch.operations.iter().map(|operation| operation.interval().duration()).max().unwrap_or_default()
    }
}

/// Returns the number of calls in a block, so that all blocks of a kind stay within the budget.
fn block_size(warm: &CallBatch) -> usize {
    let one = mean(warm, warm.work()).unwrap_or_default().max(Duration::from_micros(1));
    let fit = BUDGET.as_secs_f64() / BLOCKS as f64 / one.as_secs_f64();
    (fit as usize).clamp(1, BLOCK)
}

fn mean(batch: &CallBatch, sum: Duration) -> Option<Duration> {
    u32::try_from(batch.operations.len()).ok().and_then(|count| sum.checked_div(count))
}
