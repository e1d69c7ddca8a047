//! Payloads that end their workers (R37), in the pool.

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
        (call, self.step(Input::Submit(Submission { call, session: None, deadline, idempotent, fingerprint })))
    }

    /// A call of it ends by itself, as a shell tells.
    fn ends(&mut self, (worker, wire): (WorkerRef, WireId), ok: bool) {
        self.step(Input::Final { worker, wire, ok });
        self.core.clear_payload(POISON);
    }

    /// The process ends in the middle of it, and another starts.
    fn poisoned(&mut self, worker: WorkerRef, wire: WireId, kill_reason: Option<KillReason>) -> Effects {
        self.now = self.now + Duration::from_millis(1);
        let suspect = Suspect { wire, fingerprint: POISON, command: "predict".into() };
        let mut effects = self.end(worker, kill_reason, vec![suspect]);
        self.now = self.now + Duration::from_millis(1);
        self.step(Input::Tick);
        let next = WorkerRef { generation: Generation(worker.generation.0 + 1), ..worker };
        effects.extend(self.step(Input::Ready { worker: next, window: 1, control: false }));
        effects
    }
}

/// R37: three deaths in a row, then its calls are refused at once; others go on; it is listed, and released by hand.
#[test]
fn r37_a_payload_that_ends_three_workers_is_refused() {
    let mut harness = harness();
    for _ in 0..3 {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        let effects = harness.poisoned(worker, wire, None);
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

/// R37: an idempotent one is not sent again and again: it ends as poison, with its attempts.
#[test]
fn r37_retries_of_it_end() {
    let mut harness = harness();
    harness.core.settings.retry.attempts = 100;
    let (call, mut effects) = harness.call_of(POISON, true);
    for n in 1..=3 {
        let (worker, wire) = sent(&effects, call).unwrap_or_else(|| panic!("attempt {n} of {call}"));
        effects = harness.poisoned(worker, wire, None);
    }
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Settle { failure: CallFailure::Poison(found), earlier, .. } => Some((found.deaths, earlier.len())),
        _ => None,
    });
    assert_eq!(told, Some((3, 3)));
}

/// R37: one that comes to an end, whatever it answers, clears its payload: something else ended the workers before.
#[test]
fn r37_a_call_that_ends_clears_its_payload() {
    let mut harness = harness();
    for ok in [true, false] {
        for _ in 0..2 {
            let (call, effects) = harness.call_of(POISON, false);
            let (worker, wire) = sent(&effects, call).unwrap();
            harness.poisoned(worker, wire, None);
        }
        let (call, effects) = harness.call_of(POISON, false);
        harness.ends(sent(&effects, call).unwrap(), ok);
        assert!(!harness.core.needs_fingerprints(), "ok: {ok}");
    }
}

/// R37: not what an operator or a shutdown ended; of a hanging call's kill only the one that hung.
#[test]
fn r37_only_those_to_blame_are_suspected() {
    let mut harness = harness();
    for kill_reason in
        [KillReason::Requested, KillReason::CancelTimeout, KillReason::Stopped, KillReason::ActorPanicked]
    {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.poisoned(worker, wire, Some(kill_reason));
        assert!(harness.core.quarantine_entries(harness.now).is_empty(), "{kill_reason:?}");
    }
    let (call, effects) = harness.call_of(POISON, false);
    let (worker, wire) = sent(&effects, call).unwrap();
    harness.step(Input::Cancel(call));
    harness.poisoned(worker, wire, Some(KillReason::CancelTimeout));
    assert_eq!(harness.core.quarantine_entries(harness.now).len(), 1, "this one did hang");
}

/// R37: a call that waits between two attempts while others quarantine its payload is not sent again.
#[test]
fn r37_one_that_waits_to_be_sent_again_ends_as_poison() {
    let mut harness = harness();
    harness.core.settings.retry.base = Duration::from_secs(1);
    harness.core.settings.retry.jitter = 0;
    let (waits, effects) = harness.call_of(POISON, true);
    let (worker, wire) = sent(&effects, waits).unwrap();
    harness.poisoned(worker, wire, None);
    for _ in 0..2 {
        let (call, effects) = harness.call_of(POISON, false);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.poisoned(worker, wire, None);
    }
    harness.now = harness.now + Duration::from_secs(1);
    let effects = harness.step(Input::Tick);
    assert!(matches!(settled(&effects, waits), Some(CallFailure::Poison(found)) if found.deaths == 3), "{effects:?}");
}

/// R37: nor is one whose wait is over, and that stands in the queue. Found by the model checker.
#[test]
fn r37_one_that_stands_in_the_queue_again_ends_as_poison() {
    let mut settings = harness().core.settings;
    (settings.retry.base, settings.retry.jitter) = (Duration::from_secs(1), 0);
    settings.poison = settings.poison.map(|poison| PoisonSettings { max_worker_deaths: 2, ..poison });
    let mut harness = Harness::with(settings);
    let (waits, effects) = harness.call_of(POISON, true);
    let (worker, wire) = sent(&effects, waits).unwrap();
    harness.poisoned(worker, wire, None);
    let running = [(); 2].map(|()| harness.call_of(POISON, false));
    harness.now = harness.now + Duration::from_secs(1);
    assert!(sent(&harness.step(Input::Tick), waits).is_none(), "both workers are busy");
    let (worker, wire) = sent(&running[0].1, running[0].0).unwrap();
    let effects = harness.poisoned(worker, wire, None);
    assert!(matches!(settled(&effects, waits), Some(CallFailure::Poison(found)) if found.deaths == 2), "{effects:?}");
}
