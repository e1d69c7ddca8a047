//! Processes: their start, their readiness and their stop (R27, R28). `death` handles their exit.

use super::{Core, Effect, Effects, EnhancedState, Phase, StopMethod};
use crate::{
    Generation, Timestamp, WorkerId, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Ping, Process, WorkerState},
};

impl Core {
    /// Starts the processes that are scheduled and due, at most `start_batch` at a time (R13).
    pub(super) fn start_due(&mut self, now: Timestamp, effects: &mut Effects) {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Stopped) {
            return;
        }
        let starting = |slot: &&crate::worker::Slot| matches!(slot.process, Process::Starting { .. });
        let mut room = (self.settings.start_batch as usize).saturating_sub(self.slots.iter().filter(starting).count());
        // Base slots come first in `slots`, so overflow workers start only if the base workers leave room in the batch.
        for slot_index in 0..self.slots.len() {
            if room == 0 {
                return;
            }
            if !matches!(self.slots[slot_index].process, Process::Scheduled { at } if at <= now) {
                continue;
            }
            let is_wanted = match self.slots[slot_index].base {
                true => !self.starts_on_demand() || self.calls_waiting_for_any_worker() > self.starting_capacity(),
                false => self.calls_waiting_for_overflow() > 0,
            };
            if is_wanted {
                self.start(now, slot_index, effects);
                room -= 1;
            } else {
                // The calls that needed it have been served or abandoned.
                self.slots[slot_index].process = Process::Absent;
            }
        }
    }

    fn start(&mut self, now: Timestamp, slot_index: usize, effects: &mut Effects) {
        let slot = &mut self.slots[slot_index];
        // The generation changes before the start: from here on every binding to the previous process is void (I4).
        slot.worker.generation = Generation(slot.worker.generation.0 + 1);
        slot.process = Process::Starting { since: now };
        let worker = slot.worker;
        if let EnhancedState::Enhanced { history: Some(history), .. } = &mut self.enhanced_state {
            history[slot_index].begin(now);
        }
        self.counters.starts += 1;
        self.timers.set(now + self.settings.start_timeout, Timer::Worker(worker.id));
        // The entries of the previous process are stale. A pool that restarts workers but has no calls must not
        // accumulate them (I6).
        self.shrink_timers();
        effects.push(Effect::Start(worker));
    }

    pub(super) fn on_ready(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        window: u32,
        control: bool,
        effects: &mut Effects,
    ) {
        // A worker may offer more calls than the settings allow, or none.
        let window = window.clamp(1, self.settings.window().max(1));
        let first_ping = now + self.settings.health.interval;
        let Some(slot) = self.current(worker).filter(|slot| matches!(slot.process, Process::Starting { .. })) else {
            return;
        };
        let ping = if control { Ping::Due { at: first_ping } } else { Ping::Off };
        slot.process = Process::Live { since: now, window, ping, misses: 0, unresponsive: None, idle_since: now };
        // Set even without a control channel, since `worker_due` ignores it then.
        self.timers.set(first_ping, Timer::Worker(worker.id));
        self.record(now, worker.id, WorkerState::Initializing, WorkerState::Ready, "ready");
        if worker.id.0 > self.settings.pool_size {
            self.overflow.record_success();
        }
        // `recover` comes first: it may schedule more starts, which `start_due` begins. Both come before `fill`, which
        // uses this worker's capacity, so that `request_overflow_workers` at the end sees only calls that still wait.
        self.recover(now, effects);
        self.start_due(now, effects);
        self.fill(now, worker.id, effects);
        if worker.id.0 > self.settings.pool_size {
            self.timers.set(now + self.settings.overflow_idle_timeout, Timer::OverflowIdle(worker));
        }
        self.request_overflow_workers(now, effects);
    }

    /// Stops a process. Its calls are settled when it has exited, since an answer may still arrive before.
    pub(super) fn stop_process(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        kill_reason: KillReason,
        method: StopMethod,
        effects: &mut Effects,
    ) {
        let health_gated = self.is_health_gated();
        let Some(slot) = self.current(worker) else { return };
        let before = slot.state(health_gated);
        let live_since = match slot.process {
            Process::Live { since, .. } => Some(since),
            Process::Starting { .. } => None,
            Process::Stopping { kill_reason, .. } => {
                // The process is already being stopped. A kill must not wait for the graceful stop, whose steps take
                // seconds. The first reason is kept.
                if method == StopMethod::Kill {
                    effects.push(Effect::Stop { worker, method, kill_reason });
                }
                return;
            }
            Process::Absent | Process::Scheduled { .. } => return,
        };
        // From here on the process is not live: it gets no more calls, and bindings to it are void. Its slot stays
        // occupied until the exit, so that no successor starts while the process may still run.
        slot.process = Process::Stopping { live_since, kill_reason };
        if live_since.is_some() {
            self.record(now, worker.id, before, WorkerState::Terminating, "stop requested");
        }
        effects.push(Effect::Stop { worker, method, kill_reason });
        if live_since.is_none() {
            // The process no longer counts in the batch, however long its exit takes.
            self.start_due(now, effects);
        }
        if self.unbound_queue.len() > 0 && !self.has_live_base_worker() {
            // Without a live base worker, overflow workers may take new sessions (R12).
            self.fill_all(now, effects);
        }
    }

    /// Handles the timer of a slot: its start, start timeout or ping may be due.
    pub(super) fn worker_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.slot(worker).worker;
        match self.slot(worker).process {
            Process::Scheduled { at } if at <= now => self.start_due(now, effects),
            Process::Starting { since } if now >= since + self.settings.start_timeout => {
                self.stop_process(now, worker_ref, KillReason::StartTimeout, StopMethod::Kill, effects);
            }
            Process::Live { .. } => self.ping_due(now, worker_ref, effects),
            _ => {}
        }
    }

    pub(super) fn record(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        from: WorkerState,
        to: WorkerState,
        reason: &'static str,
    ) {
        if let EnhancedState::Enhanced { history: Some(history), .. } = &mut self.enhanced_state {
            history[super::index(worker)].record(from, to, reason, now);
        }
    }
}
