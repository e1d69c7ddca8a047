//! What a pool owes its callers, told a second time and simply: the calls, where each session's epochs have their state, and
//! who was told what. Knows nothing of queues; sees inputs and effects only.

use super::processes::{Attempt, FakeProcesses};
use herder_core::{Affinity, CallFailure, CallId, Effect, Epoch, SessionId, Timestamp, WireId, WorkerRef};
use std::collections::{BTreeMap, BTreeSet};

/// A call that was submitted and has no answer.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) session: Option<usize>,
    /// How it keeps to its session's worker; `None` where sessions are not routed.
    pub(crate) mode: Option<Affinity>,
    /// Its session's epoch when it was admitted.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) admitted: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) idempotent: bool,
    pub(crate) attempts: u32,
    pub(crate) sent: Option<(WorkerRef, WireId)>,
    /// How long it may rest at most before it is sent again.
    pub(crate) cooldown_until: Timestamp,
}

impl Call {
    pub(crate) fn is_strict(&self) -> bool {
        self.mode.is_some_and(|mode| mode != Affinity::Hint)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ReferenceModel {
    pub(crate) names: Vec<SessionId>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) submitted: u64,
    pub(crate) settled: BTreeMap<&'static str, u64>,
    /// Where the state of a session's epoch is: for ever the same process (I3).
    pub(crate) held: BTreeMap<(usize, Epoch), WorkerRef>,
    /// Epochs that were ended with all others of their worker (R14).
    pub(crate) released: BTreeSet<(usize, Epoch)>,
    /// Epochs whose loss somebody was told of (R20).
    pub(crate) lost: BTreeSet<(usize, Epoch)>,
    /// Which processes were sent calls of which epoch.
    pub(crate) touched: BTreeSet<(usize, Epoch, WorkerRef)>,
    /// Which processes were told that which epoch is over (R22).
    pub(crate) notified: BTreeSet<(usize, Epoch, WorkerRef)>,
    /// Where an epoch's first call went: its state's place where no step's end showed another.
    pub(crate) first: BTreeMap<(usize, Epoch), WorkerRef>,
    /// Where the state is as the pool itself says it.
    pub(crate) state_owners: BTreeMap<(usize, Epoch), WorkerRef>,
    /// Processes that sessions were bound to by hand: such a binding may come and go within one late step, unseen.
    pub(crate) by_hand: BTreeSet<(usize, WorkerRef)>,
}

/// What the step was, as far as it limits what may come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// Time, or something that answers nobody.
    Other,
    /// This call was submitted.
    Submit(CallId),
    /// This attempt's final frame came.
    Final(Option<CallId>),
    /// This process ended, with these attempts unfinished.
    Exit(WorkerRef),
}

impl ReferenceModel {
    pub(crate) fn observe(&mut self, fakes: &mut FakeProcesses, effects: &[Effect], cause: &Cause) {
        for effect in effects {
            fakes.apply(effect);
            match effect {
                Effect::Send { worker, call, wire, epoch } => self.sent(fakes, *worker, *call, *wire, *epoch),
                Effect::Deliver { call, delivery, .. } => {
                    assert!(matches!(cause, Cause::Final(Some(id)) if id == call), "I1: {call} had no final frame");
                    let record = self.settle(*call, "delivered");
                    assert_eq!(record.sent.map(|(worker, _)| worker), Some(delivery.worker));
                    assert_eq!(record.attempts, delivery.attempts);
                    assert!(record.mode.is_some() || delivery.routing.as_str() == "unrouted", "I5");
                }
                Effect::Settle { call, failure, .. } => self.failed(fakes, *call, failure, cause),
                Effect::Cancel { wire, .. } => {
                    let waits = self.calls.values().any(|call| call.sent.is_some_and(|(_, sent)| sent == *wire));
                    assert!(!waits, "cancels {wire} whose caller still waits");
                }
                Effect::EndSession { worker, session, epoch, .. } => self.ended(fakes, *worker, session, *epoch),
                _ => {}
            }
        }
    }

