//! Feature separation, with the test names of DSPex's suite: a basic pool has no enhanced features, an enhanced pool has those that
//! are enabled, and pools of both types do not affect each other. The pools have real processes, and the API is the public one.

mod batches;
mod buffers;
mod feature_flag_validation;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
#[cfg(target_os = "linux")]
mod warm_starts;
mod watching;
mod worker_type_detection;

use crate::pools::{
    environment::{self, VARIABLES, cores},
    steps::{
        affinity_of, answer, answers, bind, count, has_affinity_actor, pid, place, process, sleep_for_ever, status,
        submitted,
    },
};
use futures_util::StreamExt;
use herder::{
    Error, Pool,
    config::{Config, Enhanced, Expiry, Health, PoolBuilder, Sessions, Stop},
    messages::GetWorker,
    recorder::{Descriptor, Direction},
    session::{Affinity, Routing},
    status::WorkerId,
    testing::{
        HANG_TIMEOUT, PoolProcesses, TestContext, TestPool, pool, pool_config, wait_for_log, wait_until, with_timeout,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};

/// Starts a basic pool.
pub(crate) async fn basic() -> TestPool {
    pool("basic", |context| context.basic().app("herder.demo:app").build()).await
}

/// Starts an enhanced pool with additional settings.
pub(crate) async fn enhanced(change: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>) -> TestPool {
    pool("enhanced", |context| change(context.enhanced().app("herder.demo:app")).build()).await
}

pub(crate) fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Asserts that a pool has no affinity actor, no affinity numbers and no bound session.
async fn assert_no_affinity(pool: &TestPool) {
    assert_eq!(status(pool).await["session_affinity"], json!({}));
    assert!(!has_affinity_actor(pool));
    let sessions = pool.sessions(0, 100).await.unwrap();
    assert!(sessions.sessions.iter().all(|info| info.worker.is_none() && info.epoch.is_none()), "{sessions:?}");
}

/// R3, R6, R9: a basic pool has no affinity actor, shows `{}` in its status and binds no session, whatever it runs and loses.
/// Calls of one session run on any worker, also at the same time, and no call gets a loss report.
#[tokio::test]
async fn basic_workers_have_no_session_affinity() {
    let pool = basic().await;
    assert_no_affinity(&pool).await;
    let sleeping = submitted(&pool, [sleep_for_ever(&pool).session("ann")], 1, 0).await;
    let busy = pool.base_workers().await.into_iter().find(|worker| worker.in_flight == 1).unwrap().process();
    for affinity in [Affinity::StrictQueue, Affinity::StrictFailFast, Affinity::Hint] {
        let reply = answer(pid(&pool, "ann").affinity(affinity).reply()).await.unwrap();
        assert_eq!(reply.routing, Routing::Unrouted, "{affinity:?} has no effect in a basic pool");
        assert_ne!(place(&reply), busy);
    }
    assert_no_affinity(&pool).await;
    pool.kill_worker(busy).await.unwrap();
    let [lost] = answers(sleeping).await.try_into().unwrap();
    assert!(matches!(&lost, Err(Error::WorkerLost { may_have_run: true, .. })), "{lost:?}");
    assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, Routing::Unrouted);
    assert_no_affinity(&pool).await;
    pool.wait_healthy("pid").await;
    assert_no_affinity(&pool).await;
    pool.shutdown_and_check().await;
}

/// R3, R6, R18: an enhanced pool has the affinity actor under its name. The answers of the actor, the workers of the calls and
/// the counts in the status agree.
#[tokio::test]
async fn enhanced_workers_have_session_affinity() {
    let pool = enhanced(|builder| builder).await;
    let affinity = affinity_of(&pool);
    for session in ["ann", "bob", "eve"] {
        let first = answer(count(&pool, session).reply()).await.unwrap();
        assert_eq!((first.routing, first.decode::<u64>().unwrap()), (Routing::New, 1));
        assert_eq!(affinity.send(GetWorker::new(session)).await.unwrap().unwrap(), place(&first));
        for expected in 2..=5 {
            let next = answer(count(&pool, session).reply()).await.unwrap();
            assert_eq!((place(&next), next.routing), (place(&first), Routing::Hit), "{session}");
            assert_eq!(next.decode::<u64>().unwrap(), expected, "{session}");
        }
    }
    let shown = &status(&pool).await["session_affinity"];
    let numbers = ["total_sessions", "expired_sessions", "workers_with_sessions", "misses", "hits", "rebinds"];
    assert_eq!(numbers.map(|key| shown[key].as_u64()), [3, 0, 2, 3, 12, 0].map(Some), "{shown}");
    pool.shutdown_and_check().await;
}

