//! Streams (R42): the first chunk, the waits for worker and consumer, and the end.

use super::*;
use crate::{AttemptState, BreakerSettings, BreakerState, Outcome, Pipeline};
use std::num::NonZeroU32;

const IDLE: Duration = Duration::from_secs(4);
const STALL: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);

fn pool(kind: WorkerTypeSettings, size: u32) -> Harness {
    let mut settings = Settings::new(kind, size);
    (settings.overflow, settings.health.interval, settings.stream.stall) = (0, Duration::MAX, STALL);
    Harness::with(settings)
}

/// Returns the only stream that was examined.
fn examined(effects: &Effects) -> Option<CallId> {
    let mut all = effects.iter().filter_map(|effect| match effect {
        Effect::ExamineStream { call } => Some(*call),
        _ => None,
    });
    all.next().filter(|_| all.next().is_none())
}

impl Harness {
    /// Submits an idempotent call whose caller takes chunks. Its deadline is in a minute unless it has an idle limit.
    fn stream(&mut self, session: Option<&str>, idle: Option<Duration>) -> (CallId, Effects) {
        self.calls += 1;
        let call = CallId(self.calls);
        let session = session.map(|name| SessionCall { id: id(name), if_absent: IfAbsent::Create, affinity: None });
        let deadline = if idle.is_some() { Timestamp::NEVER } else { self.now + SECOND * 60 };
        let stream = Some(StreamLimits { idle });
        let idempotent = true;
        let submission = Submission { call, session, deadline, idempotent, batch: None, fingerprint: None, stream };
        (call, self.step(Input::Submit(submission)))
    }

    fn begin_stream(&mut self, idle: Option<Duration>) -> (CallId, (WorkerRef, WireId)) {
        let (call, effects) = self.stream(None, idle);
        let attempt = sent(&effects, call).unwrap();
        assert_eq!(self.chunk(attempt), Some(call));
        (call, attempt)
    }

    /// The first chunk of an attempt. Returns the call that takes it.
    fn chunk(&mut self, (worker, wire): (WorkerRef, WireId)) -> Option<CallId> {
        self.effects.clear();
        let call = self.core.first_chunk(self.now, worker, wire, &mut self.effects);
        assert_eq!(self.core.verify(), [""; 0]);
        call
    }

    fn waits(&mut self, call: CallId, wait: StreamWait) -> Effects {
        self.step(Input::StreamWait { call, wait })
    }
}

/// R33: a call is sent again after a death only if its caller has no chunk of it.
#[test]
fn r33_stream_is_retried_until_its_first_chunk() {
    let mut harness = pool(WorkerTypeSettings::Basic, 2);
    let (retried, effects) = harness.stream(None, None);
    let (worker, _) = sent(&effects, retried).unwrap();
    harness.exit_by_signal(worker);
    let (again, wire) = sent(&harness.wait(SECOND), retried).unwrap();
    harness.chunk((again, wire));
    let effects = harness.exit_by_signal(again);
    let Some(CallFailure::WorkerLost(loss)) = settled(&effects, retried) else { panic!("{effects:?}") };
    assert!(loss.may_have_run);
}

/// R42: before its first chunk, a stream waits for its worker only, and no one needs to be asked.
#[test]
fn r42_idle_worker_is_found_before_the_first_chunk() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (call, effects) = harness.stream(None, Some(IDLE));
    let (worker, wire) = sent(&effects, call).unwrap();
    assert_eq!(settled(&harness.wait(IDLE - SECOND), call), None);
    let effects = harness.wait(SECOND);
    assert_eq!(settled(&effects, call), Some(CallFailure::StreamIdle { idle: IDLE }));
    assert!(effects.contains(&Effect::Cancel { worker, wire, interrupt: false }), "{effects:?}");
    assert_eq!(harness.core.status(harness.now).counters.timeouts, 1);
}

/// R42: the time between two chunks counts from the last one, and that of the consumer from the last one that it took.
#[test]
fn r42_stream_is_examined_and_fails_at_its_limits() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (call, _) = harness.begin_stream(Some(IDLE));
    let began = harness.now;
    assert_eq!(examined(&harness.wait(STALL)), Some(call));
    let recent = harness.now;
    assert_eq!(settled(&harness.waits(call, StreamWait::Worker { since: recent }), call), None);
    assert_eq!(examined(&harness.wait(STALL)), Some(call));
    harness.waits(call, StreamWait::Worker { since: recent });
    assert_eq!(examined(&harness.wait(SECOND)), Some(call), "the worker's time ends now");
    let effects = harness.waits(call, StreamWait::Worker { since: recent });
    assert_eq!(settled(&effects, call), Some(CallFailure::StreamIdle { idle: IDLE }));

    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (call, (worker, wire)) = harness.begin_stream(None);
    assert_eq!(examined(&harness.wait(STALL)), Some(call));
    let effects = harness.waits(call, StreamWait::Consumer { since: began });
    assert_eq!(settled(&effects, call), Some(CallFailure::StreamStalled { stall: STALL }));
    assert!(effects.contains(&Effect::Cancel { worker, wire, interrupt: false }), "{effects:?}");
}

