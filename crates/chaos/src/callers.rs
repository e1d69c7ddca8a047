//! Callers that call without pauses and send each answer to a channel. Some calls are abandoned, and some have short deadlines.
//! The callers use only the public interface of a pool.

#![expect(clippy::disallowed_methods, reason = "faults are injected and calls are abandoned at chosen times")]

use crate::answer::{Answer, CallKind, CallOutcome};
use bytes::Bytes;
use futures_util::future::join_all;
use herder::{Call, Pool, chaos::Rng, session::Affinity};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::Sender,
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The time without an answer after which a call counts as lost. All deadlines of a run are much shorter.
const LOST_AFTER: Duration = Duration::from_secs(180);
/// The number of bursts in a session before its caller ends it.
const BURSTS_PER_SESSION: u64 = 300;

/// The state that all callers share.
pub(crate) struct CallerContext {
    pub(crate) pool: Pool,
    answers: Sender<Answer>,
    calls: AtomicU64,
    sessions: AtomicU64,
    pub(crate) ok: AtomicU64,
    pub(crate) not_ok: AtomicU64,
    /// Whether the callers must stop.
    pub(crate) closed: AtomicBool,
}

/// A submitted call.
struct Submitted {
    id: u64,
    kind: CallKind,
    outcome: Pin<Box<dyn Future<Output = CallOutcome> + Send>>,
    abandon_after: Option<Duration>,
}

impl Submitted {
    fn abandoned_at_random(self, rng: &mut Rng) -> Self {
        Self { abandon_after: abandon_after(rng), ..self }
    }
}

