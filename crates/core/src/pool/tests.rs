//! The life of a call, one rule at a time. Schedules in any order are in `tests/schedules.rs`.

use super::*;
use crate::{Affinity, CallId, ExitStatus, IfAbsent, SessionId, failure::*, routing::*};
use std::time::Duration;

struct Bench {
    core: Core,
    now: Now,
    fx: Effects,
    calls: u64,
}

fn at(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { worker: WorkerId(worker), generation: Generation(generation) }
}

impl Bench {
    fn new(kind: KindSettings, size: u32) -> Self {
        Self::with(Settings::new(kind, size))
    }

    fn with(settings: Settings) -> Self {
        let size = settings.pool_size;
        let mut bench = Self { core: Core::new(settings, 1, Now(0)), now: Now(0), fx: Vec::new(), calls: 0 };
        bench.step(Input::Tick);
        for worker in 1..=size {
            bench.step(Input::Ready { at: at(worker, 1), window: 1, control: true });
        }
        bench
    }

    fn step(&mut self, input: Input) -> Effects {
        self.fx.clear();
        self.core.handle(self.now, input, &mut self.fx);
        self.fx.clone()
    }

    fn wait(&mut self, span: Duration) -> Effects {
        let end = self.now + span;
        let mut all = Vec::new();
        while let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            all.extend(self.step(Input::Tick));
        }
        self.now = end;
        all
    }

    fn call(&mut self, session: Option<&str>) -> (CallId, Effects) {
        self.call_with(session, None, false)
    }

    fn call_with(&mut self, session: Option<&str>, affinity: Option<Affinity>, idempotent: bool) -> (CallId, Effects) {
        self.calls += 1;
        let call = CallId(self.calls);
        let session =
            session.map(|id| SessionCall { id: SessionId::new(id).unwrap(), if_absent: IfAbsent::Create, affinity });
        let deadline = self.now + Duration::from_secs(30);
        (call, self.step(Input::Submit(Submission { call, session, deadline, idempotent })))
    }

    fn finish(&mut self, sent: (WorkerRef, WireId)) -> Effects {
        self.step(Input::Final { at: sent.0, wire: sent.1, ok: true })
    }

    fn die(&mut self, at: WorkerRef) -> Effects {
        self.step(Input::Exited { at, end: End { status: ExitStatus::Signal(9), doom: None } })
    }
}

fn sent(fx: &Effects, id: CallId) -> Option<(WorkerRef, WireId)> {
    fx.iter().find_map(|effect| match effect {
        Effect::Send { at, call, wire, .. } if *call == id => Some((*at, *wire)),
        _ => None,
    })
}

fn settled(fx: &Effects, id: CallId) -> Option<Failure> {
    fx.iter().find_map(|effect| match effect {
        Effect::Settle { call, failure } if *call == id => Some(failure.clone()),
        _ => None,
    })
}

fn routing(fx: &Effects, id: CallId) -> Option<Routing> {
    fx.iter().find_map(|effect| match effect {
        Effect::Deliver { call, delivery } if *call == id => Some(delivery.routing),
        _ => None,
    })
}

/// R18: the session's second call waits for its worker while others are free.
#[test]
fn a_session_keeps_to_its_worker_and_its_calls_to_their_order() {
    let mut bench = Bench::new(KindSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let (second, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, second), None);
    let fx = bench.finish(first_sent);
    assert_eq!(routing(&fx, first), Some(Routing::New));
    let second_sent = sent(&fx, second).unwrap();
    assert_eq!(second_sent.0, first_sent.0);
    let fx = bench.finish(second_sent);
    assert_eq!(routing(&fx, second), Some(Routing::Hit));
}

/// I3, R36: after a deadline the slot and the turn stay taken until the final frame.
#[test]
fn answered_is_not_finished() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let fx = bench.wait(Duration::from_secs(30));
    assert_eq!(settled(&fx, first), Some(Failure::DeadlineExceeded { may_have_run: true }));
    let (second, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, second), None, "it would overlap the one still running");
    let fx = bench.finish(first_sent);
    assert!(routing(&fx, first).is_none() && sent(&fx, second).is_some());
}

