//! Builds the status (R8) and answers other questions of the shell. Reads only.

use super::Core;
use crate::{
    BatchKey, BatchStatus, CallId, Counters, Features, KillReason, PoolState, PoolStatus, QueueStatus, SESSIONS_SHOWN,
    Timestamp, TransitionStatus, WireId, WorkerId, WorkerRef, WorkerStatus,
    failure::ProcessExit,
    time::millis,
    waiting::Queue,
    worker::{Ping, Process, Slot, Transition},
};
use std::time::Duration;

impl Core {
    /// Returns the status of the pool. Costs the number of slots and of the sessions shown, not of all sessions.
    pub fn status(&self, now: Timestamp) -> PoolStatus {
        let affinity = self.affinity_status(now);
        PoolStatus {
            worker_type: self.settings.worker_type(),
            state: self.pool_state(),
            pool_size: self.settings.pool_size,
            overflow: self.settings.overflow,
            active_sessions: self.sessions.active(now),
            sessions: self.list_sessions(now, 0, SESSIONS_SHOWN).sessions,
            uptime_ms: millis(now - self.started),
            session_affinity: affinity,
            workers: self.workers(now),
            queue: self.queue_status(),
            breaker: self.breaker(now),
            quarantined: self.quarantine_entries(now).iter().filter(|entry| entry.quarantined).count(),
            counters: self.counters(),
            features: self.features(),
        }
    }

    /// Returns the status of the base slots, and of the overflow slots that have a process or a scheduled start.
    pub fn workers(&self, now: Timestamp) -> Vec<WorkerStatus> {
        let shown = |slot: &&Slot| !matches!(slot.process(), Process::Absent) || (slot.base && !self.is_vacant(slot));
        self.workers.iter().filter(shown).map(|slot| self.worker_status(now, slot)).collect()
    }

    /// Returns whether this is the slot that reloads leave vacant.
    fn is_vacant(&self, slot: &Slot) -> bool {
        self.workers.vacant() == Some(slot.worker.id)
    }

    fn worker_status(&self, now: Timestamp, slot: &Slot) -> WorkerStatus {
        let worker = slot.worker.id;
        WorkerStatus {
            id: worker,
            generation: slot.worker.generation,
            overflow: !slot.base,
            state: slot.state(self.workers.is_health_gated()),
            health: slot.health(),
            unresponsive: slot.unresponsive(),
            in_flight: slot.attempts().begun() as usize,
            window: slot.places(),
            queued: self.waiting.for_worker(slot.worker) + slot.attempts().in_advance().calls(),
            operations: *slot.finished_attempts,
            sessions: self.sessions.is_routed().then(|| self.sessions.bound_to(slot.worker)),
            metrics: self.workers.metrics_of(worker).cloned(),
            history: self
                .transitions(worker)
                .map(|changes| changes.map(|change| transition_status(now, change)).collect()),
        }
    }

    /// Returns the status of the queue.
    pub fn queue_status(&self) -> QueueStatus {
        let (capacity, in_advance) = (self.workers.capacity(), self.workers.in_advance().calls());
        let (in_flight, waiting) = (self.workers.begun(), self.waiting.len() + in_advance);
        let load = (capacity > 0).then(|| (in_flight + waiting) as f64 / capacity as f64);
        let ahead = self.ahead_of(Queue::AnyWorker, None) + usize::from(in_flight >= capacity);
        let estimated_wait_ms = self.waiting.estimated_wait(ahead, self.places_for(Queue::AnyWorker)).map(millis);
        let limit = self.settings.queue.limit;
        QueueStatus { waiting, limit, in_flight, capacity, load, estimated_wait_ms }
    }

    /// Returns what the batches of a command were like since the state of the pool was last rebuilt. `None` for a command
    /// that never had any.
    pub fn batch_status(&self, command: BatchKey) -> Option<BatchStatus> {
        self.waiting.batch_status(command)
    }

    /// Returns the counters since the state of the pool was last rebuilt.
    pub fn counters(&self) -> Counters {
        Counters { sessions_expired: self.sessions.expired(), ..self.counters }
    }

    /// Returns the features that are switched on.
    pub fn features(&self) -> Features {
        Features {
            session_affinity: self.sessions.is_routed(),
            worker_metrics: self.workers.has_metrics(),
            state_machine: self.workers.is_health_gated(),
        }
    }

    /// Returns whether the pool accepts calls.
    pub fn pool_state(&self) -> PoolState {
        self.restarts.pool_state(self.workers.live_base())
    }

    /// Returns the number of base workers that are ready.
    pub fn ready_workers(&self) -> usize {
        self.workers.live_base()
    }

    /// Returns whether every base worker is ready, or exited before it was ready at its last start.
    pub fn start_is_decided(&self) -> bool {
        let mut base = self.workers.iter().filter(|slot| slot.base && !self.is_vacant(slot));
        base.all(|slot| slot.is_live() || self.restarts.start_is_decided(slot.worker.id))
    }
}

