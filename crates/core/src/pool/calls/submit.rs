//! The submission of a call: it is admitted, and then sent or enqueued, or it is refused. `admission` holds the rules of
//! the pool for that, and [`Sessions`](crate::session::Sessions) decides what the session of the call requires.

use crate::{
    CallId, Dispatch, Effect, Effects, LostAttempts, Routing, RowKey, Submission, Timestamp, WorkerRef,
    admission::Permit,
    batch::Batched,
    calls::{Call, CallState, CallStream, Role},
    failure::CallFailure,
    messages::return_first,
    pool::{
        Core,
        dispatch::{DispatchOutcome, new_attempt},
    },
    session::{Admitted, SessionEventKind},
    waiting::Queue,
};

impl Core {
    /// Performs the step of [`Input::Submit`](crate::Input::Submit). If the call is sent at once and no effect precedes
    /// that, the dispatch is returned, not appended: it must be carried out before the effects in the list.
    #[must_use = "a call that is not sent is never answered"]
    pub fn submit(&mut self, now: Timestamp, submission: &Submission, effects: &mut Effects) -> Option<Dispatch> {
        self.tick(now, effects);
        self.counters.submitted += 1;
        match self.admit(now, submission, effects) {
            Ok(dispatch) => return_first(dispatch?, effects),
            Err(failure) => {
                self.counters.refused += 1;
                let (call, earlier) = (submission.call, LostAttempts::default());
                effects.push(Effect::Settle { call, failure, earlier });
                None
            }
        }
    }

    /// Admits a call, and returns its dispatch if nothing else follows from the admission.
    fn admit(
        &mut self,
        now: Timestamp,
        submission: &Submission,
        effects: &mut Effects,
    ) -> Result<Option<Dispatch>, CallFailure> {
        self.restarts.check_open(now, self.workers.live() > 0)?;
        if submission.deadline <= now {
            return Err(CallFailure::DeadlineExceeded { may_have_run: false });
        }
        // The permit is taken after the checks that need none, and returned if the call is refused later on: a permit
        // that is not returned would keep the breaker half-open.
        let permit = self.admission.enter(now, submission.fingerprint)?;
        let batch = submission.batch.filter(|command| self.waiting.is_batched(*command));
        if batch.is_none()
            && let Some((role, worker, routing)) = self.worker_at_once(now, submission)
        {
            let wire = self.fresh_wire();
            let call = self.new_call(now, submission, role, permit);
            let call = self.calls.admit(Call { state: CallState::Sent { worker, wire }, attempts: 1, ..call });
            let attempt = new_attempt(now, call, role, wire, routing, false);
            self.workers.start_attempt_at_once(worker.id, attempt);
            return Ok(Some(Dispatch { worker, call: call.id, wire, epoch: role.epoch() }));
        }
        self.admit_to_session(now, submission, permit, effects).map(|()| None)
    }

    /// Returns the worker to which a call is sent in the step of its submission, in by far the most frequent case: any
    /// worker can take it, or that of its session can, where the call is then admitted and recorded as sent. `None`, and no
    /// change, in all other cases.
    #[inline(always)]
    fn worker_at_once(&mut self, now: Timestamp, submission: &Submission) -> Option<(Role, WorkerRef, Routing)> {
        // Streams take the other path, so that all that they need costs other calls nothing but this.
        if submission.stream.is_some() {
            return None;
        }
        let Some(session) = &submission.session else {
            return Some((Role::AnyWorker, self.workers.least_loaded()?, Routing::Unrouted));
        };
        let (role, worker) = self.sessions.admit_hit(now, submission.call, session, &self.workers)?;
        Some((role, worker, Routing::Hit))
    }

    /// Returns a call that is in no queue and was not sent.
    #[inline(always)]
    fn new_call(&self, now: Timestamp, submission: &Submission, role: Role, permit: Permit) -> Call {
        Call {
            id: submission.call,
            admitted: now,
            deadline: submission.deadline,
            queue_until: self.waiting.wait_until(now),
            idempotent: submission.idempotent,
            attempts: 0,
            role,
            batched: None,
            state: CallState::New,
            position: self.waiting.new_position(),
            permit,
            fingerprint: submission.fingerprint,
            losses: LostAttempts::default(),
            stream: None,
        }
    }