/// R35: cancel, interrupt, kill, each with its patience.
#[test]
fn an_abandoned_attempt_is_asked_interrupted_and_killed() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
    let (call, fx) = bench.call(None);
    let (worker, wire) = sent(&fx, call).unwrap();
    let fx = bench.step(Input::Cancel(call));
    assert!(fx.contains(&Effect::Cancel { at: worker, wire, interrupt: false }));
    assert_eq!(settled(&fx, call), Some(Failure::Abandoned));
    let fx = bench.wait(Duration::from_secs(1));
    assert_eq!(fx, [Effect::Cancel { at: worker, wire, interrupt: true }]);
    let fx = bench.wait(Duration::from_secs(4));
    assert_eq!(fx, [Effect::Stop { at: worker, how: StopHow::Kill, doom: Doom::CancelPatience }]);
}

/// R20: told once, then rebound with a new state.
#[test]
fn a_lost_session_is_told_once_and_then_rebound() {
    let mut bench = Bench::new(KindSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    bench.finish(first_sent);
    bench.die(first_sent.0);
    let (second, fx) = bench.call(Some("ann"));
    match settled(&fx, second) {
        Some(Failure::SessionWorkerLost { loss, .. }) => {
            assert_eq!((loss.at, loss.may_have_run), (first_sent.0, false));
            assert_eq!(loss.end.map(|end| end.status), Some(ExitStatus::Signal(9)));
        }
        other => panic!("{other:?}"),
    }
    let (third, fx) = bench.call(Some("ann"));
    let third_sent = sent(&fx, third).unwrap();
    assert_ne!(third_sent.0, first_sent.0);
    let fx = bench.finish(third_sent);
    assert_eq!(routing(&fx, third), Some(Routing::Rebound(RebindReason::WorkerLost)));
}

/// R20: in flight and queued calls of the session are told, and then nobody else.
#[test]
fn all_calls_of_the_lost_epoch_are_told_and_no_later_one() {
    let mut bench = Bench::new(KindSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let worker = sent(&fx, first).unwrap().0;
    let (second, _) = bench.call_with(Some("ann"), None, true);
    let fx = bench.die(worker);
    let may_have_run = |call| match settled(&fx, call) {
        Some(Failure::SessionWorkerLost { loss, .. }) => loss.may_have_run,
        other => panic!("{other:?}"),
    };
    assert!(may_have_run(first) && !may_have_run(second));
    let (third, fx) = bench.call(Some("ann"));
    assert!(sent(&fx, third).is_some());
}

/// R36: what was not sent returns to its place; what was sent is lost, or runs again if idempotent.
#[test]
fn calls_without_a_session_survive_a_death_as_far_as_they_may() {
    let mut bench = Bench::new(KindSettings::Basic, 2);
    let (plain, fx) = bench.call(None);
    let plain_at = sent(&fx, plain).unwrap().0;
    let (again, fx) = bench.call_with(None, None, true);
    let again_at = sent(&fx, again).unwrap().0;
    let (waiting, _) = bench.call(None);
    let fx = bench.die(plain_at);
    assert!(matches!(settled(&fx, plain), Some(Failure::WorkerLost(Loss { may_have_run: true, .. }))));
    let fx = bench.die(again_at);
    assert_eq!(settled(&fx, again), None);
    bench.wait(Duration::from_millis(100));
    let fx = bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    assert!(sent(&fx, again).is_some(), "it was admitted before the waiting one");
    assert!(sent(&fx, waiting).is_none());
}

/// R12: overflow starts when a call waits that could run there, lingers, and goes.
#[test]
fn overflow_starts_lingers_and_goes() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
    let (_, _) = bench.call(None);
    let (second, fx) = bench.call(None);
    assert!(fx.contains(&Effect::Start(at(2, 1))));
    let fx = bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    let second_sent = sent(&fx, second).unwrap();
    bench.finish(second_sent);
    assert!(bench.wait(Duration::from_millis(29_900)).iter().all(|effect| !matches!(effect, Effect::Stop { .. })));
    let fx = bench.wait(Duration::from_millis(200));
    assert!(fx.contains(&Effect::Stop { at: at(2, 1), how: StopHow::Ladder, doom: Doom::Idle }));
    assert!(!bench.die(at(2, 1)).iter().any(|effect| matches!(effect, Effect::Start(_))));
}

/// R12: a new session waits for a base worker rather than go to the overflow.
#[test]
fn overflow_takes_no_new_session_while_a_base_worker_lives() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    bench.step(Input::Final { at: at(2, 1), wire: WireId(2), ok: true });
    let (session, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, session), None, "the overflow worker is free, the base worker busy");
    let fx = bench.finish((at(1, 1), WireId(1)));
    assert_eq!(sent(&fx, session).map(|(to, _)| to), Some(at(1, 1)));
}

