//! The flight recorder of a worker (R38): its contents for each worker type, for running processes and for processes that have
//! exited, and the errors that contain it.

use crate::pools::steps::{answer, answers, process, sleep_for_ever, submitted};
use herder::{
    Error,
    recorder::{Descriptor, Direction, RecordedFrame, Recording},
    status::{Generation, WorkerId},
    testing::{TestPool, pool},
};
use serde_json::{Value, json};
use std::sync::Arc;

const W1: WorkerId = WorkerId(1);

/// Returns the recording of a generation of worker `w1`.
async fn recorded(pool: &TestPool, generation: u32) -> Arc<Recording> {
    pool.recorder(W1, Some(Generation(generation))).await.unwrap()
}

/// Returns the frames of the calls descriptor. The control descriptor also has pings, whose number varies.
fn call_frames(recording: &Recording) -> Vec<&RecordedFrame> {
    recording.frames.iter().filter(|frame| frame.descriptor == Descriptor::Calls).collect()
}

/// Returns the direction, the kind and the command of a frame.
fn describe(frame: &&RecordedFrame) -> String {
    let way = if frame.direction == Direction::Sent { "to" } else { "from" };
    format!("{way} {} {}", frame.kind, frame.command.as_deref().unwrap_or("-"))
}

/// Returns the state transitions of a recording.
fn transitions(recording: &Recording) -> Option<Vec<String>> {
    let transitions = recording.transitions.as_ref()?;
    Some(transitions.iter().map(|change| format!("{} {}", change.from, change.to)).collect())
}

const USUAL: [&str; 5] = ["to hello -", "from hello -", "from ready -", "to call pid", "from result pid"];

