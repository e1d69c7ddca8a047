//! A chaos run for any worker: one command is called continuously while worker processes are killed and paused. Faults
//! that need the worker's help (invalid frames, a log of executions) are not included, so whether a call ran twice is
//! unknown.

#![expect(clippy::disallowed_methods, reason = "faults are injected and calls are abandoned after set times")]

use super::{FaultInjector, FaultSignal, Figures, RecoveryTracker, Rng, open_descriptors, own_resident_bytes};
use crate::{Call, Pool};
use bytes::Bytes;
use herder_actors::{
    Error, PoolConfig, PoolState, Reply, Result, WorkerInfo, WorkerRef,
    inspect::{MARK, MarkedProcesses, zombies},
};
use serde::{Serialize, de::IgnoredAny};
use std::{
    collections::BTreeMap,
    process,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// A call without an answer counts as lost this long after its deadline.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// The longest wait for the pool's recovery after the faults. A quarter of it is the longest wait for processes to
/// exit.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// The shortest interval between two faults of one kind.
const MIN_FAULT_INTERVAL: Duration = Duration::from_millis(1);
/// The interval between two polls, and the pause of a caller whose call was refused.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The settings of a chaos run.
#[derive(Clone, Debug)]
pub struct Drill {
    /// The command to call.
    pub command: String,
    /// The arguments: JSON text of an object.
    pub arguments: Bytes,
    /// The number of concurrent callers. Each calls again as soon as it has an answer.
    pub callers: u64,
    /// The number of sessions that the calls are spread over; 0 for calls without a session.
    pub sessions: u64,
    /// Whether the calls are idempotent. `None`: as the handler declares.
    pub idempotent: Option<bool>,
    /// The deadline of each call. `None`: the pool's `timeout`.
    pub timeout: Option<Duration>,
    /// The percentage of calls that are abandoned before they are answered.
    pub abandon_percent: u64,
    /// How long faults are injected.
    pub duration: Duration,
    /// The interval between two SIGKILLs, at least one millisecond.
    pub kill_every: Duration,
    /// The interval between two SIGSTOPs. Each is followed by SIGCONT after at most one second. `None`: no SIGSTOP.
    pub pause_every: Option<Duration>,
    /// Whether all workers are killed at once, halfway through.
    pub cascade: bool,
    /// The seed of the random choice of workers and times.
    pub seed: u64,
}

/// The progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrillProgress {
    /// The number of calls that were answered or abandoned.
    pub calls: u64,
    /// The number of these calls that succeeded.
    pub ok: u64,
    /// The number of workers that were killed.
    pub kills: u64,
}

impl Drill {
    /// Starts a pool, injects faults while callers use it, and shuts the pool down. Calls `on_progress` several times a
    /// second.
    ///
    /// Dropping the future ends the pool and kills its workers.
    ///
    /// # Errors
    /// Fails if the pool cannot be started or ends early. Fails with the call's error if the command is unknown or the
    /// arguments are refused.
    pub async fn run(self, config: PoolConfig, on_progress: impl FnMut(DrillProgress)) -> Result<Figures> {
        let mark = format!("drill-{}-{}", process::id(), self.seed);
        let (config, processes) = (config.with_env(MARK, &mark)?, MarkedProcesses::new(&mark));
        // The first pool of a process creates what stays until the process ends, such as threads and the watchdog.
        // Start and stop one before counting descriptors; otherwise these would count as leaks. Its only call checks
        // the command and the arguments.
        let first = Pool::start(config.clone()).await?;
        let tried = self.call(&first, &mut Rng::new(0)).reply().await;
        first.shutdown(RECOVERY_TIMEOUT).await?;
        if let Err(error) = tried
            && !is_handler_error(&error)
        {
            return Err(error);
        }
        let before = open_descriptors();
        let pool = Pool::start(config).await?;
        let mut figures = DrillRun::new(self, pool.clone(), processes.clone()).run(on_progress).await;
        pool.shutdown(Duration::from_secs(10)).await?;
        drop(pool);
        wait_until(|| processes.processes().is_empty() && zombies().is_empty() && open_descriptors() <= before).await;
        figures.orphans = processes.processes().len() as u64;
        figures.zombies = zombies().len() as u64;
        figures.leaked_descriptors = open_descriptors().saturating_sub(before);
        Ok(figures)
    }

    fn call(&self, pool: &Pool, rng: &mut Rng) -> Call<IgnoredAny> {
        let mut call = pool.call_json(&self.command, self.arguments.clone());
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        if let Some(idempotent) = self.idempotent {
            call = call.idempotent(idempotent);
        }
        if self.sessions > 0 {
            call = call.session(&format!("drill-{}", rng.below(self.sessions)));
        }
        call
    }
}

