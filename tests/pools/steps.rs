//! Helper functions of many tests. Those that change a pool wait until the change has happened. No state.

use herder::{
    Call, Error, Reply,
    messages::BindSession,
    pool::PendingReply,
    registry,
    session::SessionAffinityActor,
    status::{WorkerId, WorkerRef},
    testing::{TestPool, wait_until, with_timeout},
};
use serde_json::{Value, json};

/// Much longer than any test: a call that sleeps this long ends only if it is cancelled or its worker dies.
pub(crate) const FOR_EVER_MS: u64 = 3_600_000;

pub(crate) type Outcome = Result<Reply, Error>;

/// Returns the affinity actor of the pool, by its name in the registry, as users do.
pub(crate) fn affinity_of(pool: &TestPool) -> actix::Addr<SessionAffinityActor> {
    registry::lookup(&format!("{}_session_affinity", pool.name())).unwrap()
}

/// Returns whether the registry has an affinity actor of this pool.
pub(crate) fn has_affinity_actor(pool: &TestPool) -> bool {
    registry::lookup::<SessionAffinityActor>(&format!("{}_session_affinity", pool.name())).is_some()
}

/// Returns the status of the pool as JSON.
pub(crate) async fn status(pool: &TestPool) -> Value {
    serde_json::to_value(pool.status().await.unwrap()).unwrap()
}

/// Binds a session to the current process of a worker.
pub(crate) async fn bind(pool: &TestPool, session: &str, worker: u32) -> WorkerRef {
    let message = BindSession::new(session, WorkerId(worker));
    affinity_of(pool).send(message).await.unwrap().unwrap()
}

/// Creates a call of the demo's `count`.
pub(crate) fn count(pool: &TestPool, session: &str) -> Call<u64> {
    pool.call("count", &json!({})).session(session)
}

/// Creates a call of the demo's `sleep` that never returns by itself.
pub(crate) fn sleep_for_ever(pool: &TestPool) -> Call<Value> {
    pool.call("sleep", &json!({ "ms": FOR_EVER_MS }))
}

/// Creates a call of the demo's `pid` in a session, which both worker types support.
pub(crate) fn pid(pool: &TestPool, session: &str) -> Call<u32> {
    pool.call("pid", &json!({})).session(session)
}

/// Submits calls and waits until the pool has these numbers of running and waiting calls.
pub(crate) async fn submitted<T>(
    pool: &TestPool,
    calls: impl IntoIterator<Item = Call<T>>,
    in_flight: usize,
    waiting: usize,
) -> Vec<PendingReply> {
    let replies = calls.into_iter().map(Call::reply).collect();
    queue_is(pool, in_flight, waiting).await;
    replies
}

/// Waits until these numbers of calls run and wait.
pub(crate) async fn queue_is(pool: &TestPool, in_flight: usize, waiting: usize) {
    wait_until("calls run and wait as expected", async || {
        let queue = pool.status().await.unwrap().queue;
        (queue.in_flight, queue.waiting) == (in_flight, waiting)
    })
    .await;
}

/// Waits for the answer of a call.
pub(crate) async fn answer(reply: PendingReply) -> Outcome {
    with_timeout("an answer", reply).await
}

/// Waits for all answers and returns them in the order of the calls.
pub(crate) async fn answers(replies: Vec<PendingReply>) -> Vec<Outcome> {
    with_timeout("all answers", futures_util::future::join_all(replies)).await
}

/// Returns the process that sent a reply.
pub(crate) fn place(reply: &Reply) -> WorkerRef {
    reply.process()
}

/// Returns the reference to a process by the numbers of its slot and generation.
pub(crate) fn process(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: herder::status::Generation(generation) }
}

/// Returns how many calls the process had been sent without a final frame, according to its recording.
pub(crate) fn unfinished(recording: &herder::recorder::Recording) -> usize {
    let answered = |wire| {
        let mut frames = recording.frames.iter();
        frames.any(|frame| frame.wire == wire && matches!(&*frame.kind, "result" | "error"))
    };
    recording.frames.iter().filter(|frame| frame.kind == "call" && !answered(frame.wire)).count()
}