/// R9, R22: the status of a basic pool has no enhanced parts, and its sessions are tracked. A handler that uses session state
/// gets an error that names the setting.
#[tokio::test]
async fn basic_workers_have_minimal_feature_set() {
    let pool = basic().await;
    assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, Routing::Unrouted);
    let refused = count(&pool, "ann").await.unwrap_err();
    assert!(refused.to_string().contains("worker_type = \"enhanced\""), "{refused}");
    let tracked = pool.session("ann").await.unwrap().unwrap();
    assert_eq!((tracked.worker, tracked.epoch, tracked.operations), (None, None, 2));
    let status = status(&pool).await;
    let off = json!({ "session_affinity": false, "worker_metrics": false, "state_machine": false });
    assert_eq!((&status["features"], &status["worker_type"]), (&off, &json!("basic")));
    for worker in status["workers"].as_array().unwrap() {
        assert_eq!(keys(worker), BTreeSet::from(metrics::COMMON_KEYS));
    }
    pool.shutdown_and_check().await;
}

/// R9: an enhanced pool has all features by default, and the sessions, metrics and history of each worker are exact.
#[tokio::test]
async fn enhanced_workers_have_full_feature_set() {
    let pool = enhanced(|builder| builder).await;
    bind(&pool, "ann", 1).await;
    for expected in 1..=3 {
        assert_eq!(count(&pool, "ann").await.unwrap(), expected);
    }
    let failed = pool.call::<Value>("fail", &json!({})).session("ann").await.unwrap_err();
    assert!(matches!(&failed, Error::Exception { .. }), "{failed:?}");
    let status = status(&pool).await;
    let on = json!({ "session_affinity": true, "worker_metrics": true, "state_machine": true });
    assert_eq!((&status["features"], &status["worker_type"]), (&on, &json!("enhanced")));
    for (worker, sessions, operations, errors) in [(0, 1, 4, 1), (1, 0, 0, 0)] {
        let worker = &status["workers"][worker];
        let parts = ["sessions", "metrics", "history"];
        let parts = metrics::COMMON_KEYS.iter().chain(&parts).chain(&metrics::ACTIVITY_KEYS);
        assert_eq!(keys(worker), parts.copied().collect::<BTreeSet<_>>());
        let numbers = [&worker["sessions"], &worker["metrics"]["operations"], &worker["metrics"]["errors"]];
        assert_eq!(numbers.map(Value::as_u64), [sessions, operations, errors].map(Some), "{worker}");
        let first = &worker["history"][0];
        assert_eq!((&first["from"], &first["to"]), (&json!("initializing"), &json!("ready")));
    }
    pool.shutdown_and_check().await;
}

/// R5, R8, R9, R52: pools of both types with the same session ids: calls, ends of sessions and kills in one pool do not affect
/// the other. Both statuses have the same keys.
#[tokio::test]
async fn feature_isolation_between_pool_types() {
    let (basic, enhanced) = (basic().await, enhanced(|builder| builder).await);
    for expected in 1..=3 {
        for session in ["ann", "bob"] {
            assert_eq!(answer(pid(&basic, session).reply()).await.unwrap().routing, Routing::Unrouted);
            assert_eq!(count(&enhanced, session).await.unwrap(), expected, "{session}");
        }
        assert_no_affinity(&basic).await;
    }
    assert!(basic.end_session("ann").await.unwrap());
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 4, "the session ended only in the other pool");
    for worker in [1, 2] {
        basic.kill_worker(process(worker, 1)).await.unwrap();
    }
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 5, "workers died only in the other pool");
    let bound = affinity_of(&enhanced).send(GetWorker::new("bob")).await.unwrap().unwrap();
    enhanced.kill_worker(bound).await.unwrap();
    basic.wait_healthy("pid").await;
    assert!(answer(pid(&basic, "bob").reply()).await.is_ok(), "a loss in the other pool is not reported here");
    assert!(matches!(count(&enhanced, "bob").await, Err(Error::SessionWorkerLost { .. })));
    assert_eq!(basic.session("bob").await.unwrap().unwrap().operations, 4);
    assert_eq!(enhanced.session("bob").await.unwrap().unwrap().operations, 3);
    let (plain, full) = (status(&basic).await, status(&enhanced).await);
    assert_eq!((keys(&plain), &plain["session_affinity"]), (keys(&full), &json!({})));
    metrics::check_counts(&plain, &full);
    basic.shutdown_and_check().await;
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 6, "not affected by the end of the other pool");
    enhanced.shutdown_and_check().await;
}

