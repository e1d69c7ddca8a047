//! The end of a call: by a final frame, by a deadline, or because the caller abandoned it. A settled call is not yet
//! finished: its call slot, and the session for a strict call, stay occupied until the worker's final frame or its
//! death.

use crate::{
    CallId, Delivery, Effect, Effects, FinalAnswer, Finished, LogEvent, Timestamp, WireId, WorkerId, WorkerRef,
    calls::{Call, CallState},
    failure::CallFailure,
    messages::return_first,
    pool::Core,
    session::SessionEventKind,
    worker::{AnsweredAttempt, AttemptSession, SlotHolder},
};

impl Core {
    /// Performs the step of [`Input::Final`](crate::Input::Final): answers the call of the attempt, unless that is
    /// settled already, and frees its call slot. If no effect precedes the answer, it is returned, not appended: it must be
    /// carried out before the effects in the list.
    #[must_use = "a caller whose answer is not delivered waits forever"]
    pub fn finish(&mut self, now: Timestamp, finished: Finished, effects: &mut Effects) -> Option<FinalAnswer> {
        self.tick(now, effects);
        match self.workers.finish_only_attempt(now, finished) {
            Some(answered) => self.answer(now, finished, &answered, false, effects),
            None => self.finish_among_others(now, finished, effects),
        }
    }

    /// Does what [`finish`](Self::finish) does, for any attempt.
    // Not inlined, as `answer` is into both: the usual attempt needs none of this.
    #[inline(never)]
    fn finish_among_others(
        &mut self,
        now: Timestamp,
        finished: Finished,
        effects: &mut Effects,
    ) -> Option<FinalAnswer> {
        let Finished { worker, wire, ok, ran } = finished;
        let Some((attempt, size)) = self.workers.finish_attempt(now, finished) else {
            // A frame of a process that was replaced, or the second final frame of an attempt. To answer by it could
            // answer a call twice (I1).
            self.on_unknown_answer(worker, wire, effects);
            return None;
        };
        // Each call of a batch has taken its share of the time of the invocation.
        let since = Timestamp(now.0 - now.nanos_since(attempt.since) / u64::from(size));
        match attempt.holder {
            SlotHolder::Revoking(call) if attempt.is_given_back(ok, ran) => {
                self.finish_taken_back(now, worker, Some(call.id), effects);
            }
            SlotHolder::Call(call) | SlotHolder::Stream(call) | SlotHolder::Revoking(call) => {
                self.calls.end_stream(call.id);
                let answered = AnsweredAttempt { since, ..attempt.answered(call) };
                return self.answer(now, finished, &answered, attempt.is_stream, effects);
            }
            SlotHolder::Abandoned { .. } => {
                if attempt.contradicts(ok, ran) {
                    // The call may have run elsewhere as well, or its caller may have been told that it did not run.
                    self.on_unknown_answer(worker, wire, effects);
                }
                if attempt.is_taken_back {
                    self.finish_taken_back(now, worker, None, effects);
                    return None;
                }
                self.counters.late_answers += 1;
                effects.push(Effect::Log(LogEvent::LateAnswer(worker, wire)));
                self.free_call_slot(now, worker.id, since, attempt.session, attempt.is_stream, effects);
            }
        }
        None
    }

    /// Handles a final frame that the process must not have sent. It has none for an attempt that it should have one for, or it
    /// runs what it gave back.
    #[cold]
    pub(super) fn on_unknown_answer(&mut self, worker: WorkerRef, wire: WireId, effects: &mut Effects) {
        self.counters.unknown_frames += 1;
        effects.push(Effect::Log(LogEvent::UnknownAnswer(worker, wire)));
        self.workers.distrust_order(worker);
    }

    /// Answers the call of an attempt with its final frame, and frees its call slot.
    #[inline(always)]
    fn answer(
        &mut self,
        now: Timestamp,
        finished: Finished,
        answered: &AnsweredAttempt,
        is_stream: bool,
        effects: &mut Effects,
    ) -> Option<FinalAnswer> {
        let answer = self.settle_with_answer(now, finished, answered).and_then(|answer| return_first(answer, effects));
        let AnsweredAttempt { since, session, .. } = *answered;
        self.free_call_slot(now, finished.worker.id, since, session, is_stream, effects);
        answer
    }

    /// Settles a call with the final frame of an attempt, and returns what the shell must deliver.
    #[inline(always)]
    fn settle_with_answer(
        &mut self,
        now: Timestamp,
        finished: Finished,
        answered: &AnsweredAttempt,
    ) -> Option<FinalAnswer> {
        let Finished { worker, ok, .. } = finished;
        let mut call = self.calls.settle_key(answered.call)?;
        // A stream ends before (`finish_among_others`). Without this, each call would pay for the drop of a stream.
        debug_assert!(call.stream.is_none(), "{} is still a stream", call.id);
        std::mem::forget(call.stream.take());
        if ok {
            self.counters.ok += 1;
            self.retries.succeeded(now);
        } else {
            self.counters.failed += 1;
        }
        self.admission.answered(now, call.permit, ok);
        let (routing, attempts, sent) = (answered.routing, call.attempts, answered.sent);
        let delivery = Delivery { worker, routing, attempts, admitted: call.admitted, sent, finished: now };
        Some(FinalAnswer { call: answered.call.id, delivery, earlier: call.losses })
    }