/// A run in progress.
struct DrillRun {
    drill: Drill,
    pool: Pool,
    injector: FaultInjector,
    recovery: RecoveryTracker,
    tally: Mutex<DrillTotals>,
}

#[derive(Default)]
struct DrillTotals {
    now: DrillProgress,
    figures: Figures,
    /// Of the calls that were not in flight at a kill: the number of successes, and the number of all.
    others: (u64, u64),
    /// For each killed process, the number of calls that were lost with it.
    lost: BTreeMap<WorkerRef, u64>,
    closed: bool,
}

impl DrillRun {
    fn new(drill: Drill, pool: Pool, processes: MarkedProcesses) -> Arc<Self> {
        let injector = FaultInjector::new(pool.clone(), processes);
        Arc::new(Self { drill, injector, recovery: RecoveryTracker::new(pool.clone()), pool, tally: Mutex::default() })
    }

    async fn run(self: Arc<Self>, mut on_progress: impl FnMut(DrillProgress)) -> Figures {
        let begun = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..self.drill.callers {
            let drill_run = self.clone();
            callers.spawn(async move { drill_run.caller(Rng::of(drill_run.drill.seed, caller)).await });
        }
        let reporting = async {
            loop {
                on_progress(self.with(|tally| tally.now));
                sleep(10 * POLL_INTERVAL).await;
            }
        };
        let failures = self.count_pool_failures();
        let drill_run = async {
            // After one second, the callers, buffers and threads exist. Growth of memory is measured from here.
            sleep(Duration::from_secs(1)).await;
            let warm = own_resident_bytes();
            tokio::join!(self.inject_kills(), self.inject_pauses(), self.inject_cascade());
            // The callers stop only after the recovery, since calls may be what starts workers again after a failure of
            // the pool.
            let recovery = timeout(RECOVERY_TIMEOUT, self.recovery.wait_recovered()).await.unwrap_or(false);
            self.with(|tally| tally.closed = true);
            while callers.join_next().await.is_some() {}
            (warm, recovery)
        };
        // Only the first branch ends by itself while the pool exists. The others end with the pool, or never.
        let (warm, recovery) = tokio::select! {
            ended = drill_run => ended,
            () = self.recovery.watch() => (own_resident_bytes(), false),
            () = reporting => (own_resident_bytes(), false),
            () = failures => (own_resident_bytes(), false),
        };
        self.figures(begun, warm, recovery)
    }

    /// Counts how often the pool enters the state `failed`. Returns when the pool has ended.
    async fn count_pool_failures(&self) {
        let mut previous = PoolState::Running;
        while let Ok(health) = self.pool.health().await {
            if health.state == PoolState::Failed && previous != PoolState::Failed {
                self.with(|tally| tally.figures.pool_failures += 1);
            }
            previous = health.state;
            sleep(POLL_INTERVAL).await;
        }
    }

    fn figures(&self, begun: Instant, warm: u64, recovery: bool) -> Figures {
        let [slots, wholes] = self.recovery.spans();
        // An upper bound with `Pipeline::Auto`: most workers lose fewer calls, since those in advance run elsewhere.
        let window = u64::from(self.pool.config().settings().window());
        #[expect(clippy::cast_precision_loss, reason = "shares and megabytes")]
        self.with(|tally| Figures {
            seed: self.drill.seed,
            seconds: begun.elapsed().as_secs_f64(),
            calls: tally.now.calls,
            ok: tally.now.ok,
            kills: tally.now.kills,
            window_violations: tally.lost.values().filter(|lost| **lost > window).count() as u64,
            recovered: recovery,
            replacement_ms_median: slots.median,
            replacement_ms_max: slots.max,
            recovery_ms_median: wholes.median,
            recovery_ms_max: wholes.max,
            rss_growth_mb: own_resident_bytes().saturating_sub(warm) as f64 / 1e6,
            ok_share_not_in_flight: tally.others.0 as f64 / (tally.others.1.max(1)) as f64,
            ..tally.figures.clone()
        })
    }

    /// Calls until the run is closed. A call that is to be abandoned is dropped after at most 50 ms.
    async fn caller(&self, mut rng: Rng) {
        while !self.with(|tally| tally.closed) {
            let call = self.drill.call(&self.pool, &mut rng);
            let deadline = self.drill.timeout.unwrap_or(self.pool.config().timeout());
            // A call that is not to be abandoned has a wait that cannot elapse: `timeout` below ends first.
            let abandon_after =
                if rng.chance(self.drill.abandon_percent) { rng.millis(0, 50) } else { 2 * (deadline + LOST_AFTER) };
            let answer = timeout(deadline + LOST_AFTER, call.reply());
            tokio::select! {
                answer = answer => self.note(answer.ok()).await,
                () = sleep(abandon_after) => self.with(|tally| tally.counts("abandoned")),
            }
        }
    }

