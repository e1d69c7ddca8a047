//! Traces of calls (W3C Trace Context): what a call carries to its worker, and the spans that the pool records of it. Holds, for
//! the process, the queue of recorded spans and the function that knows the trace of a caller.
//!
//! A call without a trace costs a test of a null pointer at each send; it allocates nothing and takes no lock. One with a trace that
//! is not recorded costs a box, and its headers at each send. Nothing here waits. All spans of a call are queued at once, when it
//! is answered.

mod span;
mod span_queue;

pub use span::{AttributeValue, Span};
pub use span_queue::{SpanLimits, SpanQueue};

use crate::{Error, clock};
use herder_core::{CallId, Generation, PoolName, SessionId, Timestamp, WorkerId, WorkerRef};
use herder_wire::{CallHeaders, Stamps, TraceParent};
use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher},
    num::{NonZeroU64, NonZeroU128},
    sync::OnceLock,
};

/// The names of the headers.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// The longest `tracestate` that is passed on; the standard asks for 512 characters at least.
const LONGEST_STATE: usize = 1024;
/// The longest name of a command in a span, in bytes. Callers choose it, and thousands of spans may wait for a collector.
const LONGEST_NAME: usize = 256;
/// The number of attempts of one call that are recorded.
const MAX_ATTEMPTS: usize = 64;

static RECORDER: OnceLock<Recorder> = OnceLock::new();
static CURRENT: OnceLock<Box<dyn Fn() -> Option<TraceContext> + Send + Sync>> = OnceLock::new();

/// The trace and the span that caused a call: the headers `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: TraceParent,
    state: Option<Box<str>>,
}

impl TraceContext {
    /// Reads the two headers. Returns `None` if `traceparent` is not valid; a `tracestate` that is too long is left out.
    pub fn parse(trace_parent: &str, trace_state: Option<&str>) -> Option<Self> {
        let state = trace_state.filter(|state| !state.is_empty() && state.len() <= LONGEST_STATE);
        Some(Self { parent: trace_parent.parse().ok()?, state: state.map(Into::into) })
    }

    /// Returns the bytes of these headers as JSON, at most.
    fn max_length(&self) -> usize {
        // Each character may be escaped.
        PARENT.len() + 55 + self.state.as_ref().map_or(0, |state| STATE.len() + 6 * state.len()) + 16
    }
}

/// Sets the function that returns the trace in which the current code runs. It is called on the thread of a caller, for each
/// call that has no header `traceparent`. Returns false if one was set before.
pub fn set_current(current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> bool {
    CURRENT.set(Box::new(current)).is_ok()
}

/// Which new traces are recorded, and where recorded spans go.
struct Recorder {
    /// A new trace is recorded if a random number is at most this.
    threshold: Option<u64>,
    queue: SpanQueue,
}

/// Starts to record spans: of calls whose caller records its trace, and of a share of the calls that belong to no trace. Returns the
/// queue of the spans, or `None` if recording has started before in this process.
pub fn start_recording(share: f64, limits: SpanLimits) -> Option<&'static SpanQueue> {
    RECORDER.set(Recorder::new(share, limits)).ok()?;
    RECORDER.get().map(|recorder| &recorder.queue)
}

/// Returns whether spans are recorded.
pub fn is_recording() -> bool {
    RECORDER.get().is_some()
}

/// Returns the number of recorded spans that were dropped. `None` if spans are not recorded.
pub fn dropped_spans() -> Option<u64> {
    RECORDER.get().map(|recorder| recorder.queue.dropped())
}

impl Recorder {
    fn new(share: f64, limits: SpanLimits) -> Self {
        // A float becomes the nearest number in range.
        let threshold = (share > 0.0).then_some((share * u64::MAX as f64) as u64);
        Self { threshold, queue: SpanQueue::new(limits) }
    }

    fn samples(&self) -> bool {
        self.threshold.is_some_and(|threshold| random() <= threshold)
    }
}

/// The trace of a submitted call.
#[derive(Debug)]
pub(crate) struct CallTrace {
    context: TraceContext,
    recording: Option<Recording>,
}

/// The span of a recorded call: the one that contains its waits and its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedSpan {
    pub(crate) trace: NonZeroU128,
    pub(crate) id: NonZeroU64,
}

/// What is recorded of a call until it is answered.
#[derive(Debug)]
struct Recording {
    id: NonZeroU64,
    parent: Option<NonZeroU64>,
    is_server: bool,
    began: Timestamp,
    attempts: Vec<AttemptSpan>,
}

