//! The calls of a worker that begins its calls in order and dies: those that it had not begun run elsewhere, unless some of its
//! answers may not have been read. Then nothing shows which calls began, and each of them may have run. No call runs twice.

use crate::pools::steps::{Outcome, answers};
use herder::{
    Call, Error,
    config::Pipeline,
    testing::{TestPool, pool},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With its result.
    Result,
    /// With the loss of its worker, after which it may have run.
    Lost,
}

/// Returns how often the call with this number has begun.
fn begun(dir: &Path, number: usize) -> usize {
    let begun = fs::read_to_string(dir.join("begun")).unwrap_or_default();
    begun.lines().filter(|line| line.parse() == Ok(number)).count()
}

/// Starts one worker that behaves like this, and sends it `count` calls at once.
async fn calls_of(mode: &'static str, count: usize) -> (TestPool, Vec<Outcome>) {
    let pool = pool("unread", |context| {
        context.file("worker.py", include_str!("unread_answers.py"));
        let command = context.basic().command(["python3", "-S", "worker.py", mode]).cwd(context.dir());
        command.pool_size(1).overflow(0).concurrency(1).pipeline(Pipeline::Fixed(8)).build()
    })
    .await;
    let call = |number: usize| -> Call<Value> { pool.call("run", &json!({ "number": number })) };
    let replies = (0..count).map(|number| call(number).reply()).collect();
    let outcomes = answers(replies).await;
    (pool, outcomes)
}

/// Checks how each call ends, and that no call has run twice or says wrongly that it did not run.
async fn check(mode: &'static str, expected: &[End]) {
    let (pool, outcomes) = calls_of(mode, expected.len()).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let runs = begun(pool.dir(), number);
        match outcome {
            Ok(_) => assert_eq!(runs, 1, "{mode}: call {number} was answered"),
            Err(error) => {
                assert!(runs <= usize::from(error.may_have_run()), "{mode}: {number} ran {runs} times, {error:?}");
            }
        }
    }
    let ends = outcomes.iter().map(|outcome| match outcome {
        Ok(_) => End::Result,
        Err(Error::WorkerLost { may_have_run: true, .. }) => End::Lost,
        other => panic!("{mode}: {other:?}"),
    });
    assert_eq!(ends.collect::<Vec<_>>(), expected, "{mode}: {outcomes:?}");
    pool.shutdown_and_check().await;
}

/// R20: the answers were read to the end. The first unfinished call counts as begun, since nothing shows that it had not.
#[tokio::test]
async fn r20_calls_that_a_dead_worker_had_not_begun_run_elsewhere() {
    check("orderly", &[End::Result, End::Result, End::Lost, End::Result]).await;
    check("killed", &[End::Result, End::Lost, End::Result]).await;
}

/// R20: the worker had not read all its calls, so that the host sees a reset and no end of the stream. All answers come before it.
#[tokio::test]
async fn r20_reset_loses_no_answer() {
    check("reset", &[End::Result, End::Lost, End::Result, End::Result]).await;
}

/// R20: another process has the descriptor, so that the stream has no end. The worker's own answers were read.
#[tokio::test]
async fn r20_descriptor_in_a_forked_child_loses_no_answer() {
    check("forked", &[End::Result, End::Lost, End::Result]).await;
}

/// R20: answers follow what violates the protocol. They are not read.
#[tokio::test]
async fn r20_calls_behind_a_protocol_violation_may_have_run() {
    for mode in ["garbage", "oversize", "half_frame", "control_garbage"] {
        check(mode, &[End::Result, End::Lost, End::Lost]).await;
    }
}

/// R20: answers that contradict what the worker states about their order.
#[tokio::test]
async fn r20_calls_of_a_worker_that_answers_in_another_order_may_have_run() {
    check("out_of_order", &[End::Lost, End::Lost, End::Result, End::Lost]).await;
    check("of_no_call", &[End::Result, End::Lost, End::Lost]).await;
}

/// R20: a worker that can answer no more may begin calls without answering those before.
#[tokio::test]
async fn r20_calls_of_a_worker_that_closed_its_socket_may_have_run() {
    check("closed", &[End::Result, End::Lost, End::Lost]).await;
}
