//! The reference model: what a pool must do for its callers, implemented a second time and in a simple way. It records
//! the calls, the process that holds the state of each epoch, and what each worker was notified of. It sees only inputs
//! and effects, and has no queues.

use super::processes::{Attempt, FakeProcesses};
use herder_core::{
    Affinity, CallFailure, CallId, Dispatch, Effect, Epoch, SessionId, StreamLimits, Timestamp, WireId, WorkerRef,
};
use std::collections::{BTreeMap, BTreeSet};

/// A call that was submitted and has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) session: Option<usize>,
    /// Its affinity; `None` if its session is not routed.
    pub(crate) mode: Option<Affinity>,
    /// The epoch of its session when it was admitted.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) admitted: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) idempotent: bool,
    pub(crate) attempts: u32,
    pub(crate) sent: Option<(WorkerRef, WireId)>,
    /// The latest time at which it must be retried.
    pub(crate) cooldown_until: Timestamp,
    /// Whether it began in a process that died before it was finished.
    pub(crate) lost: bool,
    /// Whether it was sent, and then waited again as if it had not been.
    pub(crate) returned: bool,
    /// The limits of its stream, if its caller takes chunks.
    pub(crate) stream: Option<StreamLimits>,
    /// Whether its caller has a chunk.
    pub(crate) has_chunks: bool,
}

impl Call {
    pub(crate) fn is_strict(&self) -> bool {
        self.mode.is_some_and(|mode| mode != Affinity::Hint)
    }
}

/// The expected state of a pool, seen from outside. Each effect is compared with it, and the comparison fails if the
/// pool answers a call twice, moves the state of an epoch, or notifies a worker wrongly.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReferenceModel {
    pub(crate) names: Vec<SessionId>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) submitted: u64,
    /// The number of batches that were sent.
    pub(crate) batches: u64,
    pub(crate) settled: BTreeMap<&'static str, u64>,
    /// The process that holds the state of an epoch. It never changes (I3).
    pub(crate) state_owners: BTreeMap<(usize, Epoch), WorkerRef>,
    /// Epochs that were released with all others of their worker (R14).
    pub(crate) released: BTreeSet<(usize, Epoch)>,
    /// Epochs whose loss was reported (R20).
    pub(crate) lost: BTreeSet<(usize, Epoch)>,
    /// The processes that were sent calls of an epoch.
    pub(crate) sent_to: BTreeSet<(usize, Epoch, WorkerRef)>,
    /// The processes that were notified of the end of an epoch (R22).
    pub(crate) notified: BTreeSet<(usize, Epoch, WorkerRef)>,
    /// The process to which the first call of an epoch was sent: the owner of its state, unless the end of a step
    /// showed another one.
    pub(crate) first_workers: BTreeMap<(usize, Epoch), WorkerRef>,
    /// The process that holds the state, as the pool itself reports it.
    pub(crate) reported_owners: BTreeMap<(usize, Epoch), WorkerRef>,
    /// Processes to which sessions were bound by messages. Such a binding may begin and end within one step and not be
    /// observed.
    pub(crate) bound_by_message: BTreeSet<(usize, WorkerRef)>,
    /// The sessions that were ended and not begun anew since, with the last call that was submitted before the end.
    pub(crate) ended: BTreeMap<usize, CallId>,
    /// The epochs under which hint calls of an ended session were sent after its end, with the last call that was submitted
    /// before it. No later call belongs to them (R22).
    pub(crate) epochs_after_end: BTreeMap<(usize, Epoch), CallId>,
    /// The streams that are examined.
    pub(crate) examined: Vec<CallId>,
}

/// What caused the effects of a step, as far as it limits them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// Time, or an input that answers no call.
    Other,
    /// This call was submitted.
    Submit(CallId),
    /// The final frame of this attempt arrived.
    Final(Option<CallId>),
    /// This process exited.
    Exit(WorkerRef),
}

