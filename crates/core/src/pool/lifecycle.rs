//! Processes: their start, their readiness, their end, and what follows for calls, sessions and the pool (R27, R28).

use super::{
    Core, Effect, Effects, Extras, Note, Phase, StopHow,
    call::{Call, Place, Role},
};
use crate::{
    CallId, Generation, Now, WorkerId, WorkerRef,
    failure::{Doom, End, Failure, Loss},
    restart::Verdict,
    session::{Binding, RowKey, Sessions},
    timers::Timer,
    worker::{Occupant, Ping, Process, Running, WorkerState},
};

impl Core {
    /// Starts what is scheduled, as far as the batch has room (R13).
    pub(super) fn start_due(&mut self, now: Now, fx: &mut Effects) {
        if matches!(self.phase, Phase::Closing | Phase::Stopped) {
            return;
        }
        let starting = |slot: &&crate::worker::Slot| matches!(slot.process, Process::Starting { .. });
        let mut room = (self.settings.start_batch as usize).saturating_sub(self.slots.iter().filter(starting).count());
        for place in 0..self.slots.len() {
            if room == 0 {
                return;
            }
            if matches!(self.slots[place].process, Process::Scheduled { at } if at <= now) {
                self.start(now, place, fx);
                room -= 1;
            }
        }
    }

    fn start(&mut self, now: Now, place: usize, fx: &mut Effects) {
        let slot = &mut self.slots[place];
        slot.at.generation = Generation(slot.at.generation.0 + 1);
        slot.process = Process::Starting { since: now };
        let at = slot.at;
        if let Extras::Enhanced { history: Some(history), .. } = &mut self.extras {
            history[place].begin(now);
        }
        self.counters.starts += 1;
        self.timers.set(now + self.settings.start_timeout, Timer::Worker(at.worker));
        fx.push(Effect::Start(at));
    }

    pub(super) fn ready(&mut self, now: Now, at: WorkerRef, window: u32, control: bool, fx: &mut Effects) {
        let window = window.clamp(1, self.settings.window().max(1));
        let first_ping = now + self.settings.health.interval;
        let Some(slot) = self.current(at).filter(|slot| matches!(slot.process, Process::Starting { .. })) else {
            return;
        };
        let ping = if control { Ping::Due { at: first_ping } } else { Ping::Off };
        slot.process = Process::Live { since: now, window, ping, misses: 0, idle_since: now };
        self.timers.set(first_ping, Timer::Worker(at.worker));
        self.record(now, at.worker, WorkerState::Initializing, WorkerState::Ready, "ready");
        self.recover(now, fx);
        self.start_due(now, fx);
        self.fill(now, at.worker, fx);
        if at.worker.0 > self.settings.pool_size {
            self.timers.set(now + self.settings.overflow_linger, Timer::Linger(at));
        }
        self.want_overflow(now, fx);
    }

    /// A worker came up in a failed pool: the others may start again.
    fn recover(&mut self, now: Now, fx: &mut Effects) {
        if !matches!(self.phase, Phase::Failed { .. } | Phase::Probing) {
            return;
        }
        self.phase = Phase::Running;
        self.intensity.recovered();
        fx.push(Effect::Note(Note::Recovered));
        for slot in self.slots.iter_mut().filter(|slot| slot.base && matches!(slot.process, Process::Absent)) {
            slot.process = Process::Scheduled { at: now };
        }
    }