/// R16, R22: the sweep removes expired sessions that are never used again, under both policies and in a basic pool. Afterwards
/// the session is unknown and not expired, so a call creates it.
#[tokio::test]
async fn expired_sessions_are_automatically_removed() {
    let short = Duration::from_millis(60);
    let sessions = Sessions::new().timeout(short).cleanup_interval(short);
    let tracked = pool("swept", |context| context.basic().app("herder.demo:app").sessions(sessions).build()).await;
    let immediate = enhanced(|builder| builder.sessions(sessions.expiry(Expiry::Immediate))).await;
    let two_phase = enhanced(|builder| builder.sessions(sessions.expiry(Expiry::TwoPhase { grace: short }))).await;
    for (pool, begun) in [(tracked, Routing::Unrouted), (immediate, Routing::New), (two_phase, Routing::New)] {
        for session in ["ann", "bob", "eve"] {
            assert_eq!(answer(pid(&pool, session).reply()).await.unwrap().routing, begun);
        }
        wait_until("the sweep has removed the sessions", async || {
            pool.status().await.unwrap().counters.sessions_expired == 3
        })
        .await;
        assert_eq!(pool.sessions(0, 100).await.unwrap().sessions, []);
        let shown = &status(&pool).await["session_affinity"];
        if begun == Routing::New {
            let numbers = ["total_sessions", "expired_sessions", "workers_with_sessions", "sessions_cleaned"];
            assert_eq!(numbers.map(|key| shown[key].as_u64()), [0, 0, 0, 3].map(Some), "{shown}");
        }
        assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, begun);
        pool.shutdown_and_check().await;
    }
}

/// R11, R52: `numeric_threads` is not an enhanced feature: it applies to both worker types, and `unset` disables it in both.
#[tokio::test]
async fn numeric_threads_apply_to_both_worker_types() {
    for (keys, value) in [("", Some(cores().to_string())), ("numeric_threads = 'unset'", None)] {
        for worker_type in ["basic", "enhanced"] {
            let pool = pool("threads", |context| {
                context.file("app.py", environment::APP);
                let table = context.table(&format!("worker_type = '{worker_type}'\nenv_mode = 'clean'\n{keys}"));
                let table = table.replace("herder.demo:app", "app.py:app").replace("pool_size = 2", "pool_size = 1");
                Ok(Config::from_toml(&table, context.dir()).unwrap().pools.remove(0))
            })
            .await;
            let expected = environment::all_set_to(value.as_deref());
            assert_eq!(environment::variables(&pool, &VARIABLES).await, expected, "{worker_type} {keys}");
            pool.shutdown_and_check().await;
        }
    }
}

/// R11, R52: `pipeline` is not an enhanced feature. By default, a worker with short calls is sent the next one before it has
/// answered; with 1, it never is.
#[tokio::test]
async fn calls_in_advance_exist_in_both_worker_types() {
    for worker_type in ["basic", "enhanced"] {
        for (keys, is_expected) in [("", true), ("pipeline = 1", false)] {
            let pool = pool("advance", |context| {
                let table = context.table(&format!("worker_type = '{worker_type}'\n{keys}"));
                let table = table.replace("pool_size = 2", "pool_size = 1");
                Ok(Config::from_toml(&table, context.dir()).unwrap().pools.remove(0))
            })
            .await;
            // On a loaded machine, the first calls may not be short enough.
            let mut batches = 0;
            wait_until("a call is sent in advance", async || {
                let calls = (0..8).map(|_| pool.call::<u32>("pid", &json!({})).reply()).collect();
                assert!(answers(calls).await.iter().all(Result::is_ok));
                batches += 1;
                has_calls_in_advance(&pool).await || (!is_expected && batches == 10)
            })
            .await;
            assert_eq!(has_calls_in_advance(&pool).await, is_expected, "{worker_type} {keys}");
            pool.shutdown_and_check().await;
        }
    }
}

