//! Fake workers: `Script` (closures) and `FakeWorker` (frame by frame). A pool cannot distinguish them from real workers:
//! results, errors, deaths, sessions, concurrency, starts. No process is started, and no Python is needed.

use herder::{
    Error, Reply, Result,
    config::Restart,
    session::Routing,
    status::WorkerState,
    testing::{
        Fault, Script, ScriptedPool, StartBehavior, TestContext, frame_pool, log_lines_of, scripted, wait_until,
        wire::HostMessage, with_timeout,
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
use tokio::sync::{Notify, Semaphore};

/// Starts an enhanced pool of scripted workers.
async fn pool_with(hint: &str, script: Script) -> ScriptedPool {
    scripted(hint, script, |context| context.enhanced().app("app:app").build()).await
}

async fn call(pool: &ScriptedPool, command: &str, arguments: Value) -> Result<Value> {
    pool.call(command, &arguments).await
}

/// R49: results and errors of a script's commands reach the caller as those of a Python handler do.
#[tokio::test]
async fn r49_scripted_worker_returns_results_and_errors_like_a_real_one() {
    let script = Script::new()
        .command("double", async |call| Ok((2 * call.argument::<u64>("n")?).into()))
        .command("echo", async |call| Ok(json!([call.command(), call.arguments(), call.worker().id.0 > 0])))
        .command("no", async |_| Err(Fault::rejected("not today").code("today").data(&json!([1, "a"])).status(409)))
        .command("raise", async |_| Err(Fault::raised("KeyError", "'tea'")))
        .command("panic", async |_| panic!("a bug in the script"));
    let pool = pool_with("errors", script).await;
    assert_eq!(call(&pool, "double", json!({ "n": 21 })).await.unwrap(), 42);
    assert_eq!(call(&pool, "echo", json!({ "é": [1.5] })).await.unwrap(), json!(["echo", { "é": [1.5] }, true]));
    let bad = call(&pool, "double", json!({ "n": "many" })).await.unwrap_err();
    assert!(matches!(bad, Error::BadArguments { .. }) && bad.to_string().contains("n: "), "{bad}");
    let no = call(&pool, "no", json!({})).await.unwrap_err();
    let Error::Rejected { code: Some(code), data: Some(data), .. } = &no else { panic!("{no:?}") };
    assert_eq!((&**code, data.decode().unwrap(), no.http_status()), ("today", (1, "a"), 409));
    let raised = call(&pool, "raise", json!({})).await.unwrap_err();
    assert!(matches!(&raised, Error::Exception { .. }) && raised.to_string().contains("KeyError"), "{raised}");
    let panicked = call(&pool, "panic", json!({})).await.unwrap_err();
    assert!(panicked.to_string().contains("a bug in the script"), "{panicked}");
    let unknown = call(&pool, "nothing", json!({})).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownCommand { .. }), "{unknown:?}");
    pool.shutdown_and_check().await;
}

/// R49: a scripted worker can exit, be killed by a signal, send garbage, or be killed by the test. The pool replaces it each
/// time.
#[tokio::test]
async fn r49_scripted_worker_dies_on_demand() {
    let script = Script::new()
        .command("ok", async |_| Ok(Value::Null))
        .command("exit", async |_| Err(Fault::exit(3)))
        .command("crash", async |_| Err(Fault::killed(11)))
        .command("garbage", async |_| Err(Fault::garbage(*b"HTTP/1.1 400 Bad Request\r\n")))
        .command("hang", async |_| std::future::pending().await);
    let pool = pool_with("deaths", script).await;
    for (command, says) in [("exit", "exit status 3"), ("crash", "SIGSEGV"), ("garbage", "protocol violation")] {
        let error = call(&pool, command, json!({})).await.unwrap_err();
        assert!(matches!(error, Error::WorkerLost { may_have_run: true, .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        pool.wait_healthy("ok").await;
    }
    let hangs = pool.call::<Value>("hang", &json!({})).reply();
    let busy = async || pool.base_workers().await.into_iter().find(|worker| worker.in_flight == 1);
    wait_until("the call runs", async || busy().await.is_some()).await;
    let victim = busy().await.unwrap().process();
    assert!(pool.kill(victim).await);
    assert!(hangs.await.unwrap_err().to_string().contains("SIGKILL"));
    pool.wait_healthy("ok").await;
    assert!(!pool.kill(victim).await, "the process does not exist any more");
    assert!(log_lines_of(pool.name().as_str()).iter().any(|line| line.message == "worker lost"));
    pool.shutdown_and_check().await;
}

/// R33, R49: an idempotent command whose worker dies is retried, as a Python command is.
#[tokio::test]
async fn r49_idempotent_scripted_command_is_retried() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let script = Script::new().idempotent("fragile", async move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Fault::killed(9)),
        run => Ok(run.into()),
    });
    let pool = pool_with("again", script).await;
    let reply: Reply = pool.call::<u32>("fragile", &json!({})).reply().await.unwrap();
    assert_eq!((reply.attempts, reply.decode::<u32>().unwrap()), (2, 1));
    pool.shutdown_and_check().await;
}

