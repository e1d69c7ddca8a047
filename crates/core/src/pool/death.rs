//! The end of a process, and who hears of it: its calls, its sessions, nobody else (R20, R36).

use super::{Core, Effects, call::Role};
use crate::{
    CallId, Suspect, Timestamp, WorkerId, WorkerRef,
    failure::{CallFailure, KillReason, ProcessExit, WorkerLoss},
    quarantine::DeathAttribution,
    session::{Binding, RowKey, SessionEventKind, Sessions},
    worker::{Attempt, Process, SlotHolder, WorkerState},
};

impl Core {
    /// The process is gone, and all it said was read.
    pub(super) fn exited(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        suspects: &[Suspect],
        effects: &mut Effects,
    ) {
        let health_gated = self.is_health_gated();
        let Some(slot) = self.current(worker).filter(|slot| slot.has_process()) else { return };
        let state = slot.state(health_gated);
        let process = std::mem::replace(&mut slot.process, Process::Absent);
        let running = std::mem::take(&mut slot.running);
        let waiting: Vec<CallId> = slot.queue.iter().collect();
        let (live_since, kill_reason) = match process {
            Process::Live { since, .. } => (Some(since), end.kill_reason),
            Process::Stopping { live_since, kill_reason } => (live_since, Some(kill_reason)),
            _ => (None, end.kill_reason),
        };
        let end = ProcessExit { kill_reason, ..end };
        slot.last_end = Some((worker.generation, end));
        self.record_exit(now, worker.id, state, live_since);
        self.counters.exits += 1;
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.on_worker_exit(worker);
        }
        self.attribute_death(now, end, &running, suspects);
        self.restart_or_cool_down(now, worker, end, live_since, !running.is_empty(), effects);
        self.lose_calls(now, worker, end, running, &waiting, effects);
        self.after_exit(now, effects); // first, so that a drain that is over starts nothing it would end at once
        self.fill_all(now, effects);
        self.start_due(now, effects);
        self.want_overflow(now, effects);
        self.answer_if_failed(now, effects);
    }

    fn record_exit(&mut self, now: Timestamp, worker: WorkerId, state: WorkerState, live_since: Option<Timestamp>) {
        if live_since.is_none() {
            return self.record(now, worker, WorkerState::Initializing, WorkerState::Terminated, "start failed");
        }
        if state != WorkerState::Terminating {
            self.record(now, worker, state, WorkerState::Terminating, "process exited");
        }
        self.record(now, worker, WorkerState::Terminating, WorkerState::Terminated, "process reaped");
    }

    /// Answers or returns every call the process had (R20, R36).
    fn lose_calls(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        running: Vec<Attempt>,
        waiting: &[CallId],
        effects: &mut Effects,
    ) {
        let (turns, mut others): (Vec<Attempt>, Vec<Attempt>) =
            running.into_iter().partition(|attempt| matches!(attempt.session, Some((_, true))));
        let held = turns.into_iter().filter_map(|attempt| attempt.session.map(|(row, _)| row));
        let queued = waiting.iter().filter_map(|id| self.calls.get(id).and_then(|call| call.role.row()));
        // Strict sessions first: a hint call sent again must find the binding void.
        for row in held.chain(queued).collect::<Vec<RowKey>>() {
            self.lose_session(now, row, worker, end, effects);
        }
        others.sort_unstable_by_key(|attempt| attempt.wire);
        for attempt in others {
            match (attempt.holder, attempt.session) {
                (SlotHolder::Call(id), _) => {
                    self.lose_or_retry(now, id, WorkerLoss { worker, end: Some(end), may_have_run: true }, effects);
                }
                (SlotHolder::Abandoned { .. }, Some((row, _))) => self.release(now, row, false, false, effects),
                (SlotHolder::Abandoned { .. }, None) => {}
            }
        }
    }

    /// Which payloads may have ended the process: of those that may have run, since the others had no part in it (R37).
    fn attribute_death(&mut self, now: Timestamp, end: ProcessExit, running: &[Attempt], suspects: &[Suspect]) {
        let attribution = match end.kill_reason {
            None | Some(KillReason::ProtocolViolation | KillReason::Unresponsive) => DeathAttribution::AllCalls,
            Some(KillReason::CancelTimeout) => DeathAttribution::AbandonedCalls,
            Some(_) => DeathAttribution::None,
        };
        for suspect in suspects {
            let Some(attempt) = running.iter().find(|attempt| attempt.wire == suspect.wire) else { continue };
            let call = match attempt.holder {
                SlotHolder::Call(call) => Some(call),
                SlotHolder::Abandoned { .. } => None,
            };
            if attribution.applies_to(call) && attempt.may_run(running, self.settings.concurrency) {
                self.quarantine.record_death(now, suspect, attempt.since);
            }
            if let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) {
                call.fingerprint = Some(suspect.fingerprint);
            }
        }
    }

    /// Tells every call of the lost epoch, in flight or waiting. If there was none, the void binding stays to tell the next.
    fn lose_session(
        &mut self,
        now: Timestamp,
        row: RowKey,
        worker: WorkerRef,
        end: ProcessExit,
        effects: &mut Effects,
    ) {
        let epoch = match self.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker => Some(epoch),
            _ => None,
        };
        let current_call = self.current_call_of(row);
        let head = current_call.filter(|id| self.calls.contains_key(id));
        let told: Vec<CallId> =
            head.into_iter().chain(self.session_queue_of(row)).filter(|id| self.epoch_of_call(*id) == epoch).collect();
        if let (false, Some(epoch)) = (told.is_empty(), epoch) {
            self.invalidate_epoch(now, row, epoch, effects);
        }
        if current_call.is_some() && head.is_none() {
            self.finish_row_call(now, row); // the turn was held by a settled call's attempt, which is gone now
        }
        for id in told {
            self.lose_session_call(now, id, row, worker, end, effects);
        }
        self.start_next_call(now, row, effects);
    }

    fn lose_session_call(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        worker: WorkerRef,
        end: ProcessExit,
        effects: &mut Effects,
    ) {
        self.unqueue(id);
        let Some(call) = self.calls.remove(&id) else { return };
        let Some(session) = self.routes().and_then(|routes| routes.table.row(row)).map(|row| row.id.clone()) else {
            return;
        };
        let loss = WorkerLoss { worker, end: Some(end), may_have_run: call.attempts > 0 };
        self.counters.lost += 1;
        self.record_event(now, row, SessionEventKind::LossReported, Some(worker));
        self.fail(now, id, call, CallFailure::SessionWorkerLost { session, loss }, effects);
        self.finish_row_call(now, row);
    }

    fn finish_row_call(&mut self, now: Timestamp, row: RowKey) {
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
}
