//! What a calibration is made of: a few starts of a small pool, and a few calls of it, one after the other and side by side.

use super::{
    MeasureError,
    callers::{CallBatch, Workload},
    machine::cores,
    watch::UsageWatch,
};
use crate::{
    Direction, Pool, PoolConfig, RecordedFrame, Recording,
    concurrency::{AccountError, CpuTime, Interval, Operation},
    performance::{Environment, Spread},
};
use serde_json::Value;
use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How often a pool is started.
const STARTS: usize = 3;
/// Blocks of calls of each kind: the average of a block varies as that of a run does, and single calls vary more.
const BLOCKS: usize = 8;
/// How long all blocks of a kind may take, as far as that can be had: a block has one call at least.
const BUDGET: Duration = Duration::from_secs(2);
/// A block has so many calls at most.
const BLOCK: usize = 25;
/// How long a pool may take to end.
const ENDING: Duration = Duration::from_secs(10);

pub(super) async fn environment(
    config: &PoolConfig,
    command: &str,
    arguments: &Value,
) -> Result<Environment, MeasureError> {
    let config = config.clone().with_pool_size(cores() as usize)?;
    let mut starts = Starts::default();
    for _ in 1..STARTS {
        starts.pool(&config).await?.shutdown(ENDING).await?;
    }
    let pool = starts.pool(&config).await?;
    let calls = Calls::of(&pool, command, arguments).await;
    pool.shutdown(ENDING).await?;
    calls?.environment(&starts).ok_or_else(|| AccountError::NoOperations(0).into())
}

/// How workers started.
#[derive(Default)]
struct Starts {
    interpreters: Vec<Duration>,
    app_starts: Vec<Duration>,
}

impl Starts {
    async fn pool(&mut self, config: &PoolConfig) -> Result<Pool, MeasureError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("calibration-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let pool = Pool::start(config.clone().with_name(&name)?).await?;
        for worker in pool.workers().await? {
            self.note(&*pool.recorder(worker.id, Some(worker.generation)).await?);
        }
        Ok(pool)
    }

    /// A worker says hello when its interpreter runs, and ready when its application does.
    #[expect(clippy::disallowed_methods, reason = "measures durations")]
    fn note(&mut self, recording: &Recording) {
        let said = |kind| {
            let frame = |frame: &&RecordedFrame| frame.direction == Direction::Received && frame.kind == kind;
            recording.frames.iter().find(frame).map(|frame| frame.at)
        };
        if let (Some(started), Some(hello), Some(ready)) = (recording.started_at, said("hello"), said("ready")) {
            self.interpreters.push(hello.duration_since(started).unwrap_or_default());
            self.app_starts.push(ready.duration_since(hello).unwrap_or_default());
        }
    }
}

/// How calls went.
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
            calls.overheads.extend(one.way().into_iter().chain(many.way()));
            calls.uncontended.extend(one.handler());
            calls.contention_factor.extend(many.handler());
        }
        let nothing = Interval { started: 0, ended: 0 };
        calls.other_load = watch.end(pool, nothing, &[]).await?.machine.other_load.unwrap_or(0.0);
        Ok(calls)
    }

    fn environment(self, starts: &Starts) -> Option<Environment> {
        let (call, contention_factor) = (Spread::of(self.uncontended)?, Spread::of(self.contention_factor)?);
        let at_once = |durations: &[Duration]| Spread::of(durations.iter().copied());
        Some(Environment {
            start: at_once(&starts.interpreters).unwrap_or(Spread::exactly(Duration::ZERO)),
            app_start: at_once(&starts.app_starts).unwrap_or(Spread::exactly(Duration::ZERO)),
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

/// Some calls in a row, and what their workers used meanwhile.
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

    /// A handler's time without its waits for a core.
    fn handler(&self) -> Option<Duration> {
        mean(&self.batch, super::pairs::without_waits(self.batch.work(), self.batch.floor(), self.cpu_time))
    }

    /// All of a call that is not its handler.
    fn way(&self) -> Option<Duration> {
        let way = |operation: &Operation| {
            let whole = operation.answered.since(operation.queued);
            whole.saturating_sub(operation.interval().duration())
        };
        mean(&self.batch, self.batch.operations.iter().map(way).sum())
    }

    fn longest(&self) -> Duration {
        self.batch.operations.iter().map(|operation| operation.interval().duration()).max().unwrap_or_default()
    }
}

/// So many calls that all blocks of a kind fit into the budget.
fn block_size(warm: &CallBatch) -> usize {
    let one = mean(warm, warm.work()).unwrap_or_default().max(Duration::from_micros(1));
    let fit = BUDGET.as_secs_f64() / BLOCKS as f64 / one.as_secs_f64();
    (fit as usize).clamp(1, BLOCK)
}

fn mean(batch: &CallBatch, sum: Duration) -> Option<Duration> {
    u32::try_from(batch.operations.len()).ok().and_then(|count| sum.checked_div(count))
}