/// R40, R76: log records, which name the session of their call, and sync handlers in threads exist in pools of both types.
#[tokio::test]
async fn log_records_and_handler_threads_exist_in_both_worker_types() {
    const APP: &str = "
import logging, threading
import herder
app = herder.App(run_sync='thread')
both = threading.Barrier(2)

@app.command
def meet():
    both.wait()
    logging.getLogger('meeting').warning('met')
";
    for worker_type in ["basic", "enhanced"] {
        let pool = pool("meet", |context| {
            context.file("app.py", APP);
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).overflow(0).concurrency(2).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).concurrency(2).build()
            }
        })
        .await;
        let calls = ["ann", "bob"].map(|session| pool.call::<()>("meet", &json!({})).session(session).reply()).into();
        assert!(answers(calls).await.iter().all(Result::is_ok), "both run at once");
        let worker = format!("worker={}/w1.1", pool.name());
        for session in ["session=ann", "session=bob"] {
            wait_for_log(&["WARN", "message=met", &worker, "logger=meeting", "command=meet", session]).await;
        }
        pool.shutdown_and_check().await;
    }
}

/// R73: workers of both types describe their commands, and the next worker of a changed application replaces the descriptions.
#[tokio::test]
async fn descriptions_of_commands_exist_in_both_worker_types() {
    const APP: &str = "import herder\napp = herder.App()\n\n@app.command\n";
    const OLD: &str = "def old(x: int, session: herder.Session) -> list[str]:\n    'Do it.'\n    return []\n";
    const NEW: &str = "def new():\n    pass\n";
    for worker_type in ["basic", "enhanced"] {
        let pool = pool("described", |context| {
            context.file("app.py", &format!("{APP}{OLD}"));
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).overflow(0).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).build()
            }
        })
        .await;
        let commands = pool.commands().await.unwrap();
        let parameters = json!({
            "type": "object", "properties": { "x": { "type": "integer" } }, "required": ["x"], "additionalProperties": false,
        });
        let expected = json!([{
            "name": "old", "description": "Do it.", "idempotent": false, "needs_session": true, "parameters": parameters,
            "result": { "type": "array", "items": { "type": "string" } },
        }]);
        assert_eq!(serde_json::to_value(&commands[..]).unwrap(), expected);
        std::fs::write(pool.dir().join("app.py"), format!("{APP}{NEW}")).unwrap();
        pool.kill_worker(pool.base_workers().await[0].process()).await.unwrap();
        pool.wait_healthy("new").await;
        let names: Vec<_> = pool.commands().await.unwrap().iter().map(|command| command.name.clone()).collect();
        assert_eq!(names, ["new"]);
        pool.shutdown_and_check().await;
    }
}

/// R42: the items of a generator arrive as they come, in both worker types, from sync and async handlers. Another handler gives
/// one item.
#[tokio::test]
async fn streams_exist_in_both_worker_types() {
    const APP: &str = "
import herder
app = herder.App()

@app.command
def count(n: int):
    for i in range(n):
        yield i
    if n == 3:
        raise ValueError('three')

@app.command
def one() -> str:
    return 'one'
";
    for (worker_type, handler) in [("basic", "def count"), ("enhanced", "def count"), ("enhanced", "async def count")] {
        let pool = pool("streams", |context| {
            context.file("app.py", &APP.replace("def count", handler));
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).overflow(0).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).build()
            }
        })
        .await;
        let count = |n: u32| pool.call::<u32>("count", &json!({ "n": n })).session("ann");
        let mut stream = count(20_000).stream();
        let items = (&mut stream).map(|item| item.unwrap()).collect::<Vec<u32>>();
        assert!(with_timeout("the items", items).await.into_iter().eq(0..20_000));
        assert_eq!(stream.metadata().unwrap().attempts, 1);
        let items = with_timeout("the items", count(3).stream().collect::<Vec<_>>()).await;
        assert!(matches!(&items[..], [Ok(0), Ok(1), Ok(2), Err(Error::Exception { .. })]), "{items:?}");
        drop(count(u32::MAX).stream());
        assert_eq!(pool.call::<Vec<u32>>("count", &json!({ "n": 2 })).session("ann").await.unwrap(), [0, 1]);
        let mut stream = pool.call::<u32>("one", &json!({})).stream();
        assert!(matches!(with_timeout("an item", stream.next()).await, Some(Err(Error::Decode { .. }))));
        assert!(with_timeout("the end", stream.next()).await.is_none());
        pool.shutdown_and_check().await;
    }
}

