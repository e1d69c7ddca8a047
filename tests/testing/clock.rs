//! The virtual clock (R49): timeouts of a pool are tested without waiting for them. The workers are fakes, so no process is
//! started.

use herder::{
    Error, PoolConfig, Reply, Result,
    breaker::BreakerState,
    config::{Breaker, Health, InvalidConfig, Queue, Restart, Sessions},
    status::WorkerState,
    testing::{
        Fault, FramePool, Script, ScriptedPool, TestContext, VirtualClock, frame_pool_on, scripted_on, wait_for_log,
        wait_until, with_timeout,
    },
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a script with the commands `ok`, `hang` (never answers), `die`, and `count` (counts the calls of a session).
fn script() -> Script {
    Script::new()
        .command("ok", async |_| Ok(Value::Null))
        .command("hang", async |_| std::future::pending().await)
        .command("die", async |_| Err(Fault::exit(3)))
        .command("count", async |call| {
            let session = call.session().ok_or_else(|| Fault::rejected("only in a session"))?;
            Ok(session.with(|state| {
                *state = (state.as_u64().unwrap_or(0) + 1).into();
                state.clone()
            }))
        })
}

/// Starts a pool of scripted workers on its own virtual clock.
async fn pool_on_clock(
    hint: &str,
    build: impl FnOnce(&TestContext) -> std::result::Result<PoolConfig, InvalidConfig>,
) -> (ScriptedPool, VirtualClock) {
    let clock = VirtualClock::new();
    (scripted_on(&clock, hint, script(), build).await, clock)
}

async fn count(pool: &ScriptedPool) -> u64 {
    pool.call("count", &json!({})).session("ann").await.unwrap()
}

/// Submits a call and waits until it runs.
async fn start_call(pool: &ScriptedPool, call: herder::Call<Value>) -> JoinHandle<Result<Reply>> {
    let before = pool.status().await.unwrap().queue.in_flight;
    let reply = tokio::spawn(call.reply());
    wait_until("the call runs", async || pool.status().await.unwrap().queue.in_flight > before).await;
    reply
}

/// R16, R49: a session expires 30 minutes after its last use, and not a second before.
#[tokio::test]
async fn r49_a_session_expires_after_its_thirty_minutes_and_not_before() {
    let sessions = Sessions::new().timeout(30 * MINUTE).cleanup_interval(MINUTE);
    let (pool, clock) =
        pool_on_clock("expiry", |context| context.enhanced().sessions(sessions).app("app:app").build()).await;
    assert_eq!(count(&pool).await, 1);
    clock.advance(29 * MINUTE).await;
    assert_eq!(count(&pool).await, 2, "the call renewed the session");
    clock.advance(29 * MINUTE + Duration::from_secs(59)).await;
    assert!(pool.session("ann").await.unwrap().is_some());
    clock.advance(3 * MINUTE).await;
    assert!(pool.session("ann").await.unwrap().is_none(), "the sweep removed it");
    assert_eq!(count(&pool).await, 1, "the next call starts a new state");
    pool.shutdown_and_check().await;
}

/// R35, R49: a call gets `DeadlineExceeded` when the clock reaches its deadline, and not before.
#[tokio::test]
async fn r49_deadline_passes_on_the_virtual_clock() {
    let (pool, clock) = pool_on_clock("deadline", |context| context.basic().pool_size(1).app("app:app").build()).await;
    let call = start_call(&pool, pool.call("hang", &json!({})).timeout(60 * MINUTE)).await;
    clock.advance(59 * MINUTE).await;
    assert!(!call.is_finished());
    clock.advance(MINUTE).await;
    let error = with_timeout("an answer", call).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { may_have_run: true, .. }), "{error:?}");
    pool.shutdown_and_check().await;
}

/// R36, R49: a waiting call gets `QueueTimeout` when the clock reaches `queue.timeout`. The running call is not affected.
#[tokio::test]
async fn r49_queue_timeout_passes_on_the_virtual_clock() {
    let queue = Queue::new().timeout(MINUTE);
    let (pool, clock) =
        pool_on_clock("queue", |context| context.basic().pool_size(1).queue(queue).app("app:app").build()).await;
    let running = start_call(&pool, pool.call("hang", &json!({}))).await;
    let waiting = tokio::spawn(pool.call::<Value>("ok", &json!({})).reply());
    wait_until("the call waits", async || pool.status().await.unwrap().queue.waiting == 1).await;
    clock.advance(MINUTE).await;
    let error = with_timeout("an answer", waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::QueueTimeout { .. }), "{error:?}");
    assert!(!running.is_finished());
    pool.shutdown_and_check().await;
    with_timeout("an answer", running).await.unwrap().unwrap_err();
}

/// R28, R49: the replacement of a dead worker starts after the backoff, and not before.
#[tokio::test]
async fn r49_backoff_passes_on_the_virtual_clock() {
    let restart = Restart::new().backoff(10 * MINUTE).max_backoff(10 * MINUTE).max(100);
    let rare_pings = Health::new().interval(60 * MINUTE); // no ping may wake the pool before the backoff does
    let build =
        |context: &TestContext| context.basic().pool_size(1).restart(restart).health(rare_pings).app("app:app").build();
    let (pool, clock) = pool_on_clock("backoff", build).await;
    pool.call::<Value>("die", &json!({})).await.unwrap_err();
    clock.advance(4 * MINUTE).await;
    assert_eq!(pool.health().await.unwrap().ready_workers, 0, "jitter shortens the backoff to at least a half of it");
    clock.advance(6 * MINUTE).await;
    pool.ready().await.unwrap();
    pool.wait_healthy("ok").await;
    pool.shutdown_and_check().await;
}

