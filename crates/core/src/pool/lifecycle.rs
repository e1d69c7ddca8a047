//! Processes: their start, their readiness, their end, and what follows for calls, sessions and the pool (R27, R28).

use super::{Core, Effect, Effects, EnhancedState, Phase, StopMethod};
use crate::{
    Generation, Timestamp, WorkerId, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Ping, Process, WorkerState},
};

impl Core {
    /// Starts what is scheduled, as far as the batch has room (R13).
    pub(super) fn start_due(&mut self, now: Timestamp, effects: &mut Effects) {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Stopped) {
            return;
        }
        let starting = |slot: &&crate::worker::Slot| matches!(slot.process, Process::Starting { .. });
        let mut room = (self.settings.start_batch as usize).saturating_sub(self.slots.iter().filter(starting).count());
        for slot_index in 0..self.slots.len() {
            if room == 0 {
                return;
            }
            if !matches!(self.slots[slot_index].process, Process::Scheduled { at } if at <= now) {
                continue;
            }
            let is_wanted = match self.slots[slot_index].base {
                true => !self.starts_on_demand() || self.wait_for_a_worker() > self.places_starting(),
                false => self.calls_waiting_for_overflow() > 0,
            };
            if is_wanted {
                self.start(now, slot_index, effects);
                room -= 1;
            } else {
                self.slots[slot_index].process = Process::Absent; // whoever it was for is served, or waits no more
            }
        }
    }

    fn start(&mut self, now: Timestamp, slot_index: usize, effects: &mut Effects) {
        let slot = &mut self.slots[slot_index];
        slot.worker.generation = Generation(slot.worker.generation.0 + 1);
        slot.process = Process::Starting { since: now };
        let worker = slot.worker;
        if let EnhancedState::Enhanced { history: Some(history), .. } = &mut self.enhanced_state {
            history[slot_index].begin(now);
        }
        self.counters.starts += 1;
        self.timers.set(now + self.settings.start_timeout, Timer::Worker(worker.id));
        self.shrink_timers(); // those of the process before it are stale: a pool without calls must not gather them
        effects.push(Effect::Start(worker));
    }

    pub(super) fn ready(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        window: u32,
        control: bool,
        effects: &mut Effects,
    ) {
        let window = window.clamp(1, self.settings.window().max(1));
        let first_ping = now + self.settings.health.interval;
        let Some(slot) = self.current(worker).filter(|slot| matches!(slot.process, Process::Starting { .. })) else {
            return;
        };
        let ping = if control { Ping::Due { at: first_ping } } else { Ping::Off };
        slot.process = Process::Live { since: now, window, ping, misses: 0, unresponsive: None, idle_since: now };
        self.timers.set(first_ping, Timer::Worker(worker.id));
        self.record(now, worker.id, WorkerState::Initializing, WorkerState::Ready, "ready");
        if worker.id.0 > self.settings.pool_size {
            self.overflow.succeeded();
        }
        self.recover(now, effects);
        self.start_due(now, effects);
        self.fill(now, worker.id, effects);
        if worker.id.0 > self.settings.pool_size {
            self.timers.set(now + self.settings.overflow_idle_timeout, Timer::OverflowIdle(worker));
        }
        self.want_overflow(now, effects);
    }

    /// Ends a process. Its calls are settled when it is gone: an answer may still come.
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
                if method == StopMethod::Kill {
                    effects.push(Effect::Stop { worker, method, kill_reason });
                }
                return;
            }
            Process::Absent | Process::Scheduled { .. } => return,
        };
        slot.process = Process::Stopping { live_since, kill_reason };
        if live_since.is_some() {
            self.record(now, worker.id, before, WorkerState::Terminating, "stop requested");
        }
        effects.push(Effect::Stop { worker, method, kill_reason });
        if live_since.is_none() {
            self.start_due(now, effects); // its place in the batch is free, however long its exit takes
        }
        if self.unbound_queue.len() > 0 && !self.base_lives() {
            self.fill_all(now, effects); // now the overflow may take new sessions
        }
    }

    /// A slot's timer: its start, start timeout or ping may be due.
    pub(super) fn worker_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let at = self.slot(worker).worker;
        match self.slot(worker).process {
            Process::Scheduled { at } if at <= now => self.start_due(now, effects),
            Process::Starting { since } if now >= since + self.settings.start_timeout => {
                self.stop_process(now, at, KillReason::StartTimeout, StopMethod::Kill, effects);
            }
            Process::Live { .. } => self.ping_due(now, at, effects),
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