    /// Ends a process. Its calls are settled when it is gone: an answer may still come.
    pub(super) fn doom(&mut self, now: Now, at: WorkerRef, doom: Doom, how: StopHow, fx: &mut Effects) {
        let gated = self.gated();
        let Some(slot) = self.current(at) else { return };
        let before = slot.state(gated);
        let live_since = match slot.process {
            Process::Live { since, .. } => Some(since),
            Process::Starting { .. } => None,
            Process::Stopping { doom, .. } => {
                if how == StopHow::Kill {
                    fx.push(Effect::Stop { at, how, doom });
                }
                return;
            }
            Process::Absent | Process::Scheduled { .. } => return,
        };
        slot.process = Process::Stopping { live_since, doom };
        if live_since.is_some() {
            self.record(now, at.worker, before, WorkerState::Terminating, "told to end");
        }
        fx.push(Effect::Stop { at, how, doom });
        if self.homeless.len() > 0 && !self.base_lives() {
            self.fill_all(now, fx); // now the overflow may take new sessions
        }
    }

    /// The process is gone, and all it said was read.
    pub(super) fn exited(&mut self, now: Now, at: WorkerRef, end: End, fx: &mut Effects) {
        let gated = self.gated();
        let Some(slot) = self.current(at).filter(|slot| slot.has_process()) else { return };
        let state = slot.state(gated);
        let process = std::mem::replace(&mut slot.process, Process::Absent);
        let running = std::mem::take(&mut slot.running);
        let waiting: Vec<CallId> = slot.queue.iter().collect();
        let (live_since, doom) = match process {
            Process::Live { since, .. } => (Some(since), end.doom),
            Process::Stopping { live_since, doom } => (live_since, Some(doom)),
            _ => (None, end.doom),
        };
        let end = End { doom, ..end };
        slot.last_end = Some((at.generation, end));
        self.record_exit(now, at.worker, state, live_since);
        self.counters.exits += 1;
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.worker_gone(at);
        }
        self.restart_or_rest(now, at, end, live_since, fx);
        self.lose_calls(now, at, end, running, &waiting, fx);
        self.fill_all(now, fx);
        self.start_due(now, fx);
        self.want_overflow(now, fx);
        self.answer_if_failed(now, fx);
        self.after_exit(now, fx);
    }

    fn record_exit(&mut self, now: Now, worker: WorkerId, state: WorkerState, live_since: Option<Now>) {
        if live_since.is_none() {
            return self.record(now, worker, WorkerState::Initializing, WorkerState::Terminated, "the start failed");
        }
        if state != WorkerState::Terminating {
            self.record(now, worker, state, WorkerState::Terminating, "its process ended");
        }
        self.record(now, worker, WorkerState::Terminating, WorkerState::Terminated, "its process is gone");
    }

    /// Whether the slot gets a new process, and when.
    fn restart_or_rest(&mut self, now: Now, at: WorkerRef, end: End, live_since: Option<Now>, fx: &mut Effects) {
        let ordered = matches!(end.doom, Some(Doom::Idle | Doom::Shutdown));
        if !ordered {
            fx.push(Effect::Note(match live_since {
                Some(_) => Note::Died(at, end),
                None => Note::StartFailed(at, end),
            }));
        }
        let counts = !ordered && live_since.is_none_or(|since| self.intensity.is_early(now - since));
        let slot = self.slot_mut(at.worker);
        slot.start_failed = live_since.is_none() && !ordered;
        slot.failures = if counts { slot.failures + 1 } else { 0 };
        let (failures, base) = (slot.failures, slot.base);
        if base && matches!(self.phase, Phase::Running | Phase::Draining { .. }) {
            let start_at = now + self.intensity.backoff(failures);
            self.slot_mut(at.worker).process = Process::Scheduled { at: start_at };
            self.timers.set(start_at, Timer::Worker(at.worker));
        }
        match self.phase {
            Phase::Running | Phase::Draining { .. } if counts => {
                if let Verdict::Escalate { retry_at } = self.intensity.count(now) {
                    self.fail(retry_at, fx);
                }
            }
            Phase::Probing if !self.probe_is_out() => {
                if let Verdict::Escalate { retry_at } = self.intensity.escalate(now) {
                    self.fail(retry_at, fx);
                }
            }
            _ => {}
        }
    }

    fn probe_is_out(&self) -> bool {
        let out =
            |slot: &crate::worker::Slot| matches!(slot.process, Process::Starting { .. } | Process::Scheduled { .. });
        self.slots.iter().any(|slot| slot.base && out(slot))
    }

    /// Too many restarts: nothing is started before the probe. Workers that live go on (documented in semantics.md).
    fn fail(&mut self, retry_at: Now, fx: &mut Effects) {
        for slot in &mut self.slots {
            if matches!(slot.process, Process::Scheduled { .. }) {
                slot.process = Process::Absent;
            }
        }
        if matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        self.phase = Phase::Failed { retry_at };
        self.timers.set(retry_at, Timer::Pool);
        fx.push(Effect::Note(Note::Failed(retry_at)));
    }

    /// In a failed pool without a living worker nobody waits: each call has its answer at once.
    fn answer_if_failed(&mut self, now: Now, fx: &mut Effects) {
        let retry_at = match self.phase {
            Phase::Failed { retry_at } => retry_at,
            Phase::Probing => now,
            _ => return,
        };
        let hope = |slot: &crate::worker::Slot| matches!(slot.process, Process::Live { .. } | Process::Starting { .. });
        if self.slots.iter().any(hope) {
            return;
        }
        for id in self.waiting_calls() {
            if self.calls.get(&id).is_some_and(Call::is_queued) {
                self.counters.closed += 1;
                self.withdraw(now, id, Failure::PoolFailed { retry_at }, fx);
            }
        }
    }

    /// Waiting calls in the order of admission.
    pub(super) fn waiting_calls(&self) -> Vec<CallId> {
        let mut waiting: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.is_queued()).map(|(id, _)| *id).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Time for the probe of a failed pool.
    pub(super) fn probe_due(&mut self, now: Now, fx: &mut Effects) {
        let Phase::Failed { retry_at } = self.phase else { return };
        if now < retry_at {
            return self.timers.set(retry_at, Timer::Pool);
        }
        let absent = |slot: &&mut crate::worker::Slot| slot.base && matches!(slot.process, Process::Absent);
        self.phase = match self.slots.iter_mut().find(absent) {
            Some(slot) => {
                slot.process = Process::Scheduled { at: now };
                Phase::Probing
            }
            None => Phase::Running,
        };
        self.start_due(now, fx);
    }

    /// Answers or returns every call the process had (R20, R36).
    fn lose_calls(
        &mut self,
        now: Now,
        at: WorkerRef,
        end: End,
        running: Vec<Running>,
        waiting: &[CallId],
        fx: &mut Effects,
    ) {
        let (turns, mut others): (Vec<Running>, Vec<Running>) =
            running.into_iter().partition(|attempt| matches!(attempt.session, Some((_, true))));
        let held = turns.into_iter().filter_map(|attempt| attempt.session.map(|(row, _)| row));
        let queued = waiting.iter().filter_map(|id| self.calls.get(id).and_then(|call| call.role.row()));
        // Strict sessions first: a hint call sent again must find the binding void.
        for row in held.chain(queued).collect::<Vec<RowKey>>() {
            self.lose_session(now, row, at, end, fx);
        }
        others.sort_unstable_by_key(|attempt| attempt.wire);
        for attempt in others {
            match (attempt.occupant, attempt.session) {
                (Occupant::Call(id), _) => self.lose_or_retry(now, id, at, end, fx),
                (Occupant::Abandoned { .. }, Some((row, _))) => self.release(now, row, false, false, fx),
                (Occupant::Abandoned { .. }, None) => {}
            }
        }
    }

    /// A call without a strict session: again if it may, else lost.
    fn lose_or_retry(&mut self, now: Now, id: CallId, at: WorkerRef, end: End, fx: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.idempotent && call.attempts < self.settings.attempts && self.phase == Phase::Running {
            call.place = Place::Nowhere;
            call.queue_until = now + self.settings.queue.timeout;
            self.counters.retries += 1;
            return self.seek_or_wait(now, id, fx);
        }
        let Some(call) = self.calls.remove(&id) else { return };
        self.counters.lost += 1;
        fx.push(Effect::Settle {
            call: id,
            failure: Failure::WorkerLost(Loss { at, end: Some(end), may_have_run: true }),
        });
        if let Some(row) = call.role.row() {
            self.release(now, row, false, false, fx);
        }
    }

    /// Tells every call of the lost epoch, in flight or waiting. If there was none, the void binding stays to tell the next.
    fn lose_session(&mut self, now: Now, row: RowKey, at: WorkerRef, end: End, fx: &mut Effects) {
        let epoch = match self.binding(row) {
            Binding::To { at: bound, epoch } if bound == at => Some(epoch),
            _ => None,
        };
        let turn = self.turn_of(row);
        let head = turn.filter(|id| self.calls.contains_key(id));
        let told: Vec<CallId> =
            head.into_iter().chain(self.line_of(row)).filter(|id| self.epoch_of_call(*id) == epoch).collect();
        if let (false, Some(epoch)) = (told.is_empty(), epoch) {
            self.void(row, epoch, fx);
        }
        if turn.is_some() && head.is_none() {
            self.end_row_call(now, row); // the turn was held by a settled call's attempt, which is gone now
        }
        for id in told {
            self.lose_session_call(now, id, row, at, end, fx);
        }
        self.pass_turn(now, row, fx);
    }

    fn lose_session_call(&mut self, now: Now, id: CallId, row: RowKey, at: WorkerRef, end: End, fx: &mut Effects) {
        self.unqueue(id);
        let Some(call) = self.calls.remove(&id) else { return };
        let Some(session) = self.routes().and_then(|routes| routes.table.row(row)).map(|row| row.id.clone()) else {
            return;
        };
        let loss = Loss { at, end: Some(end), may_have_run: call.attempts > 0 };
        self.counters.lost += 1;
        fx.push(Effect::Settle { call: id, failure: Failure::SessionWorkerLost { session, loss } });
        self.end_row_call(now, row);
    }

    fn end_row_call(&mut self, now: Now, row: RowKey) {
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.table.end_call(row, now, false);
        }
    }

    fn epoch_of_call(&self, id: CallId) -> Option<crate::Epoch> {
        match self.calls.get(&id)?.role {
            Role::Strict { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// A slot's timer: its start, start timeout or ping may be due.
    pub(super) fn worker_due(&mut self, now: Now, worker: WorkerId, fx: &mut Effects) {
        let at = self.slot(worker).at;
        match self.slot(worker).process {
            Process::Scheduled { at } if at <= now => self.start_due(now, fx),
            Process::Starting { since } if now >= since + self.settings.start_timeout => {
                self.doom(now, at, Doom::StartTimeout, StopHow::Kill, fx);
            }
            Process::Live { .. } => self.ping_due(now, at, fx),
            _ => {}
        }
    }

    /// Ends an overflow worker that was idle long enough and holds no session's state (R12).
    pub(super) fn linger_due(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        if !self.is_alive(at) {
            return;
        }
        let bound = self.routes().map_or(0, |routes| routes.bound_to(at));
        let slot = self.slot(at.worker);
        let Process::Live { idle_since, .. } = slot.process else { return };
        let idle = slot.running.is_empty() && bound == 0;
        let over = if idle { idle_since + self.settings.overflow_linger } else { now + self.settings.overflow_linger };
        if idle && now >= over {
            return self.doom(now, at, Doom::Idle, StopHow::Ladder, fx);
        }
        self.timers.set(over, Timer::Linger(at));
    }

    pub(super) fn record(
        &mut self,
        now: Now,
        worker: WorkerId,
        from: WorkerState,
        to: WorkerState,
        reason: &'static str,
    ) {
        if let Extras::Enhanced { history: Some(history), .. } = &mut self.extras {
            history[super::index(worker)].record(from, to, reason, now);
        }
    }
}