/// R34, R49: an open breaker becomes half-open when the clock reaches its open duration.
#[tokio::test]
async fn r49_breaker_becomes_half_open_on_the_virtual_clock() {
    let breaker = Breaker::new().enabled(true).failure_threshold(1).success_threshold(1).open_duration(60 * MINUTE);
    let (pool, clock) =
        pool_on_clock("breaker", |context| context.enhanced().breaker(breaker).app("app:app").build()).await;
    let state = async || pool.breaker().await.unwrap().unwrap().state;
    pool.record_outcome(herder::breaker::Outcome::Failure).await.unwrap();
    clock.advance(59 * MINUTE).await;
    assert_eq!(state().await, BreakerState::Open);
    let refused = pool.call::<Value>("ok", &json!({})).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(MINUTE));
    clock.advance(MINUTE).await;
    pool.call::<Value>("ok", &json!({})).await.unwrap();
    assert_eq!(state().await, BreakerState::Closed);
    pool.shutdown_and_check().await;
}

/// R26, R49: 1000 advances of the clock, each longer than a ping may take, cause no missed ping of a worker that answers.
#[tokio::test]
async fn r49_advance_causes_no_missed_ping() {
    let health = Health::new().interval(Duration::from_secs(5)).timeout(Duration::from_secs(1)).failures(1);
    let (pool, clock) =
        pool_on_clock("leaps", |context| context.enhanced().health(health).app("app:app").build()).await;
    let before: Vec<_> = pool.base_workers().await.iter().map(herder::status::WorkerInfo::process).collect();
    for _ in 0..1000 {
        clock.advance(Duration::from_secs(6)).await;
    }
    let after: Vec<_> = pool.base_workers().await.iter().map(herder::status::WorkerInfo::process).collect();
    assert_eq!(before, after);
    assert!(pool.base_workers().await.iter().all(|worker| worker.state == WorkerState::Ready));
    pool.shutdown_and_check().await;
}

/// R26, R49: a stopped worker is killed and replaced after it missed its pings.
#[tokio::test]
async fn r49_stopped_worker_is_replaced_on_the_virtual_clock() {
    let health = Health::new().interval(Duration::from_secs(5)).timeout(Duration::from_secs(1)).failures(2);
    let (pool, clock) =
        pool_on_clock("stopped", |context| context.enhanced().health(health).app("app:app").build()).await;
    let victim = pool.base_workers().await[0].process();
    assert!(pool.stop(victim));
    wait_until("the worker is killed", async || {
        clock.advance(Duration::from_secs(6)).await;
        pool.worker(victim).await.is_none()
    })
    .await;
    wait_for_log(&[pool.name().as_str(), "worker missed a ping"]).await;
    clock.advance(Duration::from_secs(1)).await; // the backoff
    pool.wait_healthy("ok").await;
    assert!(!pool.stop(victim), "the process does not exist any more");
    pool.shutdown_and_check().await;
}

/// R13, R49: a fake worker that does not become ready is killed when the clock reaches `start_timeout`, and the next one
/// starts.
#[tokio::test]
async fn r49_start_timeout_passes_for_a_fake_worker() {
    let clock = VirtualClock::new();
    let build =
        |context: &TestContext| context.basic().command(["fake"]).pool_size(1).start_timeout(60 * MINUTE).build();
    let FramePool { pool, mut launches, .. } = frame_pool_on(&clock, "unready", build).await;
    let mut first = launches.next().await;
    first.handshake().await;
    clock.advance(59 * MINUTE).await;
    assert!(!first.child.was_killed());
    clock.advance(2 * MINUTE).await;
    first.child.killed().await;
    drop(first);
    wait_until("the failed start is reported", async || {
        pool.health()
            .await
            .unwrap()
            .last_start_error
            .is_some_and(|error| error.contains("not ready within `start_timeout`"))
    })
    .await;
    clock.advance(Duration::from_secs(1)).await; // the backoff
    let mut second = launches.next().await.ready().await;
    let (reply, _) = tokio::join!(pool.call::<Value>("echo", &json!({ "n": 1 })), second.echo());
    assert_eq!(reply.unwrap()["n"], 1);
    second.exit(herder::testing::ExitStatus::Code(0));
    // The shutdown waits on the virtual clock, so it ends only if the test goes on advancing the clock.
    let shutdown = tokio::spawn(pool.shutdown_and_check());
    while !shutdown.is_finished() {
        clock.advance(MINUTE).await;
        tokio::task::yield_now().await;
    }
    shutdown.await.unwrap();
}

/// R49: after an advance, both pools on one clock have handled everything that was due.
#[tokio::test]
async fn r49_one_virtual_clock_drives_several_pools() {
    let (clock, runs) = (VirtualClock::new(), Arc::new(AtomicU32::new(0)));
    let begun = Arc::new(Notify::new());
    let mut pools = Vec::new();
    for hint in ["one", "other"] {
        let (runs, begun) = (runs.clone(), begun.clone());
        let script = Script::new().command("hang", async move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            std::future::pending().await
        });
        pools.push(scripted_on(&clock, hint, script, |context| context.basic().app("app:app").build()).await);
    }
    let calls: Vec<_> =
        pools.iter().map(|pool| pool.call::<Value>("hang", &json!({})).timeout(MINUTE).reply()).collect();
    wait_until("both calls run", async || runs.load(Ordering::SeqCst) == 2).await;
    clock.advance(MINUTE).await;
    for call in calls {
        assert!(matches!(with_timeout("an answer", call).await.unwrap_err(), Error::DeadlineExceeded { .. }));
    }
    for pool in pools {
        pool.shutdown_and_check().await;
    }
}