/// I8: a shell that does not answer is asked again, not at once.
#[test]
fn i8_stream_without_an_answer_is_examined_again_later() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (call, _) = harness.begin_stream(None);
    assert_eq!(examined(&harness.wait(STALL)), Some(call));
    assert_eq!(examined(&harness.wait(STALL - SECOND)), None);
    assert_eq!(examined(&harness.wait(SECOND)), Some(call));
}

/// R42, I3: the session's next call starts after the end of the stream, even if its caller is gone before.
#[test]
fn i3_session_waits_for_the_end_of_a_stream() {
    let mut harness = pool(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.stream(Some("ann"), Some(IDLE));
    let attempt = sent(&effects, call).unwrap();
    harness.chunk(attempt);
    let (next, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, next), None);
    harness.step(Input::Cancel(call));
    assert_eq!(harness.chunk(attempt), None, "no caller takes further chunks");
    assert!(sent(&harness.finish(attempt), next).is_some());
}

/// R42: a chunk of no attempt is logged, as a final frame is.
#[test]
fn r42_unknown_chunk_is_logged() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    let (call, attempt) = harness.begin_stream(None);
    assert!(routing(&harness.finish(attempt), call).is_some());
    assert!(!harness.core.has_attempt(attempt.0, attempt.1));
    assert_eq!(harness.chunk(attempt), None);
    assert_eq!(harness.effects, [Effect::Log(LogEvent::UnknownAnswer(attempt.0, attempt.1))]);
    assert_eq!(harness.core.status(harness.now).counters.unknown_frames, 1);
}

/// R71: a chunk shows that a call has begun. A worker that stated another order is not believed any more, and the call is
/// neither given back nor sent again.
#[test]
fn r71_chunk_of_a_call_in_advance_ends_the_trust_in_the_order() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.health.interval, settings.pipeline) = (0, Duration::MAX, Pipeline::Auto);
    settings.pool_size = 1;
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    let worker = process(1, 1);
    harness.step(Input::Ready { worker, window: 9, control: true, in_order: NonZeroU32::new(1) });
    let (call, effects) = harness.call(None);
    let (first, wire) = sent(&effects, call).unwrap();
    harness.step(Input::Final { worker: first, wire, ok: true, ran: Duration::from_micros(9) });
    let (running, effects) = harness.call(None);
    assert!(sent(&effects, running).is_some());
    let (ahead, effects) = harness.stream(None, Some(IDLE));
    let attempt = sent(&effects, ahead).unwrap();
    assert_eq!(harness.core.queue_status().waiting, 1);
    let effects = harness.wait(Duration::from_millis(4));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Revoke { .. })), "{effects:?}");
    assert_eq!(harness.chunk(attempt), Some(ahead));
    assert_eq!((harness.core.queue_status().waiting, harness.core.queue_status().in_flight), (0, 2));
    harness.step(Input::AttemptState { worker, wire: attempt.1, state: AttemptState::Withdrawn });
    let effects = harness.exit_by_signal(worker);
    assert!(matches!(settled(&effects, ahead), Some(CallFailure::WorkerLost(_))), "{effects:?}");
}

/// R36, R71: how long streams take says nothing about the wait of other calls.
#[test]
fn r36_streams_do_not_count_in_the_estimated_wait() {
    let mut harness = pool(WorkerTypeSettings::Basic, 1);
    for _ in 0..40 {
        let (_, attempt) = harness.begin_stream(None);
        harness.now = harness.now + SECOND;
        harness.step(Input::Final { worker: attempt.0, wire: attempt.1, ok: true, ran: SECOND });
    }
    harness.call(None);
    harness.call(None);
    assert_eq!(harness.core.queue_status().estimated_wait_ms, None);
}

/// R34: the first chunk of a trial is its success, as a stream may never end. Any other stream counts at its end.
#[test]
fn r34_endless_trials_do_not_keep_the_breaker_half_open() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 3);
    settings.breaker = Some(BreakerSettings {
        failure_threshold: 1,
        success_threshold: 2,
        half_open_max_calls: 1,
        ..BreakerSettings::default()
    });
    (settings.overflow, settings.health.interval) = (0, Duration::MAX);
    let mut harness = Harness::with(settings);
    let state = |harness: &Harness| harness.core.breaker(harness.now).map(|breaker| breaker.state);
    harness.core.record_outcome(harness.now, Outcome::Failure);
    harness.wait(SECOND * 60);
    harness.begin_stream(Some(IDLE));
    assert_eq!(state(&harness), Some(BreakerState::HalfOpen));
    let (trial, _) = harness.begin_stream(Some(IDLE));
    assert_eq!(state(&harness), Some(BreakerState::Closed));
    let (later, _) = harness.begin_stream(Some(IDLE));
    let since = harness.now;
    harness.wait(IDLE);
    for (call, after) in [(trial, BreakerState::Closed), (later, BreakerState::Open)] {
        let effects = harness.waits(call, StreamWait::Worker { since });
        assert_eq!(settled(&effects, call), Some(CallFailure::StreamIdle { idle: IDLE }));
        assert_eq!(state(&harness), Some(after));
    }
}