impl ReferenceModel {
    pub(crate) fn observe(&mut self, fakes: &mut FakeProcesses, effects: &[Effect], cause: &Cause) {
        for effect in effects {
            fakes.apply(effect);
            match effect {
                Effect::Send { worker, call, wire, epoch } => self.on_send(fakes, *worker, *call, *wire, *epoch),
                Effect::SendBatch(sends) => self.on_send_batch(fakes, sends),
                Effect::Deliver { call, delivery, .. } => {
                    assert!(matches!(cause, Cause::Final(Some(id)) if id == call), "I1: {call} had no final frame");
                    let record = self.settle(*call, "delivered");
                    assert_eq!(record.sent.map(|(worker, _)| worker), Some(delivery.worker));
                    assert_eq!(record.attempts, delivery.attempts);
                    assert!(record.mode.is_some() || delivery.routing.as_str() == "unrouted", "I5");
                }
                Effect::Settle { call, failure, earlier } => {
                    let was_sent = self.calls.get(call).is_some_and(|record| record.attempts > 0);
                    let has_no_loss = matches!(
                        failure,
                        CallFailure::QueueTimeout | CallFailure::PoolFailed { .. } | CallFailure::Poison(_)
                    );
                    // These failures do not say whether the call may have run: its earlier losses must.
                    assert!(!has_no_loss || earlier.is_empty() != was_sent, "R38: {call}: {failure:?} {earlier:?}");
                    self.on_failure(fakes, *call, failure, cause);
                }
                Effect::Cancel { wire, .. } => {
                    let waits = self.calls.values().any(|call| call.sent.is_some_and(|(_, sent)| sent == *wire));
                    assert!(!waits, "cancels {wire} whose caller still waits");
                }
                Effect::ExamineStream { call } => {
                    let runs = self.calls.get(call).is_some_and(|record| record.sent.is_some() && record.has_chunks);
                    assert!(runs, "R42: {call} is examined, but does not stream");
                    self.examined.push(*call);
                }
                Effect::EndSession { worker, session, epoch, .. } => {
                    self.on_session_end(fakes, *worker, session, *epoch);
                }
                _ => {}
            }
        }
    }

    fn on_send_batch(&mut self, fakes: &mut FakeProcesses, sends: &[Dispatch]) {
        let [first, others @ ..] = sends else { panic!("an empty batch") };
        assert!(!others.is_empty(), "a batch of one call");
        let mut strict = BTreeSet::new();
        for (number, Dispatch { worker, call, wire, epoch }) in (0..).zip(sends) {
            assert!(*worker == first.worker && wire.0 == first.wire.0 + number, "{sends:?} is not one batch");
            let record = &self.calls[call];
            assert!(!record.lost, "{call}, whose worker was lost, is in a batch again");
            let is_alone = !record.is_strict() || strict.insert(record.session);
            assert!(is_alone, "I3: two strict calls of a session are in a batch");
            self.on_send(fakes, *worker, *call, *wire, *epoch);
            let attempt = fakes.process(*worker).unfinished.get_mut(wire);
            attempt.into_iter().for_each(|attempt| attempt.batch = Some(first.wire));
        }
        self.batches += 1;
    }