/// R38, R9: the recording of a basic pool's worker has frames and the exit, and no state transitions.
#[tokio::test]
async fn r38_a_basic_pool_records_frames_and_no_transitions() {
    let pool = pool("rec_basic", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    let running = pool.recorder(W1, None).await.unwrap();
    assert_eq!((running.process(), &running.exit, running.ended_at), (process(1, 1), &None, None));
    assert_eq!(call_frames(&running).iter().map(describe).collect::<Vec<_>>(), USUAL);
    pool.kill_worker(process(1, 1)).await.unwrap();
    pool.wait_healthy("pid").await;
    let ended = recorded(&pool, 1).await;
    assert_eq!(call_frames(&ended).iter().map(describe).collect::<Vec<_>>()[..5], USUAL);
    let exit = ended.exit.as_ref().unwrap();
    assert_eq!((exit.signal, &*exit.reason), (Some(9), "signal 9 (SIGKILL) (killed on request)"));
    assert!(ended.started_at < ended.ended_at && ended.frames.is_sorted_by_key(|frame| frame.at));
    assert_eq!((&ended.transitions, serde_json::to_value(&*ended).unwrap().get("transitions")), (&None, None));
    assert_eq!(
        pool.recorder(W1, None).await.unwrap().process(),
        process(1, 2),
        "the current process, unless a generation is given"
    );
    pool.shutdown_and_check().await;
}

/// R38: with `state_machine` a recording has the transitions of its own process. Without the flag it has none.
#[tokio::test]
async fn r38_an_enhanced_pool_records_transitions_too() {
    let pool = pool("rec_enhanced", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    pool.kill_worker(process(1, 1)).await.unwrap();
    pool.wait_healthy("pid").await;
    let all = ["initializing ready", "ready terminating", "terminating terminated"].map(String::from).to_vec();
    assert_eq!(transitions(&*recorded(&pool, 1).await), Some(all));
    assert_eq!(transitions(&*recorded(&pool, 2).await), Some(vec!["initializing ready".into()]));
    pool.shutdown_and_check().await;

    let build =
        |context: &herder::testing::TestContext| context.enhanced().app("herder.demo:app").state_machine(false).build();
    let pool = herder::testing::pool("rec_off", build).await;
    assert_eq!(transitions(&*recorded(&pool, 1).await), None);
    pool.shutdown_and_check().await;
}

/// R38, R41: the last received frame of a worker that was killed for garbage is the garbage, with the name of the fault and the
/// decoded header.
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
    let recording = error.report().unwrap().recorder.clone().unwrap();
    let garbage = recording.frames.iter().rfind(|frame| frame.direction == Direction::Received).unwrap();
    assert_eq!((garbage.fault, &*garbage.kind), (Some("reserved_bytes"), "unknown (0x6f)"));
    assert_eq!((garbage.length, garbage.bytes.as_deref()), (Some(0x6c6c_6548), Some(&data[..32])));
    let problem = serde_json::to_value(error.problem()).unwrap();
    let last = problem["recorder"].as_array().unwrap().iter().rfind(|frame| frame["direction"] == "received").unwrap();
    assert_eq!((&last["fault"], &last["descriptor"]), (&json!("reserved_bytes"), &json!("calls")));
    assert_eq!(recorded(&pool, 1).await, recording, "the pool returns the same recording later");

    let second = |kind: &str| format!("02000000{kind}01{}7b7d", "00".repeat(10));
    for (data, kind, fault) in [(second("01"), "hello", "malformed_json"), (second("02"), "ready", "malformed_json")] {
        let raw = pool.call::<Value>("raw", &json!({ "data": data, "then": "silence" }));
        let recording = answer(raw.reply()).await.unwrap_err().report().unwrap().recorder.clone().unwrap();
        let bad = recording.frames.iter().find(|frame| frame.fault.is_some()).unwrap();
        assert_eq!((&*bad.kind, bad.length, bad.fault), (kind, Some(2), Some(fault)));
    }
    pool.shutdown_and_check().await;
}

/// R38: a recording has the last 128 frames and the number of dropped frames.
#[tokio::test]
async fn r38_recorder_keeps_the_last_frames_of_ten_thousand_calls() {
    let pool = pool("rec_bound", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    for _ in 0..100 {
        let batch = (0..100).map(|_| pool.call::<u32>("pid", &json!({})).reply()).collect();
        assert!(answers(batch).await.iter().all(Result::is_ok));
    }
    let recording = pool.recorder(W1, None).await.unwrap();
    assert_eq!(recording.frames.len(), 128);
    assert!(recording.dropped_frames + 128 >= 20_003, "{}", recording.dropped_frames);
    assert_eq!(call_frames(&recording).last().map(describe).as_deref(), Some("from result pid"));
    pool.shutdown_and_check().await;
}

/// R38: the errors of the calls that a worker had share one recording. Its last frames are these calls, without an answer.
#[tokio::test]
async fn r38_lost_call_carries_the_recording() {
    let build = |context: &herder::testing::TestContext| {
        context.enhanced().app("herder.demo:app").pool_size(1).pipeline(2).build()
    };
    let pool = pool("rec_lost", build).await;
    let in_session = sleep_for_ever(&pool).session("ann");
    let running = submitted(&pool, [sleep_for_ever(&pool), in_session], 2, 0).await;
    pool.kill_worker(process(1, 1)).await.unwrap();
    let errors = answers(running).await.into_iter().map(Result::unwrap_err).collect::<Vec<Error>>();
    assert_eq!([errors[0].slug(), errors[1].slug()], ["worker-lost", "session-worker-lost"]);
    let recordings: Vec<_> = errors.iter().map(|error| error.report().unwrap().recorder.clone().unwrap()).collect();
    assert!(Arc::ptr_eq(&recordings[0], &recordings[1]));
    let frames: Vec<String> = call_frames(&recordings[0]).iter().map(describe).collect();
    assert_eq!(frames[frames.len() - 2..], ["to call sleep", "to call sleep"]);
    assert_eq!(recordings[0].exit.as_ref().unwrap().signal, Some(9));
    assert!(errors[0].problem().recorder.len() <= 16);
    pool.shutdown_and_check().await;
}

/// R38: the report of a dead worker has its peak memory. A SIGKILL without evidence is not reported as out of memory.
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
    pool.shutdown_and_check().await;
}

/// R38: the error for an unknown worker or generation lists those that exist.
#[tokio::test]
async fn r38_unknown_recorder_request_lists_what_exists() {
    let pool = pool("rec_none", |context| context.basic().app("herder.demo:app").overflow(1).build()).await;
    for (worker, generation, hint) in [
        (9, None, "unknown worker w9; the pool has w1 to w3"),
        (1, Some(7), "no recording of worker w1, generation 7; recorded generations: 1"),
        (3, None, "no recording of worker w3: it has no process, and no earlier process is recorded"),
    ] {
        let error = pool.recorder(WorkerId(worker), generation.map(Generation)).await.unwrap_err();
        assert_eq!((error.http_status(), error.to_string().as_str()), (404, hint));
    }
    pool.shutdown_and_check().await;
}
