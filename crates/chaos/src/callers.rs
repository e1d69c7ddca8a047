//! Callers that call without a pause, and hand what they were told to whoever writes it down. Some leave, some are in a hurry.
//! They know the pool by its handle alone.

#![expect(clippy::disallowed_methods, reason = "faults are injected and callers leave at set times")]

use crate::answer::{Answer, CallKind, CallOutcome};
use futures_util::future::join_all;
use herder::{Affinity, Call, PendingReply, Pool, chaos::Rng};
use serde_json::{Value, json};
use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::Sender,
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// After this without an answer a call is lost: no deadline of a run is near it.
const LOST_AFTER: Duration = Duration::from_secs(180);
/// Bursts of a session until its owner ends it.
const BURSTS: u64 = 300;

/// What all callers share.
pub(crate) struct CallerContext {
    pub(crate) pool: Pool,
    answers: Sender<Answer>,
    calls: AtomicU64,
    sessions: AtomicU64,
    pub(crate) ok: AtomicU64,
    pub(crate) not_ok: AtomicU64,
    pub(crate) closed: AtomicBool,
}

/// A call that was submitted.
struct Submitted {
    id: u64,
    kind: CallKind,
    pad: usize,
    reply: PendingReply,
    leave: Option<Duration>,
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

    /// A caller, until the desk is closed; one that `keeps` a strict session calls in it mostly. Those are few: each kill is told to
    /// every session that its worker had.
    pub(crate) async fn caller(&self, keeps: bool, mut rng: Rng) {
        let (mut session, mut bursts) = (0, 0);
        while !self.closed.load(Relaxed) {
            match rng.below(100) {
                _ if keeps && rng.chance(70) => {
                    if session == 0 || bursts == BURSTS {
                        self.ends(session).await;
                        (session, bursts) = (self.sessions.fetch_add(1, Relaxed) + 1, 0);
                    }
                    bursts += 1;
                    self.burst(session, &mut rng).await;
                }
                0..=6 => self.one(CallKind::FaultRequested, "refuse", refusal(&mut rng), None, &mut rng).await,
                7..=16 => {
                    let loose = format!("loose-{}", rng.below(16));
                    self.one(CallKind::Once, "once", json!({}), Some(&loose), &mut rng).await;
                }
                17..=45 => self.one(CallKind::Idempotent, "again", work(&mut rng), None, &mut rng).await,
                _ => self.one(CallKind::Once, "once", work(&mut rng), None, &mut rng).await,
            }
        }
    }

    /// One call that is to bring about a fault.
    pub(crate) async fn fault(&self, command: &str, arguments: Value, within: Duration) {
        let submitted = self.submit(CallKind::FaultRequested, arguments, |arguments| {
            self.pool.call(command, arguments).timeout(within)
        });
        self.answered(submitted, 0, 0).await;
    }

    /// Whether a plain call is answered well.
    pub(crate) async fn serves(&self) -> bool {
        let submitted = self.submit(CallKind::Once, json!({}), |arguments| self.pool.call("once", arguments));
        self.answered(submitted, 0, 0).await
    }

    /// Calls of one strict session, submitted together.
    async fn burst(&self, session: u64, rng: &mut Rng) {
        let name = format!("strict-{session}");
        let calls: Vec<Submitted> = (0..=rng.below(3))
            .map(|_| {
                let arguments = json!({ "ms": if rng.chance(10) { 2 } else { 0 } });
                let kind = if rng.chance(3) { CallKind::ShortDeadline } else { CallKind::Once };
                let call =
                    |arguments: &Value| short_deadline(kind, self.pool.call("count", arguments).session(&name), rng);
                let submitted = self.submit(kind, arguments, call);
                Submitted { leave: abandons(rng), ..submitted }
            })
            .collect();
        let first = calls.first().map_or(0, |call| call.id);
        let answers = join_all(calls.into_iter().map(|call| self.heard(call, session, first))).await;
        answers.into_iter().for_each(|answer| _ = self.note(answer));
    }

    async fn one(&self, kind: CallKind, command: &str, arguments: Value, loose: Option<&str>, rng: &mut Rng) {
        let kind = if kind == CallKind::Once && rng.chance(3) { CallKind::ShortDeadline } else { kind };
        let submitted = self.submit(kind, arguments, |arguments| {
            let call = short_deadline(kind, self.pool.call(command, arguments), rng);
            match loose {
                Some(session) => call.session(session).affinity(Affinity::Hint),
                None => call,
            }
        });
        self.answered(Submitted { leave: abandons(rng), ..submitted }, 0, 0).await;
    }

    async fn ends(&self, session: u64) {
        if session > 0 {
            let _ = self.pool.end_session(&format!("strict-{session}")).await;
        }
    }

    fn submit(&self, kind: CallKind, mut arguments: Value, call: impl FnOnce(&Value) -> Call<Value>) -> Submitted {
        let id = self.calls.fetch_add(1, Relaxed) + 1;
        let pad = arguments["pad"].as_str().map_or(0, str::len);
        arguments["id"] = id.into();
        Submitted { id, kind, pad, reply: call(&arguments).reply(), leave: None }
    }

    async fn answered(&self, call: Submitted, session: u64, burst: u64) -> bool {
        let answer = self.heard(call, session, burst).await;
        self.note(answer)
    }

    async fn heard(&self, call: Submitted, session: u64, burst: u64) -> Answer {
        let Submitted { id, kind, pad, reply, leave } = call;
        let told = timeout(LOST_AFTER, reply);
        let end = tokio::select! {
            told = told => told.map_or(CallOutcome::Lost, |told| CallOutcome::of(told, pad)),
            () = sleep(leave.unwrap_or(2 * LOST_AFTER)) => CallOutcome::Abandoned,
        };
        Answer { id, session, burst, kind, end }
    }

    fn note(&self, answer: Answer) -> bool {
        let ok = matches!(answer.end, CallOutcome::Ok { .. });
        if ok { &self.ok } else { &self.not_ok }.fetch_add(1, Relaxed);
        let _ = self.answers.send(answer);
        ok
    }
}

fn short_deadline(kind: CallKind, call: Call<Value>, rng: &mut Rng) -> Call<Value> {
    if kind == CallKind::ShortDeadline { call.timeout(rng.millis(1, 20)) } else { call }
}

/// Some callers go away before they are answered.
fn abandons(rng: &mut Rng) -> Option<Duration> {
    rng.chance(3).then(|| rng.millis(0, 20))
}

/// Mostly nothing; some takes a while, some is large.
fn work(rng: &mut Rng) -> Value {
    match rng.below(100) {
        0..=4 => json!({ "ms": 1 + rng.below(10) }),
        5..=6 => json!({ "pad": "x".repeat(usize::try_from(rng.below(300_000)).unwrap_or(0)) }),
        _ => json!({}),
    }
}

fn refusal(rng: &mut Rng) -> Value {
    let how = match rng.below(100) {
        0..=49 => "no",
        50..=89 => "raise",
        90..=97 => "result",
        98 => "memory",
        _ => "descriptors",
    };
    json!({ "how": how })
}
