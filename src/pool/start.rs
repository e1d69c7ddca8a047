//! The start of a pool: on a thread of its own, or on the current arbiter.

use super::Pool;
use crate::{Error, PoolConfig, PoolState, Result};
use actix_rt::{Arbiter, System};
use herder_actors::{InvalidConfig, PoolClient, PoolSupervisor, thread_builder};
use std::{
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    time::Duration,
};
use tokio::sync::oneshot;

/// A pool that is to be started; it starts when it is awaited.
#[derive(Debug)]
#[must_use = "a pool starts when this is awaited"]
pub struct Start {
    config: PoolConfig,
    thread: StartThread,
    wait: bool,
}

#[derive(Debug)]
enum StartThread {
    OwnThread,
    CurrentArbiter,
}

impl Start {
    pub(super) fn new(config: PoolConfig) -> Self {
        Self { config, thread: StartThread::OwnThread, wait: true }
    }

    /// Starts its actors on the arbiter of the thread that awaits it, instead of on a thread of their own.
    ///
    /// Awaiting it gives [`Error::Config`] on a thread that has no arbiter of a running actix `System`. If a `System` was made on the
    /// thread but something else runs there, it waits until the `System` runs.
    ///
    /// Code that blocks the arbiter blocks the pool. In particular, `block_on` of a call there (`futures::executor::block_on` in an actor
    /// of that arbiter) never returns, not even when the call's deadline passes: the pool, which would answer, waits for its thread.
    pub fn on_current_arbiter(mut self) -> Self {
        self.thread = StartThread::CurrentArbiter;
        self
    }

    /// Does not wait for workers: they come up in the background, and calls wait for them in the queue.
    pub fn without_waiting(mut self) -> Self {
        self.wait = false;
        self
    }

    async fn run(self) -> Result<Pool> {
        let client = match self.thread {
            StartThread::OwnThread => on_own_thread(self.config.clone(), PoolSupervisor::new).await?,
            StartThread::CurrentArbiter => on_current_arbiter(self.config.clone()).await?,
        };
        let pool = Pool::new(client, self.config);
        // A pool that was refused its name says so to every message.
        let health = pool.health().await?;
        if self.wait && health.state != PoolState::Running {
            wait_for_workers(&pool).await?;
        }
        Ok(pool)
    }
}

/// A pool whose supervisor is made otherwise, on a thread of its own. Waits for no workers.
#[cfg(feature = "testing")]
pub(crate) async fn supervised(
    config: PoolConfig,
    supervise: impl FnOnce(PoolConfig) -> PoolSupervisor + Send + 'static,
) -> Result<Pool> {
    let client = on_own_thread(config.clone(), supervise).await?;
    let pool = Pool::new(client, config);
    pool.health().await?; // one that was refused its name says so
    Ok(pool)
}

impl IntoFuture for Start {
    type Output = Result<Pool>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Pool>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// One worker that could not start does not stop the others, nor the pool (R13).
async fn wait_for_workers(pool: &Pool) -> Result<()> {
    let Err(error) = pool.ready().await else { return Ok(()) };
    if pool.health().await?.ready_workers > 0 {
        pool.0.client.log_partial_start(pool.name(), error);
        return Ok(());
    }
    let _ = pool.shutdown(Duration::ZERO).await;
    Err(error)
}

/// The arbiter's own task starts it: a task of the same runtime that was spawned by `tokio::spawn` runs outside of the arbiter's
/// `LocalSet`, where an actor that is started panics.
async fn on_current_arbiter(config: PoolConfig) -> Result<PoolClient> {
    let (started, client) = oneshot::channel();
    let start = move || drop(started.send(PoolClient::start(PoolSupervisor::new(config))));
    let is_running = Arbiter::try_current().is_some_and(|arbiter| arbiter.spawn_fn(start));
    let client = if is_running { client.await.ok() } else { None };
    client.ok_or_else(|| {
        let given = "used on a thread without a running actix `System`";
        let allowed = "within a `System`, or not at all: then the pool has a thread of its own";
        InvalidConfig::new("on_current_arbiter", given, allowed).into()
    })
}

/// The thread lives until the pool's supervisor is gone.
async fn on_own_thread(
    config: PoolConfig,
    supervise: impl FnOnce(PoolConfig) -> PoolSupervisor + Send + 'static,
) -> Result<PoolClient> {
    let (started, client) = oneshot::channel();
    let name = format!("herder-{}", config.name());
    let body = move || {
        // Made here, since actix panics if it can't be: it takes three descriptors.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(not_started(&error)))),
        };
        System::with_tokio_rt(move || runtime).block_on(async move {
            let (supervisor, gone) = supervise(config).with_exit_signal();
            if started.send(Ok(PoolClient::start(supervisor))).is_ok() {
                gone.await;
            }
        });
    };
    let thread = thread_builder(name).spawn(body);
    thread.map_err(|error| Error::Internal { reason: format!("cannot start the pool's thread: {error}").into() })?;
    client.await.map_err(|_| Error::Internal { reason: "the pool's thread ended before the pool started".into() })?
}

fn not_started(error: &io::Error) -> Error {
    let reason =
        format!("the runtime of the pool's thread can't be started: {}", herder_actors::explain_io_error(error));
    Error::StartFailed { worker: None, reason: reason.into(), report: Box::default() }
}
