//! The faults of a storm, drawn from the seed. They reach workers by signals and by calls, actors by messages, starts by a file.

#![expect(clippy::disallowed_methods, reason = "faults are injected and callers leave at set times")]

use crate::{callers::CallerContext, config::BROKEN};
use futures_util::future::join;
use herder::{
    WorkerInfo, WorkerState,
    chaos::{FaultInjector, FaultSignal, RecoveryTracker, Rng},
};
use herder_actors::InjectPanic;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Between two panics that a pool may have five of in a minute.
const RARE: Duration = Duration::from_secs(25);
/// Calls that are asked to hang, or wait for a worker that hangs.
const HANGING_CALL_TIMEOUT: Duration = Duration::from_millis(300);

/// Who brings them about.
pub(crate) struct Faults {
    pub(crate) context: std::sync::Arc<CallerContext>,
    pub(crate) injector: FaultInjector,
    pub(crate) recovery: std::sync::Arc<RecoveryTracker>,
    pub(crate) folder: PathBuf,
    pub(crate) counts: Mutex<BTreeMap<String, u64>>,
    /// The last panic of which there may be few.
    pub(crate) rare: Mutex<Instant>,
    /// When no more begin.
    pub(crate) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Die(&'static str),
    Corrupt(&'static str),
    Stop,
    StopForGood,
    SlowReader,
    FailingStarts,
    Cascade,
    PanicWorker,
    PanicRare(&'static str, InjectPanic),
}

/// How often each is drawn, of a hundred.
const FAULT_WEIGHTS: [(Fault, u64); 15] = [
    (Fault::Die("exit"), 12),
    (Fault::Die("crash"), 8),
    (Fault::Die("hog"), 6),
    (Fault::Die("fork"), 10),
    (Fault::Corrupt("garbage"), 12),
    (Fault::Corrupt("half"), 8),
    (Fault::Stop, 14),
    (Fault::StopForGood, 2),
    (Fault::SlowReader, 12),
    (Fault::FailingStarts, 2),
    (Fault::Cascade, 3),
    (Fault::PanicWorker, 8),
    (Fault::PanicRare("panic_affinity", InjectPanic::Affinity), 1),
    (Fault::PanicRare("panic_supervisor", InjectPanic::Supervisor), 1),
    (Fault::PanicRare("panic_step", InjectPanic::Step), 1),
];

impl Faults {
    /// A SIGKILL each time, by the pool or behind its back, whoever it hits. None while less than half of the workers are ready: a
    /// pool that is down all the time proves nothing.
    pub(crate) async fn kills(&self, every: Duration, mut rng: Rng) {
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        while !self.over() {
            ticks.tick().await;
            let living = self.injector.living().await.unwrap_or_default();
            let is_ready = |worker: &&WorkerInfo| matches!(worker.state, WorkerState::Ready | WorkerState::Busy);
            let ready: Vec<&WorkerInfo> = living.iter().filter(is_ready).collect();
            let starting: Vec<&WorkerInfo> = living.iter().filter(|worker| !is_ready(worker)).collect();
            if 2 * ready.len() < self.context.pool.config().pool_size() as usize {
                self.count("skipped_kill");
                continue;
            }
            let victims = if rng.chance(5) && !starting.is_empty() { starting } else { ready };
            let Some(victim) = rng.pick(&victims) else { continue };
            if rng.chance(30) {
                self.told(victim).await;
            } else {
                self.kill(victim, "kill");
            }
        }
    }

    /// The others, one after the other.
    pub(crate) async fn others(&self, every: Duration, mut rng: Rng) {
        // Each kind once, so that a short run has all of them.
        for (fault, _) in FAULT_WEIGHTS {
            self.one(fault, &mut rng).await;
            sleep(every).await;
        }
        while !self.over() {
            let mut drawn = rng.below(100);
            for (fault, often) in FAULT_WEIGHTS {
                match drawn.checked_sub(often) {
                    Some(rest) => drawn = rest,
                    None if self.is_too_soon(fault) => break,
                    None => {
                        self.one(fault, &mut rng).await;
                        break;
                    }
                }
            }
            sleep(every).await;
        }
    }

    /// All workers at once.
    pub(crate) async fn cascade(&self) {
        self.count("cascade");
        for worker in self.injector.living().await.unwrap_or_default() {
            self.kill(&worker, "kill_cascade");
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn one(&self, fault: Fault, rng: &mut Rng) {
        match fault {
            Fault::Die(how) => self.asks("die", how).await,
            Fault::Corrupt(how) => self.asks("corrupt", how).await,
            Fault::Stop => self.stop(Some(rng.millis(10, 300)), rng).await,
            Fault::StopForGood => self.stop(None, rng).await,
            Fault::SlowReader => self.slow_reader().await,
            Fault::FailingStarts => self.failing_starts(rng.millis(100, 500)).await,
            Fault::Cascade => self.cascade().await,
            Fault::PanicWorker => {
                if let Some(worker) = self.victim(rng).await {
                    self.panics("panic_worker", InjectPanic::Worker(worker.id)).await;
                }
            }
            Fault::PanicRare(name, panic) => {
                *self.rare.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.panics(name, panic).await;
            }
        }
    }

    /// A worker that lives; waits until there is one.
    async fn victim(&self, rng: &mut Rng) -> Option<WorkerInfo> {
        loop {
            let living = self.injector.living().await.ok()?;
            if let Some(worker) = rng.pick(&living) {
                return Some(worker.clone());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_too_soon(&self, fault: Fault) -> bool {
        let last = *self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(fault, Fault::PanicRare(..)) && last.elapsed() < RARE
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn count(&self, name: &str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default() += 1;
    }

    fn kill(&self, worker: &WorkerInfo, name: &str) {
        if self.injector.inject(worker, FaultSignal::Kill) {
            self.recovery.record_kill(worker.process(), Instant::now());
            self.count(name);
        }
    }

    async fn told(&self, worker: &WorkerInfo) {
        let since = Instant::now();
        if self.context.pool.kill_worker(worker.process()).await.is_ok() {
            self.recovery.record_kill(worker.process(), since);
            self.count("kill_by_message");
        }
    }

    async fn asks(&self, command: &str, how: &str) {
        self.count(&format!("{command}_{how}"));
        self.context.fault(command, json!({ "how": how }), HANGING_CALL_TIMEOUT).await;
    }

    async fn stop(&self, within: Option<Duration>, rng: &mut Rng) {
        let Some(worker) = self.victim(rng).await else { return };
        if !self.injector.inject(&worker, FaultSignal::Pause) {
            return;
        }
        self.count(if within.is_some() { "stop" } else { "stop_for_good" });
        if let Some(within) = within {
            sleep(within).await;
            self.injector.inject(&worker, FaultSignal::Resume);
        }
    }

    /// One that reads nothing while large calls wait on its descriptor.
    async fn slow_reader(&self) {
        self.count("slow_reader");
        let dawdle = self.context.fault("dawdle", json!({ "ms": 200 }), 10 * HANGING_CALL_TIMEOUT);
        let large = || self.context.fault("once", json!({ "pad": "x".repeat(1 << 20) }), 10 * HANGING_CALL_TIMEOUT);
        join(dawdle, join(large(), join(large(), large()))).await;
    }

    async fn failing_starts(&self, within: Duration) {
        self.count("failing_starts");
        let file = self.folder.join(BROKEN);
        let _ = fs::write(&file, "");
        sleep(within).await;
        let _ = fs::remove_file(&file);
    }

    async fn panics(&self, name: &str, panic: InjectPanic) {
        self.count(name);
        let _ = self.context.pool.supervisor().send(panic).await;
    }
}
