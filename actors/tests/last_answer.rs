//! An answer that a process wrote before it exited is delivered (R36), even if the pool notices the exit before it polls the
//! socket again. The worker is scripted, so that the order is always the same.

use crate::harness::*;
use herder_actors::testing::ExitStatus;
use serde_json::json;

#[actix::test]
async fn r36_an_answer_written_just_before_the_exit_is_delivered() {
    let (harness, mut peer) = Harness::basic("last_answer").await;
    let answer = harness.execute(echo(7));
    peer.echo().await;
    // Nothing is awaited between the write and the exit: the arbiter sees the exit before it polls the socket.
    peer.exit(ExitStatus::Signal(9));
    assert_eq!(value(answer.get().await), json!({ "n": 7 }));
}
