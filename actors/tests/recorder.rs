//! The flight recorder and the evidence of a death, where no real process can be had to show them: a lack of memory, an actor's panic (R38).

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{ExitMemory, InjectPanic, OutOfMemory, WorkerId};
use herder_core::ExitStatus;

/// R38: a kill with evidence is told as likely out of memory, in the error, its report, the log and the recording.
#[actix::test]
async fn r38_a_worker_that_was_likely_out_of_memory() {
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

/// R38, R29: a worker whose actor ended by a panic has its recording all the same.
#[actix::test]
async fn r38_the_recording_of_a_worker_that_lost_its_actor() {
    let (harness, mut peer) = Harness::basic("orphan").await;
    let answer = harness.execute(echo(1));
    peer.call().await;
    harness.pool().send(InjectPanic::Worker(WorkerId(1))).await.unwrap().unwrap();
    let error = answer.get().await.unwrap_err();
    let recorder = error.report().unwrap().recorder.clone().unwrap();
    let last = recorder.frames.last().unwrap();
    assert_eq!((&*last.kind, last.command.as_deref()), ("call", Some("echo")));
}
