//! What clears a payload that ended a worker (R37): its end in a worker that lives, whenever the call was admitted, and whoever still
//! waits for it. Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{Cancel, GetQuarantine, PoolConfig};
use herder_wire::WorkerErrorKind;

/// Two workers, and no patience that ends by itself.
fn two(hint: &str) -> PoolConfig {
    let patient = Cancel::new().interrupt(HANG_TIMEOUT).kill(2 * HANG_TIMEOUT);
    basic(&unique_name(hint)).pool_size(2).cancel(patient).build().unwrap()
}

impl Harness {
    /// Both workers run a call of one payload; nothing is watched yet.
    async fn two_that_run_it(hint: &str) -> (Self, [(FakeWorker, Answer); 2]) {
        let mut harness = Self::start(two(hint));
        let peers = [harness.launches.next().await.ready().await, harness.launches.next().await.ready().await];
        harness.wait_healthy().await;
        let answers = [harness.execute(echo(1)), harness.execute(echo(1))];
        harness.wait_queue(2, 0).await;
        let [first, second] = peers;
        let [one, other] = answers;
        (harness, [(first, one), (second, other)])
    }

    /// How many payloads are watched.
    async fn watched(&self) -> usize {
        with_timeout("the quarantine", self.pool().send(GetQuarantine)).await.unwrap().unwrap().len()
    }

    /// The process ends in the middle of its call.
    async fn lose(&mut self, (peer, answer): (FakeWorker, Answer)) {
        peer.exit(ExitStatus::Signal(9));
        assert!(answer.get().await.is_err());
        assert_eq!(self.watched().await, 1);
        self.launches.next().await.ready().await.serve();
    }
}

/// R37: a call that was admitted before anything was watched clears its payload.
#[actix::test]
async fn r37_a_call_admitted_before_watching_began_clears_its_payload() {
    let (mut harness, [first, (mut second, answer)]) = Harness::two_that_run_it("early").await;
    harness.lose(first).await;
    second.echo().await;
    assert!(answer.get().await.is_ok());
    assert_eq!(harness.watched().await, 0);
    second.serve();
}

/// R37: so does a late answer, whose caller left before.
#[actix::test]
async fn r37_a_late_answer_clears_its_payload() {
    let (mut harness, [first, (mut second, answer)]) = Harness::two_that_run_it("late").await;
    let wire = second.call().await.wire;
    answer.abandon();
    wait_until("its caller left", async || harness.status().await.counters.abandoned == 1).await;
    harness.lose(first).await;
    second.calls.send(&error(wire, WorkerErrorKind::Exception, "late")).await;
    wait_until("the late answer came", async || harness.status().await.counters.late_answers == 1).await;
    assert_eq!(harness.watched().await, 0);
    second.serve();
}

/// R37: an attempt that was cancelled proves nothing: it never began, or was broken off.
#[actix::test]
async fn r37_an_attempt_that_was_cancelled_clears_nothing() {
    let (mut harness, [first, (mut second, answer)]) = Harness::two_that_run_it("cancelled").await;
    let wire = second.call().await.wire;
    answer.abandon();
    harness.lose(first).await;
    second.calls.send(&error(wire, WorkerErrorKind::Cancelled, "interrupted")).await;
    wait_until("the late answer came", async || harness.status().await.counters.late_answers == 1).await;
    assert_eq!(harness.watched().await, 1);
    second.serve();
}

/// R37: a frame that answers nothing clears nothing.
#[actix::test]
async fn r37_a_frame_of_no_attempt_clears_nothing() {
    let (mut harness, [first, (mut second, answer)]) = Harness::two_that_run_it("stray").await;
    let wire = second.call().await.wire;
    harness.lose(first).await;
    second.answer(herder_core::WireId(1 << 40), "1").await;
    wait_until("the stray came", async || harness.status().await.counters.unknown_frames == 1).await;
    assert_eq!(harness.watched().await, 1);
    second.answer(wire, "1").await;
    assert!(answer.get().await.is_ok());
    second.serve();
}
