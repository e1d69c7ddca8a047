//! An answer that a process wrote before it ended is delivered, however close the two are (R36): the end can be noticed before the
//! arbiter has looked at its sockets again. A scripted peer stands in for the process, so that the order is always the same.

use crate::harness::*;
use herder_actors::testing::ExitStatus;
use serde_json::json;

#[actix::test]
async fn r36_an_answer_written_just_before_the_end_is_delivered() {
    let (harness, mut peer) = Harness::basic("last_answer").await;
    let answer = harness.execute(echo(7));
    peer.echo().await;
    // Nothing is awaited between the write and the end: the arbiter hears of the end before it looks at the socket.
    peer.exit(ExitStatus::Signal(9));
    assert_eq!(value(answer.get().await), json!({ "n": 7 }));
}
