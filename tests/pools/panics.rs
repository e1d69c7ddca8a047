//! A panic in each actor of a pool (R29): the panic is reported, every call is answered, no process is left, and the pool
//! continues.

use crate::pools::steps::{
    Outcome, affinity_of, answer, answers, bind, count, place, process, sleep_for_ever, status, submitted,
};
use actix::{AsyncContext, Handler, Message, fut::wrap_future};
use herder::{
    Error,
    messages::GetWorker,
    registry,
    session::SessionAffinityActor,
    status::WorkerId,
    testing::{TestPool, log_lines_of, pool, wait_until, with_timeout},
};
use herder_actors::InjectPanic;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::Level;

async fn demo_pool() -> TestPool {
    pool("panics", |context| context.enhanced().app("herder.demo:app").build()).await
}

async fn inject(pool: &TestPool, panic: InjectPanic) -> herder::Result<()> {
    with_timeout("the injection", pool.supervisor().send(panic)).await.unwrap()
}

/// Waits for a log line of this pool that contains all these texts.
async fn wait_for_log(pool: &TestPool, texts: &[&str]) {
    let name = pool.name().to_string();
    wait_until(&format!("a log line with {texts:?}"), async || {
        log_lines_of(&name).iter().any(|line| texts.iter().all(|text| line.all.contains(text)))
    })
    .await;
}

fn is_internal(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Error::Internal { reason }) if reason.contains("injected"))
}

/// R29: if a worker's actor panics, its process is killed and its call gets the reason. The call of the other worker continues.
#[tokio::test]
async fn r29_panic_in_a_worker_actor_stops_only_that_worker() {
    let pool = demo_pool().await;
    bind(&pool, "ann", 1).await;
    bind(&pool, "bob", 2).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    let (one, two) = (pool.pid(process(1, 1)).await, pool.pid(process(2, 1)).await);
    let sleeps = ["ann", "bob"].map(|session| sleep_for_ever(&pool).session(session));
    let [ann, bob] = submitted(&pool, sleeps, 2, 0).await.try_into().unwrap();
    let waiting = submitted(&pool, [pool.call::<u32>("pid", &json!({}))], 2, 1).await;
    inject(&pool, InjectPanic::Worker(WorkerId(1))).await.unwrap();
    let lost = answer(ann).await;
    assert!(
        matches!(&lost, Err(Error::SessionWorkerLost { worker, may_have_run: true, .. }) if worker.0 == 1),
        "{lost:?}"
    );
    assert!(lost.unwrap_err().to_string().contains("panic"), "the error names the panic");
    wait_for_log(&pool, &["worker lost", "panic", "w1"]).await;
    wait_until("the process has exited", async || pool.processes().processes().iter().all(|seen| seen.pid != one))
        .await;
    let [waited] = answers(waiting).await.try_into().unwrap();
    assert_eq!(place(&waited.unwrap()), process(1, 2), "the waiting call runs on the replacement");
    assert_eq!(pool.pid(process(2, 1)).await, two);
    drop(bob);
    pool.wait_healthy("pid").await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}

/// R29: if the affinity actor panics, bindings, routing and calls continue, and a new actor has the same name.
#[tokio::test]
async fn r29_a_panic_in_the_affinity_actor_loses_no_binding() {
    let pool = demo_pool().await;
    let name = format!("{}_session_affinity", pool.name());
    bind(&pool, "ann", 2).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    let before = affinity_of(&pool);
    let running = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    inject(&pool, InjectPanic::Affinity).await.unwrap();
    wait_until("a new actor has the name", async || {
        registry::lookup::<SessionAffinityActor>(&name).is_some_and(|actor| actor != before)
    })
    .await;
    assert!(before.send(GetWorker::new("ann")).await.is_err(), "the actor that panicked has stopped");
    wait_for_log(&pool, &["session affinity actor stopped unexpectedly"]).await;
    assert_eq!(affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap().unwrap(), process(2, 1));
    assert_eq!(pool.status().await.unwrap().session_affinity.total_sessions(), 1);
    let reply = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!((place(&reply), reply.decode::<u64>().unwrap()), (process(2, 1), 2));
    drop(running);
    pool.wait_healthy("pid").await;
    assert_eq!(pool.status().await.unwrap().counters.starts, 2, "no worker was restarted");
    pool.shutdown_and_check().await;
}

/// R7: after too many panics the affinity actor stays down. The status then has `{}` and the log a warning; routing continues.
#[tokio::test]
async fn r7_status_is_answered_without_the_affinity_actor() {
    let pool = demo_pool().await;
    bind(&pool, "ann", 1).await;
    let name = format!("{}_session_affinity", pool.name());
    for _ in 0..5 {
        let before = affinity_of(&pool);
        inject(&pool, InjectPanic::Affinity).await.unwrap();
        wait_until("a new actor has the name", async || registry::lookup(&name).is_some_and(|actor| actor != before))
            .await;
    }
    inject(&pool, InjectPanic::Affinity).await.unwrap();
    wait_for_log(&pool, &["failed too often", "routing continues"]).await;
    assert!(registry::lookup::<SessionAffinityActor>(&name).is_none());
    assert!(pool.status().await.unwrap().session_affinity.is_empty());
    assert_eq!(place(&answer(count(&pool, "ann").reply()).await.unwrap()), process(1, 1));
    pool.shutdown_and_check().await;
}