/// R28: too many early deaths fail the pool, every caller is told, and a probe brings it back.
#[test]
fn a_failed_pool_answers_at_once_and_is_probed() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
    bench.call(None);
    for generation in 1..=6 {
        let fx = bench.die(at(1, generation));
        if generation == 6 {
            assert!(fx.iter().any(|effect| matches!(effect, Effect::Note(Note::Failed(_)))));
        }
        bench.wait(Duration::from_secs(4));
    }
    let (refused, fx) = bench.call(None);
    assert!(matches!(settled(&fx, refused), Some(Failure::PoolFailed { .. })));
    let fx = bench.wait(Duration::from_secs(30));
    assert!(fx.contains(&Effect::Start(at(1, 7))));
    bench.step(Input::Ready { at: at(1, 7), window: 1, control: true });
    let (served, fx) = bench.call(None);
    assert!(sent(&fx, served).is_some());
}

/// R26: misses degrade, a pong restores, three misses end the worker.
#[test]
fn missed_pings_degrade_and_then_end_a_worker() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    bench.wait(Duration::from_secs(36));
    assert_eq!(bench.core.status(bench.now).workers[0].state, crate::WorkerState::Degraded);
    let (call, fx) = bench.call(None);
    assert_eq!(sent(&fx, call), None, "degraded workers get nothing new");
    let fx = bench.step(Input::Pong { at: at(1, 1), nonce: 1 });
    assert!(sent(&fx, call).is_some());
    let fx = bench.wait(Duration::from_secs(60));
    assert!(fx.contains(&Effect::Stop { at: at(1, 1), how: StopHow::Ladder, doom: Doom::Unresponsive }));
}

/// R16: two-phase expiry counts the grace from the marking, immediate expiry forgets at once.
#[test]
fn both_expiry_policies() {
    let KindSettings::Enhanced { session_affinity: Some(affinity), .. } = KindSettings::enhanced() else { panic!() };
    let expiry = crate::Expiry::TwoPhase { grace: Duration::from_secs(1) };
    let two_phase = KindSettings::Enhanced {
        session_affinity: Some(crate::AffinitySettings { expiry, on_expired: crate::OnExpired::Reject, ..affinity }),
        worker_metrics: true,
        state_machine: true,
    };
    for (kind, expected) in [(KindSettings::enhanced(), Lookup::NoAffinity), (two_phase, Lookup::Expired)] {
        let mut bench = Bench::new(kind, 1);
        let (call, fx) = bench.call(Some("ann"));
        bench.finish(sent(&fx, call).unwrap());
        let mut fx = Vec::new();
        let mut look = |bench: &mut Bench| bench.core.worker_of(bench.now, "ann", &mut fx);
        assert_eq!(look(&mut bench), Lookup::Worker(at(1, 1)));
        bench.now = bench.now + Duration::from_secs(400);
        assert_eq!(look(&mut bench), expected);
        bench.now = bench.now + Duration::from_millis(999);
        assert_eq!(look(&mut bench), expected, "the grace runs from the marking, not from the last activity");
        bench.now = bench.now + Duration::from_millis(1);
        assert_eq!(look(&mut bench), Lookup::NoAffinity);
        assert!(fx.iter().any(|effect| matches!(effect, Effect::EndSession { reason: SessionEnd::Expired, .. })));
    }
}

/// R14, R22: an ended session's calls finish first, then its worker is told, then a new life begins.
#[test]
fn ending_a_session_waits_for_its_calls() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let mut fx = Vec::new();
    assert!(bench.core.end_session(bench.now, "ann", &mut fx));
    assert_eq!(fx, []);
    let (second, _) = bench.call(Some("ann"));
    let fx = bench.finish(first_sent);
    let told = fx.iter().position(|effect| matches!(effect, Effect::EndSession { .. })).unwrap();
    let next = fx.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second)).unwrap();
    assert!(told < next);
    bench.finish(sent(&fx, second).unwrap());
    let mut fx = Vec::new();
    assert!(bench.core.end_session(bench.now, "ann", &mut fx));
    assert!(matches!(fx[..], [Effect::EndSession { .. }]));
    assert_eq!(bench.core.status(bench.now).active_sessions, 0);
}

