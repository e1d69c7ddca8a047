//! The quarantine of a pool (R37).

use super::*;
use crate::{Fingerprint, PoisonSettings};

const POISON: Fingerprint = Fingerprint(7);

fn harness() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.overflow = 0;
    settings.restart.backoff = Duration::from_nanos(1);
    settings.restart.max_backoff = settings.restart.backoff;
    settings.restart.max = 100;
    settings.retry.base = Duration::ZERO;
    Harness::with(settings)
}

impl Harness {
    fn call_of(&mut self, payload: Fingerprint, idempotent: bool) -> (CallId, Effects) {
        self.calls += 1;
        let (call, deadline) = (CallId(self.calls), self.now + Duration::from_secs(30));
        let fingerprint = self.core.needs_fingerprints().then_some(payload);
        (
            call,
            self.step(Input::Submit(Submission {
                call,
                session: None,
                deadline,
                idempotent,
                batch: None,
                fingerprint,
                stream: None,
            })),
        )
    }

    /// Finishes a call and clears its fingerprint, as a shell does.
    fn finish_call(&mut self, (worker, wire): (WorkerRef, WireId), ok: bool) {
        self.step(Input::Final { worker, wire, ok, ran: Duration::ZERO });
        self.core.clear_payload(POISON);
    }

    /// Ends the process while it runs the call, and starts another one.
    fn exit_during(&mut self, worker: WorkerRef, wire: WireId, kill_reason: Option<KillReason>) -> Effects {
        self.now = self.now + Duration::from_millis(1);
        let suspect = Suspect { wire, fingerprint: POISON, command: "predict".into() };
        let mut effects = self.exit(worker, kill_reason, vec![suspect]);
        self.now = self.now + Duration::from_millis(1);
        effects.extend(self.step(Input::Tick));
        let next = WorkerRef { generation: Generation(worker.generation.0 + 1), ..worker };
        effects.extend(self.step(Input::Ready { worker: next, window: 1, control: false, in_order: None }));
        effects
    }
}

/// R37: after three consecutive deaths, calls with this fingerprint are refused at once. Others are not. The entry is
/// listed, and can be released.
#[test]
fn r37_call_that_ended_three_workers_is_refused() {
    let mut harness = harness();
    for _ in 0..3 {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        let effects = harness.exit_during(worker, wire, None);
        assert!(matches!(settled(&effects, call), Some(CallFailure::WorkerLost(_))));
    }
    let (call, effects) = harness.call_of(POISON, false);
    assert!(matches!(settled(&effects, call), Some(CallFailure::Poison(found)) if found.deaths == 3), "{effects:?}");
    let (other, effects) = harness.call_of(Fingerprint(8), false);
    assert!(sent(&effects, other).is_some());
    let list = harness.core.quarantine_entries(harness.now);
    assert!(list[0].quarantined && &*list[0].command == "predict");
    assert_eq!(harness.core.status(harness.now).quarantined, 1);
    assert!(harness.core.release_payload(POISON));
    let (call, effects) = harness.call_of(POISON, false);
    assert!(sent(&effects, call).is_some());
}

/// R37: an idempotent call is not retried without end: it fails with its attempts listed.
#[test]
fn r37_retries_end_with_quarantine() {
    let mut settings = harness().core.settings;
    settings.retry.attempts = 100;
    let mut harness = Harness::with(settings);
    let (call, mut effects) = harness.call_of(POISON, true);
    for n in 1..=3 {
        let (worker, wire) = sent(&effects, call).unwrap_or_else(|| panic!("attempt {n} of {call}"));
        effects = harness.exit_during(worker, wire, None);
    }
    let reported = effects.iter().find_map(|effect| match effect {
        Effect::Settle { failure: CallFailure::Poison(found), earlier, .. } => Some((found.deaths, earlier.len())),
        _ => None,
    });
    assert_eq!(reported, Some((3, 3)));
}

