//! The flight recorder of a worker: what it has in which pool, of processes that live and that are gone, and where it is told (R38).

use crate::pools::steps::{answer, answers, process, sleep_for_ever, submitted};
use herder::testing::{TestPool, pool};
use herder::{Descriptor, Direction, Error, Generation, RecordedFrame, Recording, WorkerId};
use serde_json::{Value, json};
use std::sync::Arc;

const W1: WorkerId = WorkerId(1);

async fn recorded(pool: &TestPool, generation: u32) -> Arc<Recording> {
    pool.recorder(W1, Some(Generation(generation))).await.unwrap()
}

/// The frames of the calls descriptor: pings come when they like.
fn calls(recording: &Recording) -> Vec<&RecordedFrame> {
    recording.frames.iter().filter(|frame| frame.descriptor == Descriptor::Calls).collect()
}

fn in_words(frame: &&RecordedFrame) -> String {
    let way = if frame.direction == Direction::Sent { "to" } else { "from" };
    format!("{way} {} {}", frame.kind, frame.command.as_deref().unwrap_or("-"))
}

fn changes(recording: &Recording) -> Option<Vec<String>> {
    let changes = recording.transitions.as_ref()?;
    Some(changes.iter().map(|change| format!("{} {}", change.from, change.to)).collect())
}

const USUAL: [&str; 5] = ["to hello -", "from hello -", "from ready -", "to call pid", "from result pid"];