    fn sent(&mut self, fakes: &mut FakeProcesses, worker: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) {
        let waiting: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.sent.is_none()).map(|(id, _)| *id).collect();
        assert!(waiting.contains(&id), "I1: {id} is sent and does not wait");
        let call = self.calls[&id].clone();
        assert_eq!(epoch.is_some(), call.mode.is_some(), "I5: an epoch is sent where sessions are routed");
        if let (Some(session), Some(epoch)) = (call.session, epoch) {
            let over = self.notified.contains(&(session, epoch, worker));
            assert!(!over, "R22: {worker} was told that epoch {epoch} is over and gets a call of it");
            self.touched.insert((session, epoch, worker));
            self.first.entry((session, epoch)).or_insert(worker);
            if call.is_strict() {
                self.sent_strict(fakes, worker, id, &call, session, epoch);
            }
        }
        fakes.sent(
            worker,
            wire,
            Attempt { call: id, session: call.session, strict: call.is_strict(), epoch, abandoned: false, state: None },
        );
        if let Some(call) = self.calls.get_mut(&id) {
            call.attempts += 1;
            call.sent = Some((worker, wire));
        }
    }

    /// I3
    fn sent_strict(
        &mut self,
        fakes: &FakeProcesses,
        worker: WorkerRef,
        id: CallId,
        call: &Call,
        session: usize,
        epoch: Epoch,
    ) {
        assert_eq!(call.epoch, Some(epoch), "I3: {id} runs at another epoch than it was admitted under");
        assert_eq!(call.attempts, 0, "R20: a strict call is never sent again");
        assert!(fakes.unfinished_strict(session).next().is_none(), "I3: {id} overlaps a call of its session");
        let first = self.strict(session).find(|(_, call)| call.sent.is_none()).map(|(id, _)| id);
        assert_eq!(first, Some(id), "I3: out of the order of admission");
        let home = *self.held.entry((session, epoch)).or_insert(worker);
        assert_eq!(home, worker, "I3: the state of epoch {epoch} is elsewhere");
    }

    /// Where the state of a session's epoch is.
    pub(crate) fn state_owner(&self, key: (usize, Epoch)) -> Option<WorkerRef> {
        self.held.get(&key).or_else(|| self.first.get(&key)).copied()
    }

    /// Unsettled strict calls of a session, in the order of admission.
    pub(crate) fn strict(&self, session: usize) -> impl Iterator<Item = (CallId, &Call)> {
        let of_it = move |(_, call): &(&CallId, &Call)| call.is_strict() && call.session == Some(session);
        self.calls.iter().filter(of_it).map(|(id, call)| (*id, call))
    }

    pub(crate) fn settle(&mut self, id: CallId, how: &'static str) -> Call {
        *self.settled.entry(how).or_default() += 1;
        let record = self.calls.remove(&id);
        assert!(record.is_some(), "I1: {id} is answered twice, or never came");
        record.unwrap_or_else(|| unreachable!())
    }

    fn failed(&mut self, fakes: &FakeProcesses, id: CallId, failure: &CallFailure, cause: &Cause) {
        let here = matches!(cause, Cause::Submit(call) if *call == id);
        let record = self.settle(id, name(failure));
        match failure {
            CallFailure::SessionWorkerLost { session, loss } => {
                assert!(record.is_strict(), "R20: {id} is no strict call and is told of {session}");
                assert_eq!(loss.may_have_run, record.attempts > 0, "R20: {id}");
                if here {
                    return; // whether it was to be told, the driver knows
                }
                self.lost.extend(record.session.zip(record.epoch));
                let home = record.session.zip(record.epoch).and_then(|key| self.state_owner(key));
                let unseen =
                    record.session.filter(|_| home.is_none()).is_some_and(|s| self.by_hand.contains(&(s, loss.worker)));
                assert!(unseen || home == Some(loss.worker), "R20: {id} lost no state");
                assert!(
                    matches!(cause, Cause::Exit(worker) if *worker == loss.worker),
                    "R20: {id} is told without a death"
                );
            }
            CallFailure::WorkerLost(loss) => {
                assert!(!record.is_strict() && record.attempts > 0, "{id}: {failure:?}");
                let backed_off = record.idempotent && record.sent.is_none() && matches!(cause, Cause::Other);
                let died = matches!(cause, Cause::Exit(worker) if *worker == loss.worker);
                assert!(died || backed_off, "R33: {id}: {failure:?}");
            }
            CallFailure::Poison(_) if !here => {
                assert!(record.idempotent && !record.is_strict() && record.attempts > 0, "R37: {id}: {failure:?}");
                let died = matches!(cause, Cause::Exit(_));
                assert!(died || record.sent.is_none(), "R37: {id} runs, and is told {failure:?}");
            }
            CallFailure::DeadlineExceeded { may_have_run } => assert!(here || *may_have_run == (record.attempts > 0)),
            CallFailure::QueueTimeout => assert!(record.sent.is_none(), "{id} timed out in the queue, and was sent"),
            CallFailure::PoolFailed { .. } => assert!(record.sent.is_none(), "{id}: {failure:?}"),
            CallFailure::PoolClosed { may_have_run } => assert_eq!(*may_have_run, record.attempts > 0),
            CallFailure::Abandoned => {}
            _ => assert!(here, "{id} was admitted and is refused: {failure:?}"),
        }
        let unfinished = fakes.unfinished().find(|(.., attempt)| attempt.call == id);
        let in_time = !matches!(failure, CallFailure::QueueTimeout | CallFailure::PoolFailed { .. });
        assert!(unfinished.is_none() || in_time, "{id} runs and is told that it waited: {failure:?}");
    }

    fn ended(&mut self, fakes: &FakeProcesses, worker: WorkerRef, name: &SessionId, epoch: Epoch) {
        let session = self.names.iter().position(|other| other == name).unwrap_or(usize::MAX);
        assert!(fakes.is_live(worker), "R22: {worker} is told of an end and does not live");
        assert!(
            self.touched.contains(&(session, epoch, worker)),
            "I6: {worker} is told of a session that it was sent no call of"
        );
        assert!(
            self.notified.insert((session, epoch, worker)),
            "R22: {worker} is told twice of the end of epoch {epoch}"
        );
        let running = fakes.unfinished().any(|(process, _, attempt)| {
            process == worker && attempt.strict && attempt.session == Some(session) && attempt.epoch == Some(epoch)
        });
        assert!(!running, "R22: {worker} is told of an end before a call of epoch {epoch} is over");
    }

    /// After the death of `at`: whoever was admitted under an epoch that lived there has been told (R20).
    pub(crate) fn all_notified(&self, worker: WorkerRef) {
        for (id, call) in &self.calls {
            let home = call.session.zip(call.epoch).and_then(|key| self.state_owner(key));
            assert!(!(call.is_strict() && home == Some(worker)), "R20: {id} was not told that {worker} died");
            assert!(
                call.sent.is_none_or(|(process, _)| process != worker),
                "I1: {id} is still sent to {worker}, which died"
            );
        }
    }

    /// A call that goes back into the queue since its process died (R36).
    pub(crate) fn returned(&mut self, worker: WorkerRef, cooldown_until: Timestamp) {
        for call in self.calls.values_mut().filter(|call| call.sent.is_some_and(|(process, _)| process == worker)) {
            if call.idempotent && !call.is_strict() {
                call.sent = None;
                call.cooldown_until = cooldown_until;
            }
        }
    }
}

/// Which of the counters a failure of an admitted call belongs to.
pub(crate) fn name(failure: &CallFailure) -> &'static str {
    match failure {
        CallFailure::QueueTimeout => "QueueTimeout",
        CallFailure::DeadlineExceeded { .. } => "DeadlineExceeded",
        CallFailure::WorkerLost(_) => "WorkerLost",
        CallFailure::Poison(_) => "Poison",
        CallFailure::SessionWorkerLost { .. } => "SessionWorkerLost",
        CallFailure::PoolFailed { .. } | CallFailure::PoolClosed { .. } => "PoolEnded",
        CallFailure::Abandoned => "Abandoned",
        _ => "Refused",
    }
}