/// A handler reads the headers of its call, its trace, its session and its dependencies in both worker types, sync or async. Calls without
/// headers have none of another call.
#[tokio::test]
async fn headers_and_dependencies_exist_in_both_worker_types() {
    const APP: &str = "
import herder
app = herder.App()

def tenant(call: herder.Call):
    yield call.headers.get('x-tenant')

@app.command
def read(tenant: str | None = herder.Depends(tenant)):
    call = herder.current_call()
    return [tenant, call.headers, call.traceparent, call.request_id, call.session and call.session.id]
";
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (worker_type, handler) in [("basic", "def read"), ("enhanced", "def read"), ("enhanced", "async def read")] {
        let pool = pool("headers", |context| {
            context.file("app.py", &APP.replace("def read", handler));
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).overflow(0).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).build()
            }
        })
        .await;
        let read = || pool.call::<Value>("read", &json!({}));
        let none = json!([null, {}, null, null, null]);
        assert_eq!(read().await.unwrap(), none);
        let call = read().header("X-Tenant", "a").header("traceparent", TRACE).header("x-tenant", "b").session("ann");
        let headers = json!({ "traceparent": TRACE, "x-tenant": "a, b" });
        assert_eq!(call.await.unwrap(), json!(["a, b", headers, TRACE, null, "ann"]));
        assert_eq!(read().header("x-request-id", "é").await.unwrap()[3], "é");
        assert_eq!(read().await.unwrap(), none);
        let invalid = read().header("x tenant", "a").await.unwrap_err();
        assert!(matches!(&invalid, Error::Malformed { .. }), "{invalid:?}");
        let large = read().header("x-tenant", &"x".repeat(64 << 10)).await.unwrap_err();
        assert!(matches!(&large, Error::TooLarge { may_have_run: false, .. }), "{large:?}");
        pool.shutdown_and_check().await;
    }
}

/// R30: pools of both types run the `on_stop` hooks of an app and leave its lifespan, once and after the last call.
#[tokio::test]
async fn the_end_of_an_app_is_the_same_in_both_worker_types() {
    const APP: &str = "
import contextlib, herder

def note(text):
    with open('notes', 'a') as file:
        file.write(text + ' ')

@contextlib.contextmanager
def lifespan(app):
    yield {'name': 'shop'}
    note('left')

app = herder.App(lifespan=lifespan)
app.on_stop(lambda: note('stopped'))

@app.command
def name():
    note('called')
    return app.state.name
";
    for worker_type in ["basic", "enhanced"] {
        let pool = pool("ends", |context| {
            context.file("app.py", APP);
            if worker_type == "basic" {
                context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).build()
            } else {
                context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).build()
            }
        })
        .await;
        let notes = pool.dir().join("notes");
        assert_eq!(pool.call::<String>("name", &json!({})).await.unwrap(), "shop");
        pool.shutdown(HANG_TIMEOUT).await.unwrap();
        assert_eq!(fs::read_to_string(notes).unwrap(), "called stopped left ", "{worker_type}");
        pool.processes().nothing_left().await;
    }
}

/// R23, R26, R35: pools of both types replace a worker whose health function fails, after its calls have ended, and enforce
/// the timeout of a command.
#[tokio::test]
async fn health_functions_and_command_timeouts_exist_in_both_worker_types() {
    const APP: &str = "
import os, time, herder
app = herder.App(run_sync='thread')

@app.health
async def health():
    if os.path.exists('bad'):
        os.remove('bad')
        raise ConnectionError('no database')

@app.command
def wait():
    while not os.path.exists('go'):
        time.sleep(0.005)
    return os.getpid()

@app.command(timeout='50ms')
def limited():
    while not herder.current_call().cancelled:
        time.sleep(0.005)

@app.command
def pid():
    return os.getpid()
";
    let health = || Health::new().interval(Duration::from_millis(20));
    let stop = || Stop::new().grace(Duration::from_millis(1)); // does not shorten the call of the unhealthy worker
    for worker_type in ["basic", "enhanced"] {
        let pool = pool("health", |context| {
            context.file("app.py", APP);
            if worker_type == "basic" {
                let builder = context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0);
                builder.concurrency(2).health(health()).stop(stop()).build()
            } else {
                let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0);
                builder.concurrency(2).health(health()).stop(stop()).build()
            }
        })
        .await;
        let late = pool.call::<()>("limited", &json!({})).await.unwrap_err();
        let timeout = Duration::from_millis(50);
        assert!(
            matches!(late, Error::DeadlineExceeded { command_timeout: Some(found), .. } if found == timeout),
            "{late:?}"
        );
        assert!(late.to_string().contains("exceeded the timeout of its command, 50ms"), "{late}");
        let before = pool.call::<u32>("pid", &json!({})).await.unwrap();
        let running = submitted(&pool, [pool.call::<u32>("wait", &json!({}))], 1, 0).await;
        fs::write(pool.dir().join("bad"), "").unwrap();
        wait_until("the status shows the reason", async || {
            let worker = &status(&pool).await["workers"][0];
            worker["health"] == "unhealthy" && worker["unhealthy"] == "ConnectionError: no database"
        })
        .await;
        fs::write(pool.dir().join("go"), "").unwrap();
        let [reply] = answers(running).await.try_into().unwrap();
        assert_eq!(reply.unwrap().decode::<u32>().unwrap(), before, "the call ends in the unhealthy worker");
        let after = pool.call::<u32>("pid", &json!({})).await.unwrap();
        assert_ne!(after, before, "{worker_type}");
        let reason = "reason=stopped: its health function failed: ConnectionError: no database";
        wait_for_log(&["worker lost", &pool.name().to_string(), reason]).await;
        pool.shutdown_and_check().await;
    }
}

