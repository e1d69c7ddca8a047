//! Unit tests of [`Sessions`], without a pool.

use super::{sessions::Sessions, step::Step};
use crate::{
    Affinity, CallId, Effect, Effects, Epoch, IfAbsent, Lookup, SessionCall, SessionEndReason, SessionId, Settings,
    StopMethod, Timestamp, WorkerId, WorkerRef, WorkerTypeSettings,
    calls::{Calls, Role},
    failure::{CallFailure, KillReason},
    worker::{Capabilities, Workers},
};
use std::time::Duration;

/// The sessions of a pool with two workers, and the other parts of it.
struct Parts {
    sessions: Sessions,
    workers: Workers,
    calls: Calls,
    effects: Effects,
    now: Timestamp,
}

impl Parts {
    fn new(kind: WorkerTypeSettings) -> Self {
        let settings = Settings::new(kind, 2);
        let (sessions, mut workers) = (Sessions::new(&settings, 1), Workers::new(&settings));
        for id in [1, 2] {
            let worker = workers.start(Timestamp(0), WorkerId(id));
            assert!(workers.ready(Timestamp(0), worker, Capabilities { window: 1, control: false, in_order: None }));
        }
        let (calls, effects) = (Calls::default(), Effects::new());
        Self { sessions, workers, calls, effects, now: Timestamp(1) }
    }

    fn step<T>(&mut self, change: impl FnOnce(&mut Sessions, &mut Step<'_>) -> T) -> T {
        let Self { sessions, workers, calls, effects, now } = self;
        change(sessions, &mut Step { now: *now, workers, calls, effects })
    }

    fn worker(&self, id: u32) -> WorkerRef {
        self.workers.slot(WorkerId(id)).worker
    }

    fn bind(&mut self, worker: u32) {
        let worker = self.worker(worker);
        self.step(|sessions, step| sessions.bind_to(id(), worker, step)).unwrap();
    }

    fn admit(&mut self, call: u64, affinity: Affinity) -> Result<super::Admitted, CallFailure> {
        let session = SessionCall { id: id(), if_absent: IfAbsent::Create, affinity: Some(affinity) };
        self.step(|sessions, step| sessions.admit(CallId(call), &session, step))
    }
}

fn id() -> SessionId {
    SessionId::new("ann").unwrap()
}

/// S5, I5: tracked sessions have no binding, no epoch and no history.
#[test]
fn tracked_sessions_have_no_route() {
    let mut parts = Parts::new(WorkerTypeSettings::Basic);
    let admitted = parts.admit(1, Affinity::StrictQueue).unwrap();
    assert!(matches!(admitted.role, Role::Tracked(_)) && admitted.is_new && !admitted.is_current);
    let worker = parts.worker(1);
    assert!(parts.step(|sessions, step| sessions.bind_to(id(), worker, step)).is_err());
    assert_eq!(parts.step(|sessions, step| sessions.worker_of(b"ann", step)), Lookup::NotBound);
    assert_eq!(parts.sessions.event_log(parts.now, b"ann", &parts.workers), None);
    let info = parts.sessions.info(parts.now, b"ann", &parts.workers).unwrap();
    assert_eq!((info.epoch, info.worker, info.pending), (None, None, 1));
}

/// S2: only the first of several strict calls is the current one, and the row has none once that is finished.
#[test]
fn one_strict_call_is_the_current_one() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    parts.bind(1);
    let first = parts.admit(1, Affinity::StrictQueue).unwrap();
    let second = parts.admit(2, Affinity::StrictQueue).unwrap();
    let hint = parts.admit(3, Affinity::Hint).unwrap();
    assert_eq!([first.is_current, second.is_current, hint.is_current], [true, false, false]);
    let row = first.role.row().unwrap();
    assert_eq!(parts.sessions.current_call(row), Some(CallId(1)));
    assert!(!parts.sessions.finish_call(parts.now, row, true, true), "nothing follows");
    assert_eq!(parts.sessions.current_call(row), None);
}

