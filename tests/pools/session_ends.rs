//! A worker that stays alive is told of each session that ended: once, with its reason, behind the calls it has (R22).

use crate::pools::steps::{bind, submitted};
use herder::testing::{TestPool, pool, wait_until};
use herder::{Affinity, Call, Expiry, Sessions};
use serde_json::json;
use std::{fs, time::Duration};

/// Writes what happens to it, in order, into one file a worker.
const DIARY: &str = "
import os, time, pathlib, herder
app = herder.App()

def note(*words):
    with open(f'diary-{os.getpid()}', 'a') as diary:
        print(*words, file=diary)

@app.command
def visit(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    note(session.id, 'visit', session.state['n'])
    return session.state['n']

@app.command
def stay(session: herder.Session) -> None:
    note(session.id, 'stays')
    while not pathlib.Path('go').exists():
        time.sleep(0.005)
    note(session.id, 'leaves')

@app.on_session_end
def forget(session: herder.Session, reason: str) -> None:
    note(session.id, reason, session.state.get('n'))
";

async fn diary_pool(sessions: impl Into<Sessions<herder::Routed>>) -> TestPool {
    pool("diary", |context| {
        context.file("diary.py", DIARY);
        context.enhanced().app("diary.py:app").cwd(context.dir()).sessions(sessions).build()
    })
    .await
}

fn visit(pool: &TestPool, session: &str) -> Call<u64> {
    pool.call("visit", &json!({})).session(session)
}

/// All lines of a session, each worker's in its order.
fn diary(pool: &TestPool, session: &str) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(pool.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("diary-"));
    let lines =
        files.iter().flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| line.strip_prefix(&format!("{session} ")).map(str::to_owned)).collect()
}

/// Two calls more on every worker: whatever was told twice would stand in its diary before their answers.
async fn settle(pool: &TestPool) {
    for worker in [1, 2] {
        bind(pool, &format!("last-{worker}"), worker).await;
        visit(pool, &format!("last-{worker}")).await.unwrap();
    }
}

/// R22: ended and moved, each exactly once.
#[tokio::test]
async fn r22_session_end_is_sent_once_when_it_ended_or_moved() {
    let pool = diary_pool(Sessions::new()).await;
    visit(&pool, "ended").await.unwrap();
    assert!(pool.end_session("ended").await.unwrap());
    bind(&pool, "moved", 1).await;
    visit(&pool, "moved").await.unwrap();
    bind(&pool, "moved", 2).await;
    wait_until("both are told", async || ["ended", "moved"].iter().all(|session| diary(&pool, session).len() >= 2))
        .await;
    settle(&pool).await;
    assert_eq!(diary(&pool, "ended"), ["visit 1", "ended 1"]);
    assert_eq!(diary(&pool, "moved"), ["visit 1", "moved 1"]);
    pool.end().await;
}

/// R22: expired, under both policies, exactly once.
#[tokio::test]
async fn r22_session_end_is_sent_once_when_it_expired() {
    let short = Duration::from_millis(50);
    for expiry in [Expiry::Immediate, Expiry::TwoPhase { grace: short }] {
        let pool = diary_pool(Sessions::new().timeout(short).cleanup_interval(short).expiry(expiry)).await;
        visit(&pool, "ann").await.unwrap();
        wait_until("it is told", async || diary(&pool, "ann").len() >= 2).await;
        settle(&pool).await;
        assert_eq!(diary(&pool, "ann"), ["visit 1", "expired 1"], "{expiry:?}");
        pool.end().await;
    }
}

/// R22: the end comes behind the calls that were there before it; what comes after it begins anew.
#[tokio::test]
async fn r22_a_session_ends_in_order_with_its_calls() {
    let pool = diary_pool(Sessions::new()).await;
    assert_eq!(visit(&pool, "ann").await.unwrap(), 1);
    let stay = pool.call::<()>("stay", &json!({})).session("ann").reply();
    wait_until("it stays", async || diary(&pool, "ann").contains(&"stays".to_owned())).await;
    let before = submitted(&pool, [visit(&pool, "ann")], 1, 1).await;
    assert!(pool.end_session("ann").await.unwrap());
    let after = submitted(&pool, [visit(&pool, "ann")], 1, 2).await;
    fs::write(pool.dir().join("go"), "").unwrap();
    stay.await.unwrap();
    let numbers = async |calls: Vec<herder::PendingReply>| {
        crate::pools::steps::answers(calls).await.remove(0).unwrap().decode::<u64>().unwrap()
    };
    assert_eq!((numbers(before).await, numbers(after).await), (2, 1));
    settle(&pool).await;
    let mut told = diary(&pool, "ann");
    let again = told.iter().rposition(|line| line == "visit 1").unwrap();
    told.remove(again); // on whichever worker the new life began
    assert_eq!(told, ["visit 1", "stays", "leaves", "visit 2", "ended 2"]);
    pool.end().await;
}

/// R22: workers that ran hint calls hold state too, and each is told.
#[tokio::test]
async fn r22_session_end_is_sent_to_every_worker_that_ran_a_hint_call() {
    let pool = diary_pool(Sessions::new().affinity(Affinity::Hint)).await;
    bind(&pool, "ann", 1).await;
    let stay = pool.call::<()>("stay", &json!({})).session("ann").reply();
    wait_until("it stays", async || diary(&pool, "ann").contains(&"stays".to_owned())).await;
    assert_eq!(visit(&pool, "ann").await.unwrap(), 1, "on the other worker");
    fs::write(pool.dir().join("go"), "").unwrap();
    stay.await.unwrap();
    assert!(pool.end_session("ann").await.unwrap());
    wait_until("both are told", async || diary(&pool, "ann").len() >= 5).await;
    settle(&pool).await;
    let mut told = diary(&pool, "ann");
    told.sort();
    assert_eq!(told, ["ended 1", "ended None", "leaves", "stays", "visit 1"]);
    pool.end().await;
}