/// R14: what is bound decides where the next call runs.
#[test]
fn bind_session_decides() {
    let mut bench = Bench::new(KindSettings::enhanced(), 3);
    let id = SessionId::new("ann").unwrap();
    let mut fx = Vec::new();
    for worker in [3, 1] {
        bench.core.bind_session(bench.now, id.clone(), WorkerId(worker), &mut fx).unwrap();
        let (call, fx) = bench.call(Some("ann"));
        let call_sent = sent(&fx, call).unwrap();
        assert_eq!(call_sent.0, at(worker, 1));
        bench.finish(call_sent);
    }
    assert!(matches!(fx[..], [Effect::EndSession { at: ended, reason: SessionEnd::Moved, .. }] if ended == at(3, 1)));
}

/// R19
#[test]
fn hints_fall_back_and_fail_fast_refuses() {
    let mut bench = Bench::new(KindSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let (busy, fx) = bench.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    assert_eq!(settled(&fx, busy), Some(Failure::WorkerBusy(first_sent.0)));
    let (hint, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    let hint_sent = sent(&fx, hint).unwrap();
    assert_ne!(hint_sent.0, first_sent.0);
    let fx = bench.finish(hint_sent);
    assert_eq!(routing(&fx, hint), Some(Routing::Rebound(RebindReason::Busy)));
    let mut fx = Vec::new();
    assert_eq!(bench.core.worker_of(bench.now, "ann", &mut fx), Lookup::Worker(first_sent.0), "the binding stays");
}

/// R6, R8, R10
#[test]
fn a_basic_pool_tracks_sessions_and_holds_nothing_more() {
    let mut bench = Bench::new(KindSettings::Basic, 2);
    let (call, fx) = bench.call(Some("ann"));
    let fx = bench.finish(sent(&fx, call).unwrap());
    assert_eq!(routing(&fx, call), Some(Routing::Unrouted));
    let status = bench.core.status(bench.now);
    assert_eq!((status.session_affinity, status.active_sessions), (None, 1));
    assert!(status.workers.iter().all(|worker| worker.metrics.is_none() && worker.history.is_none()));
    assert!(bench.wait(Duration::from_secs(361)).iter().all(|effect| !matches!(effect, Effect::EndSession { .. })));
    assert_eq!(bench.core.status(bench.now).sessions.len(), 0);
}

/// R30: a drain finishes what there is, refuses the rest, ends the workers.
#[test]
fn a_drain_finishes_and_stops() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
    let (first, fx) = bench.call(None);
    let first_sent = sent(&fx, first).unwrap();
    let (second, _) = bench.call(None);
    let until = bench.now + Duration::from_secs(5);
    bench.step(Input::Shutdown { until });
    let (late, fx) = bench.call(None);
    assert_eq!(settled(&fx, late), Some(Failure::PoolClosed { may_have_run: false }));
    let fx = bench.finish(first_sent);
    let second_sent = sent(&fx, second).unwrap();
    bench.die(at(2, 1));
    let fx = bench.finish(second_sent);
    assert!(fx.contains(&Effect::Stop { at: at(1, 1), how: StopHow::Ladder, doom: Doom::Shutdown }));
    assert_eq!(bench.die(at(1, 1)), [Effect::Stopped]);
}

/// R29: what goes on after a panic of the step itself.
#[test]
fn a_rebuilt_core_tells_each_bound_session_once() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    let (call, fx) = bench.call(Some("ann"));
    bench.finish(sent(&fx, call).unwrap());
    let settings = bench.core.settings().clone();
    bench.core = Core::resume(settings, 1, bench.now, bench.core.salvage());
    assert_eq!(bench.step(Input::Tick), [Effect::Start(at(1, 2))]);
    bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    let (told, fx) = bench.call(Some("ann"));
    assert!(matches!(settled(&fx, told), Some(Failure::SessionWorkerLost { .. })));
    let (next, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, next).map(|(to, _)| to), Some(at(1, 2)));
}
