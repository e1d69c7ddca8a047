//! Batches: when they are sent, with which calls, and what happens to each call of one.

use super::*;
use crate::{BatchKey, BatchLimits, Fingerprint, PoisonSettings};

const KEY: BatchKey = BatchKey(0);
const WAIT: Duration = Duration::from_millis(2);
const SECOND: Duration = Duration::from_secs(1);

/// A pool of this many workers, which run batches of at most three calls. A worker is interrupted after 1 s and killed after
/// 5 s, the defaults.
fn pool(kind: WorkerTypeSettings, size: u32) -> Harness {
    let mut settings = Settings::new(kind, size);
    (settings.overflow, settings.health.interval) = (0, Duration::MAX);
    settings.poison = Some(PoisonSettings { max_worker_deaths: 2, quarantine: 600 * SECOND });
    let mut harness = Harness::with(settings);
    harness.set_batch(3, WAIT);
    (1..=size).for_each(|worker| harness.core.state_batches(process(worker, 1), &[KEY]));
    harness
}

impl Harness {
    fn set_batch(&mut self, max_batch_size: u32, max_wait: Duration) -> Effects {
        let mut effects = Vec::new();
        self.core.set_batch(self.now, KEY, BatchLimits { max_batch_size, max_wait }, &mut effects);
        assert_eq!(self.core.verify(), [""; 0]);
        effects
    }

    fn batched(&mut self, session: Option<&str>, idempotent: bool, deadline: Duration) -> (CallId, Effects) {
        self.batched_with(None, session, idempotent, deadline)
    }

    fn batched_with(
        &mut self,
        affinity: Option<Affinity>,
        session: Option<&str>,
        idempotent: bool,
        deadline: Duration,
    ) -> (CallId, Effects) {
        self.calls += 1;
        let call = CallId(self.calls);
        let session = session.map(|name| SessionCall { id: id(name), if_absent: IfAbsent::Create, affinity });
        let deadline = self.now + deadline;
        let batch = Some(KEY);
        (
            call,
            self.step(Input::Submit(Submission {
                call,
                session,
                deadline,
                idempotent,
                batch,
                fingerprint: None,
                stream: None,
            })),
        )
    }

    /// Submits calls that are not sent yet.
    fn waiting<const N: usize>(&mut self) -> [CallId; N] {
        std::array::from_fn(|_| {
            let (call, effects) = self.batched(None, false, 30 * SECOND);
            assert_eq!(effects, []);
            call
        })
    }
}

/// Returns the batches among the effects.
fn batches(effects: &Effects) -> Vec<Vec<(CallId, WireId)>> {
    let batch = |effect: &Effect| match effect {
        Effect::SendBatch(sends) => Some(sends.iter().map(|send| (send.call, send.wire)).collect()),
        _ => None,
    };
    effects.iter().filter_map(batch).collect()
}

/// Sends a batch of three calls to the only worker.
fn sent_batch(harness: &mut Harness) -> Vec<(CallId, WireId)> {
    harness.waiting::<2>();
    let (_, effects) = harness.batched(None, true, 30 * SECOND);
    let [batch] = &batches(&effects)[..] else { panic!("{effects:?}") };
    batch.clone()
}

#[test]
fn batch_is_sent_when_it_is_full_or_has_waited() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let batch = sent_batch(&mut harness);
    assert_eq!(batch.iter().map(|(call, _)| call.0).collect::<Vec<_>>(), [1, 2, 3]);
    let worker = &harness.core.workers(harness.now)[0];
    assert_eq!((worker.in_flight, worker.window), (1, 1), "it takes one place");
    for (_, wire) in batch {
        harness.finish((process(1, 1), wire));
    }
    let [first, second] = harness.waiting();
    assert_eq!(harness.wait(WAIT - Duration::from_nanos(1)), []);
    let found = batches(&harness.wait(Duration::from_nanos(1)));
    assert_eq!(found[0].iter().map(|(call, _)| *call).collect::<Vec<_>>(), [first, second]);
    let status = harness.core.batch_status(KEY).unwrap();
    assert_eq!((status.batches, status.calls, status.largest, status.longest_wait_us), (2, 5, 3, 2000));
}