/// R3, R31: a basic pool is reloaded like an enhanced one, and loses no session: its workers have none. The enhanced pools are in
/// `feature_flag_validation`.
#[tokio::test]
async fn reload_of_a_basic_pool_loses_no_session() {
    let pool = basic().await;
    let before = answer(pid(&pool, "ann").reply()).await.unwrap();
    let report = with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!((report.workers, report.sessions), (pool.config().pool_size(), 0));
    let after = answer(pid(&pool, "ann").reply()).await.unwrap();
    assert_eq!(after.routing, Routing::Unrouted);
    assert_ne!(place(&after), place(&before));
    assert_eq!(pool.session("ann").await.unwrap().unwrap().operations, 2, "the session is tracked across the reload");
    wait_until("the old workers have exited", async || {
        pool.base_workers().await.len() == pool.config().pool_size() as usize
    })
    .await;
    let status = status(&pool).await;
    for worker in status["workers"].as_array().unwrap() {
        assert_eq!(keys(worker), BTreeSet::from(metrics::COMMON_KEYS), "{worker}");
    }
    assert_no_affinity(&pool).await;
    pool.shutdown_and_check().await;
}

/// A dependency of a session is kept until the session ends. A pool without session affinity refuses the app, in a basic pool
/// and in an enhanced one; a dependency of the worker exists in all.
#[tokio::test]
async fn only_pools_with_session_affinity_keep_dependencies_of_a_session() {
    const APP: &str = "
import herder
app = herder.App()

def items(session: herder.Session):
    yield []
    print('ended', session.id)

@app.command
def add(items: list = herder.Depends(items, scope='session')):
    items.append(0)
    return len(items)
";
    let pool = pool("kept", |context| {
        context.file("app.py", APP);
        context.enhanced().app("app.py:app").pool_size(2).overflow(0).build()
    })
    .await;
    let add = || pool.call::<u32>("add", &json!({})).session("ann");
    assert_eq!((add().await.unwrap(), add().await.unwrap()), (1, 2));
    pool.end_session("ann").await.unwrap();
    wait_for_log(&["ended ann"]).await;
    assert_eq!(add().await.unwrap(), 1);
    pool.shutdown_and_check().await;

    let without = |context: &TestContext| match context.name().starts_with("basic") {
        true => context.basic().app("app.py:app").pool_size(1).build(),
        false => context.enhanced().app("app.py:app").pool_size(1).session_affinity(false).build(),
    };
    for name in ["basic", "enhanced"] {
        let (config, context) = pool_config(name, |context| {
            context.file("app.py", APP);
            without(context)
        });
        let error = Pool::start(config).await.unwrap_err().to_string();
        assert!(
            error.contains("the dependency items has scope=\"session\", but this pool has no session state:"),
            "{error}"
        );
        PoolProcesses::new(context.name()).nothing_left().await;
    }
}

/// Returns whether worker `w1` was sent a call before it had answered the previous one, as far as its recording shows.
async fn has_calls_in_advance(pool: &TestPool) -> bool {
    let recording = pool.recorder(WorkerId(1), None).await.unwrap();
    let frames = recording.frames.iter().filter(|frame| frame.descriptor == Descriptor::Calls);
    let sent: Vec<bool> = frames.map(|frame| frame.direction == Direction::Sent).collect();
    sent.windows(2).any(|pair| pair == [true, true])
}
