//! [`Measure`]: one measurement of a pool, from its start to the report.

use super::{
    EfficiencyReport, MeasureError, Verdict, WorkerStart,
    callers::{CallBatch, Progress, Workload},
    pairs::{self, PairResult},
    watch::{UsageWatch, WatchResult},
};
use crate::Pool;
use herder_actors::PoolConfig;
use herder_efficiency::concurrency::{Interval, ObservedRun, PAIRS, TimeAccount, verify_concurrent_execution};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

/// The timeout for the shutdown of a pool that was started for a measurement.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// The default number of calls for each call slot: enough that the first and the last ones hardly matter.
const CALLS: usize = 50;
/// The default number of callers for each call slot: one whose call runs, and one whose call waits for the slot to
/// become free.
const CALLERS: usize = 2;

/// A measurement of a pool: the command, the number of calls and the number of callers. Numbers that are not set follow
/// from the pool's size.
///
/// The pool should be idle otherwise: calls of other users take call slots, which then look idle in the report.
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

/// The pool to measure.
enum Subject {
    Running(Pool),
    Cold(Box<PoolConfig>),
}

impl Measure {
    /// Measures a running pool with warm workers: each worker runs the command before the measurement starts.
    pub fn of(pool: &Pool) -> Self {
        Self::new(Subject::Running(pool.clone()))
    }

    /// Measures from the start of a pool. The pool is shut down afterwards.
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

    /// Sets the command. Default: `sleep` for 5 ms of the demo app.
    ///
    /// # Errors
    /// Fails if the arguments cannot be encoded.
    pub fn command(mut self, command: &str, arguments: &(impl Serialize + ?Sized)) -> Result<Self, MeasureError> {
        self.command = command.into();
        self.arguments = serde_json::to_value(arguments).map_err(|error| MeasureError::Arguments(error.to_string()))?;
        Ok(self)
    }

    /// Sets the number of measured calls, at least 1. Default: 50 per call slot.
    pub fn operations(mut self, calls: usize) -> Self {
        self.operations = Some(calls.max(1));
        self
    }

    /// Sets the number of callers, each with one call at a time. Default: 2 per call slot, so that a call waits
    /// whenever a slot becomes free.
    pub fn callers(mut self, callers: usize) -> Self {
        self.callers = Some(callers.max(1));
        self
    }

    /// Spreads the calls over this number of sessions, which are ended afterwards. Default: no sessions.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Sets how often the same calls run serially and in parallel, for a comparison. Default: [`PAIRS`], the smallest
    /// number that proves a difference. With 0 there is no comparison: whether calls are slower in parallel than alone
    /// then follows only from the statistics of the system.
    pub fn pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    /// Sets the deadline of each call. Default: the pool's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets a function that is called after each call with the number of finished calls and of all calls. It runs on
    /// the task of the caller and must not block.
    pub fn progress(mut self, on_progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.on_progress = Arc::new(on_progress);
        self
    }

    /// Runs the measurement on the current Tokio runtime. Dropping the future cancels the calls, and ends a pool that
    /// was started for the measurement.
    ///
    /// # Errors
    /// Fails if the pool cannot be started, all calls fail, or its workers send no stamps. If only some calls fail,
    /// they are in the report.
    pub async fn run(self) -> Result<EfficiencyReport, MeasureError> {
        match &self.subject {
            Subject::Running(pool) => {
                pool.ready().await?;
                let work = self.work(pool);
                work.run(self.call_slots(pool), self.call_slots(pool)).await.checked()?;
                self.measure(&work, WorkerStart::Warm, herder_actors::now().0).await
            }
            Subject::Cold(config) => {
                let begun = herder_actors::now().0;
                let pool = Pool::start((**config).clone()).without_waiting().await?;
                let report = self.measure(&self.work(&pool), WorkerStart::Cold, begun).await;
                let ended = pool.shutdown(SHUTDOWN_TIMEOUT).await;
                // Report the error of the measurement first: the shutdown often fails for the same reason.
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

    /// Runs the measured calls, and then the pairs.
    async fn measure(&self, work: &Workload, start: WorkerStart, begun: u64) -> Result<EfficiencyReport, MeasureError> {
        let call_slots = self.call_slots(&work.pool);
        let callers = self.callers.unwrap_or(CALLERS * call_slots);
        let watch = UsageWatch::begin(&work.pool).await?;
        let batch = work.run(self.calls(call_slots), callers).await.checked()?;
        let mut window = batch.window().unwrap_or(Interval { started: begun, ended: begun });
        if start == WorkerStart::Cold {
            window.started = begun;
        }
        let watched = watch.end(&work.pool, window, &batch.operations).await?;
        let paired = self.pair(work).await?;
        work.end_sessions().await?;
        self.report(work, batch, watched, Run { start, window, callers, paired })
    }

    fn report(
        &self,
        work: &Workload,
        batch: CallBatch,
        watched: WatchResult,
        run: Run,
    ) -> Result<EfficiencyReport, MeasureError> {
        let Run { start, window, callers, paired } = run;
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
            start,
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

/// The data of the measured run.
struct Run {
    start: WorkerStart,
    window: Interval,
    callers: usize,
    paired: Option<PairResult>,
}

/// Measures how well a pool of the demo app uses its workers, with `n` calls of `sleep` for 5 ms. For a pool with other
/// commands, use [`Measure::command`].
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
/// See [`Measure::run`].
pub async fn measure_concurrency_efficiency(pool: &Pool, n: usize) -> Result<EfficiencyReport, MeasureError> {
    Measure::of(pool).operations(n).run().await
}