/// A call that waits longer because no worker is free joins a larger batch. A batch of one is a call like any other.
#[test]
fn calls_gather_while_no_worker_is_free() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let batch = sent_batch(&mut harness);
    let calls = harness.waiting::<4>();
    assert_eq!(harness.wait(10 * WAIT), []);
    let [first, second, third] = batch[..] else { panic!() };
    assert!(harness.finish((process(1, 1), first.1)).iter().all(|effect| matches!(effect, Effect::Deliver { .. })));
    harness.finish((process(1, 1), third.1));
    let effects = harness.finish((process(1, 1), second.1));
    assert_eq!(batches(&effects)[0].iter().map(|(call, _)| *call).collect::<Vec<_>>(), calls[..3]);
    for (_, wire) in &batches(&effects)[0] {
        let effects = harness.finish((process(1, 1), *wire));
        assert!(batches(&effects).is_empty());
        if let Some(sent) = sent(&effects, calls[3]) {
            assert!(routing(&harness.finish(sent), calls[3]).is_some());
        }
    }
}

#[test]
fn limits_can_be_changed_while_calls_wait() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    harness.waiting::<2>();
    assert_eq!(batches(&harness.set_batch(2, WAIT)).len(), 1);
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    harness.waiting::<1>();
    harness.set_batch(3, 10 * WAIT);
    assert_eq!(harness.wait(5 * WAIT), []);
    assert_eq!(harness.set_batch(1, WAIT).len(), 1, "without batches, it is sent at once");
}

/// A draining pool does not wait for more calls: none will come.
#[test]
fn drain_does_not_wait_for_others() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    harness.waiting::<2>();
    let until = harness.now + 60 * SECOND;
    assert_eq!(batches(&harness.step(Input::Shutdown { until })).len(), 1);
}

/// Sessions: the strict calls of one session are in batches one after the other; those of a bound session join only batches of
/// their worker.
#[test]
fn strict_calls_of_a_session_are_in_different_batches() {
    let mut harness = pool(WorkerTypeSettings::enhanced(), 2);
    let (_, bound) = (harness.bind("ann", 2), harness.batched(Some("ann"), false, 30 * SECOND));
    assert_eq!(bound.1, []);
    harness.batched(Some("ann"), false, 30 * SECOND);
    let (other, effects) = harness.batched(None, false, 30 * SECOND);
    assert!(batches(&effects).is_empty(), "the second call of the session waits for the first one");
    let effects = harness.wait(WAIT);
    let sends: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).collect();
    assert_eq!(sends.len(), 2, "{effects:?}");
    assert_eq!(sent(&effects, bound.0).map(|sent| sent.0), Some(process(2, 1)));
    assert_eq!(sent(&effects, other).map(|sent| sent.0), Some(process(1, 1)));
}

/// R19: a call that fails fast waits for its batch, since the worker is free; it is refused while the worker is busy.
#[test]
fn r19_fail_fast_is_about_a_busy_worker_not_about_the_batch() {
    let mut harness = pool(WorkerTypeSettings::enhanced(), 1);
    let fail_fast = |harness: &mut Harness, session: &str| {
        harness.batched_with(Some(Affinity::StrictFailFast), Some(session), false, 30 * SECOND)
    };
    ["ann", "ben"].iter().for_each(|session| harness.bind(session, 1));
    let (first, effects) = fail_fast(&mut harness, "ann");
    assert_eq!(effects, []);
    let (second, effects) = fail_fast(&mut harness, "ann");
    assert_eq!(settled(&effects, second), Some(CallFailure::WorkerBusy(process(1, 1))), "the session's turn is taken");
    assert!(sent(&harness.wait(WAIT), first).is_some());
    let (other, effects) = fail_fast(&mut harness, "ben");
    assert_eq!(settled(&effects, other), Some(CallFailure::WorkerBusy(process(1, 1))));
}