/// Questions of the shell about one process, or all of them.
impl Core {
    /// Returns the processes that were started and whose exit has not been reported.
    pub fn processes(&self) -> impl Iterator<Item = WorkerRef> {
        self.workers.iter().filter(|slot| slot.has_process()).map(|slot| slot.worker)
    }

    /// Returns the current process of a slot, if there is one.
    pub fn process_of(&self, worker: WorkerId) -> Option<WorkerRef> {
        let slot = self.workers.get(worker)?;
        slot.has_process().then_some(slot.worker)
    }

    /// Returns the number from 0 that a process of this slot is told, such as for choosing a device. Two processes have the
    /// same number only while one of them is replaced by the other.
    pub fn slot_number(&self, worker: WorkerId) -> u32 {
        self.workers.get(worker).map_or(0, |slot| slot.number)
    }

    /// Returns the processes that have not answered their last ping yet.
    pub fn pinged(&self) -> impl Iterator<Item = WorkerRef> {
        let is_out = |ping: &Ping| matches!(ping, Ping::Sent { .. } | Ping::Examined { .. });
        let asked = move |slot: &&Slot| matches!(slot.process(), Process::Live { ping, .. } if is_out(ping));
        self.workers.iter().filter(asked).map(|slot| slot.worker)
    }

    /// Returns the last transitions of a slot, the oldest first, or `None` in a pool without `state_machine`.
    pub fn transitions(&self, worker: WorkerId) -> Option<impl Iterator<Item = &Transition>> {
        self.workers.transitions(worker)
    }

    /// Returns whether this process is starting and not being stopped.
    pub fn is_starting(&self, worker: WorkerRef) -> bool {
        self.workers.is_starting(worker)
    }

    /// Returns why this process, the latest of its slot, is being stopped, if it is.
    pub fn kill_reason_of(&self, worker: WorkerRef) -> Option<KillReason> {
        match *self.workers.current(worker)?.process() {
            Process::Stopping { kill_reason, .. } => Some(kill_reason),
            _ => None,
        }
    }

    /// Returns whether this process, the latest of its slot, has been ready.
    pub fn has_been_ready(&self, worker: WorkerRef) -> bool {
        let ready = |slot: &Slot| {
            matches!(slot.process(), Process::Live { .. } | Process::Stopping { live_since: Some(_), .. })
        };
        self.workers.current(worker).is_some_and(ready)
    }

    /// Returns whether this process, the latest of its slot, is reported on its own when it becomes ready: an overflow worker, or
    /// one in place of a lost one. The first processes of a pool, and those of a reload, are reported together.
    pub fn is_late_start(&self, worker: WorkerRef) -> bool {
        let is_late = |slot: &Slot| !slot.base || worker.generation.0 > 1;
        self.reload.is_none() && self.workers.current(worker).is_some_and(is_late)
    }

    /// Returns how a process ended, if it is the last of its slot that has ended.
    pub fn exit_of(&self, worker: WorkerRef) -> Option<ProcessExit> {
        self.workers.get(worker.id)?.exit_of(worker)
    }

    /// Returns the unfinished attempts of a process, with their calls unless these are settled.
    pub fn unfinished(&self, worker: WorkerRef) -> impl Iterator<Item = (WireId, Option<CallId>)> + '_ {
        let attempts = self.workers.current(worker).into_iter().flat_map(|slot| slot.attempts().iter());
        attempts.map(|attempt| (attempt.wire, attempt.call()))
    }

    /// Returns the calls of a process that have no final frame, the oldest first, and when each was sent. `None` for a call
    /// that is settled.
    pub fn sent_calls(&self, worker: WorkerRef) -> impl Iterator<Item = (Option<CallId>, Timestamp)> + '_ {
        let attempts = self.workers.current(worker).into_iter().flat_map(|slot| slot.attempts().iter());
        attempts.map(|attempt| (attempt.call(), attempt.sent))
    }

    /// Returns the calls that a process runs, as far as the pool knows, and since when. `None` for a call that is settled.
    pub fn begun_calls(&self, worker: WorkerRef) -> impl Iterator<Item = (Option<CallId>, Timestamp)> + '_ {
        let attempts = self.workers.current(worker).into_iter().flat_map(|slot| slot.attempts().iter_begun());
        attempts.map(|attempt| (attempt.call(), attempt.since))
    }

    /// Returns how long the first of the processes has been starting, if none is ready.
    pub fn starting_for(&self, now: Timestamp) -> Option<Duration> {
        if self.workers.iter().any(Slot::is_live) {
            return None;
        }
        let left = |slot: &Slot| match slot.process() {
            Process::Starting { until } => Some(until.since(now)),
            _ => None,
        };
        let least = self.workers.iter().filter_map(left).min()?;
        Some(self.settings.start_timeout.saturating_sub(least))
    }
}

fn transition_status(now: Timestamp, change: &Transition) -> TransitionStatus {
    TransitionStatus {
        from: change.from,
        to: change.to,
        reason: change.reason,
        lasted_ms: millis(change.lasted),
        ago_ms: millis(now - change.at),
    }
}
