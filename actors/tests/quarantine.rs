//! When a suspected call is cleared (R37): when a worker finishes the same command with the same arguments, whenever that
//! call was admitted and whether or not its caller still waits. Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{Cancel, GetQuarantine, PoolConfig};
use herder_wire::WorkerErrorKind;

/// A configuration with two workers and timeouts that do not pass.
fn two_workers(hint: &str) -> PoolConfig {
    let cancel = Cancel::new().interrupt(HANG_TIMEOUT).kill(2 * HANG_TIMEOUT);
    basic(&unique_name(hint)).pool_size(2).cancel(cancel).build().unwrap()
}

impl Harness {
    /// Starts a pool whose two workers both run the same call. Nothing is suspected yet.
    async fn with_same_call_on_both(hint: &str) -> (Self, [(FakeWorker, Answer); 2]) {
        let mut harness = Self::start(two_workers(hint));
        let peers = [harness.launches.next().await.ready().await, harness.launches.next().await.ready().await];
        harness.wait_healthy().await;
        let answers = [harness.execute(echo(1)), harness.execute(echo(1))];
        harness.wait_queue(2, 0).await;
        let [first, second] = peers;
        let [one, other] = answers;
        (harness, [(first, one), (second, other)])
    }

    /// Returns the number of suspected or quarantined calls.
    async fn watched(&self) -> usize {
        with_timeout("the quarantine", self.pool().send(GetQuarantine)).await.unwrap().unwrap().len()
    }

    /// Ends the process while it runs its call.
    async fn lose(&mut self, (peer, answer): (FakeWorker, Answer)) {
        peer.exit(ExitStatus::Signal(9));
        assert!(answer.get().await.is_err());
        assert_eq!(self.watched().await, 1);
        self.launches.next().await.ready().await.serve();
    }
}

/// R37: a call that was admitted before anything was suspected clears its fingerprint.
#[actix::test]
async fn r37_a_call_admitted_before_any_suspicion_clears_its_fingerprint() {
    let (mut harness, [first, (mut second, answer)]) = Harness::with_same_call_on_both("early").await;
    harness.lose(first).await;
    second.echo().await;
    assert!(answer.get().await.is_ok());
    assert_eq!(harness.watched().await, 0);
    second.serve();
}

/// R37: a late answer to an abandoned call clears it, too.
#[actix::test]
async fn r37_a_late_answer_clears_its_fingerprint() {
    let (mut harness, [first, (mut second, answer)]) = Harness::with_same_call_on_both("late").await;
    let wire = second.call().await.wire;
    answer.abandon();
    wait_until("the call is abandoned", async || harness.status().await.counters.abandoned == 1).await;
    harness.lose(first).await;
    second.calls.send(&error(wire, WorkerErrorKind::Exception, "late")).await;
    wait_until("the late answer is counted", async || harness.status().await.counters.late_answers == 1).await;
    assert_eq!(harness.watched().await, 0);
    second.serve();
}

/// R37: a cancelled attempt clears nothing: its handler did not start or was interrupted.
#[actix::test]
async fn r37_a_cancelled_attempt_clears_nothing() {
    let (mut harness, [first, (mut second, answer)]) = Harness::with_same_call_on_both("cancelled").await;
    let wire = second.call().await.wire;
    answer.abandon();
    harness.lose(first).await;
    second.calls.send(&error(wire, WorkerErrorKind::Cancelled, "interrupted")).await;
    wait_until("the late answer is counted", async || harness.status().await.counters.late_answers == 1).await;
    assert_eq!(harness.watched().await, 1);
    second.serve();
}

/// R37: a frame that belongs to no attempt clears nothing.
#[actix::test]
async fn r37_a_frame_of_no_attempt_clears_nothing() {
    let (mut harness, [first, (mut second, answer)]) = Harness::with_same_call_on_both("unknown").await;
    let wire = second.call().await.wire;
    harness.lose(first).await;
    second.answer(herder_core::WireId(1 << 40), "1").await;
    wait_until("the unknown frame is counted", async || harness.status().await.counters.unknown_frames == 1).await;
    assert_eq!(harness.watched().await, 1);
    second.answer(wire, "1").await;
    assert!(answer.get().await.is_ok());
    second.serve();
}