/// The first calls of sessions bind them to the worker of the batch.
#[test]
fn new_sessions_are_bound_to_the_worker_of_the_batch() {
    let mut harness = pool(WorkerTypeSettings::enhanced(), 2);
    harness.batched(Some("ann"), false, 30 * SECOND);
    harness.batched(Some("ben"), false, 30 * SECOND);
    let (_, effects) = harness.batched(Some("cid"), false, 30 * SECOND);
    let [batch] = &batches(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(batch.len(), 3);
    let bound = ["ann", "ben", "cid"].map(|name| harness.lookup(name));
    assert!(bound.iter().all(|found| *found == bound[0] && matches!(found, Lookup::Bound(_))), "{bound:?}");
}

/// Each call has its own deadline. One that has passed disturbs no other call; the worker is interrupted, and then killed, once
/// all callers have gone.
#[test]
fn worker_is_interrupted_when_the_last_caller_has_gone() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (late, _) = harness.batched(None, false, SECOND);
    let [second, third] = [(); 2].map(|()| harness.batched(None, false, 60 * SECOND));
    let [batch] = &batches(&third.1)[..] else { panic!() };
    let effects = harness.wait(20 * SECOND);
    assert_eq!(settled(&effects, late), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    let cancelled = |wire, interrupt| Effect::Cancel { worker: process(1, 1), wire, interrupt };
    assert_eq!(effects[1..], [cancelled(batch[0].1, false)], "the others go on");
    let running = |harness: &mut Harness, wire| {
        harness.step(Input::AttemptState { worker: process(1, 1), wire, state: AttemptState::Running })
    };
    assert_eq!(running(&mut harness, batch[0].1), []);
    harness.step(Input::Cancel(second.0));
    assert_eq!(running(&mut harness, batch[1].1), []);
    assert_eq!(harness.wait(20 * SECOND), []);
    harness.step(Input::Cancel(third.0));
    assert_eq!(running(&mut harness, batch[2].1), []);
    let interrupts = |effects: &Effects| {
        effects.iter().filter(|effect| matches!(effect, Effect::Cancel { interrupt: true, .. })).count()
    };
    let effects = harness.wait(SECOND);
    assert_eq!((interrupts(&effects), effects.len()), (1, 1), "one call stands for the batch");
    let effects = harness.wait(4 * SECOND);
    assert!(matches!(effects[..], [Effect::Stop { kill_reason: KillReason::CancelTimeout, .. }]), "{effects:?}");
}

/// Also if the worker answers no cancel: then its oldest invocation is assumed to run.
#[test]
fn abandoned_batch_is_interrupted_without_an_answer() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let batch = sent_batch(&mut harness);
    for (call, _) in &batch[..2] {
        harness.step(Input::Cancel(*call));
        assert_eq!(harness.wait(10 * SECOND), []);
    }
    harness.step(Input::Cancel(batch[2].0));
    let interrupt = Effect::Cancel { worker: process(1, 1), wire: batch[0].1, interrupt: true };
    assert_eq!(harness.wait(SECOND), [interrupt]);
}

/// R33, R37: the death of a worker in a batch counts against all of its calls. An idempotent one is sent again, alone.
#[test]
fn calls_of_a_lost_batch_are_blamed_and_sent_again_alone() {
    let mut harness = pool(WorkerTypeSettings::Basic, 2);
    let batch = sent_batch(&mut harness);
    let suspect = |(call, wire): &(CallId, WireId)| Suspect {
        wire: *wire,
        fingerprint: Fingerprint(call.0),
        command: "predict".into(),
    };
    let effects = harness.exit(process(1, 1), None, batch.iter().map(suspect).collect());
    for (call, _) in &batch[..2] {
        let Some(CallFailure::WorkerLost(loss)) = settled(&effects, *call) else { panic!("{effects:?}") };
        assert!(loss.may_have_run);
    }
    assert_eq!(harness.core.quarantine_entries(harness.now).len(), 3);
    let effects = harness.wait(SECOND);
    assert_eq!(sent(&effects, batch[2].0).map(|sent| sent.0), Some(process(2, 1)));
    let status = harness.core.batch_status(KEY).unwrap();
    assert_eq!((status.batches, status.calls), (1, 3), "it is no batch");
}

/// R36: a full queue does not refuse a call that only waits for others of its batch.
#[test]
fn waiting_for_others_needs_no_room_in_the_queue() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.queue.limit, settings.overflow) = (1, 0);
    let mut harness = Harness::with(settings);
    harness.set_batch(3, WAIT);
    harness.core.state_batches(process(1, 1), &[KEY]);
    sent_batch(&mut harness);
    harness.waiting::<1>();
    let (refused, effects) = harness.batched(None, false, 30 * SECOND);
    assert_eq!(settled(&effects, refused), Some(CallFailure::QueueFull { limit: 1 }));
}

/// A call that could not be written to the worker leaves the batch, which goes on.
#[test]
fn failed_send_leaves_the_batch() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let batch = sent_batch(&mut harness);
    harness.step(Input::SendFailed { worker: process(1, 1), wire: batch[1].1 });
    harness.finish((process(1, 1), batch[0].1));
    assert_eq!(harness.core.workers(harness.now)[0].in_flight, 1);
    assert!(routing(&harness.finish((process(1, 1), batch[2].1)), batch[2].0).is_some());
    assert_eq!(harness.core.workers(harness.now)[0].in_flight, 0);
}
