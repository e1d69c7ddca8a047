//! Calls that a worker is sent in advance (`pipeline = "auto"`): none runs twice or ends with a wrong `may_have_run` when workers
//! are killed, and none waits behind a slow call that another worker does not run. The tests compare orders and counts, so no
//! result depends on time.

mod harness;

use crate::pools::{
    number,
    steps::{Outcome, answer, answers, bind, process, unfinished},
};
use harness::{Harness, KINDS};
use herder::{
    Call, Error,
    config::{Pipeline, Queue},
    recorder::{Descriptor, Direction, RecordedFrame},
    status::WorkerId,
    testing::{TestContext, TestPool, pool, wait_until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Each handler appends the number of its call to the file `begun` when it begins. `slow` releases the GIL and ends when the test
/// opens its gate.
const APP: &str = "
import os, time, herder
app = herder.App()
begun = os.open('begun', os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@app.command
def fast(number: int, work_us: int = 0) -> int:
    os.write(begun, f'{number}\\n'.encode())
    end = time.monotonic_ns() + work_us * 1000
    while time.monotonic_ns() < end:
        pass
    return number

@app.command
def pid() -> int:
    return os.getpid()

@app.command
def slow(number: int, gate: str) -> int:
    os.write(begun, f'{number}\\n'.encode())
    while not os.path.exists(gate):
        time.sleep(0.001)
    return number
";

/// The number of kills, unless `HERDER_KILLS` is set.
const KILLS: u64 = 24;
/// The CPU time of each call in microseconds, unless `HERDER_WORK_US` is set.
const WORK_US: u64 = 100;
/// A round in which no call was sent in advance proves nothing, and is repeated. A loaded machine can stop a worker while it
/// runs a fast call, which then counts as slow.
const ROUNDS: u64 = 100;
/// The number of fast calls after which a worker counts as fast, in the usual case.
const WARM_UP: u64 = 60;

/// Returns how often each call has begun.
fn begun(dir: &Path) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(dir.join("begun")).unwrap_or_default().lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    counts
}

/// R33, R36: 64 callers call fast workers that are killed: no call runs twice, no call that began ends with `may_have_run` false,
/// and each kill loses at most the one call that ran. Those in advance run elsewhere, although they are not idempotent.
#[tokio::test(flavor = "multi_thread")]
async fn r33_killed_worker_loses_only_the_call_that_ran() {
    let (kills, work_us) = (number("HERDER_KILLS", KILLS), number("HERDER_WORK_US", WORK_US));
    let harness = Harness::new(work_us).await;
    let outcomes = harness.run(number("HERDER_SEED", 1), kills).await;
    let in_advance = harness.kills_with_calls_in_advance();
    let (ends, did_not_begin) = judge(&outcomes, &begun(harness.pool.dir()));
    println!(
        "{kills} kills, {in_advance} of workers with calls in advance; {KINDS:?}: {ends:?}, {did_not_begin} lost before it began"
    );
    assert!(ends[1] <= kills, "a kill lost more than one call: {ends:?}");
    assert!(in_advance > 0 || work_us > WORK_US, "no killed worker had calls in advance");
    harness.pool.wait_healthy("pid").await;
    let counted = harness.pool.shutdown_and_check().await.counters;
    assert_eq!((counted.ok, counted.lost, counted.retries), (ends[0] + 1, ends[1], 0), "{counted:?}");
}

/// Checks each outcome against the number of times that its call began. Returns the number of outcomes of each kind, and of lost
/// calls that did not begin.
fn judge(outcomes: &[(u64, Outcome)], begun: &BTreeMap<u64, u64>) -> ([u64; KINDS.len()], u64) {
    let (mut ends, mut did_not_begin) = ([0; KINDS.len()], 0);
    for (number, outcome) in outcomes {
        let times = begun.get(number).copied().unwrap_or_default();
        match outcome {
            Ok(_) => assert_eq!(times, 1, "call {number} was answered"),
            Err(error) if error.may_have_run() => {
                assert!(times <= 1, "call {number} ran {times} times: {error:?}");
                did_not_begin += 1 - times;
            }
            Err(error) => assert_eq!(times, 0, "call {number} began: {error:?}"),
        }
        ends[harness::kind(outcome)] += 1;
    }
    (ends, did_not_begin)
}

/// Starts a pool of workers that run one call at a time. The session `warm-1` is bound to the first worker, and so on.
async fn pool_with(hint: &str, workers: u32, queue: Queue) -> TestPool {
    let pool = pool(hint, |context: &TestContext| {
        context.file("app.py", APP);
        let builder =
            context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(workers as usize).concurrency(1);
        builder.pipeline(Pipeline::Auto).queue(queue.shed(false)).build()
    })
    .await;
    for worker in 1..=workers {
        bind(&pool, &format!("warm-{worker}"), worker).await;
    }
    pool
}

fn fast(pool: &TestPool, number: u64) -> Call<Value> {
    pool.call("fast", &json!({ "number": number }))
}

/// Returns a slow call, which runs until its gate is open.
fn slow(pool: &TestPool, number: u64) -> Call<Value> {
    pool.call("slow", &json!({ "number": number, "gate": gate(pool, number) }))
}

fn gate(pool: &TestPool, number: u64) -> PathBuf {
    pool.dir().join(format!("gate-{number}"))
}

fn open(pool: &TestPool, number: u64) {
    fs::write(gate(pool, number), "").unwrap();
}

/// Runs fast calls on a worker, so that it is sent calls in advance. They have a session, so no queue timeout applies.
async fn warm_up(pool: &TestPool, worker: u32, first: u64) {
    for number in first..first + WARM_UP {
        answer(fast(pool, number).session(&format!("warm-{worker}")).reply()).await.unwrap();
    }
}

/// Returns the number of calls that the worker was asked to take back.
async fn revokes(pool: &TestPool, worker: WorkerId) -> usize {
    let recording = pool.recorder(worker, None).await.unwrap();
    let is_revoke = |frame: &&RecordedFrame| {
        frame.kind == "revoke" && (frame.direction, frame.descriptor) == (Direction::Sent, Descriptor::Control)
    };
    recording.frames.iter().filter(is_revoke).count()
}

/// Returns how many answers to cancels and revokes the worker has sent.
async fn states(pool: &TestPool, worker: WorkerId) -> usize {
    let recording = pool.recorder(worker, None).await.unwrap();
    recording.frames.iter().filter(|frame| frame.kind == "attempt_state").count()
}

/// R36: two workers; fast calls are submitted before and after a slow one. All of them end while it still runs, also those that
/// its worker had been sent in advance. Each runs once, and counts one attempt.
#[tokio::test]
async fn r36_fast_calls_end_while_a_slow_one_runs() {
    let pool = pool_with("overtake", 2, Queue::new()).await;
    let mut taken_back = 0;
    for round in 1..=ROUNDS {
        let first = round * 1000;
        warm_up(&pool, 1, first).await;
        warm_up(&pool, 2, first + WARM_UP).await;
        let mut replies: Vec<_> = (200..240).map(|number| fast(&pool, first + number).reply()).collect();
        let slow_reply = slow(&pool, first + 500).reply();
        replies.extend((240..340).map(|number| fast(&pool, first + number).reply()));
        for reply in answers(replies).await {
            assert_eq!(reply.unwrap().attempts, 1);
        }
        open(&pool, first + 500);
        let reply = answer(slow_reply).await.unwrap();
        taken_back += revokes(&pool, reply.worker).await;
        if taken_back > 0 {
            break;
        }
    }
    assert!(taken_back > 0, "no call was sent in advance behind a slow one");
    assert!(begun(pool.dir()).values().all(|times| *times == 1));
    pool.shutdown_and_check().await;
}

/// R36: calls that wait in advance behind a slow one end with `QueueTimeout`, and never run.
#[tokio::test]
async fn r36_call_in_advance_ends_with_its_queue_timeout() {
    let pool = pool_with("late", 1, Queue::new().timeout(Duration::from_millis(1))).await;
    let mut taken_back = 0;
    for round in 1..=ROUNDS {
        let first = round * 1000;
        warm_up(&pool, 1, first).await;
        let slow_reply = slow(&pool, first + 500).reply();
        let replies = (600..610).map(|number| fast(&pool, first + number).reply()).collect();
        for outcome in answers(replies).await {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::QueueTimeout { .. }) && !error.may_have_run(), "{error:?}");
        }
        open(&pool, first + 500);
        answer(slow_reply).await.unwrap();
        // A call after them, so that the worker has reached them all.
        answer(fast(&pool, first + 999).session("warm-1").reply()).await.unwrap();
        let ran = begun(pool.dir());
        assert!((first + 600..first + 610).all(|number| !ran.contains_key(&number)), "{ran:?}");
        taken_back += revokes(&pool, WorkerId(1)).await;
        if taken_back > 0 {
            break;
        }
    }
    assert!(taken_back > 0, "no call was sent in advance behind a slow one");
    pool.shutdown_and_check().await;
}

