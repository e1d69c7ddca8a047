//! Chaos for a worker that knows nothing of it: one command is called without a pause while workers are killed and stopped. What
//! needs the worker's help (broken frames, an account of what ran) is not here, so whether a call ran twice stays unknown.

#![expect(clippy::disallowed_methods, reason = "faults are injected and callers leave at set times")]

use super::{
    FaultInjector, FaultSignal, Figures, MARK, MarkedProcesses, RecoveryTracker, Rng, open_descriptors,
    own_resident_bytes, zombies,
};
use crate::{Call, Error, Pool, PoolConfig, PoolState, Reply, Result, WorkerInfo, WorkerRef};
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::{
    collections::BTreeMap,
    process,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// After its deadline and this, a call without an answer is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// How long a pool may take to be whole in the end, and its processes to go.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two faults of a kind, at least.
const MIN_FAULT_INTERVAL: Duration = Duration::from_millis(1);
/// Between two looks at what has to come, and two calls of a caller who was refused.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What is to be done to a pool.
#[derive(Clone, Debug)]
pub struct Drill {
    /// The command that is called.
    pub command: String,
    /// Its arguments, JSON text of an object.
    pub arguments: Bytes,
    /// Callers that call without a pause.
    pub callers: u64,
    /// Over how many sessions the calls are spread; none if 0.
    pub sessions: u64,
    /// Whether calls may run again; as the handler says unless set.
    pub idempotent: Option<bool>,
    /// Of each call; the pool's unless set.
    pub timeout: Option<Duration>,
    /// In a hundred, how many callers go away before they are answered.
    pub abandon_percent: u64,
    /// How long faults are brought about.
    pub duration: Duration,
    /// From one SIGKILL to the next, a millisecond at least.
    pub kill_every: Duration,
    /// From one SIGSTOP, followed by SIGCONT up to a second later, to the next; none unless set.
    pub pause_every: Option<Duration>,
    /// Whether all workers are killed at once, in the middle.
    pub cascade: bool,
    /// What times and victims are drawn from.
    pub seed: u64,
}

/// How a drill goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrillProgress {
    /// Calls answered or left.
    pub calls: u64,
    /// Of these with a result.
    pub ok: u64,
    /// Workers killed.
    pub kills: u64,
}

impl Drill {
    /// Starts a pool, does it all, and ends the pool. `print` is told several times a second how it goes on.
    ///
    /// Dropping the future ends the pool, and kills its workers.
    ///
    /// # Errors
    /// When the pool can't be started, or is gone before its time; and the call's own error when it does not know the command, or
    /// refuses the arguments.
    pub async fn run(self, config: PoolConfig, on_progress: impl FnMut(DrillProgress)) -> Result<Figures> {
        let mark = format!("drill-{}-{}", process::id(), self.seed);
        let (config, processes) = (config.with_env(MARK, &mark)?, MarkedProcesses::new(&mark));
        // What a process has once and for good (threads, a watchdog) comes with its first pool.
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

/// One drill, running.
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
    /// Of the calls not in flight at a kill: answered with a result, and all.
    others: (u64, u64),
    lost: BTreeMap<WorkerRef, u64>,
    closed: bool,
}

impl DrillRun {
    fn new(drill: Drill, pool: Pool, processes: MarkedProcesses) -> Arc<Self> {
        let striker = FaultInjector::new(pool.clone(), processes);
        Arc::new(Self {
            drill,
            injector: striker,
            recovery: RecoveryTracker::new(pool.clone()),
            pool,
            tally: Mutex::default(),
        })
    }

    async fn run(self: Arc<Self>, mut on_progress: impl FnMut(DrillProgress)) -> Figures {
        let begun = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..self.drill.callers {
            let drill_run = self.clone();
            callers.spawn(async move { drill_run.caller(Rng::of(drill_run.drill.seed, caller)).await });
        }
        let telling = async {
            loop {
                on_progress(self.with(|tally| tally.now));
                sleep(10 * POLL_INTERVAL).await;
            }
        };
        let failures = self.failures();
        let drill_run = async {
            sleep(Duration::from_secs(1)).await;
            let warm = own_resident_bytes();
            tokio::join!(self.kills(), self.stops(), self.cascade());
            let recovery = timeout(RECOVERY_TIMEOUT, self.recovery.wait_recovered()).await.unwrap_or(false);
            self.with(|tally| tally.closed = true);
            while callers.join_next().await.is_some() {}
            (warm, recovery)
        };
        let (warm, recovery) = tokio::select! {
            ended = drill_run => ended,
            () = self.recovery.watch() => (own_resident_bytes(), false),
            () = telling => (own_resident_bytes(), false),
            () = failures => (own_resident_bytes(), false),
        };
        self.figures(begun, warm, recovery)
    }

