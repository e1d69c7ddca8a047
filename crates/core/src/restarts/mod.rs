//! Whether and when processes are started: the phase of the pool, the limit on restarts, and what the earlier processes
//! of each slot mean for the next one (R12, R27, R28, R30). Holds no processes and starts none: it decides, and the pool
//! carries the decision out.

mod intensity;
#[cfg(test)]
mod tests;

use crate::{
    CallFailure, KillReason, PoolState, Timestamp, WorkerId, derived::Derived, settings::RestartSettings,
    worker::DeadProcess,
};
use intensity::{IntensityVerdict, OverflowStarts, RestartIntensity};

/// The starts and restarts of a pool.
///
/// # Invariants
/// - The phase changes only here. A pool that drains never runs again, and one that closes or has stopped starts nothing.
/// - A failed pool has a time for its probe, unless it is already probing ([I7](crate#invariants)). The time of the phase
///   is its timer: [`due`](Self::due) follows from it.
/// - What counts for the pool are base workers only: overflow workers that cannot start never make it fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Restarts {
    phase: Phase,
    /// When the time of the phase is over, or [`Timestamp::NEVER`].
    due: Derived<Timestamp>,
    /// Whether a shutdown will follow.
    shutdown_announced: bool,
    intensity: RestartIntensity,
    overflow: OverflowStarts,
    /// The number of base slots, which come first.
    base: u32,
    /// The number of base and overflow slots. A slot after those is a base slot, which reloads need.
    slots: u32,
    /// By slot.
    records: Vec<StartRecord>,
}

/// The phase of a pool's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No process was started: the first call that is admitted wakes the pool.
    Idle,
    Running,
    /// There were too many restarts. Nothing is started before the probe at `retry_at`.
    Failed {
        retry_at: Timestamp,
    },
    /// The probe of a failed pool is starting.
    Probing,
    Draining {
        until: Timestamp,
    },
    /// Workers are being stopped. At `until` the pool stops, even if some have not exited.
    Closing {
        until: Timestamp,
    },
    Stopped,
}

impl Phase {
    /// Returns when the phase is over by itself, or [`Timestamp::NEVER`].
    fn end(self) -> Timestamp {
        match self {
            Self::Failed { retry_at } => retry_at,
            Self::Draining { until } | Self::Closing { until } => until,
            Self::Idle | Self::Running | Self::Probing | Self::Stopped => Timestamp::NEVER,
        }
    }
}

/// What is remembered of the earlier processes of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct StartRecord {
    /// Consecutive failed starts and early deaths.
    failures: u32,
    /// The time before which an overflow slot gets no new process. The next start of a base slot is scheduled instead.
    cooldown_until: Timestamp,
    /// Whether the previous process ended before it was ready.
    start_failed: bool,
}

/// What follows from the exit of a process for the starts of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterExit {
    /// The slot gets a new process at this time.
    StartAt(Timestamp),
    /// The slot gets a new process when one is needed, or none at all.
    Nothing,
    /// No overflow worker can start now. Those that are scheduled are planned again, one at a time, after the backoff.
    CancelOverflowStarts,
    /// There were too many restarts: the scheduled starts are cancelled. The pool failed, and its probe starts at this
    /// time. `None` if it shuts down: then base workers are still started for calls that wait.
    CancelStarts(Option<Timestamp>),
}

/// What the time of the phase brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PhaseEnd {
    /// The probe of a failed pool is due.
    Probe,
    /// The calls that are left must end.
    Drain,
    /// The workers that are left are no longer waited for.
    Closing,
}

/// What the probe of a failed pool begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// This base worker is started. Whether it becomes ready decides whether the pool recovers.
    Start(WorkerId),
    /// No base worker was missing. The pool recovered.
    Recovered,
    /// A shutdown will follow, and nothing is started before.
    Postponed,
}

impl Restarts {
    pub(crate) fn new(settings: RestartSettings, base: u32, overflow: u32) -> Self {
        Self {
            phase: Phase::Running,
            due: Derived(Phase::Running.end()),
            shutdown_announced: false,
            intensity: RestartIntensity::new(settings),
            overflow: OverflowStarts::default(),
            base,
            slots: base + overflow,
            records: vec![StartRecord::default(); (base + overflow) as usize],
        }
    }

