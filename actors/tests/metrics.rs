//! What a pool counts about its calls, for its status and its metrics (R50). Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{CommandStatus, Error, Execute, InjectPanic, Outcomes, Shutdown, Status};
use herder_core::ExitStatus;
use herder_wire::WorkerErrorKind;
use serde_json::json;

/// Returns the calls and the errors of a command.
fn counts(status: &Status, command: &str) -> (u64, Vec<(&'static str, u64)>) {
    let CommandStatus { calls, errors, .. } = &status.commands[command];
    (*calls, errors.iter().map(|(kind, count)| (*kind, *count)).collect())
}

/// R50: each call is counted once, by its command and its outcome, wherever it was refused. The counts survive the death of a
/// worker and a rebuild of the state.
#[actix::test]
async fn r50_counts_of_calls_survive_workers_and_rebuilds() {
    let (mut harness, mut peer) = Harness::enhanced("counted").await;
    assert_eq!(counts(&harness.status().await, "echo"), (0, vec![]), "a command that was not called is shown");
    let ok = harness.execute(echo(1));
    peer.echo().await;
    ok.get().await.unwrap();
    let failed = harness.execute(echo(2));
    let wire = peer.call().await.wire;
    peer.calls.send(&error(wire, WorkerErrorKind::Exception, "on purpose")).await;
    failed.get().await.unwrap_err();
    let lost = harness.in_session("ann", 3);
    peer.call().await;
    peer.exit(ExitStatus::Signal(9));
    let reported = lost.get().await.unwrap_err();
    assert!(matches!(reported, Error::SessionWorkerLost { .. }), "{reported:?}");
    let mut peer = harness.launches.next().await.ready().await;
    harness.wait_healthy().await;
    let interrupted = harness.execute(echo(4));
    peer.call().await;
    harness.pool().send(InjectPanic::Step).await.unwrap().unwrap_err();
    interrupted.get().await.unwrap_err();
    harness.serve(1).await;
    harness.wait_healthy().await;
    harness.execute(echo(5)).get().await.unwrap();
    harness.execute(Execute::new("echo", &json!([]))).get().await.unwrap_err();
    harness.execute(Execute::new("invented", &json!({}))).get().await.unwrap_err();
    let status = harness.status().await;
    let errors = ["exception", "internal", "malformed", reported.slug()].map(|kind| (kind, 1));
    assert_eq!(counts(&status, "echo"), (6, errors.to_vec()));
    assert_eq!(counts(&status, "_OTHER"), (1, vec![("unknown-command", 1)]));
    let Outcomes { ok, failed, lost, timed_out, refused, abandoned, .. } = status.outcomes;
    assert_eq!([ok, failed, lost, timed_out, refused, abandoned], [2, 2, 1, 0, 2, 0]);
    let run = status.commands["echo"].run_us.unwrap();
    assert!(run.p50 <= run.p99 && run.p99 <= run.max, "{run:?}");
    assert!(status.per_second > 0.0, "{status:?}");
    let of_slot = status.workers[0].activity.as_ref().unwrap().run_us.unwrap();
    assert_eq!(of_slot, run, "the slot has answered all of them");
    let stopped = with_timeout("the shutdown", harness.pool().send(Shutdown::new(HANG_TIMEOUT))).await;
    let report = stopped.unwrap().unwrap();
    assert_eq!(report.outcomes, status.outcomes, "the last figures are those of the status");
    assert!(report.to_string().ends_with("2 calls ok, 2 failed, 1 lost, 0 timed out, 2 refused"), "{report}");
}

/// R50, R9: the status shows what runs and since when, per worker only in a pool with `worker_metrics`.
#[actix::test]
async fn r50_the_status_shows_which_call_runs() {
    for (worker_metrics, has_activity) in [(true, true), (false, false)] {
        let config = enhanced(&unique_name("shown")).worker_metrics(worker_metrics).build().unwrap();
        let (harness, mut peer) = Harness::one(config).await;
        let running = harness.in_session("ann", 1);
        let frame = peer.call().await;
        harness.wait_queue(1, 0).await;
        let status = harness.status().await;
        let longest = status.running.longest.as_ref().unwrap();
        assert_eq!((status.running.count, longest.command.as_deref()), (1, Some("echo")));
        let activity = status.workers[0].activity.as_ref();
        assert_eq!(activity.is_some(), has_activity);
        if let Some(activity) = activity {
            let call = &activity.running[0];
            assert_eq!((call.call, call.session.as_deref()), (longest.call, Some("ann")));
        }
        peer.answer(frame.wire, "1").await;
        running.get().await.unwrap();
        assert_eq!(harness.status().await.running.count, 0);
        peer.serve();
    }
}
