//! The steps that many tests take, each waiting for its event: a call that runs, a session on a given worker. Holds no state.

use herder::testing::{TestPool, wait_until, with_timeout};
use herder::{BindSession, Call, Error, PendingReply, Reply, SessionAffinityActor, WorkerId, WorkerRef, registry};
use serde_json::{Value, json};

/// Far longer than any test: what sleeps this long ends only because something ended it.
pub(crate) const FOR_EVER_MS: u64 = 3_600_000;

pub(crate) type Outcome = Result<Reply, Error>;

/// The pool's affinity actor, found by its name as users find it.
pub(crate) fn affinity_of(pool: &TestPool) -> actix::Addr<SessionAffinityActor> {
    registry::lookup(&format!("{}_session_affinity", pool.name())).unwrap()
}

/// Whether the pool has an affinity actor that can be found.
pub(crate) fn has_affinity_actor(pool: &TestPool) -> bool {
    registry::lookup::<SessionAffinityActor>(&format!("{}_session_affinity", pool.name())).is_some()
}

/// The pool's status as its users read it.
pub(crate) async fn status(pool: &TestPool) -> Value {
    serde_json::to_value(pool.status().await.unwrap()).unwrap()
}

/// Binds a session to a worker's present process.
pub(crate) async fn bind(pool: &TestPool, session: &str, worker: u32) -> WorkerRef {
    let message = BindSession { session: session.into(), worker: WorkerId(worker) };
    affinity_of(pool).send(message).await.unwrap().unwrap()
}

/// A call of the demo's `count`.
pub(crate) fn count(pool: &TestPool, session: &str) -> Call<u64> {
    pool.call("count", &json!({})).session(session)
}

/// A call of the demo's `sleep` that ends only when it is ended.
pub(crate) fn sleep_for_ever(pool: &TestPool) -> Call<Value> {
    pool.call("sleep", &json!({ "ms": FOR_EVER_MS }))
}

/// A call of the demo's `pid`, which any worker type serves in a session.
pub(crate) fn pid(pool: &TestPool, session: &str) -> Call<u32> {
    pool.call("pid", &json!({})).session(session)
}

/// Submits calls and waits until each of them runs in a worker or waits in the queue, as said.
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

/// Waits until so many calls run and so many wait.
pub(crate) async fn queue_is(pool: &TestPool, in_flight: usize, waiting: usize) {
    wait_until("calls run and wait as expected", async || {
        let queue = pool.status().await.unwrap().queue;
        (queue.in_flight, queue.waiting) == (in_flight, waiting)
    })
    .await;
}

/// The answer of a call, with its circumstances.
pub(crate) async fn answer(reply: PendingReply) -> Outcome {
    with_timeout("an answer", reply).await
}

/// All answers, in the order of the calls.
pub(crate) async fn answers(replies: Vec<PendingReply>) -> Vec<Outcome> {
    with_timeout("all answers", futures_util::future::join_all(replies)).await
}

/// Where a reply came from.
pub(crate) fn place(reply: &Reply) -> WorkerRef {
    WorkerRef { id: reply.worker, generation: reply.generation }
}

/// The process that has a slot, as a name.
pub(crate) fn process(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: herder::Generation(generation) }
}