/// R15, R18, R20, R49: the state of a session is kept by its worker, and is lost when the session ends or the worker dies.
#[tokio::test]
async fn r49_session_state_is_lost_with_its_worker() {
    let script = Script::new().command("add", async |call| {
        let item: String = call.argument("item")?;
        let session = call.session().ok_or_else(|| Fault::rejected("only in a session"))?;
        Ok(session.with(|state| {
            let mut items = state.as_array().cloned().unwrap_or_default();
            items.push(item.into());
            *state = items.into();
            state.clone()
        }))
    });
    let pool = pool_with("carts", script).await;
    let add = |session: &'static str, item: &str| pool.call::<Value>("add", &json!({ "item": item })).session(session);
    assert_eq!(add("ann", "tea").await.unwrap(), json!(["tea"]));
    assert_eq!(add("bob", "jam").await.unwrap(), json!(["jam"]));
    let reply = add("ann", "milk").reply().await.unwrap();
    assert_eq!((reply.routing, reply.decode::<Value>().unwrap()), (Routing::Hit, json!(["tea", "milk"])));
    assert!(pool.end_session("ann").await.unwrap());
    assert_eq!(add("ann", "rice").await.unwrap(), json!(["rice"]), "a new state after the end of the session");
    let slot = pool.session("ann").await.unwrap().unwrap().worker.unwrap();
    let before = pool.base_workers().await.into_iter().find(|worker| worker.id == slot).unwrap().process();
    assert!(pool.kill(before).await);
    assert!(matches!(add("ann", "salt").await.unwrap_err(), Error::SessionWorkerLost { .. }));
    assert_eq!(add("ann", "salt").await.unwrap(), json!(["salt"]));
    pool.shutdown_and_check().await;
}

/// R11, R49: a scripted worker runs as many calls at the same time as the pool's `concurrency`, and no more.
#[tokio::test]
async fn r49_scripted_worker_runs_at_most_its_concurrency() {
    let (open, now, most) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (gate, running, peak) = (open.clone(), now.clone(), most.clone());
    let script = Script::new().command("wait", async move |_| {
        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        gate.acquire().await.unwrap().forget();
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(Value::Null)
    });
    let build = |context: &TestContext| context.basic().pool_size(1).concurrency(3).pipeline(2).app("app:app").build();
    let pool = scripted("many", script, build).await;
    let calls: Vec<_> = (0..9).map(|_| pool.call::<Value>("wait", &json!({})).reply()).collect();
    wait_until("the window is full", async || pool.status().await.unwrap().queue.in_flight == 6).await;
    wait_until("three calls run", async || now.load(Ordering::SeqCst) == 3).await;
    open.add_permits(9);
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    pool.shutdown_and_check().await;
}

/// R35, R49: an abandoned call drops the future of its command, and the worker keeps running.
#[tokio::test]
async fn r49_abandoned_scripted_command_is_dropped() {
    struct NotifyOnDrop(Arc<Notify>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, drops) = (begun.clone(), dropped.clone());
    let script = Script::new().command("ok", async |_| Ok(Value::Null)).command("hang", async move |_| {
        let _notify = NotifyOnDrop(drops.clone());
        begins.notify_one();
        std::future::pending().await
    });
    let pool = pool_with("abandons", script).await;
    let before = pool.base_workers().await;
    let reply = pool.call::<Value>("hang", &json!({})).reply();
    with_timeout("the command runs", begun.notified()).await;
    drop(reply);
    with_timeout("the command is dropped", dropped.notified()).await;
    pool.wait_healthy("ok").await;
    let same = |worker: &herder::status::WorkerInfo| before.iter().any(|it| it.process() == worker.process());
    assert!(pool.base_workers().await.iter().all(same), "no worker was replaced");
    pool.shutdown_and_check().await;
}

