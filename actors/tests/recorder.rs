//! The flight recorder and the evidence in exit reports where no real process can show them: out of memory, and a panic of
//! the worker's actor (R38).

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{ExitMemory, InjectPanic, OutOfMemory, WorkerId};
use herder_core::ExitStatus;

/// R38: a kill with evidence of a memory shortage is reported as likely out of memory in the error, its report, the log and
/// the recording.
#[actix::test]
async fn r38_a_kill_with_evidence_is_reported_as_likely_out_of_memory() {
    let (harness, mut peer) = Harness::basic("memory").await;
    let answer = harness.execute(echo(1));
    peer.call().await;
    let out_of_memory = Some(OutOfMemory::KernelCounter { from: 3, to: 4 });
    peer.child.set_exit_memory(ExitMemory { peak_memory: Some(500 << 20), out_of_memory });
    peer.exit(ExitStatus::Signal(9));
    let error = answer.get().await.unwrap_err();
    let words = "signal 9 (SIGKILL), likely out of memory (the cgroup's oom_kill count rose from 3 to 4)";
    assert!(error.to_string().contains(words), "{error}");
    let (report, problem) = (error.report().unwrap(), error.problem());
    assert_eq!((report.peak_memory, report.out_of_memory), (Some(500 << 20), out_of_memory));
    assert_eq!(problem.likely_out_of_memory.as_deref(), Some("the cgroup's oom_kill count rose from 3 to 4"));
    assert_eq!(&*report.recorder.as_ref().unwrap().exit.as_ref().unwrap().reason, words);
    wait_for_log(&[&harness.name, "worker lost", words]).await;
}

/// R38, R29: the recording of a worker whose actor panicked is kept.
#[actix::test]
async fn r38_a_worker_that_lost_its_actor_has_a_recording() {
    let (harness, mut peer) = Harness::basic("orphan").await;
    let answer = harness.execute(echo(1));
    peer.call().await;
    harness.pool().send(InjectPanic::Worker(WorkerId(1))).await.unwrap().unwrap();
    let error = answer.get().await.unwrap_err();
    let recorder = error.report().unwrap().recorder.clone().unwrap();
    let last = recorder.frames.last().unwrap();
    assert_eq!((&*last.kind, last.command.as_deref()), ("call", Some("echo")));
}