    /// Returns when [`phase_end`](Self::phase_end) must be handled, or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn due(&self) -> Timestamp {
        *self.due
    }

    /// The only way in which the phase changes.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.due = Derived(phase.end());
    }

    /// Returns what is due.
    pub(crate) fn phase_end(&self, now: Timestamp) -> Option<PhaseEnd> {
        match self.phase {
            _ if now < self.due() => None,
            Phase::Failed { .. } => Some(PhaseEnd::Probe),
            Phase::Draining { .. } => Some(PhaseEnd::Drain),
            Phase::Closing { .. } => Some(PhaseEnd::Closing),
            Phase::Idle | Phase::Running | Phase::Probing | Phase::Stopped => None,
        }
    }

    fn is_base(&self, worker: WorkerId) -> bool {
        worker.0 <= self.base || worker.0 > self.slots
    }

    fn record(&self, worker: WorkerId) -> &StartRecord {
        &self.records[worker.0 as usize - 1]
    }
}

/// The life of processes.
impl Restarts {
    /// Decides whether the slot of a process that has exited gets a new one, and when, and whether the pool fails.
    /// `base_start_is_pending` states whether another base worker is scheduled, starting, or being stopped before it was
    /// ready: a probe that was not ready in time has failed only once it has exited.
    pub(crate) fn exited(&mut self, now: Timestamp, dead: &DeadProcess, base_start_is_pending: bool) -> AfterExit {
        let worker = dead.worker.id;
        let (is_base, is_expected) = (self.is_base(worker), dead.exit.is_expected());
        let early = !is_expected && dead.live_since.is_none_or(|since| self.intensity.is_early(now - since));
        let record = &mut self.records[worker.0 as usize - 1];
        record.start_failed = dead.live_since.is_none() && !is_expected;
        if record.start_failed && !is_base {
            self.overflow.record_failure(now, &self.intensity);
            return AfterExit::CancelOverflowStarts;
        }
        record.failures = if early { record.failures.saturating_add(1) } else { 0 };
        let start_at = now + self.intensity.backoff(record.failures);
        if !is_base {
            record.cooldown_until = start_at;
            return AfterExit::Nothing;
        }
        // Neither a shortage of descriptors nor a request to kill the process is a failure of the worker: its slot waits as
        // after one, but the pool does not fail because of it. Otherwise, an administrator who kills a worker some times would
        // take the pool down.
        let is_no_failure = matches!(dead.exit.kill_reason, Some(KillReason::NoDescriptors | KillReason::Requested));
        let is_stopped_probe =
            dead.live_since.is_none() && (is_no_failure || dead.exit.kill_reason == Some(KillReason::Reload));
        let starts = matches!(self.phase, Phase::Running | Phase::Draining { .. })
            || (is_stopped_probe && self.phase == Phase::Probing);
        // A death during a call does not count for the pool: otherwise the calls of one caller could make the pool fail
        // for all. The quarantine handles such calls (R37). The slot waits all the same, so that it does not respawn as
        // fast as such calls are submitted.
        let counts = early && dead.attempts.is_empty() && !is_no_failure;
        match self.count(now, counts, starts || base_start_is_pending) {
            IntensityVerdict::Exceeded { retry_at } => self.fail(retry_at),
            IntensityVerdict::WithinLimit if starts => AfterExit::StartAt(start_at),
            IntensityVerdict::WithinLimit => AfterExit::Nothing,
        }
    }

    /// Counts the end of a base worker, or of the probe.
    fn count(&mut self, now: Timestamp, counts: bool, probe_is_running: bool) -> IntensityVerdict {
        match self.phase {
            Phase::Running | Phase::Draining { .. } if counts => self.intensity.count(now),
            Phase::Probing if !probe_is_running => self.intensity.escalate(now),
            _ => IntensityVerdict::WithinLimit,
        }
    }

    /// Starts nothing before the probe. Live workers go on serving (documented in semantics.md).
    fn fail(&mut self, retry_at: Timestamp) -> AfterExit {
        if self.is_draining() {
            return AfterExit::CancelStarts(None);
        }
        self.enter(Phase::Failed { retry_at });
        AfterExit::CancelStarts(Some(retry_at))
    }

    /// Records that a process became ready. Returns whether the pool recovered from its failure by that: the other base
    /// workers are then started.
    pub(crate) fn ready(&mut self, worker: WorkerId) -> bool {
        if !self.is_base(worker) {
            self.overflow.record_success();
        }
        self.recover()
    }

