//! `Harness`: a pool with scripted workers for the tests of actors, and the steps that many tests take. Each step waits for
//! its event.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use actix::Addr;
use herder_actors::{
    Basic, Enhanced, Error, Execute, ExecuteInSession, GetStatus, ListWorkers, PoolBuilder, PoolClient, PoolConfig,
    PoolState, PoolSupervisor, Queue, Reply, Request, Restart, SessionAffinityActor, Status, WorkerRef, registry,
    testing::{FakeWorker, FakeWorkers, HANG_TIMEOUT, Launches, ScriptedChild, capture, wait_until, with_timeout},
};
use herder_core::{Generation, WorkerId};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The result of a call.
pub(crate) type Outcome = Result<Reply, Error>;

/// A running pool and the workers that it launches, in their order.
pub(crate) struct Harness {
    pub(crate) client: PoolClient,
    pub(crate) launches: Launches,
    pub(crate) name: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// Returns a name that no other test uses, and captures the log.
pub(crate) fn unique_name(hint: &str) -> String {
    capture();
    format!("{hint}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Returns the builder of a basic pool: one worker, no overflow, fast restarts.
pub(crate) fn basic(name: &str) -> PoolBuilder<Basic> {
    with_test_defaults(PoolConfig::basic(name))
}

/// Returns the builder of an enhanced pool, otherwise the same.
pub(crate) fn enhanced(name: &str) -> PoolBuilder<Enhanced> {
    with_test_defaults(PoolConfig::enhanced(name))
}

fn with_test_defaults<T>(builder: PoolBuilder<T>) -> PoolBuilder<T> {
    let quick = Duration::from_millis(5);
    let restart = Restart::new().max(1000).backoff(quick).max_backoff(4 * quick);
    let queue = Queue::new().timeout(HANG_TIMEOUT);
    builder
        .command(["scripted"])
        .pool_size(1)
        .overflow(0)
        .timeout(HANG_TIMEOUT)
        .start_timeout(HANG_TIMEOUT)
        .queue(queue)
        .restart(restart)
}

impl Harness {
    /// Starts a pool; the test plays its workers.
    pub(crate) fn start(config: PoolConfig) -> Self {
        let (peers, launches) = FakeWorkers::new();
        Self::with(config, peers, launches)
    }

    pub(crate) fn with(config: PoolConfig, peers: FakeWorkers, launches: Launches) -> Self {
        let name = config.name().to_string();
        let client = PoolClient::start(PoolSupervisor::with_launcher(config, peers));
        Self { client, launches, name }
    }

    /// Starts a basic pool and makes its only worker ready.
    pub(crate) async fn basic(hint: &str) -> (Self, FakeWorker) {
        Self::one(basic(&unique_name(hint)).build().unwrap()).await
    }

    /// Starts an enhanced pool and makes its only worker ready.
    pub(crate) async fn enhanced(hint: &str) -> (Self, FakeWorker) {
        Self::one(enhanced(&unique_name(hint)).build().unwrap()).await
    }

    /// Starts a pool and makes its only worker ready.
    pub(crate) async fn one(config: PoolConfig) -> (Self, FakeWorker) {
        let mut harness = Self::start(config);
        let peer = harness.launches.next().await.ready().await;
        harness.wait_healthy().await;
        (harness, peer)
    }

    /// Starts an enhanced pool of several workers that serve by themselves.
    pub(crate) async fn serving(hint: &str, workers: usize) -> (Self, Vec<Arc<ScriptedChild>>) {
        let mut harness = Self::start(enhanced(&unique_name(hint)).pool_size(workers).build().unwrap());
        let children = harness.serve(workers).await;
        harness.wait_healthy().await;
        (harness, children)
    }

    /// Lets the next launched workers serve by themselves.
    pub(crate) async fn serve(&mut self, workers: usize) -> Vec<Arc<ScriptedChild>> {
        let mut children = Vec::new();
        for _ in 0..workers {
            children.push(self.launches.next().await.ready().await.serve());
        }
        children
    }

    pub(crate) fn pool(&self) -> &Addr<PoolSupervisor> {
        self.client.supervisor()
    }

    /// Waits until every base worker is ready. (`WaitReady` would report a start that failed before.)
    pub(crate) async fn wait_healthy(&self) {
        wait_until("all base workers are ready", async || self.status().await.state == PoolState::Running).await;
    }

    pub(crate) async fn status(&self) -> Status {
        with_timeout("a status", self.pool().send(GetStatus)).await.unwrap()
    }

    /// Returns the pool's affinity actor, looked up by name.
    pub(crate) fn affinity(&self) -> Addr<SessionAffinityActor> {
        registry::lookup(&format!("{}_session_affinity", self.name)).unwrap()
    }

    /// Waits until this many calls run and this many wait.
    pub(crate) async fn wait_queue(&self, in_flight: usize, waiting: usize) {
        wait_until("calls run and wait as expected", async || {
            let queue = self.status().await.queue;
            (queue.in_flight, queue.waiting) == (in_flight, waiting)
        })
        .await;
    }

    /// Makes a call by message, in a task.
    pub(crate) fn execute(&self, message: Execute) -> Answer {
        Answer::of(self.pool().send(message))
    }

    pub(crate) fn in_session(&self, session: &str, number: u64) -> Answer {
        Answer::of(self.pool().send(ExecuteInSession::new(session, "echo", &json!({ "n": number }))))
    }

    /// Makes a call through the handle.
    pub(crate) fn call(&self, number: u64) -> herder_actors::PendingReply {
        self.client.call(Request::typed("echo", &json!({ "n": number })))
    }

    /// Returns the workers in the order of their slots.
    pub(crate) async fn workers(&self) -> Vec<herder_actors::WorkerInfo> {
        with_timeout("the workers", self.pool().send(ListWorkers)).await.unwrap().unwrap()
    }
}

/// An answer that a task waits for.
pub(crate) struct Answer(tokio::task::JoinHandle<Outcome>);

impl Answer {
    pub(crate) fn of(request: impl Future<Output = Result<Outcome, actix::MailboxError>> + 'static) -> Self {
        Self(actix_rt::spawn(async move { request.await.unwrap_or_else(|error| Err(Error::from(error))) }))
    }

    pub(crate) async fn get(self) -> Outcome {
        with_timeout("an answer", self.0).await.unwrap()
    }

    /// Abandons the call.
    pub(crate) fn abandon(self) {
        self.0.abort();
    }
}

/// A call of `echo` with a number.
pub(crate) fn echo(number: u64) -> Execute {
    Execute::new("echo", &json!({ "n": number }))
}

/// Returns the value of a successful outcome.
pub(crate) fn value(outcome: Outcome) -> Value {
    outcome.unwrap().decode().unwrap()
}

/// Returns the process with this slot and generation.
pub(crate) fn process(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: Generation(generation) }
}
