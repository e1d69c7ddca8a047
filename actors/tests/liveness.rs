//! How a worker that does not answer pings is classified (R26). The worker is scripted, and the test sets its activity. No
//! process is started.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{ChildHandle, Error, Health, ProcessActivity, Signal, Status, WorkerHealth};
use herder_core::ExitStatus;
use herder_wire::{WorkerHello, WorkerMessage};
use std::{num::NonZeroU8, time::Duration};

/// Starts a pool whose worker is pinged often and sent this hello. A call is queued before the worker is ready, so that the
/// worker has it from the first ping on.
async fn start_pinged(
    hint: &str,
    set_up: impl FnOnce(&ScriptedChild),
    hello: impl FnOnce(WorkerHello) -> WorkerHello,
) -> (Harness, FakeWorker, Answer) {
    let quick = Duration::from_millis(5);
    let health = Health::new().interval(quick).timeout(quick).failures(1);
    let mut harness = Harness::start(enhanced(&unique_name(hint)).health(health).build().unwrap());
    let mut peer = harness.launches.next().await;
    set_up(&peer.child);
    let own_hello = WorkerHello { pid: peer.child.pid(), ..herder_actors::testing::hello() };
    peer.handshake_with(hello(own_hello)).await;
    let answer = harness.execute(echo(1));
    harness.wait_queue(0, 1).await;
    peer.calls.send(&WorkerMessage::Ready(ready())).await;
    (harness, peer, answer)
}

fn unresponsive(status: &Status) -> Option<ProcessActivity> {
    status.workers[0].status.unresponsive
}

/// R26: a worker that runs a call, uses the CPU and does not answer pings is reported as computing and healthy, and is
/// logged once. It is stopped when it becomes idle.
#[actix::test]
async fn r26_a_computing_worker_is_not_stopped() {
    let (mut harness, mut peer, answer) =
        start_pinged("bound", |child| child.set_activity(ProcessActivity::Computing), |hello| hello).await;
    let call = peer.call().await;
    wait_until("the worker is reported as computing", async || {
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

/// R26: a worker that is runnable but gets almost no CPU time counts as computing: an overloaded machine costs no
/// worker.
#[actix::test]
async fn r26_a_worker_that_waits_for_a_processor_is_not_stopped() {
    let starved = |child: &ScriptedChild| {
        child.set_activity(ProcessActivity::Idle);
        child.set_runnable(true);
    };
    let (harness, mut peer, answer) = start_pinged("starved", starved, |hello| hello).await;
    let call = peer.call().await;
    wait_until("the worker is reported as computing", async || {
        unresponsive(&harness.status().await) == Some(ProcessActivity::Computing)
    })
    .await;
    peer.answer(call.wire, "1").await;
    assert_eq!(value(answer.get().await), 1);
    peer.serve();
}

/// R26: a suspended worker is reported as suspended. It is not asked for its stack, which it could not print.
#[actix::test]
async fn r26_a_suspended_worker_is_killed_and_reported_as_suspended() {
    let signal = NonZeroU8::new(10);
    let (mut harness, peer, answer) = start_pinged(
        "stopped",
        |child| child.set_activity(ProcessActivity::Stopped),
        |hello| WorkerHello { stack_signal: signal, ..hello },
    )
    .await;
    assert_eq!(peer.child.stopped().await.1, Duration::ZERO, "no wait between SIGTERM and SIGKILL");
    assert_eq!(peer.child.stack_signal(), None);
    wait_for_log(&[&harness.name, "missed a ping", "activity=stopped"]).await;
    peer.exit(ExitStatus::Signal(9));
    let outcome = answer.get().await;
    let text = outcome.as_ref().map_or_else(Error::to_string, |reply| format!("{reply:?}"));
    assert!(
        matches!(outcome, Err(Error::WorkerLost { .. })) && text.contains("process suspended by SIGSTOP"),
        "{text}"
    );
    harness.launches.next().await.ready().await.serve();
}

/// R26: a hanging worker is asked for its stack with the signal that its hello named, provided that it is the started
/// process: a wrapper would receive the signal itself. A number that is not a signal is ignored.
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
        let (mut harness, peer, answer) = start_pinged(
            hint,
            |child| child.set_activity(ProcessActivity::Idle),
            |hello| {
                let pid = hello.pid + u32::from(!is_itself);
                WorkerHello { stack_signal, pid, ..hello }
            },
        )
        .await;
        assert_eq!(
            peer.child.stopped().await.1,
            Duration::ZERO,
            "{hint}: it has not read the shutdown message and ignores SIGTERM"
        );
        assert_eq!(peer.child.stack_signal(), asked, "{hint}");
        peer.exit(ExitStatus::Signal(15));
        let Err(Error::WorkerLost { report, .. }) = answer.get().await else {
            panic!("{hint}: expected a lost worker")
        };
        assert_eq!(report.stack.as_deref(), asked.map(|_| "Current thread"), "{hint}");
        harness.launches.next().await.ready().await.serve();
    }
}