impl CallerContext {
    pub(crate) fn new(pool: Pool, answers: Sender<Answer>) -> Self {
        Self {
            pool,
            answers,
            calls: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            not_ok: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Runs one caller until the context is closed. A caller with `keeps_session` makes most of its calls in a session with
    /// strict affinity. Only some callers do, because each kill of a worker is reported to every session bound to it.
    pub(crate) async fn caller(&self, keeps_session: bool, mut rng: Rng) {
        let (mut session, mut bursts) = (0, 0);
        while !self.closed.load(Relaxed) {
            match rng.below(100) {
                _ if keeps_session && rng.chance(70) => {
                    if session == 0 || bursts == BURSTS_PER_SESSION {
                        self.end_session(session).await;
                        (session, bursts) = (self.sessions.fetch_add(1, Relaxed) + 1, 0);
                    }
                    bursts += 1;
                    self.burst(session, &mut rng).await;
                }
                0..=6 => {
                    self.single_call(CallKind::FaultRequested, "refuse", failure_arguments(&mut rng), None, &mut rng)
                        .await;
                }
                7..=16 => {
                    let session = format!("hint-{}", rng.below(16));
                    self.single_call(CallKind::Once, "once", json!({}), Some(&session), &mut rng).await;
                }
                17..=21 => _ = self.wait_and_record(self.stream(&mut rng), 0, 0).await,
                22..=23 => _ = self.wait_and_record(self.binary_call(&mut rng), 0, 0).await,
                24..=29 => self.single_call(CallKind::Once, "batched", json!({}), None, &mut rng).await,
                30..=50 => {
                    self.single_call(CallKind::Idempotent, "repeatable", work_arguments(&mut rng), None, &mut rng)
                        .await;
                }
                _ => self.single_call(CallKind::Once, "once", work_arguments(&mut rng), None, &mut rng).await,
            }
        }
    }

    /// Makes one call that brings about a fault.
    pub(crate) async fn fault(&self, command: &str, arguments: Value, deadline: Duration) {
        let submitted = self.submit(CallKind::FaultRequested, arguments, |arguments| {
            self.pool.call(command, arguments).timeout(deadline)
        });
        self.wait_and_record(submitted, 0, 0).await;
    }

    /// Makes one call without faults, and returns whether it succeeded.
    pub(crate) async fn probe(&self) -> bool {
        let submitted = self.submit(CallKind::Once, json!({}), |arguments| self.pool.call("once", arguments));
        self.wait_and_record(submitted, 0, 0).await
    }

    /// Submits up to three calls of one session together, and waits for all of them.
    async fn burst(&self, session: u64, rng: &mut Rng) {
        let name = format!("strict-{session}");
        let calls: Vec<Submitted> = (0..=rng.below(3))
            .map(|_| {
                let arguments = json!({ "ms": if rng.chance(10) { 2 } else { 0 } });
                let kind = if rng.chance(3) { CallKind::ShortDeadline } else { CallKind::Once };
                let call =
                    |arguments: &Value| short_deadline(kind, self.pool.call("count", arguments).session(&name), rng);
                self.submit(kind, arguments, call).abandoned_at_random(rng)
            })
            .collect();
        let first = calls.first().map_or(0, |call| call.id);
        let answers = join_all(calls.into_iter().map(|call| self.wait_for_answer(call, session, first))).await;
        // In the order of the calls, which the judge relies on, not in the order in which the answers arrived.
        answers.into_iter().for_each(|answer| _ = self.record(answer));
    }

    async fn single_call(
        &self,
        kind: CallKind,
        command: &str,
        arguments: Value,
        hint_session: Option<&str>,
        rng: &mut Rng,
    ) {
        let kind = if kind == CallKind::Once && rng.chance(3) { CallKind::ShortDeadline } else { kind };
        let submitted = self.submit(kind, arguments, |arguments| {
            let call = short_deadline(kind, self.pool.call(command, arguments), rng);
            match hint_session {
                Some(session) => call.session(session).affinity(Affinity::Hint),
                None => call,
            }
        });
        self.wait_and_record(submitted.abandoned_at_random(rng), 0, 0).await;
    }

    /// Makes a call that takes the items of a generator. Some streams are dropped before their end.
    fn stream(&self, rng: &mut Rng) -> Submitted {
        let (items, size) = (rng.below(200), if rng.chance(20) { rng.below(10_000) } else { 0 });
        let kind = if rng.chance(3) { CallKind::ShortDeadline } else { CallKind::Once };
        self.submit_as(kind, json!({ "n": items, "size": size }), |id, arguments| {
            let stream = short_deadline(kind, self.pool.call::<Value>("items", arguments), rng).stream();
            Box::pin(CallOutcome::of_stream(stream, id, items))
        })
        .abandoned_at_random(rng)
    }

    /// Makes a call whose arguments and result are mostly binary data of more than 64 KiB, which may travel in shared memory.
    fn binary_call(&self, rng: &mut Rng) -> Submitted {
        let length = usize::try_from(60_000 + rng.below(300_000)).unwrap_or(0);
        self.submit_as(CallKind::Once, json!({}), |id, arguments| {
            let data: Bytes = (id..).map(|number| number.to_le_bytes()[0]).take(length).collect();
            let call = self.pool.call::<Value>("binary", arguments).attach("data", data.clone()).take_buffers();
            let reply = call.reply();
            Box::pin(async move { CallOutcome::of_binary(reply.await, &data) })
        })
        .abandoned_at_random(rng)
    }

    async fn end_session(&self, session: u64) {
        if session > 0 {
            let _ = self.pool.end_session(&format!("strict-{session}")).await;
        }
    }

    fn submit(&self, kind: CallKind, arguments: Value, call: impl FnOnce(&Value) -> Call<Value>) -> Submitted {
        let pad = arguments["pad"].as_str().map_or(0, str::len);
        self.submit_as(kind, arguments, |_, arguments| {
            let reply = call(arguments).reply();
            Box::pin(async move { CallOutcome::of(reply.await, pad) })
        })
    }

    /// Submits a call. `start` gets its id, and its arguments with the id.
    fn submit_as(
        &self,
        kind: CallKind,
        mut arguments: Value,
        start: impl FnOnce(u64, &Value) -> Pin<Box<dyn Future<Output = CallOutcome> + Send>>,
    ) -> Submitted {
        let id = self.calls.fetch_add(1, Relaxed) + 1;
        arguments["id"] = id.into();
        Submitted { id, kind, outcome: start(id, &arguments), abandon_after: None }
    }

    async fn wait_and_record(&self, call: Submitted, session: u64, burst: u64) -> bool {
        let answer = self.wait_for_answer(call, session, burst).await;
        self.record(answer)
    }

    async fn wait_for_answer(&self, call: Submitted, session: u64, burst: u64) -> Answer {
        let Submitted { id, kind, outcome, abandon_after } = call;
        let answer = timeout(LOST_AFTER, outcome);
        let outcome = tokio::select! {
            outcome = answer => outcome.unwrap_or(CallOutcome::Lost),
            // If the call is not to be abandoned, this branch never completes: the other one times out earlier.
            () = sleep(abandon_after.unwrap_or(2 * LOST_AFTER)) => CallOutcome::Abandoned,
        };
        Answer { id, session, burst, kind, outcome }
    }

    fn record(&self, answer: Answer) -> bool {
        let ok = matches!(answer.outcome, CallOutcome::Ok { .. });
        if ok { &self.ok } else { &self.not_ok }.fetch_add(1, Relaxed);
        let _ = self.answers.send(answer);
        ok
    }
}

fn short_deadline(kind: CallKind, call: Call<Value>, rng: &mut Rng) -> Call<Value> {
    if kind == CallKind::ShortDeadline { call.timeout(rng.millis(1, 20)) } else { call }
}

/// Returns the time after which the caller abandons the call, for 3 % of the calls.
fn abandon_after(rng: &mut Rng) -> Option<Duration> {
    rng.chance(3).then(|| rng.millis(0, 20))
}

/// Returns arguments: mostly for no work, sometimes for slow work or a large body.
fn work_arguments(rng: &mut Rng) -> Value {
    match rng.below(100) {
        0..=4 => json!({ "ms": 1 + rng.below(10) }),
        5..=6 => json!({ "pad": "x".repeat(usize::try_from(rng.below(300_000)).unwrap_or(0)) }),
        _ => json!({}),
    }
}

fn failure_arguments(rng: &mut Rng) -> Value {
    let how = match rng.below(100) {
        0..=49 => "no",
        50..=89 => "raise",
        90..=97 => "result",
        98 => "memory",
        _ => "descriptors",
    };
    json!({ "how": how })
}
