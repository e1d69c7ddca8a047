//! A running worker gets one `session_end` for each session that ended on it, with the reason, after the calls of the session
//! (R22).

use crate::pools::steps::{bind, submitted};
use herder::{
    Call,
    config::{Expiry, Sessions},
    session::Affinity,
    testing::{TestPool, pool, wait_until},
};
use serde_json::json;
use std::{fs, time::Duration};

/// Each worker writes the calls and the ends of its sessions into a file, in order.
const APP: &str = "
import os, time, pathlib, herder
app = herder.App()

def note(*words):
    with open(f'events-{os.getpid()}', 'a') as events:
        print(*words, file=events)

@app.command
def visit(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    note(session.id, 'visit', session.state['n'])
    return session.state['n']

@app.command
def stay(session: herder.Session) -> None:
    note(session.id, 'begins')
    while not pathlib.Path('go').exists():
        time.sleep(0.005)
    note(session.id, 'returns')

@app.on_session_end
def forget(session: herder.Session, reason: str) -> None:
    note(session.id, reason, session.state.get('n'))
";

async fn events_pool(sessions: impl Into<Sessions<herder::config::Routed>>) -> TestPool {
    pool("events", |context| {
        context.file("app.py", APP);
        context.enhanced().app("app.py:app").cwd(context.dir()).sessions(sessions).build()
    })
    .await
}

fn visit(pool: &TestPool, session: &str) -> Call<u64> {
    pool.call("visit", &json!({})).session(session)
}

/// Returns the lines of a session from the files of all workers.
fn events(pool: &TestPool, session: &str) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(pool.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("events-"));
    let lines =
        files.iter().flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| line.strip_prefix(&format!("{session} ")).map(str::to_owned)).collect()
}

/// Runs one more call on every worker. A worker handles its frames in order, so a second `session_end` would be in its file by
/// then.
async fn flush(pool: &TestPool) {
    for worker in [1, 2] {
        bind(pool, &format!("last-{worker}"), worker).await;
        visit(pool, &format!("last-{worker}")).await.unwrap();
    }
}

/// R22: a worker gets the end of a session exactly once, whether the session ends or moves to another worker.
#[tokio::test]
async fn r22_session_end_is_sent_once_when_a_session_ends_or_moves() {
    let pool = events_pool(Sessions::new()).await;
    visit(&pool, "ended").await.unwrap();
    assert!(pool.end_session("ended").await.unwrap());
    bind(&pool, "moved", 1).await;
    visit(&pool, "moved").await.unwrap();
    bind(&pool, "moved", 2).await;
    wait_until("both ends are handled", async || {
        ["ended", "moved"].iter().all(|session| events(&pool, session).len() >= 2)
    })
    .await;
    flush(&pool).await;
    assert_eq!(events(&pool, "ended"), ["visit 1", "ended 1"]);
    assert_eq!(events(&pool, "moved"), ["visit 1", "moved 1"]);
    pool.shutdown_and_check().await;
}

/// R22: a worker gets the end of an expired session exactly once, under both expiry policies.
#[tokio::test]
async fn r22_session_end_is_sent_once_when_a_session_expires() {
    let short = Duration::from_millis(50);
    for expiry in [Expiry::Immediate, Expiry::TwoPhase { grace: short }] {
        let pool = events_pool(Sessions::new().timeout(short).cleanup_interval(short).expiry(expiry)).await;
        visit(&pool, "ann").await.unwrap();
        wait_until("the end is handled", async || events(&pool, "ann").len() >= 2).await;
        flush(&pool).await;
        assert_eq!(events(&pool, "ann"), ["visit 1", "expired 1"], "{expiry:?}");
        pool.shutdown_and_check().await;
    }
}

/// R22: calls that were submitted before the end run before it. Calls submitted afterwards get a new state.
#[tokio::test]
async fn r22_session_end_is_sent_in_order_with_the_sessions_calls() {
    let pool = events_pool(Sessions::new()).await;
    assert_eq!(visit(&pool, "ann").await.unwrap(), 1);
    let stay = pool.call::<()>("stay", &json!({})).session("ann").reply();
    wait_until("the call runs", async || events(&pool, "ann").contains(&"begins".to_owned())).await;
    let before = submitted(&pool, [visit(&pool, "ann")], 1, 1).await;
    assert!(pool.end_session("ann").await.unwrap());
    let after = submitted(&pool, [visit(&pool, "ann")], 1, 2).await;
    fs::write(pool.dir().join("go"), "").unwrap();
    stay.await.unwrap();
    let numbers = async |calls: Vec<herder::pool::PendingReply>| {
        crate::pools::steps::answers(calls).await.remove(0).unwrap().decode::<u64>().unwrap()
    };
    assert_eq!((numbers(before).await, numbers(after).await), (2, 1));
    flush(&pool).await;
    let mut lines = events(&pool, "ann");
    // The new state may be on either worker, so the position of its line in the joined files is not fixed.
    let again = lines.iter().rposition(|line| line == "visit 1").unwrap();
    lines.remove(again);
    assert_eq!(lines, ["visit 1", "begins", "returns", "visit 2", "ended 2"]);
    pool.shutdown_and_check().await;
}

/// R22: each worker that ran a hint call of the session holds state of it, so each gets the end.
#[tokio::test]
async fn r22_session_end_is_sent_to_every_worker_that_ran_a_hint_call() {
    let pool = events_pool(Sessions::new().affinity(Affinity::Hint)).await;
    bind(&pool, "ann", 1).await;
    let stay = pool.call::<()>("stay", &json!({})).session("ann").reply();
    wait_until("the call runs", async || events(&pool, "ann").contains(&"begins".to_owned())).await;
    assert_eq!(visit(&pool, "ann").await.unwrap(), 1, "on the other worker");
    fs::write(pool.dir().join("go"), "").unwrap();
    stay.await.unwrap();
    assert!(pool.end_session("ann").await.unwrap());
    wait_until("both workers have handled the end", async || events(&pool, "ann").len() >= 5).await;
    flush(&pool).await;
    let mut lines = events(&pool, "ann");
    lines.sort();
    assert_eq!(lines, ["begins", "ended 1", "ended None", "returns", "visit 1"]);
    pool.shutdown_and_check().await;
}
