//! What a silent worker is taken for, with a scripted peer whose vitals the test sets (R26). No process is started.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{ChildHandle, Error, Health, ProcessActivity, Signal, Status, WorkerHealth};
use herder_core::ExitStatus;
use herder_wire::{WorkerHello, WorkerMessage};
use std::{num::NonZeroU8, time::Duration};

/// A pool whose worker is pinged often, and that worker, which has said this hello. A call was there before it was ready, so that
/// it has that from the first ping on.
async fn pinged(
    hint: &str,
    does: impl FnOnce(&ScriptedChild),
    hello: impl FnOnce(WorkerHello) -> WorkerHello,
) -> (Harness, FakeWorker, Answer) {
    let quick = Duration::from_millis(5);
    let health = Health::new().interval(quick).timeout(quick).failures(1);
    let mut harness = Harness::start(enhanced(&unique_name(hint)).health(health).build().unwrap());
    let mut peer = harness.launches.next().await;
    does(&peer.child);
    let itself = WorkerHello { pid: peer.child.pid(), ..herder_actors::testing::hello() };
    peer.handshake_with(hello(itself)).await;
    let answer = harness.execute(echo(1));
    harness.wait_queue(0, 1).await;
    peer.calls.send(&WorkerMessage::Ready(ready())).await;
    (harness, peer, answer)
}

fn unresponsive(status: &Status) -> Option<ProcessActivity> {
    status.workers[0].status.unresponsive
}

/// R26: a worker that computes for a call and answers no ping is shown so, healthy, and told of once; it is ended once it does nothing.
#[actix::test]
async fn r26_a_worker_that_computes_is_not_ended() {
    let (mut harness, mut peer, answer) =
        pinged("bound", |child| child.set_activity(ProcessActivity::Computing), |hello| hello).await;
    let call = peer.call().await;
    wait_until("it is seen to compute", async || {
        unresponsive(&harness.status().await) == Some(ProcessActivity::Computing)
    })
    .await;
    wait_for_log(&[&harness.name, "C code holds the GIL"]).await;
    assert_eq!(harness.status().await.workers[0].status.health, WorkerHealth::Healthy);
    peer.answer(call.wire, "1").await;
    assert_eq!(value(answer.get().await), 1);
    peer.child.set_activity(ProcessActivity::Idle);
    peer.child.stopped().await;
    peer.exit(ExitStatus::Signal(15));
    harness.launches.next().await.ready().await.serve();
}

/// R26: one that gets next to no processor, but wants it, computes as well: a machine with too much to do costs no worker.
#[actix::test]
async fn r26_a_worker_that_waits_for_a_processor_is_not_ended() {
    let starved = |child: &ScriptedChild| {
        child.set_activity(ProcessActivity::Idle);
        child.set_runnable(true);
    };
    let (harness, mut peer, answer) = pinged("starved", starved, |hello| hello).await;
    let call = peer.call().await;
    wait_until("it is seen to compute", async || {
        unresponsive(&harness.status().await) == Some(ProcessActivity::Computing)
    })
    .await;
    peer.answer(call.wire, "1").await;
    assert_eq!(value(answer.get().await), 1);
    peer.serve();
}

/// R26: one that is stopped is ended as such, and not asked for its stack, which it could not print.
#[actix::test]
async fn r26_a_stopped_worker_is_named_so() {
    let signal = NonZeroU8::new(10);
    let (mut harness, peer, answer) = pinged(
        "stopped",
        |child| child.set_activity(ProcessActivity::Stopped),
        |hello| WorkerHello { stack_signal: signal, ..hello },
    )
    .await;
    assert_eq!(peer.child.stopped().await.1, Duration::ZERO, "no wait between SIGTERM and SIGKILL");
    assert_eq!(peer.child.stack_signal(), None);
    wait_for_log(&[&harness.name, "missed a ping", "found=stopped"]).await;
    peer.exit(ExitStatus::Signal(9));
    let outcome = answer.get().await;
    let text = outcome.as_ref().map_or_else(Error::to_string, |reply| format!("{reply:?}"));
    assert!(matches!(outcome, Err(Error::WorkerLost { .. })) && text.contains("it was stopped, by SIGSTOP"), "{text}");
    harness.launches.next().await.ready().await.serve();
}

/// R26: a worker that hangs is asked for its stack by the signal that its hello named, if it is the process that was started: around
/// another one the wrapper would get it. What can't be a signal is none.
#[actix::test]
async fn r26_stack_is_requested_only_from_workers_that_offer_it() {
    let usr1 = NonZeroU8::new(u8::try_from(Signal::USR1.as_raw()).unwrap());
    let cases = [
        ("itself", usr1, true, Some(Signal::USR1)),
        ("wrapped", usr1, false, None),
        ("foreign", None, true, None),
        ("nonsense", NonZeroU8::new(250), true, None),
    ];
    for (hint, stack_signal, is_itself, asked) in cases {
        let (mut harness, peer, answer) = pinged(
            hint,
            |child| child.set_activity(ProcessActivity::Idle),
            |hello| {
                let pid = hello.pid + u32::from(!is_itself);
                WorkerHello { stack_signal, pid, ..hello }
            },
        )
        .await;
        assert_eq!(peer.child.stopped().await.1, Duration::ZERO, "{hint}: it has not read that SIGTERM may end it");
        assert_eq!(peer.child.stack_signal(), asked, "{hint}");
        peer.exit(ExitStatus::Signal(15));
        let Err(Error::WorkerLost { report, .. }) = answer.get().await else { panic!("{hint}: it was to be lost") };
        assert_eq!(report.stack.as_deref(), asked.map(|_| "Current thread"), "{hint}");
        harness.launches.next().await.ready().await.serve();
    }
}