/// Blocks the actor until the sender is dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct Hang(oneshot::Receiver<()>);

impl Handler<Hang> for SessionAffinityActor {
    type Result = ();

    fn handle(&mut self, hang: Hang, ctx: &mut Self::Context) {
        ctx.wait(wrap_future(async move { drop(hang.0.await) }));
    }
}

/// R7: while the affinity actor hangs, the status has `{}` and the log a warning. Routing, calls and ends of sessions are not
/// affected.
#[tokio::test]
async fn r7_status_is_answered_while_the_affinity_actor_hangs() {
    let pool = demo_pool().await;
    bind(&pool, "ann", 1).await;
    let (release, hang) = oneshot::channel();
    affinity_of(&pool).do_send(Hang(hang));
    assert_eq!(with_timeout("a status", status(&pool)).await["session_affinity"], json!({}));
    let unavailable = "session affinity statistics are unavailable";
    let lines = log_lines_of(&pool.name().to_string());
    assert!(lines.iter().any(|line| line.level == Level::WARN && line.message.contains(unavailable)), "{lines:?}");
    for expected in 1..=100 {
        let reply = answer(count(&pool, "ann").reply()).await.unwrap();
        assert_eq!((place(&reply), reply.decode::<u64>().unwrap()), (process(1, 1), expected));
        assert_eq!(count(&pool, "bob").await.unwrap(), 1);
        assert!(pool.end_session("bob").await.unwrap());
    }
    drop(release);
    assert_eq!(with_timeout("a status", status(&pool)).await["session_affinity"]["total_sessions"], 1);
    pool.shutdown_and_check().await;
}

/// R29: if the supervisor panics, in its own handler or in a step of the core, every pending call fails, the workers are
/// restarted, the address of the actor stays valid, and each session gets one loss report.
#[tokio::test]
async fn r29_supervisor_continues_after_a_panic() {
    for panic in [InjectPanic::Supervisor, InjectPanic::Step] {
        let pool = demo_pool().await;
        let supervisor = pool.supervisor().clone();
        for (session, worker) in [("ann", 1), ("bob", 2)] {
            bind(&pool, session, worker).await;
            assert_eq!(count(&pool, session).await.unwrap(), 1);
        }
        let before = pool.processes().processes();
        let mut calls = submitted(&pool, [sleep_for_ever(&pool).session("ann"), sleep_for_ever(&pool)], 2, 0).await;
        calls.extend(submitted(&pool, [count(&pool, "ann"), count(&pool, "bob")], 2, 2).await);
        inject(&pool, panic).await.unwrap_err();
        let outcomes = answers(calls).await;
        assert!(outcomes.iter().all(is_internal), "{panic:?}: {outcomes:?}");
        wait_for_log(&pool, &["was rebuilt", "injected"]).await;
        pool.wait_healthy("pid").await;
        wait_until("the old processes have exited", async || {
            pool.processes().processes().iter().all(|seen| !before.contains(seen))
        })
        .await;
        assert!(supervisor.connected());
        assert_eq!(pool.status().await.unwrap().counters.state_rebuilds, 1);
        for session in ["ann", "bob"] {
            let outcome = answer(count(&pool, session).reply()).await;
            assert!(matches!(&outcome, Err(Error::SessionWorkerLost { .. })), "{panic:?}, {session}: {outcome:?}");
            assert_eq!(count(&pool, session).await.unwrap(), 1, "{panic:?}, {session}");
        }
        let worker_ref = bind(&pool, "eve", 2).await;
        assert_eq!(
            place(&answer(count(&pool, "eve").reply()).await.unwrap()),
            worker_ref,
            "the affinity actor has the new state"
        );
        pool.shutdown_and_check().await;
    }
}

/// R29: after too many panics in a short time the pool ends with the reason and leaves no process.
#[tokio::test]
async fn r29_too_many_panics_end_the_pool_with_the_reason() {
    let pool = demo_pool().await;
    for _ in 0..6 {
        let running = answer(sleep_for_ever(&pool).reply());
        let (outcome, _) = tokio::join!(running, async {
            wait_until("the call was submitted", async || {
                let queue = pool.status().await.unwrap().queue;
                queue.in_flight + queue.waiting > 0
            })
            .await;
            let _ = inject(&pool, InjectPanic::Step).await;
        });
        assert!(is_internal(&outcome), "{outcome:?}");
    }
    let refused = answer(pool.call::<u32>("pid", &json!({})).reply()).await;
    assert!(matches!(&refused, Err(Error::Internal { .. } | Error::PoolClosed { .. })), "{refused:?}");
    pool.processes().nothing_left().await;
}