    /// Counts how often the pool fails; ends with the pool.
    async fn failures(&self) {
        let mut was = PoolState::Running;
        while let Ok(health) = self.pool.health().await {
            if health.state == PoolState::Failed && was != PoolState::Failed {
                self.with(|tally| tally.figures.pool_failures += 1);
            }
            was = health.state;
            sleep(POLL_INTERVAL).await;
        }
    }

    fn figures(&self, begun: Instant, warm: u64, recovery: bool) -> Figures {
        let [slots, wholes] = self.recovery.spans();
        let window = u64::from({
            let settings = self.pool.config().settings();
            settings.concurrency * settings.pipeline
        });
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

    async fn caller(&self, mut rng: Rng) {
        while !self.with(|tally| tally.closed) {
            let call = self.drill.call(&self.pool, &mut rng);
            let deadline = self.drill.timeout.unwrap_or(self.pool.config().timeout());
            let leave =
                if rng.chance(self.drill.abandon_percent) { rng.millis(0, 50) } else { 2 * (deadline + LOST_AFTER) };
            let told = timeout(deadline + LOST_AFTER, call.reply());
            tokio::select! {
                told = told => self.note(told.ok()).await,
                () = sleep(leave) => self.with(|tally| tally.counts("left")),
            }
        }
    }

    async fn note(&self, told: Option<Result<Reply>>) {
        let refused = matches!(&told, Some(Err(error)) if is_refusal(error));
        self.with(|tally| tally.note(told));
        if refused {
            sleep(POLL_INTERVAL).await; // a full or failed pool gains nothing by being asked all the time
        }
    }

    async fn kills(&self) {
        let mut rng = Rng::of(self.drill.seed, 1 << 20);
        repeat(self.drill.kill_every, self.drill.duration, async || {
            let living = self.injector.living().await.unwrap_or_default();
            if let Some(victim) = rng.pick(&living) {
                self.kill(victim, "kill");
            }
        })
        .await;
    }

    async fn stops(&self) {
        let Some(every) = self.drill.pause_every else { return };
        let mut rng = Rng::of(self.drill.seed, 1 << 21);
        repeat(every, self.drill.duration, async || {
            let living = self.injector.living().await.unwrap_or_default();
            let within = rng.millis(10, 1000);
            let Some(victim) = rng.pick(&living) else { return };
            if self.injector.inject(victim, FaultSignal::Pause) {
                self.with(|tally| tally.fault("stop"));
                sleep(within).await;
                self.injector.inject(victim, FaultSignal::Resume);
            }
        })
        .await;
    }

    async fn cascade(&self) {
        if !self.drill.cascade {
            return;
        }
        sleep(self.drill.duration / 2).await;
        self.with(|tally| tally.fault("cascade"));
        for victim in self.injector.living().await.unwrap_or_default() {
            self.kill(&victim, "kill_cascade");
        }
    }

    fn kill(&self, victim: &WorkerInfo, name: &str) {
        if self.injector.inject(victim, FaultSignal::Kill) {
            self.recovery.record_kill(victim.process(), Instant::now());
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

    fn note(&mut self, told: Option<Result<Reply>>) {
        let Some(told) = told else {
            self.figures.lost += 1;
            return self.counts("lost");
        };
        let in_flight = match &told {
            Ok(reply) => reply.attempts > 1,
            Err(error) => self.loss(error),
        };
        self.figures.in_flight_at_kill += u64::from(in_flight);
        self.counts(told.as_ref().map_or_else(Error::slug, |_| "ok"));
        self.now.ok += u64::from(told.is_ok());
        self.figures.refused += u64::from(told.as_ref().is_err_and(is_refusal));
        if !in_flight {
            self.others.0 += u64::from(told.as_ref().map_or_else(is_handler_error, |_| true));
            self.others.1 += 1;
        }
    }

    /// Whether the call was with a worker when it died.
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

/// What the handler did is no matter of the pool.
fn is_handler_error(error: &Error) -> bool {
    matches!(error, Error::Rejected { .. } | Error::Exception { .. } | Error::Unencodable { .. })
}

/// Does something again and again for so long; what was begun is done to its end, so that nobody stays stopped.
async fn repeat(every: Duration, lasts: Duration, mut what: impl AsyncFnMut()) {
    let over = Instant::now() + lasts;
    let mut ticks = interval(every.max(MIN_FAULT_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    while timeout_at(over.into(), ticks.tick()).await.is_ok() {
        what().await;
    }
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            sleep(POLL_INTERVAL).await;
        }
    };
    let _ = timeout(RECOVERY_TIMEOUT / 4, look).await;
}