/// One attempt, with its wait before.
#[derive(Debug)]
struct AttemptSpan {
    id: NonZeroU64,
    worker: WorkerRef,
    queued: Timestamp,
    sent: Timestamp,
    /// When and how it ended; `None` while it runs.
    end: Option<(Timestamp, &'static str)>,
}

/// How the attempt of an answered call ended: without an error, or with the name of the error.
const OK: &str = "ok";
const LOST: &str = "worker-lost";
/// The worker gave the call back before it began.
const WITHDRAWN: &str = "withdrawn";

/// What a call's span describes.
pub(crate) struct Described<'a> {
    pub(crate) pool: &'a PoolName,
    pub(crate) command: &'a str,
    pub(crate) session: Option<&'a SessionId>,
    pub(crate) id: CallId,
}

impl CallTrace {
    /// Returns the trace of a call, if it belongs to one or begins one. A valid `traceparent` and its `tracestate` are taken out
    /// of the headers.
    pub(crate) fn begin(headers: &mut Option<CallHeaders>, served_since: Option<Timestamp>) -> Option<Box<Self>> {
        let sent = headers.as_mut().and_then(take);
        let caused = sent.or_else(|| CURRENT.get().and_then(|current| current()));
        let recorder = RECORDER.get();
        let (context, parent) = match caused {
            Some(context) => (context.clone(), Some(context.parent.span)),
            None if recorder.is_some_and(Recorder::samples) => {
                let trace = NonZeroU128::MIN.saturating_add((u128::from(random()) << 64) | u128::from(random()));
                (TraceContext { parent: TraceParent::new(trace, random_id(), true), state: None }, None)
            }
            None => return None,
        };
        let is_recorded = recorder.is_some() && context.parent.is_sampled();
        let (is_server, began) = (served_since.is_some(), served_since.unwrap_or_else(clock::now));
        let recording =
            is_recorded.then(|| Recording { id: random_id(), parent, is_server, began, attempts: Vec::new() });
        Some(Box::new(Self { context, recording }))
    }

    /// Returns the bytes that the headers of the trace add to those of the call, at most.
    pub(crate) fn max_length(&self) -> usize {
        self.context.max_length()
    }

    /// Returns the span of the call, if it is recorded.
    pub(crate) fn recorded(&self) -> Option<RecordedSpan> {
        let id = self.recording.as_ref()?.id;
        Some(RecordedSpan { trace: self.context.parent.trace, id })
    }