    /// Ends the failure of a pool. The next cooldown is short again.
    fn recover(&mut self) -> bool {
        let is_failed = self.is_failed();
        if is_failed {
            self.enter(Phase::Running);
            self.intensity.record_recovery();
        }
        is_failed
    }

    /// Begins the probe of a failed pool. `absent` is the first base slot with neither a process nor a scheduled start.
    pub(crate) fn probe(&mut self, now: Timestamp, absent: Option<WorkerId>) -> Probe {
        if self.shutdown_announced {
            self.postpone_probe(now);
            return Probe::Postponed;
        }
        let Some(worker) = absent else {
            self.recover();
            return Probe::Recovered;
        };
        self.enter(Phase::Probing);
        Probe::Start(worker)
    }

    /// Records that the scheduled start of a base worker was cancelled, since a shutdown will follow and no call waits.
    /// `base_start_is_pending` as in [`exited`](Self::exited).
    pub(crate) fn base_start_cancelled(&mut self, now: Timestamp, base_start_is_pending: bool) {
        // Without this, calls would be told that the probe runs, and none would follow.
        if self.phase == Phase::Probing && !base_start_is_pending {
            self.postpone_probe(now);
        }
    }

    fn postpone_probe(&mut self, now: Timestamp) {
        if let IntensityVerdict::Exceeded { retry_at } = self.intensity.escalate(now) {
            self.enter(Phase::Failed { retry_at });
        }
    }
}

/// When a process is started.
impl Restarts {
    /// Makes a new pool idle: nothing is started before the first call.
    pub(crate) fn begin_idle(&mut self) {
        self.enter(Phase::Idle);
    }

    /// Returns whether no process was started.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Ends the idle phase. The base workers must then be scheduled.
    pub(crate) fn wake(&mut self) {
        self.enter(Phase::Running);
    }

    /// Returns whether any process may be started.
    pub(crate) fn may_start(&self) -> bool {
        !matches!(self.phase, Phase::Closing { .. } | Phase::Stopped)
    }

    /// Returns whether the pool shuts down or is about to: a base worker is then started only if a call waits for it,
    /// since the supervisor of a service may have stopped all of them on purpose.
    pub(crate) fn starts_on_demand(&self) -> bool {
        self.shutdown_announced || self.is_draining()
    }

    /// Returns whether base workers may be started for waiting calls.
    pub(crate) fn may_request_base_workers(&self) -> bool {
        self.starts_on_demand() && matches!(self.phase, Phase::Running | Phase::Draining { .. })
    }

    /// Returns when a base slot that has no process starts one.
    pub(crate) fn base_start_at(&self, now: Timestamp, worker: WorkerId) -> Timestamp {
        now + self.intensity.backoff(self.record(worker).failures)
    }

    /// Returns which of these overflow slots, which have no process, starts one, and when. `is_any_coming` states whether
    /// one is starting or scheduled.
    pub(crate) fn next_overflow_start(
        &self,
        now: Timestamp,
        is_any_coming: bool,
        absent: impl Iterator<Item = WorkerId>,
    ) -> Option<(WorkerId, Timestamp)> {
        // While starts fail, one is tried at a time: what prevents one overflow worker from starting prevents the others
        // too.
        if self.overflow.is_failing() && is_any_coming {
            return None;
        }
        let cooldown = |worker: &WorkerId| self.record(*worker).cooldown_until.max(now);
        let worker = absent.min_by_key(cooldown)?;
        Some((worker, cooldown(&worker).max(self.overflow.cooldown_until())))
    }
}

/// Reloads.
impl Restarts {
    /// Adds the base slot that reloads need.
    pub(crate) fn add_slot(&mut self) {
        self.records.push(StartRecord::default());
    }

    /// Lets the next start of a slot not wait for earlier failures: it starts something else.
    pub(crate) fn forget_failures(&mut self, worker: WorkerId) {
        self.records[worker.0 as usize - 1].failures = 0;
    }

    /// Makes the probe of a failed pool due now. Returns false if the pool has not failed, or the probe runs.
    pub(crate) fn bring_probe_forward(&mut self, now: Timestamp) -> bool {
        let is_waiting = matches!(self.phase, Phase::Failed { .. });
        if is_waiting {
            self.enter(Phase::Failed { retry_at: now });
        }
        is_waiting
    }
}

/// Shutdown.
impl Restarts {
    pub(crate) fn announce_shutdown(&mut self) {
        self.shutdown_announced = true;
    }