    #[inline(always)]
    fn free_call_slot(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        since: Timestamp,
        session: Option<AttemptSession>,
        is_stream: bool,
        effects: &mut Effects,
    ) {
        // How long a stream runs is up to its consumer as well. It would make the estimated wait of other calls meaningless.
        if !is_stream {
            self.waiting.observe(now.nanos_since(since));
        }
        self.begin_in_advance(now, worker);
        // The session first: its next call joins the queues, so that `fill_worker` chooses among all waiting calls.
        if let Some(AttemptSession { row, is_strict }) = session {
            let has_followup = self.sessions.finish_call(now, row, is_strict, true);
            // By far the most frequent case is that neither the session nor another call of it waits for this end.
            if has_followup || self.waiting.len() > 0 {
                self.follow_session_call(now, row, is_strict, has_followup, effects);
            }
        }
        self.fill_worker(now, worker, effects);
        self.close_if_drained(now, effects);
    }

    /// Takes back a call that the shell could not send. The shell has answered its caller. No worker received the call,
    /// so it counts as no outcome for the breaker, the quarantine and the statistics.
    pub(in crate::pool) fn on_send_failed(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        effects: &mut Effects,
    ) {
        let Some(attempt) = self.workers.take_back_attempt(now, worker, wire) else { return };
        // Its deadline may have passed since the send, and then it is settled. Its session waits for the end all the same.
        if let Some(call) = attempt.call().and_then(|id| self.calls.settle(id)) {
            self.counters.failed_by_pool += 1;
            self.admission.ignored(now, call.permit);
        }
        if let Some(session) = attempt.session {
            self.end_session_call(now, session.row, session.is_strict, false, effects);
        }
        self.begin_in_advance(now, worker.id);
        self.fill_worker(now, worker.id, effects);
        self.close_if_drained(now, effects);
    }

    /// Handles a call that is due: at its deadline, its queue timeout or its retry, or as a stream.
    pub(in crate::pool) fn call_due(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        let Some(call) = self.calls.get(id) else { return };
        let (deadline, waits) = (call.deadline, call.is_waiting());
        if matches!(call.state, CallState::Backoff { .. }) && now < deadline {
            return self.retry(now, id, effects);
        }
        if call.is_in_advance() && now < deadline {
            return self.revoke_call(id, effects);
        }
        if call.is_stream_due(now) {
            return self.stream_due(now, id, effects);
        }
        let failure = match () {
            () if !waits => CallFailure::DeadlineExceeded { may_have_run: true },
            () if now >= deadline => CallFailure::DeadlineExceeded { may_have_run: call.attempts > 0 },
            () => CallFailure::QueueTimeout,
        };
        self.counters.timeouts += 1;
        self.settle_without_answer(now, id, failure, effects);
    }

    /// Handles a call whose caller has abandoned it.
    pub(in crate::pool) fn abandon(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        if self.calls.contains(id) {
            self.counters.abandoned += 1;
            self.settle_without_answer(now, id, CallFailure::Abandoned, effects);
        }
    }

    /// Settles a call that no worker has answered. A waiting call ends. A sent call leaves an abandoned attempt behind.
    pub(in crate::pool) fn settle_without_answer(
        &mut self,
        now: Timestamp,
        id: CallId,
        failure: CallFailure,
        effects: &mut Effects,
    ) {
        if self.calls.get(id).is_some_and(Call::is_waiting) {
            self.settle_queued(now, id, failure, effects);
            return self.close_if_drained(now, effects);
        }
        // The call is removed before its attempt is abandoned, so that the final frame finds no call to answer (I1).
        let Some(call) = self.calls.settle(id) else { return };
        let attempt = call.attempt();
        self.fail(now, id, call, failure, effects);
        if let Some((worker, wire)) = attempt {
            self.workers.abandon_attempt(now, worker, wire, effects);
        }
        self.close_if_drained(now, effects);
    }

    /// Settles a waiting call. If it was the current call of its session, the next one starts.
    pub(in crate::pool) fn settle_queued(
        &mut self,
        now: Timestamp,
        id: CallId,
        failure: CallFailure,
        effects: &mut Effects,
    ) {
        self.calls.unqueue(id, &mut self.waiting);
        let Some(call) = self.calls.settle(id) else { return };
        let (row, waited) = (call.role.row(), now - call.admitted);
        self.fail(now, id, call, failure, effects);
        if let Some(row) = row {
            self.sessions.record_wait(now, row, SessionEventKind::LeftQueue, None, waited);
            let was_current = self.sessions.current_call(row) == Some(id);
            self.end_session_call(now, row, was_current, false, effects);
        }
    }

    /// Settles an admitted call without a worker's answer. All failures of admitted calls pass through here, so that
    /// each permit is returned.
    pub(super) fn fail(&mut self, now: Timestamp, id: CallId, call: Call, failure: CallFailure, effects: &mut Effects) {
        self.admission.failed(now, call.permit, &failure);
        effects.push(Effect::Settle { call: id, failure, earlier: call.losses });
    }
}
