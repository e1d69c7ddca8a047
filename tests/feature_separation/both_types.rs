//! Features that are none of enhanced pools: pools of both types have them. Those with more parts have files of their own.

use crate::pools::{
    environment::{self, VARIABLES, cores},
    steps::{answers, status, submitted},
};
use futures_util::StreamExt;
use herder::{
    Error,
    config::{Config, Health, Stop},
    recorder::{Descriptor, Direction},
    status::WorkerId,
    testing::{HANG_TIMEOUT, TestPool, pool, wait_for_log, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

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
        let pool_name = format!("pool={}", pool.name());
        for session in ["session=ann", "session=bob"] {
            wait_for_log(&[
                "WARN",
                "message=met",
                "worker=w1.1",
                &pool_name,
                "logger=meeting",
                "command=meet",
                session,
            ])
            .await;
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

/// Returns whether worker `w1` was sent a call before it had answered the previous one, as far as its recording shows.
async fn has_calls_in_advance(pool: &TestPool) -> bool {
    let recording = pool.recorder(WorkerId(1), None).await.unwrap();
    let frames = recording.frames.iter().filter(|frame| frame.descriptor == Descriptor::Calls);
    let sent: Vec<bool> = frames.map(|frame| frame.direction == Direction::Sent).collect();
    sent.windows(2).any(|pair| pair == [true, true])
}