/// The search for the usual case finds what the complete rules say, and nothing in all other cases.
#[test]
fn calls_of_a_settled_session_are_admitted_under_the_epoch_of_its_binding() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    parts.bind(1);
    let epoch_of = |role: Role| match role {
        Role::Strict { epoch, .. } => Some(epoch),
        _ => None,
    };
    assert_eq!(epoch_of(parts.admit(1, Affinity::StrictQueue).unwrap().role), Some(Epoch(1)));
    // The state of the first epoch ends after its call, so that the next call, also a hint call, belongs to the next.
    assert!(parts.step(|sessions, step| sessions.unbind(b"ann", step)));
    assert_eq!(epoch_of(parts.admit(2, Affinity::Hint).unwrap().role), Some(Epoch(2)));
}

/// S3: what follows the last call of a session that was ended: the end of its state, then its removal.
#[test]
fn end_of_a_session_follows_its_last_call() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    parts.bind(1);
    let admitted = parts.admit(1, Affinity::StrictQueue).unwrap();
    let (row, worker) = (admitted.role.row().unwrap(), parts.worker(1));
    parts.sessions.record_sent(parts.now, row, worker, crate::Routing::Hit, Duration::ZERO);
    assert!(parts.step(|sessions, step| sessions.end(b"ann", step)));
    assert!(parts.effects.is_empty(), "the call still uses the state");
    assert!(parts.sessions.finish_call(parts.now, row, true, true));
    parts.step(|sessions, step| sessions.close_ended_epoch(row, None, step));
    let reason = SessionEndReason::Ended;
    assert_eq!(parts.effects, [Effect::EndSession { worker, session: id(), epoch: Epoch(1), reason }]);
    parts.step(|sessions, step| sessions.drop_if_forgotten(row, step));
    assert_eq!(parts.sessions.len(), 0);
}

/// A call that could not be placed leaves nothing behind.
#[test]
fn rollback_removes_the_session_that_the_call_created() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    let admitted = parts.admit(1, Affinity::StrictQueue).unwrap();
    assert!(admitted.is_new && admitted.is_current);
    parts.sessions.rollback_call(parts.now, admitted.role.row().unwrap(), CallId(1), admitted.is_new);
    assert_eq!(parts.sessions.len(), 0);
}

/// S1, I4, R20: the binding to a process that is gone is void, and the first strict call reports the loss once.
#[test]
fn loss_of_a_process_is_reported_once() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    parts.bind(1);
    let worker = parts.worker(1);
    parts.workers.stop(parts.now, worker, KillReason::Requested, StopMethod::Kill);
    parts.sessions.reset_session_count(worker);
    assert_eq!(parts.step(|sessions, step| sessions.worker_of(b"ann", step)), Lookup::NotBound);
    let refused = parts.admit(1, Affinity::StrictQueue).map(|admitted| admitted.role);
    assert!(matches!(refused, Err(CallFailure::SessionWorkerLost { .. })));
    assert!(matches!(parts.admit(2, Affinity::StrictQueue).unwrap().role, Role::Strict { epoch: Epoch(2), .. }));
}

/// A session that was ended before it was bound has no state that ends: only its removal follows its last call.
#[test]
fn removal_of_an_unbound_session_follows_its_last_call() {
    let mut parts = Parts::new(WorkerTypeSettings::enhanced());
    let row = parts.admit(1, Affinity::StrictQueue).unwrap().role.row().unwrap();
    assert!(parts.step(|sessions, step| sessions.end(b"ann", step)));
    assert!(parts.sessions.finish_call(parts.now, row, true, false));
    parts.step(|sessions, step| sessions.drop_if_forgotten(row, step));
    assert_eq!((parts.sessions.len(), parts.effects.len()), (0, 0));
}

/// A call that is admitted after the end of the session keeps it, and says so only in this case.
#[test]
fn call_after_the_end_keeps_the_session() {
    for kind in [WorkerTypeSettings::Basic, WorkerTypeSettings::enhanced()] {
        let mut parts = Parts::new(kind);
        let first = parts.admit(1, Affinity::StrictQueue).unwrap();
        let row = first.role.row().unwrap();
        assert!(!first.is_ended);
        assert!(parts.step(|sessions, step| sessions.end(b"ann", step)));
        assert!(parts.admit(2, Affinity::StrictQueue).unwrap().is_ended);
        parts.sessions.keep(row);
        parts.sessions.finish_call(parts.now, row, true, true);
        assert!(!parts.sessions.finish_call(parts.now, row, true, true));
        parts.step(|sessions, step| sessions.drop_if_forgotten(row, step));
        assert_eq!(parts.sessions.len(), 1);
    }
}