    // Not inlined: the usual call needs none of its stack.
    #[inline(never)]
    fn admit_to_session(
        &mut self,
        now: Timestamp,
        submission: &Submission,
        permit: Permit,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        // The session counts the call before the call is placed, so that it counts as busy when it is bound.
        // `rollback_admission` takes the count back.
        let admitted = match &submission.session {
            None => Ok(Admitted::without_session()),
            Some(session) => {
                let (sessions, mut step) = self.sessions_step(now, effects);
                sessions.admit(submission.call, session, &mut step)
            }
        };
        match admitted {
            Ok(admitted) => self.admit_call(now, submission, admitted, permit, effects),
            Err(failure) => {
                self.admission.ignored(now, permit);
                Err(failure)
            }
        }
    }

    fn admit_call(
        &mut self,
        now: Timestamp,
        submission: &Submission,
        admitted: Admitted,
        permit: Permit,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        let (id, role) = (submission.call, admitted.role);
        let stall = self.settings.stream.stall;
        let stream = submission.stream.map(|limits| Box::new(CallStream::new(limits.idle, stall)));
        let batch = submission.batch.filter(|command| self.waiting.is_batched(*command));
        let batched = batch.map(|command| Batched { command, since: now });
        let call = self.new_call(now, submission, role, permit);
        self.calls.admit(Call { stream, batched, ..call });
        self.place_call(now, id, admitted, effects).inspect_err(|_| self.rollback_admission(now, id, admitted))?;
        if let Some(row) = role.row().filter(|_| admitted.is_ended) {
            self.sessions.keep(row);
        }
        Ok(())
    }

    fn place_call(
        &mut self,
        now: Timestamp,
        id: CallId,
        admitted: Admitted,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        let role = admitted.role;
        if let Role::Strict { row, fail_fast, .. } = role
            && !admitted.is_current
        {
            return self.join_session_queue(now, id, row, fail_fast);
        }
        match self.try_dispatch(now, id, effects) {
            DispatchOutcome::Sent => Ok(()),
            // A call that waits for its batch does not wait for the worker.
            DispatchOutcome::WouldWait(Queue::Worker(worker))
                if matches!(role, Role::Strict { fail_fast: true, .. }) && !self.can_take(worker) =>
            {
                Err(self.record_busy(now, role, worker))
            }
            DispatchOutcome::WouldWait(queue) => {
                // Checked only now: a full queue does not refuse a call that need not wait, nor one that waits only for others
                // of its batch. Those are fewer than a batch has calls.
                let is_batched = self.calls.get(id).is_some_and(|call| call.batched.is_some());
                if !(is_batched && self.worker_for_batch(queue).is_some()) {
                    self.check_room()?;
                    self.check_estimated_wait(now, id, queue)?;
                }
                self.enqueue(now, id, queue, effects);
                Ok(())
            }
        }
    }

    fn record_busy(&mut self, now: Timestamp, role: Role, worker: WorkerRef) -> CallFailure {
        if let Some(row) = role.row() {
            self.sessions.record(now, row, SessionEventKind::RefusedBusy, Some(worker));
        }
        CallFailure::WorkerBusy(worker)
    }

    fn join_session_queue(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        fail_fast: bool,
    ) -> Result<(), CallFailure> {
        if fail_fast && let Some(worker) = self.sessions.bound_process(row) {
            self.sessions.record(now, row, SessionEventKind::RefusedBusy, Some(worker));
            return Err(CallFailure::WorkerBusy(worker));
        }
        self.check_room()?;
        if let Err(failure) = self.waiting.check_room_of_session(row) {
            self.sessions.record(now, row, SessionEventKind::RefusedFull, None);
            return Err(failure);
        }
        self.check_estimated_wait(now, id, Queue::Session)?;
        self.calls.enqueue(id, Queue::Session, &mut self.waiting);
        Ok(())
    }

    /// Undoes the admission of a call that could not be placed: removes the call, returns its permit, and removes its
    /// session if the call created it.
    fn rollback_admission(&mut self, now: Timestamp, id: CallId, admitted: Admitted) {
        if let Some(call) = self.calls.settle(id) {
            self.admission.ignored(now, call.permit);
        }
        if let Some(row) = admitted.role.row() {
            self.sessions.rollback_call(now, row, id, admitted.is_new);
        }
    }
}
