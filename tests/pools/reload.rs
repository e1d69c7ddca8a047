//! Reloads (R31): every worker is replaced by one that has read the files again, and the old one goes only then.

use crate::pools::steps::process;
use herder::{
    Error,
    config::{Basic, PoolBuilder},
    status::{PoolState, WorkerState},
    testing::{TestPool, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::fs;

const APP: &str = "
import os, time
import herder
app = herder.App()
VERSION = 1

@app.command
def version() -> list: return [VERSION, os.environ['HERDER_SLOT']]

@app.command
def wait(file: str) -> int:
    while not os.path.exists(file): time.sleep(0.01)
    return VERSION
";

const SESSIONS: &str = "
@app.command
def count(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    return session.state['n']
";

fn save(pool: &TestPool, text: &str) {
    fs::write(pool.dir().join("app.py"), text).unwrap();
}

fn one(builder: PoolBuilder<Basic>) -> PoolBuilder<Basic> {
    // Bytecode of the same second and size would be used otherwise.
    builder.app("app.py:app").pool_size(1).overflow(0).env("PYTHONDONTWRITEBYTECODE", "1")
}

async fn version(pool: &TestPool) -> Value {
    with_timeout("a call", pool.call("version", &json!({}))).await.unwrap()
}

/// R31: the new code runs from the moment at which its worker is ready, and a call that runs on the old worker finishes there.
#[tokio::test]
async fn r31_replacement_serves_while_the_old_worker_finishes_its_call() {
    let pool = pool("reload", |context| {
        context.file("app.py", APP);
        one(context.basic()).build()
    })
    .await;
    let go = pool.dir().join("go");
    let running = pool.call::<Value>("wait", &json!({ "file": go })).reply();
    wait_until("the call runs", async || pool.status().await.unwrap().queue.in_flight == 1).await;
    save(&pool, &APP.replace("VERSION = 1", "VERSION = 2"));
    let report = with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!((report.workers, report.sessions), (1, 0));
    assert_eq!(version(&pool).await, json!([2, "0"]), "the number of the slot is kept");
    let left: Vec<_> = pool.running_calls().await.unwrap();
    assert_eq!(left.len(), 1);
    let old = (left[0].process(), left[0].state, left[0].command.as_deref());
    assert_eq!(old, (process(1, 1), WorkerState::Terminating, Some("wait")));
    fs::write(&go, "").unwrap();
    let finished = with_timeout("the running call", running).await.unwrap();
    assert_eq!((finished.worker.0, finished.decode::<u32>().unwrap()), (1, 1));
    save(&pool, &APP.replace("VERSION = 1", "VERSION = 3"));
    with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!(version(&pool).await, json!([3, "0"]));
    // The old process may still be exiting when the reload has ended.
    wait_until("one worker is left", async || pool.base_workers().await.len() == 1).await;
    pool.shutdown_and_check().await;
}

/// R31: code that cannot be imported changes nothing, however often it is tried.
#[tokio::test]
async fn r31_broken_code_keeps_the_old_worker() {
    let pool = pool("broken", |context| {
        context.file("app.py", APP);
        one(context.basic()).build()
    })
    .await;
    save(&pool, "def f(:\n");
    for _ in 0..7 {
        let error = with_timeout("the reload", pool.reload()).await.unwrap_err();
        let Error::StartFailed { report, .. } = &error else { panic!("{error}") };
        let traceback = report.traceback.as_deref().unwrap_or_default();
        assert!(traceback.contains("app.py\", line 1\n    def f(:\n"), "{traceback}");
    }
    assert_eq!(version(&pool).await, json!([1, "0"]));
    assert_eq!(pool.status().await.unwrap().state, PoolState::Running, "more than `restart.max` starts failed");
    save(&pool, APP);
    with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!(version(&pool).await, json!([1, "0"]));
    pool.shutdown_and_check().await;
}

/// R31, R20: sessions of the old workers are reported as lost, with the reload as the reason.
#[tokio::test]
async fn r31_sessions_are_lost_by_the_reload() {
    let pool = pool("sessions", |context| {
        context.file("app.py", &format!("{APP}{SESSIONS}"));
        context.enhanced().app("app.py:app").pool_size(2).overflow(0).build()
    })
    .await;
    let count = |session: &str| pool.call::<u64>("count", &json!({})).session(session);
    for session in ["ann", "bob", "eve"] {
        assert_eq!(with_timeout("a call", count(session)).await.unwrap(), 1);
    }
    let report = with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!((report.workers, report.sessions), (2, 3));
    for session in ["ann", "bob", "eve"] {
        let error = with_timeout("a call", count(session)).await.unwrap_err();
        assert!(matches!(error, Error::SessionWorkerLost { may_have_run: false, .. }), "{error:?}");
        assert!(error.to_string().contains("replaced by a reload"), "{error}");
        assert_eq!(with_timeout("a call", count(session)).await.unwrap(), 1);
    }
    assert_eq!(pool.status().await.unwrap().counters.starts, 4);
    pool.shutdown_and_check().await;
}