/// R37: a call that finishes, with a result or an error, clears its fingerprint.
#[test]
fn r37_finished_call_clears_its_fingerprint() {
    let mut harness = harness();
    for ok in [true, false] {
        for _ in 0..2 {
            let (call, effects) = harness.call_of(POISON, false);
            let (worker, wire) = sent(&effects, call).unwrap();
            harness.exit_during(worker, wire, None);
        }
        let (call, effects) = harness.call_of(POISON, false);
        harness.finish_call(sent(&effects, call).unwrap(), ok);
        assert!(!harness.core.needs_fingerprints(), "ok: {ok}");
    }
}

/// R37: deaths on request and by shutdown are not counted; if a hanging call led to the kill, only that call is
/// suspected.
#[test]
fn r37_only_calls_that_may_have_caused_the_death_are_suspected() {
    let mut harness = harness();
    for kill_reason in
        [KillReason::Requested, KillReason::CancelTimeout, KillReason::Stopped, KillReason::ActorPanicked]
    {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.exit_during(worker, wire, Some(kill_reason));
        assert!(harness.core.quarantine_entries(harness.now).is_empty(), "{kill_reason:?}");
    }
    let (call, effects) = harness.call_of(POISON, false);
    let (worker, wire) = sent(&effects, call).unwrap();
    harness.step(Input::Cancel(call));
    harness.exit_during(worker, wire, Some(KillReason::CancelTimeout));
    assert_eq!(harness.core.quarantine_entries(harness.now).len(), 1, "this call did hang");
}

/// R37: a call in backoff is not retried if others quarantine its fingerprint.
#[test]
fn r37_call_in_backoff_fails_once_it_is_quarantined() {
    let mut settings = harness().core.settings;
    (settings.retry.base, settings.retry.jitter) = (Duration::from_secs(1), 0);
    let mut harness = Harness::with(settings);
    let (waits, effects) = harness.call_of(POISON, true);
    let (worker, wire) = sent(&effects, waits).unwrap();
    harness.exit_during(worker, wire, None);
    for _ in 0..2 {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.exit_during(worker, wire, None);
    }
    harness.now = harness.now + Duration::from_secs(1);
    let effects = harness.step(Input::Tick);
    assert!(matches!(settled(&effects, waits), Some(CallFailure::Poison(found)) if found.deaths == 3), "{effects:?}");
}

/// R37: nor is a call whose backoff is over and that is queued again. Found by the model checker.
#[test]
fn r37_requeued_call_fails_once_it_is_quarantined() {
    let mut settings = harness().core.settings;
    (settings.retry.base, settings.retry.jitter) = (Duration::from_secs(1), 0);
    settings.poison = settings.poison.map(|poison| PoisonSettings { max_worker_deaths: 2, ..poison });
    let mut harness = Harness::with(settings);
    let (waits, effects) = harness.call_of(POISON, true);
    let (worker, wire) = sent(&effects, waits).unwrap();
    harness.exit_during(worker, wire, None);
    let running = [(); 2].map(|()| harness.call_of(POISON, false));
    harness.now = harness.now + Duration::from_secs(1);
    assert!(sent(&harness.step(Input::Tick), waits).is_none(), "both workers are busy");
    let (worker, wire) = sent(&running[0].1, running[0].0).unwrap();
    let effects = harness.exit_during(worker, wire, None);
    assert!(matches!(settled(&effects, waits), Some(CallFailure::Poison(found)) if found.deaths == 2), "{effects:?}");
}

/// R37: a death counts once, even if several calls with these arguments were sent at the very time of the death.
#[test]
fn r37_one_death_counts_once_however_many_calls_the_worker_had() {
    let mut settings = harness().core.settings;
    settings.concurrency = 2;
    let mut harness = Harness::with(settings);
    harness.exit_by_signal(process(1, 1));
    harness.exit_by_signal(process(2, 1));
    harness.wait(Duration::from_millis(1));
    harness.step(Input::Ready { worker: process(1, 2), window: 2, control: false, in_order: None });
    let wires = [(); 2].map(|()| {
        let (call, effects) = harness.call_of(POISON, false);
        sent(&effects, call).unwrap().1
    });
    let suspects = wires.map(|wire| Suspect { wire, fingerprint: POISON, command: "predict".into() });
    harness.exit(process(1, 2), None, suspects.to_vec());
    assert_eq!(harness.core.quarantine_entries(harness.now)[0].deaths, 1);
}
