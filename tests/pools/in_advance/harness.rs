//! The harness of the kill test: callers without sessions call workers that are killed. It records all answers, and how many
//! killed workers had calls in advance. The test judges them.

use crate::{
    pools::steps::{Outcome, answer, unfinished},
    rng::Rng,
};
use futures_util::future::join_all;
use herder::{
    Error,
    config::{Pipeline, Queue, Restart},
    status::{WorkerRef, WorkerState},
    testing::{TestPool, pool, wait_until},
};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::Duration,
};

const CALLERS: usize = 64;
const WORKERS: usize = 2;
/// The number of answers between two kills.
const STEP: u64 = 40;

/// The kinds of outcomes: see [`kind`].
pub(super) const KINDS: [&str; 3] = ["ok", "lost", "queue timeout"];

/// Returns the index of the outcome's kind.
pub(super) fn kind(outcome: &Outcome) -> usize {
    match outcome {
        Ok(_) => 0,
        Err(Error::WorkerLost { .. }) => 1,
        Err(Error::QueueTimeout { .. }) => 2,
        Err(other) => panic!("{other:?}"),
    }
}

/// Drives the pool: runs the callers until all workers were killed that are to be killed.
pub(super) struct Harness {
    pub(super) pool: TestPool,
    work_us: u64,
    submitted: AtomicU64,
    succeeded: AtomicU64,
    kills_are_done: AtomicBool,
    kills_with_calls_in_advance: AtomicU64,
}

impl Harness {
    pub(super) async fn new(work_us: u64) -> Self {
        let (soon, queue) = (Duration::from_millis(1), Queue::new().timeout(Duration::from_millis(50)).shed(false));
        let restart = Restart::new().max(100_000).backoff(soon).max_backoff(soon);
        let pool = pool("in_advance", |context| {
            context.file("app.py", super::APP);
            let workers = context.basic().app("app.py:app").cwd(context.dir()).pool_size(WORKERS).concurrency(1);
            workers.pipeline(Pipeline::Auto).queue(queue).restart(restart).build()
        })
        .await;
        Self {
            pool,
            work_us,
            submitted: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            kills_are_done: AtomicBool::new(false),
            kills_with_calls_in_advance: AtomicU64::new(0),
        }
    }

    /// Returns the outcomes of all calls, by their numbers.
    pub(super) async fn run(&self, seed: u64, kills: u64) -> Vec<(u64, Outcome)> {
        let (outcomes, ()) =
            tokio::join!(join_all((0..CALLERS).map(|_| self.run_caller())), self.run_kills(seed, kills));
        outcomes.into_iter().flatten().collect()
    }

    pub(super) fn kills_with_calls_in_advance(&self) -> u64 {
        self.kills_with_calls_in_advance.load(SeqCst)
    }

    async fn run_caller(&self) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::new();
        while !self.kills_are_done.load(SeqCst) {
            let number = self.submitted.fetch_add(1, SeqCst);
            let arguments = json!({ "number": number, "work_us": self.work_us });
            let outcome = answer(self.pool.call::<Value>("fast", &arguments).reply()).await;
            self.succeeded.fetch_add(u64::from(outcome.is_ok()), SeqCst);
            outcomes.push((number, outcome));
        }
        outcomes
    }

    async fn run_kills(&self, seed: u64, kills: u64) {
        let mut rng = Rng::new(seed);
        let mut left = kills;
        while left > 0 {
            let goal = self.succeeded.load(SeqCst) + STEP;
            wait_until("more calls are answered", async || self.succeeded.load(SeqCst) >= goal).await;
            let mut victims = self.ready_workers().await;
            // Sometimes all workers at once, so that calls wait for a new one.
            let count = if rng.chance(30) { victims.len() } else { 1 }.min(left as usize);
            if rng.chance(50) {
                victims.reverse();
            }
            for victim in victims.into_iter().take(count) {
                left -= u64::from(self.kill(victim).await);
            }
        }
        self.kills_are_done.store(true, SeqCst);
    }

    async fn ready_workers(&self) -> Vec<WorkerRef> {
        let mut workers = self.pool.base_workers().await;
        workers.retain(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Busy));
        workers.iter().map(|worker| worker.process()).collect()
    }

    /// Kills a worker with a signal that the pool does not know of. Returns whether it existed.
    async fn kill(&self, worker: WorkerRef) -> bool {
        let exists = self.pool.kill(worker).await;
        if exists {
            let recording = self.pool.recorder(worker.id, Some(worker.generation)).await.unwrap();
            self.kills_with_calls_in_advance.fetch_add(u64::from(unfinished(&recording) > 1), SeqCst);
        }
        exists
    }
}