    /// Records that the call is sent, again if an attempt of it was lost or withdrawn. Returns the headers of this attempt as JSON:
    /// those of the call with those of the trace, whose span is this attempt.
    pub(crate) fn send(&mut self, now: Timestamp, worker: WorkerRef, headers: Option<&[u8]>) -> Vec<u8> {
        let parent = match &mut self.recording {
            Some(recording) => {
                recording.send(now, worker).map_or(self.context.parent, |id| self.context.parent.with_span(id))
            }
            None => self.context.parent,
        };
        let mut json = format!(r#"{{"{PARENT}":"{parent}""#).into_bytes();
        if let Some(state) = &self.context.state {
            json.extend_from_slice(format!(r#","{STATE}":"#).as_bytes());
            // Writing to memory does not fail.
            _ = serde_json::to_writer(&mut json, state);
        }
        match headers.and_then(|headers| headers.strip_prefix(b"{")).filter(|rest| rest.len() > 1) {
            Some(rest) => {
                json.push(b',');
                json.extend_from_slice(rest);
            }
            None => json.push(b'}'),
        }
        json
    }

    /// Records that the process of the current attempt has exited.
    pub(crate) fn on_exit(&mut self, now: Timestamp) {
        if let Some(attempt) = self.recording.as_mut().and_then(|recording| recording.attempts.last_mut()) {
            attempt.end.get_or_insert((now, LOST));
        }
    }

    /// Returns the id of the trace.
    pub(crate) fn id(&self) -> NonZeroU128 {
        self.context.parent.trace
    }

    /// Queues the spans of a call that is answered now.
    pub(crate) fn finish(
        &mut self,
        now: Timestamp,
        call: &Described<'_>,
        error: Option<&Error>,
        stamps: Option<Stamps>,
    ) {
        let (Some(mut recording), Some(recorder)) = (self.recording.take(), RECORDER.get()) else { return };
        let outcome = error.map_or(OK, Error::slug);
        if let Some(attempt) = recording.attempts.last_mut() {
            attempt.end.get_or_insert((now, outcome));
        }
        let end = (0..=call.command.len().min(LONGEST_NAME)).rev().find(|end| call.command.is_char_boundary(*end));
        let call = &Described { command: &call.command[..end.unwrap_or_default()], ..*call };
        let spans = SpanBuilder { context: &self.context, call, recording: &recording }.spans(now, outcome, stamps);
        recorder.queue.push(spans);
    }
}

impl Recording {
    /// Returns the id of the attempt that begins; `None` if there are too many.
    fn send(&mut self, now: Timestamp, worker: WorkerRef) -> Option<NonZeroU64> {
        let queued = match self.attempts.last_mut() {
            Some(last) => last.end.get_or_insert((now, WITHDRAWN)).0,
            None => self.began,
        };
        (self.attempts.len() < MAX_ATTEMPTS).then(|| {
            let id = random_id();
            self.attempts.push(AttemptSpan { id, worker, queued: queued.min(now), sent: now, end: None });
            id
        })
    }
}

/// Builds the spans of a call: its own, and for each attempt its wait and itself, and the run of the handler.
struct SpanBuilder<'a> {
    context: &'a TraceContext,
    call: &'a Described<'a>,
    recording: &'a Recording,
}

impl SpanBuilder<'_> {
    fn spans(&self, now: Timestamp, outcome: &'static str, stamps: Option<Stamps>) -> Vec<Span> {
        let Described { pool, command, .. } = self.call;
        let mut spans = Vec::with_capacity(2 + 2 * self.recording.attempts.len());
        for (number, attempt) in self.recording.attempts.iter().enumerate() {
            spans.push(self.span("queue", random_id(), self.recording.id, attempt.queued, attempt.sent));
            spans.push(self.attempt(number, attempt, now));
        }
        if let (Some(stamps), Some(attempt)) = (stamps.filter(|stamps| stamps.ran()), self.recording.attempts.last()) {
            // The worker states these times, and nothing has checked them.
            let started = stamps.started.clamp(attempt.sent, now);
            spans.push(self.span("run", random_id(), attempt.id, started, stamps.ended.clamp(started, now)));
        }
        let mut call =
            self.span(&format!("{pool}/{command}"), self.recording.id, self.recording.id, self.recording.began, now);
        (call.parent, call.is_server) = (self.recording.parent, self.recording.is_server);
        call.error = (outcome != OK).then_some(outcome);
        call.attributes.push(("herder.call", AttributeValue::Number(self.call.id.0)));
        call.attributes.push(("herder.attempts", AttributeValue::Number(self.recording.attempts.len() as u64)));
        spans.push(call);
        spans
    }

    fn attempt(&self, number: usize, attempt: &AttemptSpan, now: Timestamp) -> Span {
        let (ended, outcome) = attempt.end.unwrap_or((now, LOST));
        let mut span = self.span("attempt", attempt.id, self.recording.id, attempt.sent, ended);
        let WorkerRef { id: WorkerId(slot), generation: Generation(generation) } = attempt.worker;
        span.error = (outcome != OK && outcome != WITHDRAWN).then_some(outcome);
        span.attributes.extend([
            ("herder.attempt", AttributeValue::Number(number as u64 + 1)),
            ("herder.worker", AttributeValue::Text(format!("w{slot}").into())),
            ("herder.generation", AttributeValue::Number(generation.into())),
            ("herder.outcome", AttributeValue::Text(outcome.into())),
        ]);
        span
    }

    fn span(&self, name: &str, id: NonZeroU64, parent: NonZeroU64, started: Timestamp, ended: Timestamp) -> Span {
        let text = |text: &str| AttributeValue::Text(text.into());
        let Described { pool, command, session, .. } = self.call;
        let mut attributes = vec![("herder.pool", text(pool.as_str())), ("herder.command", text(command))];
        attributes.extend(session.map(|session| ("herder.session", text(session.as_str()))));
        Span {
            trace: self.context.parent.trace,
            id,
            parent: Some(parent),
            state: self.context.state.clone(),
            name: name.into(),
            is_server: false,
            started,
            ended: ended.max(started),
            attributes,
            error: None,
        }
    }
}

/// Returns the id of the trace to which a call with these headers belongs, if it belongs to one.
pub(crate) fn trace_of(headers: Option<&CallHeaders>) -> Option<NonZeroU128> {
    let sent = headers.and_then(read);
    sent.or_else(|| CURRENT.get().and_then(|current| current())).map(|context| context.parent.trace)
}

fn read(headers: &CallHeaders) -> Option<TraceContext> {
    TraceContext::parse(headers.get(PARENT)?, headers.get(STATE))
}

/// Takes the trace out of the headers, if they have a valid one.
fn take(headers: &mut CallHeaders) -> Option<TraceContext> {
    let context = read(headers)?;
    headers.remove(PARENT);
    headers.remove(STATE);
    Some(context)
}

fn random_id() -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(random())
}

