//! The exit of a process, and the answers to its calls and sessions (R20, R36).

use super::Core;
use crate::{
    CallId, Effects, Epoch, Suspect, Timestamp, WorkerRef,
    admission::DeathAttribution,
    calls::Role,
    failure::{CallFailure, ProcessExit, WorkerLoss},
    session::{Binding, RowKey, SessionEventKind},
    worker::{Attempt, Attempts},
};

impl Core {
    /// Handles the exit of a process. Its socket was read to the end before, so that no answer is lost.
    pub(super) fn on_exit(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        suspects: &[Suspect],
        effects: &mut Effects,
    ) {
        // The process is removed before anything else: from here on `is_alive` is false, no call is sent to it, and no
        // lookup returns it (I4).
        let Some(dead) = self.workers.exited(now, worker, end) else { return };
        self.counters.exits += 1;
        self.sessions.worker_exited(worker);
        // The order of the steps below matters.
        // The quarantine counts the death before calls are retried. Otherwise a call that this death quarantines would
        // be sent to the next worker (R37).
        self.attribute_death(now, dead.end, &dead.running, suspects);
        // This may make the pool fail, and then no call is retried.
        self.plan_restart(now, worker, &dead, effects);
        self.lose_calls(now, worker, dead.end, &dead.running, effects);
        // A drain that is now complete closes the pool before the steps below, which would start workers only to stop
        // them at once.
        self.continue_shutdown(now, effects);
        // Waiting calls use the remaining capacity first. Overflow workers start only for calls that still wait.
        self.fill_all(now, effects);
        self.start_due(now, effects);
        self.request_overflow_workers(now, effects);
        // Last: only now is it decided that no worker is alive or starting.
        self.fail_waiting_calls_if_failed(now, effects);
    }

    /// Answers or retries each call that the process had (R20, R36).
    fn lose_calls(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        end: ProcessExit,
        running: &Attempts,
        effects: &mut Effects,
    ) {
        let strict_row = |attempt: &Attempt| attempt.session.filter(|(_, is_strict)| *is_strict).map(|(row, _)| row);
        let strict_rows = running.iter().filter_map(strict_row);
        let waiting = self.waiting.calls_of_worker(worker.id);
        let queued_rows = waiting.iter().filter_map(|id| self.calls.get(*id).and_then(|call| call.role.row()));
        // Strict sessions first: a hint call whose retry is due at once must not find its session bound to the dead
        // process.
        for row in strict_rows.chain(queued_rows).collect::<Vec<RowKey>>() {
            self.lose_session(now, row, worker, end, effects);
        }
        for attempt in running.iter().filter(|attempt| strict_row(attempt).is_none()) {
            match (attempt.call(), attempt.session) {
                (Some(id), _) => {
                    self.lose_or_retry(now, id, WorkerLoss { worker, end: Some(end), may_have_run: true }, effects);
                }
                (None, Some((row, _))) => {
                    self.end_session_call(now, row, false, false, effects);
                }
                (None, None) => {}
            }
        }
    }

    /// Counts the death against the calls that may have caused it: those that may have run. Attempts that had not begun
    /// are not counted (R37).
    fn attribute_death(&mut self, now: Timestamp, end: ProcessExit, running: &Attempts, suspects: &[Suspect]) {
        let attribution = DeathAttribution::of(end.kill_reason);
        let may_run = running.may_run(self.settings.concurrency);
        for suspect in suspects {
            let Some(attempt) = running.get(suspect.wire) else { continue };
            let call = attempt.call();
            if attribution.applies_to(call) && may_run(attempt) {
                self.admission.record_death(now, suspect, attempt.since);
            }
            // Also without an attribution: a retry of this call must be refused if its fingerprint is quarantined in
            // the meantime.
            if let Some(call) = call {
                self.calls.set_fingerprint(call, suspect.fingerprint);
            }
        }
    }

    /// Answers each call of the lost epoch, whether in flight or waiting. If there is none, the void binding stays, and
    /// the next call of the session reports the loss.
    fn lose_session(
        &mut self,
        now: Timestamp,
        row: RowKey,
        worker: WorkerRef,
        end: ProcessExit,
        effects: &mut Effects,
    ) {
        let epoch = match self.sessions.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker => Some(epoch),
            _ => None,
        };
        let current_call = self.sessions.current_call(row);
        let head = current_call.filter(|id| self.calls.contains(*id));
        let lost_head = head.filter(|id| self.is_lost(*id, epoch));
        // The epoch ends before the calls are answered, so that a caller that calls again at once gets a new state.
        if let Some(epoch) = epoch
            && (lost_head.is_some() || self.next_lost_call(row, Some(epoch)).is_some())
        {
            let (sessions, mut step) = self.sessions_step(now, effects);
            sessions.invalidate_epoch(row, epoch, &mut step);
        }
        if current_call.is_some() && head.is_none() {
            // The current call was settled before, and its attempt occupied the session. That attempt is gone now.
            self.sessions.finish_call(now, row, false, false);
        }
        if let Some(id) = lost_head {
            self.lose_session_call(now, id, row, worker, end, effects);
        }
        while let Some(id) = self.next_lost_call(row, epoch) {
            self.lose_session_call(now, id, row, worker, end, effects);
        }
        self.start_next_call(now, row, effects);
    }

    /// Returns the next call in the queue of the session that belongs to the lost epoch. Calls of a later epoch stay in
    /// the queue: their state does not exist yet, so they have lost nothing. They are behind all calls of the lost
    /// epoch, since the epochs of a session rise and its queue is in the order of admission.
    fn next_lost_call(&self, row: RowKey, epoch: Option<Epoch>) -> Option<CallId> {
        self.waiting.next_of_session(row).filter(|id| self.is_lost(*id, epoch))
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
        self.calls.unqueue(id, &mut self.waiting);
        let Some(call) = self.calls.settle(id) else { return };
        let Some(session) = self.sessions.id(row) else { return };
        let loss = WorkerLoss { worker, end: Some(end), may_have_run: call.attempts > 0 };
        self.counters.lost += 1;
        self.sessions.record(now, row, SessionEventKind::LossReported, Some(worker));
        self.fail(now, id, call, CallFailure::SessionWorkerLost { session, loss }, effects);
        self.sessions.finish_call(now, row, false, false);
    }

    fn is_lost(&self, id: CallId, epoch: Option<Epoch>) -> bool {
        epoch.is_some() && self.epoch_of_call(id) == epoch
    }

    fn epoch_of_call(&self, id: CallId) -> Option<Epoch> {
        match self.calls.get(id)?.role {
            Role::Strict { epoch, .. } => Some(epoch),
            _ => None,
        }
    }
}