    fn on_send(
        &mut self,
        fakes: &mut FakeProcesses,
        worker: WorkerRef,
        id: CallId,
        wire: WireId,
        epoch: Option<Epoch>,
    ) {
        let waiting: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.sent.is_none()).map(|(id, _)| *id).collect();
        assert!(waiting.contains(&id), "I1: {id} is sent but was not waiting");
        let call = self.calls[&id].clone();
        assert!(!call.has_chunks, "R42: {id} has a chunk and is sent again");
        assert!(!call.lost || (call.idempotent && !call.is_strict()), "R33: {id} has begun and is sent again");
        assert_eq!(epoch.is_some(), call.mode.is_some(), "I5: an epoch is sent where sessions are routed");
        if let (Some(session), Some(epoch)) = (call.session, epoch) {
            let over = self.notified.contains(&(session, epoch, worker));
            assert!(!over, "R22: {worker} is sent a call of epoch {epoch}, of whose end it was notified");
            self.sent_to.insert((session, epoch, worker));
            self.first_workers.entry((session, epoch)).or_insert(worker);
            self.check_end(id, &call, session, epoch);
            if call.is_strict() {
                self.check_strict_send(fakes, worker, id, &call, session, epoch);
            }
        }
        fakes.sent(
            worker,
            wire,
            Attempt {
                call: id,
                session: call.session,
                strict: call.is_strict(),
                epoch,
                abandoned: false,
                revoked: false,
                begun: false,
                has_chunks: false,
                taken_back: false,
                state: None,
                batch: None,
            },
        );
        if let Some(call) = self.calls.get_mut(&id) {
            call.attempts += 1;
            call.sent = Some((worker, wire));
        }
    }

    /// R22: a call does not run under an epoch that earlier hint calls of its session began after the session was ended.
    fn check_end(&mut self, id: CallId, call: &Call, session: usize, epoch: Epoch) {
        if let Some(last) = self.ended.get(&session).filter(|last| id <= **last && !call.is_strict()) {
            self.epochs_after_end.insert((session, epoch), *last);
        }
        let last = self.epochs_after_end.get(&(session, epoch));
        assert!(last.is_none_or(|last| id <= *last), "R22: {id} shares the epoch {epoch} of calls of an ended session");
    }

    /// I3
    fn check_strict_send(
        &mut self,
        fakes: &FakeProcesses,
        worker: WorkerRef,
        id: CallId,
        call: &Call,
        session: usize,
        epoch: Epoch,
    ) {
        assert_eq!(call.epoch, Some(epoch), "I3: {id} is sent in another epoch than the one in which it was admitted");
        assert_eq!(call.attempts, 0, "R20: a strict call is never sent again");
        assert!(fakes.unfinished_strict(session).next().is_none(), "I3: {id} overlaps a call of its session");
        let first = self.strict(session).find(|(_, call)| call.sent.is_none()).map(|(id, _)| id);
        assert_eq!(first, Some(id), "I3: {id} is sent before an earlier call of its session");
        let owner = *self.state_owners.entry((session, epoch)).or_insert(worker);
        assert_eq!(owner, worker, "I3: {id} is sent to {worker}, which does not hold the state of epoch {epoch}");
    }

    /// Returns the process that holds the state of an epoch.
    pub(crate) fn state_owner(&self, key: (usize, Epoch)) -> Option<WorkerRef> {
        self.state_owners.get(&key).or_else(|| self.first_workers.get(&key)).copied()
    }

    /// Returns the unsettled strict calls of a session, in the order of admission.
    pub(crate) fn strict(&self, session: usize) -> impl Iterator<Item = (CallId, &Call)> {
        let of_session = move |(_, call): &(&CallId, &Call)| call.is_strict() && call.session == Some(session);
        self.calls.iter().filter(of_session).map(|(id, call)| (*id, call))
    }

    pub(crate) fn settle(&mut self, id: CallId, how: &'static str) -> Call {
        *self.settled.entry(how).or_default() += 1;
        let record = self.calls.remove(&id);
        assert!(record.is_some(), "I1: {id} is answered twice, or was never submitted");
        record.unwrap_or_else(|| unreachable!())
    }

    fn on_failure(&mut self, fakes: &FakeProcesses, id: CallId, failure: &CallFailure, cause: &Cause) {
        let is_submission = matches!(cause, Cause::Submit(call) if *call == id);
        let record = self.settle(id, counter_of(failure));
        match failure {
            CallFailure::SessionWorkerLost { session, loss } => {
                assert!(record.is_strict(), "R20: {id} is not strict but reports the loss of {session}");
                assert_eq!(loss.may_have_run, record.attempts > 0, "R20: {id}");
                if is_submission {
                    // The harness checks whether a loss had to be reported.
                    return;
                }
                self.lost.extend(record.session.zip(record.epoch));
                let owner = record.session.zip(record.epoch).and_then(|key| self.state_owner(key));
                let unseen = record
                    .session
                    .filter(|_| owner.is_none())
                    .is_some_and(|s| self.bound_by_message.contains(&(s, loss.worker)));
                assert!(unseen || owner == Some(loss.worker), "R20: {id} reports a loss, but its state was not lost");
                assert!(
                    matches!(cause, Cause::Exit(worker) if *worker == loss.worker),
                    "R20: {id} reports a loss, but no process exited"
                );
            }
            CallFailure::WorkerLost(loss) => {
                assert!(!record.is_strict() && record.attempts > 0, "{id}: {failure:?}");
                let backed_off = record.idempotent && record.sent.is_none() && matches!(cause, Cause::Other);
                let died = matches!(cause, Cause::Exit(worker) if *worker == loss.worker);
                assert!(died || backed_off, "R33: {id}: {failure:?}");
            }
            CallFailure::Poison(_) if !is_submission => {
                assert!(record.idempotent && !record.is_strict() && record.attempts > 0, "R37: {id}: {failure:?}");
                let died = matches!(cause, Cause::Exit(_));
                assert!(died || record.sent.is_none(), "R37: {id} is running and fails with {failure:?}");
            }
            CallFailure::DeadlineExceeded { may_have_run } => {
                assert!(is_submission || *may_have_run == (record.attempts > 0));
            }
            CallFailure::StreamIdle { idle } => {
                let limit = record.stream.and_then(|limits| limits.idle);
                assert!(limit == Some(*idle) && record.sent.is_some(), "R42: {id}: {failure:?}");
            }
            CallFailure::StreamStalled { .. } => assert!(record.has_chunks, "R42: {id}: {failure:?}"),
            CallFailure::QueueTimeout => assert!(record.sent.is_none(), "{id} timed out in the queue, but was sent"),
            CallFailure::PoolFailed { .. } => assert!(record.sent.is_none(), "{id}: {failure:?}"),
            CallFailure::PoolClosed { may_have_run } => assert_eq!(*may_have_run, record.attempts > 0),
            CallFailure::Abandoned => {}
            _ => assert!(is_submission, "{id} was admitted and is refused later: {failure:?}"),
        }
        let unfinished = fakes.unfinished().find(|(.., attempt)| attempt.call == id && !attempt.taken_back);
        let in_time = !matches!(failure, CallFailure::QueueTimeout | CallFailure::PoolFailed { .. });
        assert!(unfinished.is_none() || in_time, "{id} is running, but fails as if it waited: {failure:?}");
    }

    fn on_session_end(&mut self, fakes: &FakeProcesses, worker: WorkerRef, name: &SessionId, epoch: Epoch) {
        let session = self.names.iter().position(|other| other == name).unwrap_or(usize::MAX);
        assert!(fakes.is_live(worker), "R22: {worker} is notified of the end of a session, but is not alive");
        assert!(
            self.sent_to.contains(&(session, epoch, worker)),
            "I6: {worker} is notified of the end of a session of which it was sent no call"
        );
        assert!(
            self.notified.insert((session, epoch, worker)),
            "R22: {worker} is notified twice of the end of epoch {epoch}"
        );
        let running = fakes.unfinished().any(|(process, _, attempt)| {
            process == worker && attempt.strict && attempt.session == Some(session) && attempt.epoch == Some(epoch)
        });
        assert!(!running, "R22: {worker} is notified of the end of epoch {epoch} before its last call finished");
    }

    /// Checks after the exit of a process that each call of an epoch whose state it held was answered (R20).
    pub(crate) fn check_all_answered(&self, worker: WorkerRef) {
        for (id, call) in &self.calls {
            let owner = call.session.zip(call.epoch).and_then(|key| self.state_owner(key));
            assert!(!(call.is_strict() && owner == Some(worker)), "R20: {id} was not answered, but {worker} died");
            assert!(
                call.sent.is_none_or(|(process, _)| process != worker),
                "I1: {id} is still in flight at {worker}, which died"
            );
        }
    }

    /// Records that the caller of an attempt has a chunk. It is not sent again.
    pub(crate) fn take_chunk(&mut self, id: CallId, sent: (WorkerRef, WireId)) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.sent == Some(sent)) {
            call.has_chunks = true;
        }
    }

    /// Records that a call that had not begun waits again, as if it had not been sent.
    pub(crate) fn return_call(&mut self, id: CallId, wire: WireId) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.sent.is_some_and(|(_, sent)| sent == wire)) {
            call.attempts -= 1;
            (call.sent, call.returned) = (None, true);
        }
    }

    /// Records that calls are back in the queue because their process died (R36).
    pub(crate) fn requeue_calls(&mut self, worker: WorkerRef, cooldown_until: Timestamp) {
        for call in self.calls.values_mut().filter(|call| call.sent.is_some_and(|(process, _)| process == worker)) {
            call.lost = true;
            if call.idempotent && !call.is_strict() && !call.has_chunks {
                call.sent = None;
                call.cooldown_until = cooldown_until;
            }
        }
    }
}

/// Returns the name of the counter for a failure of an admitted call.
pub(crate) fn counter_of(failure: &CallFailure) -> &'static str {
    match failure {
        CallFailure::QueueTimeout => "QueueTimeout",
        CallFailure::DeadlineExceeded { .. } => "DeadlineExceeded",
        CallFailure::StreamIdle { .. } | CallFailure::StreamStalled { .. } => "Stream",
        CallFailure::WorkerLost(_) => "WorkerLost",
        CallFailure::Poison(_) => "Poison",
        CallFailure::SessionWorkerLost { .. } => "SessionWorkerLost",
        CallFailure::PoolFailed { .. } | CallFailure::PoolClosed { .. } => "PoolEnded",
        CallFailure::Abandoned => "Abandoned",
        _ => "Refused",
    }
}