/// Returns a random number. No secret depends on it.
fn random() -> u64 {
    thread_local!(static NEXT: Cell<u64> = Cell::new(seed()));
    NEXT.with(|next| {
        // SplitMix64.
        let state = next.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        next.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Returns a number that differs in each thread and process.
#[expect(clippy::disallowed_types, reason = "the ids of spans are random, and no decision of a pool depends on them")]
fn seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&str, &str)]) -> Option<CallHeaders> {
        let mut headers = CallHeaders::default();
        pairs.iter().for_each(|(name, value)| headers.add(name, value).unwrap());
        Some(headers)
    }

    fn worker() -> WorkerRef {
        WorkerRef { id: WorkerId(1), generation: Generation(2) }
    }

    #[test]
    fn a_worker_gets_the_headers_of_the_call_and_of_its_trace() {
        let mut given = headers(&[("x-a", "1"), ("traceparent", SENT), ("tracestate", "a=\"b\"")]);
        let mut trace = CallTrace::begin(&mut given, None).unwrap();
        assert_eq!(given, headers(&[("x-a", "1")]));
        let sent = |trace: &mut CallTrace, headers: Option<&[u8]>| {
            let json = trace.send(Timestamp(1), worker(), headers);
            assert!(json.len() <= trace.max_length() + headers.map_or(0, <[u8]>::len));
            serde_json::from_slice::<Value>(&json).unwrap()
        };
        let of_trace = json!({ "traceparent": SENT, "tracestate": "a=\"b\"" });
        assert_eq!(sent(&mut trace, None), of_trace);
        assert_eq!(sent(&mut trace, Some(b"{}")), of_trace);
        let all = json!({ "traceparent": SENT, "tracestate": "a=\"b\"", "x-a": "1" });
        assert_eq!(sent(&mut trace, Some(br#"{"x-a":"1"}"#)), all);
    }

    #[test]
    fn headers_that_are_no_trace_stay_as_they_are() {
        for (name, value) in [("traceparent", "00-1"), ("tracestate", "a=b"), ("x-a", "1")] {
            let mut given = headers(&[(name, value)]);
            assert!(CallTrace::begin(&mut given, None).is_none());
            assert_eq!(given, headers(&[(name, value)]));
        }
        let long = "a".repeat(LONGEST_STATE + 1);
        assert_eq!(TraceContext::parse(SENT, Some(&long)).unwrap().state, None);
    }

    /// R50: the share of the calls that begin a trace is the configured one. The bounds are ten standard deviations away.
    #[test]
    fn r50_the_configured_share_of_new_traces_is_recorded() {
        for (share, expected) in [(0.0, 0..=0), (0.25, 2000..=3000), (1.0, 10_000..=10_000)] {
            let limits = SpanLimits { calls: 1, batch: 1, interval: std::time::Duration::ZERO };
            let recorder = Recorder::new(share, limits);
            let recorded = (0..10_000).filter(|_| recorder.samples()).count();
            assert!(expected.contains(&recorded), "{share}: {recorded}");
        }
    }

    /// Times that a worker states are not checked elsewhere: its clock can be another one.
    #[test]
    fn a_run_is_within_its_attempt_whatever_the_worker_states() {
        let mut recording =
            Recording { id: random_id(), parent: None, is_server: false, began: Timestamp(10), attempts: Vec::new() };
        recording.send(Timestamp(20), worker());
        let context = TraceContext::parse(SENT, None).unwrap();
        let pool = "timed".parse().unwrap();
        let call = Described { pool: &pool, command: "run", session: None, id: CallId(1) };
        let builder = SpanBuilder { context: &context, call: &call, recording: &recording };
        for (stated, expected) in [((25, 30), (25, 30)), ((5, 90), (20, 40)), ((90, 5), (40, 40)), ((30, 25), (30, 30))]
        {
            let stamps = Stamps { started: Timestamp(stated.0), ended: Timestamp(stated.1) };
            let spans = builder.spans(Timestamp(40), OK, Some(stamps));
            let run = spans.iter().find(|span| &*span.name == "run").unwrap();
            assert_eq!((run.started.0, run.ended.0), expected, "{stated:?}");
        }
    }

    #[test]
    fn attempts_end_by_what_follows_them() {
        let mut recording =
            Recording { id: random_id(), parent: None, is_server: false, began: Timestamp(10), attempts: Vec::new() };
        recording.send(Timestamp(20), worker());
        recording.send(Timestamp(30), worker());
        recording.attempts[1].end = Some((Timestamp(40), LOST));
        recording.send(Timestamp(50), worker());
        let times =
            recording.attempts.iter().map(|each| (each.queued.0, each.sent.0, each.end.map(|(at, how)| (at.0, how))));
        let expected = [(10, 20, Some((30, WITHDRAWN))), (30, 30, Some((40, LOST))), (40, 50, None)];
        assert_eq!(times.collect::<Vec<_>>(), expected);
        (0..2 * MAX_ATTEMPTS).for_each(|_| _ = recording.send(Timestamp(60), worker()));
        assert_eq!(recording.attempts.len(), MAX_ATTEMPTS);
    }
}