    async fn note(&self, answer: Option<Result<Reply>>) {
        let refused = matches!(&answer, Some(Err(error)) if is_refusal(error));
        self.with(|tally| tally.note(answer));
        if refused {
            // A pool that is full or failed refuses immediately. Without a pause, the callers would fill a core with
            // refusals.
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn inject_kills(&self) {
        let mut rng = Rng::of(self.drill.seed, 1 << 20);
        repeat(self.drill.kill_every, self.drill.duration, async || {
            let living = self.injector.running().await.unwrap_or_default();
            if let Some(worker) = rng.pick(&living) {
                self.kill(worker, "kill");
            }
        })
        .await;
    }

    async fn inject_pauses(&self) {
        let Some(every) = self.drill.pause_every else { return };
        let mut rng = Rng::of(self.drill.seed, 1 << 21);
        repeat(every, self.drill.duration, async || {
            let living = self.injector.running().await.unwrap_or_default();
            let pause = rng.millis(10, 1000);
            let Some(worker) = rng.pick(&living) else { return };
            if self.injector.inject(worker, FaultSignal::Pause) {
                self.with(|tally| tally.fault("pause"));
                sleep(pause).await;
                self.injector.inject(worker, FaultSignal::Resume);
            }
        })
        .await;
    }

    async fn inject_cascade(&self) {
        if !self.drill.cascade {
            return;
        }
        sleep(self.drill.duration / 2).await;
        self.with(|tally| tally.fault("cascade"));
        for worker in self.injector.running().await.unwrap_or_default() {
            self.kill(&worker, "kill_cascade");
        }
    }

    fn kill(&self, worker: &WorkerInfo, name: &str) {
        if self.injector.inject(worker, FaultSignal::Kill) {
            self.recovery.record_kill(worker.process(), Instant::now());
            self.with(|tally| {
                tally.now.kills += 1;
                tally.fault(name);
            });
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut DrillTotals) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DrillTotals {
    fn counts(&mut self, name: &str) {
        self.now.calls += 1;
        *self.figures.answers.entry(name.into()).or_default() += 1;
    }

    fn fault(&mut self, name: &str) {
        *self.figures.faults.entry(name.into()).or_default() += 1;
    }

    fn note(&mut self, answer: Option<Result<Reply>>) {
        let Some(answer) = answer else {
            self.figures.lost += 1;
            return self.counts("lost");
        };
        let in_flight = match &answer {
            Ok(reply) => reply.attempts > 1,
            Err(error) => self.loss(error),
        };
        self.figures.in_flight_at_kill += u64::from(in_flight);
        self.counts(answer.as_ref().map_or_else(Error::slug, |_| "ok"));
        self.now.ok += u64::from(answer.is_ok());
        self.figures.refused += u64::from(answer.as_ref().is_err_and(is_refusal));
        if !in_flight {
            self.others.0 += u64::from(answer.as_ref().map_or_else(is_handler_error, |_| true));
            self.others.1 += 1;
        }
    }

    /// Counts a call that failed because its worker died. Returns whether the call was on the worker at that time.
    fn loss(&mut self, error: &Error) -> bool {
        if !matches!(error, Error::WorkerLost { .. } | Error::SessionWorkerLost { .. }) {
            return false;
        }
        self.figures.worker_lost += 1;
        if let Some(worker) = error.worker().filter(|_| error.may_have_run()) {
            *self.lost.entry(worker).or_default() += 1;
        }
        error.may_have_run()
    }
}

/// Returns whether the pool refused the call without sending it to a worker.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::QueueFull { .. }
            | Error::SessionQueueFull { .. }
            | Error::Overloaded { .. }
            | Error::BreakerOpen { .. }
            | Error::PoisonCall { .. }
            | Error::PoolFailed { .. }
            | Error::SessionQuota { .. }
            | Error::WorkerBusy { .. }
    )
}

/// Returns whether the error was produced by the handler. Such an error is no fault of the pool.
fn is_handler_error(error: &Error) -> bool {
    matches!(error, Error::Rejected { .. } | Error::Exception { .. } | Error::Unencodable { .. })
}

/// Runs `action` periodically for the given time. An action that has begun is not cancelled at the end, so that each
/// paused worker is resumed.
async fn repeat(every: Duration, duration: Duration, mut action: impl AsyncFnMut()) {
    let end = Instant::now() + duration;
    let mut ticks = interval(every.max(MIN_FAULT_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    while timeout_at(end.into(), ticks.tick()).await.is_ok() {
        action().await;
    }
}

/// Waits until `condition` holds, for at most a quarter of [`RECOVERY_TIMEOUT`].
async fn wait_until(condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            sleep(POLL_INTERVAL).await;
        }
    };
    let _ = timeout(RECOVERY_TIMEOUT / 4, poll).await;
}