    /// Begins to drain the pool, or brings the end of the drain forward. Returns false if the pool is past its drain.
    pub(crate) fn drain(&mut self, until: Timestamp) -> bool {
        let until = match self.phase {
            Phase::Draining { until: before } => before.min(until),
            Phase::Closing { .. } | Phase::Stopped => return false,
            Phase::Idle | Phase::Running | Phase::Failed { .. } | Phase::Probing => until,
        };
        self.enter(Phase::Draining { until });
        true
    }

    /// Lets the pool wait for its workers to stop. The wait is bounded: a start that never ends, or a process that does
    /// not end after SIGKILL, must not keep the pool forever.
    pub(crate) fn close(&mut self, until: Timestamp) {
        self.enter(Phase::Closing { until });
    }

    pub(crate) fn stop(&mut self) {
        self.enter(Phase::Stopped);
    }
}

/// Questions.
impl Restarts {
    /// Returns why the pool takes no calls, if it does not.
    #[inline]
    pub(crate) fn check_open(&self, now: Timestamp, has_live_worker: bool) -> Result<(), CallFailure> {
        if self.phase == Phase::Running { Ok(()) } else { self.check_open_in_phase(now, has_live_worker) }
    }

    #[cold]
    fn check_open_in_phase(&self, now: Timestamp, has_live_worker: bool) -> Result<(), CallFailure> {
        match self.phase {
            Phase::Idle | Phase::Running => Ok(()),
            // A failed pool serves calls as long as a worker is alive: a slot that cannot start must not end the
            // sessions of the others.
            Phase::Failed { .. } | Phase::Probing if has_live_worker => Ok(()),
            Phase::Failed { retry_at } => Err(CallFailure::PoolFailed { retry_at }),
            Phase::Probing => Err(CallFailure::PoolFailed { retry_at: now }),
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Stopped => {
                Err(CallFailure::PoolClosed { may_have_run: false })
            }
        }
    }

    /// Returns when the probe of a failed pool starts, `now` if it runs.
    pub(crate) fn failed_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.phase {
            Phase::Failed { retry_at } => Some(retry_at),
            Phase::Probing => Some(now),
            _ => None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    fn is_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed { .. } | Phase::Probing)
    }

    /// Returns whether it is decided how the last start of a slot ended, if its process is not ready: it exited before it
    /// was, or none is started.
    pub(crate) fn start_is_decided(&self, worker: WorkerId) -> bool {
        matches!(self.phase, Phase::Failed { .. }) || self.record(worker).start_failed
    }

    /// Returns the state of the pool, as displayed. `ready` is the number of base workers that are ready.
    pub(crate) fn pool_state(&self, ready: usize) -> PoolState {
        match self.phase {
            Phase::Idle => PoolState::Idle,
            Phase::Running if ready >= self.base as usize => PoolState::Running,
            Phase::Running => PoolState::Starting,
            Phase::Failed { .. } | Phase::Probing => PoolState::Failed,
            Phase::Draining { .. } | Phase::Closing { .. } => PoolState::Draining,
            Phase::Stopped => PoolState::Stopped,
        }
    }

    /// Reports a probe that does not run. `base_start_is_pending` as in [`exited`](Self::exited).
    pub(crate) fn verify(&self, base_start_is_pending: bool, broken: &mut Vec<String>) {
        if self.phase == Phase::Probing && !base_start_is_pending {
            broken.push("I7: the pool probes, but no base worker is starting".to_owned());
        }
        if self.is_failed() && self.phase != Phase::Probing && self.due() == Timestamp::NEVER {
            broken.push("I7: a failed pool has no probe".to_owned());
        }
    }
}

#[cfg(test)]
impl Restarts {
    /// Makes the pool fail, as after too many restarts, and returns when its probe starts.
    pub(crate) fn fail_now(&mut self, now: Timestamp) -> Timestamp {
        if let IntensityVerdict::Exceeded { retry_at } = self.intensity.escalate(now) {
            self.fail(retry_at);
        }
        self.due()
    }

    /// Returns the time before which no overflow worker starts, if the last start of one failed.
    pub(crate) fn overflow_backoff(&self) -> Option<Timestamp> {
        self.overflow.is_failing().then(|| self.overflow.cooldown_until())
    }

    /// Returns the number of ends that count for the pool.
    pub(crate) fn counted(&self) -> usize {
        self.intensity.counted()
    }
}