/// R13, R28, R49: `set_start_behavior` makes starts fail, wait and succeed.
#[tokio::test]
async fn r49_start_behavior_is_controlled_by_the_test() {
    let script = Script::new().command("ok", async |_| Ok(Value::Null));
    let restart = Restart::new().max(1000).backoff(Duration::from_millis(1)).max_backoff(Duration::from_millis(1));
    let build = |context: &TestContext| context.basic().restart(restart).app("app:app").build();
    let pool = scripted("starts", script, build).await;
    pool.set_start_behavior(StartBehavior::Fail("no model today".into()));
    for worker in pool.base_workers().await {
        assert!(pool.kill(worker.process()).await);
    }
    wait_until("the reason is reported", async || {
        pool.health().await.unwrap().last_start_error.is_some_and(|error| error.contains("no model today"))
    })
    .await;
    pool.set_start_behavior(StartBehavior::Wait);
    for _ in 0..5 {
        let loading =
            async || pool.base_workers().await.into_iter().find(|worker| worker.state == WorkerState::Initializing);
        wait_until("a worker is starting", async || loading().await.is_some()).await;
        if let Some(worker) = loading().await {
            wait_until("the worker is dead", async || {
                pool.kill(worker.process()).await; // does nothing before the process is launched
                pool.worker(worker.process()).await.is_none()
            })
            .await;
        }
    }
    let waiting = pool.call::<Value>("ok", &json!({})).reply();
    wait_until("the call waits", async || pool.status().await.unwrap().queue.waiting == 1).await;
    assert_eq!(pool.health().await.unwrap().ready_workers, 0);
    pool.set_start_behavior(StartBehavior::Ready);
    waiting.await.unwrap();
    pool.wait_healthy("ok").await;
    pool.shutdown_and_check().await;
}

/// R49: a pool shuts down although one of its commands never returns.
#[tokio::test]
async fn r49_pool_shuts_down_while_a_command_hangs() {
    let script = Script::new().command("hang", async |_| std::future::pending().await);
    let stop = herder::config::Stop::new().grace(Duration::from_millis(1)).term(Duration::from_millis(1));
    let pool = scripted("hangs", script, |context| context.basic().stop(stop).app("app:app").build()).await;
    let call = pool.call::<Value>("hang", &json!({})).timeout(Duration::from_secs(3600)).reply();
    wait_until("the call runs", async || pool.status().await.unwrap().queue.in_flight == 1).await;
    let (error, report) = tokio::join!(call, pool.shutdown_and_check());
    assert!(matches!(error.unwrap_err(), Error::PoolClosed { may_have_run: true, .. }));
    assert_eq!(report.aborted_calls, 1);
}

/// R41, R49: a test can control a `FakeWorker` frame by frame and byte by byte, for faults that no script can cause. It runs on
/// another thread than the pool.
#[tokio::test]
async fn r49_fake_worker_is_controlled_frame_by_frame() {
    let started = frame_pool("by_hand", |context| context.enhanced().command(["fake"]).pool_size(1).build()).await;
    let (pool, mut launches) = (started.pool, started.launches);
    let mut worker = launches.next().await.ready().await;
    let reply = pool.call::<Value>("echo", &json!({ "n": 1 })).session("ann").reply();
    let call = worker.call().await;
    assert_eq!(call.session.as_ref().unwrap().0.as_str(), "ann");
    let answer = herder::testing::encoded(&herder::testing::result(call.wire, "7"));
    let (half, rest) = answer.split_at(10);
    worker.calls.send_bytes(half).await;
    worker.calls.send_bytes(rest).await;
    assert_eq!(reply.await.unwrap().decode::<u8>().unwrap(), 7);
    assert!(pool.end_session("ann").await.unwrap());
    assert!(matches!(worker.calls.next().await, Some(HostMessage::SessionEnd(_))));
    let reply = pool.call::<Value>("echo", &json!({})).reply();
    worker.call().await;
    worker.calls.send_bytes(half).await;
    worker.exit(herder::testing::ExitStatus::Code(0));
    let error = reply.await.unwrap_err();
    assert!(error.to_string().contains("truncated_header"), "{error}");
    drop(launches.next().await.ready().await);
    pool.shutdown_and_check().await;
}

/// R49: a pool replaces a process that exited, perhaps just before the test ends the pool. The replacement, which no test
/// controls, ends with the pool.
#[tokio::test]
async fn r49_uncontrolled_process_ends_with_its_pool() {
    let started = frame_pool("uncontrolled", |context| context.basic().command(["fake"]).pool_size(2).build()).await;
    let (pool, mut launches) = (started.pool, started.launches);
    let worker = launches.next().await.ready().await;
    wait_until("both processes have started", async || {
        pool.base_workers().await.iter().all(|worker| worker.pid.is_some())
    })
    .await;
    worker.exit(herder::testing::ExitStatus::Code(0));
    pool.shutdown_and_check().await;
}
