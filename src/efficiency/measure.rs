//! [`Measure`]: one measurement, from the pool to the report.

use super::{
    EfficiencyReport, MeasureError, Verdict, WorkerStart,
    callers::{CallBatch, Progress, Workload},
    pairs::{self, PairResult},
    watch::{UsageWatch, WatchResult},
};
use crate::{
    Pool, PoolConfig,
    concurrency::{Interval, ObservedRun, PAIRS, TimeAccount, verify_concurrent_execution},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

/// How long a pool that was started for a measurement may take to end.
const ENDING: Duration = Duration::from_secs(10);
/// Calls for each lane unless said otherwise: enough that the first and the last hardly count.
const CALLS: usize = 50;
/// Callers for each lane unless said otherwise: one whose call runs, and one whose call is there when the lane is free again.
const CALLERS: usize = 2;

/// A measurement of a pool: which command, how often, by how many callers. Each number is set, or follows from the pool's size.
///
/// The pool should have nothing else to do meanwhile: calls of others take lanes that then look idle.
#[must_use = "nothing is measured until it runs"]
pub struct Measure {
    subject: Subject,
    command: String,
    arguments: Value,
    operations: Option<usize>,
    callers: Option<usize>,
    sessions: usize,
    pairs: usize,
    timeout: Option<Duration>,
    on_progress: Arc<dyn Fn(usize, usize) + Send + Sync>,
}

/// What is measured.
enum Subject {
    Running(Pool),
    Cold(Box<PoolConfig>),
}

impl Measure {
    /// Measures a pool that runs, warm: each worker has run the command before it counts.
    pub fn of(pool: &Pool) -> Self {
        Self::new(Subject::Running(pool.clone()))
    }

    /// Measures from the start of a pool, which is ended again afterwards.
    pub fn cold(config: PoolConfig) -> Self {
        Self::new(Subject::Cold(Box::new(config)))
    }

    fn new(subject: Subject) -> Self {
        Self {
            subject,
            command: "sleep".into(),
            arguments: json!({ "ms": 5 }),
            operations: None,
            callers: None,
            sessions: 0,
            pairs: PAIRS,
            timeout: None,
            on_progress: Arc::new(|_, _| {}),
        }
    }

    /// What is called; the demo's `sleep` for 5 ms unless set.
    ///
    /// # Errors
    /// When the arguments don't encode.
    pub fn command(mut self, command: &str, arguments: &(impl Serialize + ?Sized)) -> Result<Self, MeasureError> {
        self.command = command.into();
        self.arguments = serde_json::to_value(arguments).map_err(|error| MeasureError::Arguments(error.to_string()))?;
        Ok(self)
    }

    /// How many calls are judged, 1 at least; 50 a lane unless set.
    pub fn operations(mut self, calls: usize) -> Self {
        self.operations = Some(calls.max(1));
        self
    }

    /// How many callers there are, each with one call at a time; 2 a lane unless set, so that the next call is there when a lane is free.
    pub fn callers(mut self, callers: usize) -> Self {
        self.callers = Some(callers.max(1));
        self
    }

    /// Spreads the calls over so many sessions, which are ended afterwards; none unless set.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// How often the same calls run one after the other and side by side, to compare them. [`PAIRS`] unless set, which is the least that
    /// proves anything; 0 leaves it out, and then calls that are slower side by side than alone are told only by what the system counts.
    pub fn pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    /// The deadline of each call; the pool's unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Is told after each call how many of how many are done, on the caller's task: it must not block.
    pub fn progress(mut self, tell: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.on_progress = Arc::new(tell);
        self
    }

    /// Runs it, on the caller's tokio runtime. Dropping the future cancels the calls; a pool that was started for it ends.
    ///
    /// # Errors
    /// When the pool can't be had, no call succeeds, or its workers keep no stamps. Some calls that fail are in the report.
    pub async fn run(self) -> Result<EfficiencyReport, MeasureError> {
        match &self.subject {
            Subject::Running(pool) => {
                pool.ready().await?;
                let work = self.work(pool);
                work.run(self.call_slots(pool), self.call_slots(pool)).await.checked()?;
                self.measure(&work, WorkerStart::Warm, crate::now().0).await
            }
            Subject::Cold(config) => {
                let begun = crate::now().0;
                let pool = Pool::start((**config).clone()).without_waiting().await?;
                let report = self.measure(&self.work(&pool), WorkerStart::Cold, begun).await;
                let ended = pool.shutdown(ENDING).await;
                let report = report?;
                ended?;
                Ok(report)
            }
        }
    }

    fn call_slots(&self, pool: &Pool) -> usize {
        pool.config().pool_size() as usize * pool.config().settings().concurrency as usize
    }

    fn calls(&self, call_slots: usize) -> usize {
        self.operations.unwrap_or(CALLS * call_slots)
    }

    fn work(&self, pool: &Pool) -> Workload {
        let call_slots = self.call_slots(pool);
        let warm_up = if matches!(self.subject, Subject::Running(_)) { call_slots } else { 0 };
        let of = warm_up + self.calls(call_slots) + 2 * self.pairs * pairs::calls(call_slots);
        let progress = Progress { done: Arc::new(AtomicUsize::new(0)), of, on_progress: self.on_progress.clone() };
        Workload {
            pool: pool.clone(),
            command: self.command.as_str().into(),
            arguments: Arc::new(self.arguments.clone()),
            sessions: self.sessions,
            timeout: self.timeout,
            progress,
        }
    }

    async fn pair(&self, work: &Workload) -> Result<Option<PairResult>, MeasureError> {
        if self.pairs == 0 {
            Ok(None)
        } else {
            pairs::run(work, self.pairs, self.call_slots(&work.pool)).await.map(Some)
        }
    }

    /// The run that counts, and the pairs after it.
    async fn measure(
        &self,
        work: &Workload,
        temperature: WorkerStart,
        begun: u64,
    ) -> Result<EfficiencyReport, MeasureError> {
        let call_slots = self.call_slots(&work.pool);
        let callers = self.callers.unwrap_or(CALLERS * call_slots);
        let watch = UsageWatch::begin(&work.pool).await?;
        let batch = work.run(self.calls(call_slots), callers).await.checked()?;
        let mut window = batch.window().unwrap_or(Interval { started: begun, ended: begun });
        if temperature == WorkerStart::Cold {
            window.started = begun;
        }
        let watched = watch.end(&work.pool, window, &batch.operations).await?;
        let paired = self.pair(work).await?;
        work.end_sessions().await?;
        self.report(work, batch, watched, Run { start: temperature, window, callers, paired })
    }

    fn report(
        &self,
        work: &Workload,
        batch: CallBatch,
        watched: WatchResult,
        run: Run,
    ) -> Result<EfficiencyReport, MeasureError> {
        let Run { start: temperature, window, callers, paired } = run;
        let CallBatch { mut operations, encoding, failures, .. } = batch;
        operations.sort_by_key(|operation| operation.started);
        let uncontended = paired.as_ref().and_then(|paired| paired.uncontended);
        let observed = ObservedRun { window, workers: watched.workers, operations, encoding, uncontended };
        let account = TimeAccount::of(&observed)?;
        let operations = observed.operations;
        let intervals: Vec<Interval> = operations.iter().map(|operation| operation.interval()).collect();
        let config = work.pool.config();
        Ok(EfficiencyReport {
            pool: config.name().clone(),
            command: self.command.clone(),
            workers: config.pool_size() as usize,
            concurrency: config.settings().concurrency as usize,
            callers,
            start: temperature,
            window,
            account,
            verdict: verify_concurrent_execution(&intervals).map_or_else(Verdict::Serialized, Verdict::Concurrent),
            cpu_share: paired.as_ref().and_then(|paired| paired.cpu_share),
            comparison: paired.map(|paired| paired.comparison),
            uncontended,
            machine: watched.machine,
            failures,
            operations,
        })
    }
}

/// What is known of the run that counts.
struct Run {
    start: WorkerStart,
    window: Interval,
    callers: usize,
    paired: Option<PairResult>,
}

/// How well a pool of the demo uses its workers: `n` calls of `sleep` for 5 ms. Of a pool with commands of its own, name one:
/// [`Measure::command`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use herder::{Pool, PoolConfig, efficiency::measure_concurrency_efficiency};
/// let pool = Pool::start(PoolConfig::basic("eight").app("herder.demo:app").pool_size(8).build()?).await?;
/// let report = measure_concurrency_efficiency(&pool, 800).await?;
/// assert!(report.account.efficiency > 0.8);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Measure::run`].
pub async fn measure_concurrency_efficiency(pool: &Pool, n: usize) -> Result<EfficiencyReport, MeasureError> {
    Measure::of(pool).operations(n).run().await
}