/// R35, R36: a call of a strict session stays with its worker behind a slow call, also in advance. It has no queue timeout: its
/// deadline ends it, and it never runs. A call whose deadline is later runs there when the slow call has ended.
#[tokio::test]
async fn r35_strict_call_in_advance_waits_until_its_deadline() {
    let pool = pool_with("bound", 2, Queue::new().timeout(Duration::from_millis(1))).await;
    for session in ["ann", "bob"] {
        bind(&pool, session, 1).await;
    }
    let mut in_advance = 0;
    for round in 1..=ROUNDS {
        let first = round * 1000;
        warm_up(&pool, 1, first).await;
        let slow_reply = slow(&pool, first + 500).session("warm-1").reply();
        let stays = fast(&pool, first + 600).session("ann").reply();
        let ends = fast(&pool, first + 601).session("bob").timeout(Duration::from_millis(20)).reply();
        let error = answer(ends).await.unwrap_err();
        assert!(matches!(&error, Error::DeadlineExceeded { .. }), "{error:?}");
        in_advance = unfinished(&pool.recorder(WorkerId(1), None).await.unwrap()) - 1;
        wait_until("the slow call runs", async || begun(pool.dir()).contains_key(&(first + 500))).await;
        if in_advance == 2 {
            // The worker may have been stopped until now. A cancel that it reads too late has no effect.
            wait_until("the cancel is answered", async || states(&pool, WorkerId(1)).await > 0).await;
        }
        assert!(!begun(pool.dir()).contains_key(&(first + 600)));
        open(&pool, first + 500);
        answer(slow_reply).await.unwrap();
        let reply = answer(stays).await.unwrap();
        assert_eq!((reply.process(), reply.attempts), (process(1, 1), 1));
        answer(fast(&pool, first + 602).session("bob").reply()).await.unwrap();
        let ran = begun(pool.dir());
        assert!(ran.contains_key(&(first + 600)) && !ran.contains_key(&(first + 601)), "{ran:?}");
        if in_advance > 0 {
            break;
        }
    }
    assert!(in_advance > 0, "no call was sent in advance behind a slow one");
    assert_eq!(revokes(&pool, WorkerId(1)).await, 0, "only this worker has the states of the sessions");
    pool.shutdown_and_check().await;
}
