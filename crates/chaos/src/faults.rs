//! The faults of a run, chosen at random from the seed. They reach workers as signals and calls, actors as messages, and
//! starting workers as a file.

#![expect(clippy::disallowed_methods, reason = "faults are injected and calls are abandoned at chosen times")]

use crate::{callers::CallerContext, config::FAIL_STARTS};
use futures_util::future::join;
use herder::{
    chaos::{FaultInjector, FaultSignal, RecoveryTracker, Rng},
    status::{WorkerInfo, WorkerState},
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

/// The minimum time between two panics of the kind that a pool survives at most five times a minute.
const RARE_PANIC_INTERVAL: Duration = Duration::from_secs(25);
/// The timeout of calls that hang on request, or that wait behind such a call.
const HANGING_CALL_TIMEOUT: Duration = Duration::from_millis(300);

/// Injects the faults.
pub(crate) struct Faults {
    pub(crate) context: std::sync::Arc<CallerContext>,
    pub(crate) injector: FaultInjector,
    pub(crate) recovery: std::sync::Arc<RecoveryTracker>,
    pub(crate) folder: PathBuf,
    pub(crate) counts: Mutex<BTreeMap<String, u64>>,
    /// The time of the last panic of the limited kind.
    pub(crate) last_rare_panic: Mutex<Instant>,
    /// The time at which the random faults end.
    pub(crate) ends_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Die(&'static str),
    Corrupt(&'static str),
    Pause,
    PauseForever,
    SlowReader,
    FailingStarts,
    Cascade,
    PanicWorker,
    PanicRare(&'static str, InjectPanic),
}

/// The faults, each with its weight in the random choice. The weights add up to 100.
const FAULT_WEIGHTS: [(Fault, u64); 15] = [
    (Fault::Die("exit"), 12),
    (Fault::Die("crash"), 8),
    (Fault::Die("hog"), 6),
    (Fault::Die("fork"), 10),
    (Fault::Corrupt("garbage"), 12),
    (Fault::Corrupt("half"), 8),
    (Fault::Pause, 14),
    (Fault::PauseForever, 2),
    (Fault::SlowReader, 12),
    (Fault::FailingStarts, 2),
    (Fault::Cascade, 3),
    (Fault::PanicWorker, 8),
    (Fault::PanicRare("panic_affinity", InjectPanic::Affinity), 1),
    (Fault::PanicRare("panic_supervisor", InjectPanic::Supervisor), 1),
    (Fault::PanicRare("panic_step", InjectPanic::Step), 1),
];

impl Faults {
    /// Kills one worker with SIGKILL at each interval, by a message to the pool or directly by signal. Skips a kill while less
    /// than half of the base workers are ready, because the run would only show that a pool without workers answers no calls.
    pub(crate) async fn kills(&self, every: Duration, mut rng: Rng) {
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        while !self.is_over() {
            ticks.tick().await;
            let running = self.injector.running().await.unwrap_or_default();
            let is_ready = |worker: &&WorkerInfo| matches!(worker.state, WorkerState::Ready | WorkerState::Busy);
            let ready: Vec<&WorkerInfo> = running.iter().filter(is_ready).collect();
            let starting: Vec<&WorkerInfo> = running.iter().filter(|worker| !is_ready(worker)).collect();
            if 2 * ready.len() < self.context.pool.config().pool_size() as usize {
                self.count("skipped_kill");
                continue;
            }
            let victims = if rng.chance(5) && !starting.is_empty() { starting } else { ready };
            let Some(victim) = rng.pick(&victims) else { continue };
            if rng.chance(30) {
                self.kill_by_message(victim).await;
            } else {
                self.kill(victim, "kill");
            }
        }
    }

    /// Injects all other kinds of faults, one after the other.
    pub(crate) async fn other_faults(&self, every: Duration, mut rng: Rng) {
        // Each kind once at first, so that a short run contains all of them.
        for (fault, _) in FAULT_WEIGHTS {
            self.inject(fault, &mut rng).await;
            sleep(every).await;
        }
        while !self.is_over() {
            let mut drawn = rng.below(100);
            for (fault, weight) in FAULT_WEIGHTS {
                match drawn.checked_sub(weight) {
                    Some(rest) => drawn = rest,
                    None if self.is_too_soon(fault) => break,
                    None => {
                        self.inject(fault, &mut rng).await;
                        break;
                    }
                }
            }
            sleep(every).await;
        }
    }

    /// Kills all workers at once.
    pub(crate) async fn cascade(&self) {
        self.count("cascade");
        for worker in self.injector.running().await.unwrap_or_default() {
            self.kill(&worker, "kill_cascade");
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn inject(&self, fault: Fault, rng: &mut Rng) {
        match fault {
            Fault::Die(how) => self.call_fault("die", how).await,
            Fault::Corrupt(how) => self.call_fault("corrupt", how).await,
            Fault::Pause => self.pause(Some(rng.millis(10, 300)), rng).await,
            Fault::PauseForever => self.pause(None, rng).await,
            Fault::SlowReader => self.slow_reader().await,
            Fault::FailingStarts => self.failing_starts(rng.millis(100, 500)).await,
            Fault::Cascade => self.cascade().await,
            Fault::PanicWorker => {
                if let Some(worker) = self.victim(rng).await {
                    self.inject_panic("panic_worker", InjectPanic::Worker(worker.id)).await;
                }
            }
            Fault::PanicRare(name, panic) => {
                *self.last_rare_panic.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.inject_panic(name, panic).await;
            }
        }
    }

    /// Returns a running worker; waits until there is one.
    async fn victim(&self, rng: &mut Rng) -> Option<WorkerInfo> {
        loop {
            let running = self.injector.running().await.ok()?;
            if let Some(worker) = rng.pick(&running) {
                return Some(worker.clone());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_too_soon(&self, fault: Fault) -> bool {
        let last = *self.last_rare_panic.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(fault, Fault::PanicRare(..)) && last.elapsed() < RARE_PANIC_INTERVAL
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.ends_at
    }

    fn count(&self, name: &str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default() += 1;
    }

    fn kill(&self, worker: &WorkerInfo, name: &str) {
        // The worker may have exited since the list was read. Only a signal that reached it counts as a kill.
        if self.injector.inject(worker, FaultSignal::Kill) {
            self.recovery.record_kill(worker.process(), Instant::now());
            self.count(name);
        }
    }

    async fn kill_by_message(&self, worker: &WorkerInfo) {
        // Taken before the message is sent: the worker may be replaced before the reply arrives.
        let killed_at = Instant::now();
        if self.context.pool.kill_worker(worker.process()).await.is_ok() {
            self.recovery.record_kill(worker.process(), killed_at);
            self.count("kill_by_message");
        }
    }

    async fn call_fault(&self, command: &str, how: &str) {
        self.count(&format!("{command}_{how}"));
        self.context.fault(command, json!({ "how": how }), HANGING_CALL_TIMEOUT).await;
    }

    async fn pause(&self, duration: Option<Duration>, rng: &mut Rng) {
        let Some(worker) = self.victim(rng).await else { return };
        if !self.injector.inject(&worker, FaultSignal::Pause) {
            return;
        }
        self.count(if duration.is_some() { "pause" } else { "pause_forever" });
        if let Some(duration) = duration {
            sleep(duration).await;
            self.injector.inject(&worker, FaultSignal::Resume);
        }
    }

    /// Occupies a worker that reads nothing from its socket while large calls are sent to it.
    async fn slow_reader(&self) {
        self.count("slow_reader");
        let idle_reader = self.context.fault("read_nothing", json!({ "ms": 200 }), 10 * HANGING_CALL_TIMEOUT);
        let large = || self.context.fault("once", json!({ "pad": "x".repeat(1 << 20) }), 10 * HANGING_CALL_TIMEOUT);
        join(idle_reader, join(large(), join(large(), large()))).await;
    }

    async fn failing_starts(&self, duration: Duration) {
        self.count("failing_starts");
        let file = self.folder.join(FAIL_STARTS);
        let _ = fs::write(&file, "");
        sleep(duration).await;
        let _ = fs::remove_file(&file);
    }

    async fn inject_panic(&self, name: &str, panic: InjectPanic) {
        self.count(name);
        let _ = self.context.pool.supervisor().send(panic).await;
    }
}