/// R38, R9: a basic pool's recorder has frames, output and exit, and no place for changes of state.
#[tokio::test]
async fn r38_a_basic_pool_records_frames_and_no_transitions() {
    let pool = pool("rec_basic", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    let living = pool.recorder(W1, None).await.unwrap();
    assert_eq!((living.process(), &living.exit, living.ended_at), (process(1, 1), &None, None));
    assert_eq!(calls(&living).iter().map(in_words).collect::<Vec<_>>(), USUAL);
    pool.kill_worker(process(1, 1)).await.unwrap();
    pool.wait_healthy("pid").await;
    let gone = recorded(&pool, 1).await;
    assert_eq!(calls(&gone).iter().map(in_words).collect::<Vec<_>>()[..5], USUAL);
    let exit = gone.exit.as_ref().unwrap();
    assert_eq!((exit.signal, &*exit.reason), (Some(9), "signal 9 (SIGKILL) (killed on request)"));
    assert!(gone.started_at < gone.ended_at && gone.frames.is_sorted_by_key(|frame| frame.at));
    assert_eq!((&gone.transitions, serde_json::to_value(&*gone).unwrap().get("transitions")), (&None, None));
    assert_eq!(pool.recorder(W1, None).await.unwrap().process(), process(1, 2), "the present one, unless it is said");
    pool.end().await;
}

/// R38: with `state_machine` a recording has the changes of its own process; without the flag it has none.
#[tokio::test]
async fn r38_an_enhanced_pool_records_transitions_too() {
    let pool = pool("rec_enhanced", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    pool.kill_worker(process(1, 1)).await.unwrap();
    pool.wait_healthy("pid").await;
    let whole = ["initializing ready", "ready terminating", "terminating terminated"].map(String::from).to_vec();
    assert_eq!(changes(&*recorded(&pool, 1).await), Some(whole));
    assert_eq!(changes(&*recorded(&pool, 2).await), Some(vec!["initializing ready".into()]));
    pool.end().await;

    let build =
        |context: &herder::testing::TestContext| context.enhanced().app("herder.demo:app").state_machine(false).build();
    let pool = herder::testing::pool("rec_off", build).await;
    assert_eq!(changes(&*recorded(&pool, 1).await), None);
    pool.end().await;
}

/// R38, R41: the garbage that killed a worker is the last it said, by its name, with what its header would be.
#[tokio::test]
async fn r38_the_recording_of_a_worker_killed_by_garbage_shows_the_garbage() {
    let pool = pool("rec_garbage", |context| {
        context.file("faults.py", include_str!("../faults/faults.py"));
        context.basic().app("faults.py:app").pool_size(1).build()
    })
    .await;
    let data: String = b"Hello, this is no frame at all.".iter().map(|byte| format!("{byte:02x}")).collect();
    let raw = pool.call::<Value>("raw", &json!({ "data": data, "then": "silence" }));
    let error = answer(raw.reply()).await.unwrap_err();
    let told = error.report().unwrap().recorder.clone().unwrap();
    let garbage = told.frames.iter().rfind(|frame| frame.direction == Direction::Received).unwrap();
    assert_eq!((garbage.fault, &*garbage.kind), (Some("reserved_bytes"), "unknown (0x6f)"));
    assert_eq!((garbage.length, garbage.bytes.as_deref()), (Some(0x6c6c_6548), Some(&data[..32])));
    let problem = serde_json::to_value(error.problem()).unwrap();
    let last = problem["recorder"].as_array().unwrap().iter().rfind(|frame| frame["direction"] == "received").unwrap();
    assert_eq!((&last["fault"], &last["descriptor"]), (&json!("reserved_bytes"), &json!("calls")));
    assert_eq!(recorded(&pool, 1).await, told, "asked later, it is the same");

    let second = |kind: &str| format!("02000000{kind}01{}7b7d", "00".repeat(10));
    for (data, kind, fault) in [(second("01"), "hello", "malformed_json"), (second("02"), "ready", "malformed_json")] {
        let raw = pool.call::<Value>("raw", &json!({ "data": data, "then": "silence" }));
        let told = answer(raw.reply()).await.unwrap_err().report().unwrap().recorder.clone().unwrap();
        let bad = told.frames.iter().find(|frame| frame.fault.is_some()).unwrap();
        assert_eq!((&*bad.kind, bad.length, bad.fault), (kind, Some(2), Some(fault)));
    }
    pool.end().await;
}

/// R38: however many frames there were, a recorder has the last ones, and says how many are gone.
#[tokio::test]
async fn r38_a_recorder_is_bounded_after_ten_thousand_calls() {
    let pool = pool("rec_bound", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    for _ in 0..100 {
        let batch = (0..100).map(|_| pool.call::<u32>("pid", &json!({})).reply()).collect();
        assert!(answers(batch).await.iter().all(Result::is_ok));
    }
    let recording = pool.recorder(W1, None).await.unwrap();
    assert_eq!(recording.frames.len(), 128);
    assert!(recording.dropped_frames + 128 >= 20_003, "{}", recording.dropped_frames);
    assert_eq!(calls(&recording).last().map(in_words).as_deref(), Some("from result pid"));
    pool.end().await;
}

/// R38: the calls that a worker had are told its recording, one for all: their frames are the last, without an answer.
#[tokio::test]
async fn r38_lost_call_carries_the_recording() {
    let build = |context: &herder::testing::TestContext| {
        context.enhanced().app("herder.demo:app").pool_size(1).pipeline(2).build()
    };
    let pool = pool("rec_lost", build).await;
    let in_session = sleep_for_ever(&pool).session("ann");
    let running = submitted(&pool, [sleep_for_ever(&pool), in_session], 2, 0).await;
    pool.kill_worker(process(1, 1)).await.unwrap();
    let told = answers(running).await.into_iter().map(Result::unwrap_err).collect::<Vec<Error>>();
    assert_eq!([told[0].slug(), told[1].slug()], ["worker-lost", "session-worker-lost"]);
    let recordings: Vec<_> = told.iter().map(|error| error.report().unwrap().recorder.clone().unwrap()).collect();
    assert!(Arc::ptr_eq(&recordings[0], &recordings[1]));
    let words: Vec<String> = calls(&recordings[0]).iter().map(in_words).collect();
    assert_eq!(words[words.len() - 2..], ["to call sleep", "to call sleep"]);
    assert_eq!(recordings[0].exit.as_ref().unwrap().signal, Some(9));
    assert!(told[0].problem().recorder.len() <= 16);
    pool.end().await;
}

/// R38: what a worker had in memory is told with its death; a kill without evidence is not said to be for a lack of it.
#[tokio::test]
async fn r38_dead_worker_is_reported_with_its_peak_memory() {
    let app = "import os, signal, herder\napp = herder.App()\n@app.command\ndef grow():\n    \
               hog = bytearray(200 << 20)\n    hog[::4096] = b'x' * len(hog[::4096])\n    os.kill(os.getpid(), signal.SIGKILL)\n";
    let pool = pool("rec_peak", |context| {
        context.file("app.py", app);
        context.basic().app("app.py:app").pool_size(1).build()
    })
    .await;
    let error = answer(pool.call::<Value>("grow", &json!({})).reply()).await.unwrap_err();
    let report = error.report().unwrap();
    let peak = report.peak_memory.unwrap();
    assert!((200 << 20..400 << 20).contains(&peak), "{peak}");
    assert_eq!((report.out_of_memory, error.to_string().contains("memory")), (None, false), "{error}");
    assert_eq!(error.problem().peak_memory, Some(peak));
    pool.end().await;
}

/// R38: who asks for a worker that is not there is told which there are.
#[tokio::test]
async fn r38_a_recorder_that_is_not_there() {
    let pool = pool("rec_none", |context| context.basic().app("herder.demo:app").overflow(1).build()).await;
    for (worker, generation, hint) in [
        (9, None, "there is no worker w9: the pool has w1 to w3"),
        (1, Some(7), "worker w1 of generation 7 is not remembered; known: 1"),
        (3, None, "worker w3 has no process yet, and none is remembered"),
    ] {
        let error = pool.recorder(WorkerId(worker), generation.map(Generation)).await.unwrap_err();
        assert_eq!((error.http_status(), error.to_string().as_str()), (404, hint));
    }
    pool.end().await;
}
