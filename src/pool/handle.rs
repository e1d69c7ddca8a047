//! [`Pool`]: the handle, with one method for each operation. Holds the client and the configuration, and no state of the
//! pool.

use super::call::Call;
use actix::Addr;
use bytes::Bytes;
use herder_actors::{
    BatchSettings, BatchStatus, BreakerStatus, CommandDescription, EndSession, EventFeed, Fingerprint, Generation,
    GetBreaker, GetCommands, GetEvents, GetQuarantine, GetRecorder, GetSessionHistory, GetSessionInfo, GetStack,
    GetStatus, GetTimeline, HealthCheck, KillWorker, ListRunningCalls, ListSessions, ListWorkers, Outcome, PoolClient,
    PoolConfig, PoolHealth, PoolName, PoolSupervisor, PrepareShutdown, QuarantineEntry, RecordOutcome, Recording,
    ReleaseFromQuarantine, Reload, ReloadReport, Request, ResetBreaker, Result, RunningCall, SessionHistory,
    SessionInfo, SessionPage, SetBatch, SetWorkerLogLevel, Shutdown, ShutdownReport, Status, Timeline, WaitReady,
    WorkerId, WorkerInfo, WorkerRef, WorkerStack,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tracing::level_filters::LevelFilter;

/// A handle to a running pool.
///
/// Clones refer to the same pool. Dropping the last handle ends the pool: waiting calls fail with `PoolClosed` and
/// workers are killed. The drop does not block. [`shutdown`](Self::shutdown) ends the pool gracefully.
///
/// In a forked copy of the process that started the pool, every method fails immediately with
/// [`Error::Forked`](crate::Error::Forked).
///
/// ```no_run
/// # async fn example() -> herder::Result<()> {
/// use herder::{Pool, PoolConfig};
/// use serde_json::json;
///
/// let pool = Pool::start(PoolConfig::enhanced("carts").app("carts.py:app").pool_size(4).build()?).await?;
/// let items: Vec<String> = pool.call("add", &json!({ "item": "tea" })).session("ann").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: PoolClient,
    config: PoolConfig,
    /// The buffers of the routes that are mounted for this pool alone. All server threads share them, with one limit.
    #[cfg(feature = "http")]
    buffers: Arc<crate::body_buffers::Buffers>,
}

impl Pool {
    pub(crate) fn new(client: PoolClient, config: PoolConfig) -> Self {
        #[cfg(feature = "http")]
        let buffers = crate::body_buffers::Buffers::new(usize::try_from(config.max_frame()).unwrap_or(usize::MAX));
        Self(Arc::new(Inner {
            client,
            config,
            #[cfg(feature = "http")]
            buffers,
        }))
    }

    pub(super) fn client(&self) -> &PoolClient {
        &self.0.client
    }

    #[cfg(feature = "http")]
    pub(crate) fn buffers(&self) -> &Arc<crate::body_buffers::Buffers> {
        &self.0.buffers
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &PoolName {
        self.0.config.name()
    }

    /// Returns the configuration that the pool was started with.
    pub fn config(&self) -> &PoolConfig {
        &self.0.config
    }

    /// Returns the address of the pool's supervisor, which accepts messages.
    pub fn supervisor(&self) -> &Addr<PoolSupervisor> {
        self.0.client.supervisor()
    }

    /// Creates a call of `command`. The call is submitted when it is awaited. The arguments must encode as a JSON
    /// object.
    ///
    /// Dropping the future cancels the call: the worker is asked first, then the handler is interrupted, then the
    /// worker is killed (see `cancel` in the configuration).
    ///
    /// `block_on` of a call works on any thread except that of the arbiter that the pool was started on
    /// ([`on_current_arbiter`](super::Start::on_current_arbiter)). On that thread it never returns, not even at the call's
    /// deadline.
    pub fn call<T>(&self, command: &str, arguments: &(impl Serialize + ?Sized)) -> Call<T> {
        Call::new(self.0.client.clone(), Request::typed(command, arguments))
    }

    /// Creates a call with arguments that are already JSON text of an object. The text is sent unchanged.
    pub fn call_json<T>(&self, command: &str, arguments: Bytes) -> Call<T> {
        Call::new(self.0.client.clone(), Request::encoded(command, arguments))
    }

    /// Logs a call that was refused before it was submitted, and returns the id of the log entry.
    #[cfg(feature = "http")]
    pub(crate) fn log_refusal(&self, command: &str, error: &herder_actors::Error) -> herder_actors::ErrorId {
        self.0.client.refused(command, error)
    }

    /// Returns the status, and what the pool has counted since its start.
    #[cfg(feature = "http")]
    pub(crate) async fn measure(&self) -> Result<Box<herder_actors::Measurements>> {
        self.0.client.ask(herder_actors::GetMetrics).await?
    }

    /// Waits until every base worker is ready. Returns at once if the pool is idle (`lazy`).
    ///
    /// # Errors
    /// Returns the error of a base worker that could not start.
    pub async fn ready(&self) -> Result<()> {
        self.0.client.ask(WaitReady).await?
    }

    /// Returns the pool's status. Waits at most one second for the affinity statistics.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn status(&self) -> Result<Status> {
        self.0.client.ask(GetStatus).await
    }

    /// Returns whether the pool can run calls.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn health(&self) -> Result<PoolHealth> {
        self.0.client.ask(HealthCheck).await?
    }

    /// Lists the pool's workers.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.0.client.ask(ListWorkers).await?
    }

    /// Lists the calls that workers were sent and have not finished, the oldest first.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn running_calls(&self) -> Result<Vec<RunningCall>> {
        self.0.client.ask(ListRunningCalls).await?
    }

    /// Returns the commands of the pool with the JSON Schemas of their arguments and results, as the worker that became
    /// ready most recently describes them. Empty before the first worker is ready.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn commands(&self) -> Result<Arc<[CommandDescription]>> {
        self.0.client.ask(GetCommands).await?
    }

    /// Changes the limits of the batches of a command: how many calls a batch may have, and how long a call waits for
    /// others. Applies to waiting calls, and to all workers of the pool, also later ones. What `settings` leaves out keeps
    /// its value. Returns the new values, and the counts and waits of the batches so far.
    ///
    /// # Errors
    /// Fails with [`Error::UnknownCommand`](crate::Error::UnknownCommand) if the command does not run in batches, or no
    /// worker has been ready yet; with [`Error::Config`](crate::Error::Config) if a value is too large; and if the pool has
    /// ended.
    pub async fn set_batch(&self, command: &str, settings: BatchSettings) -> Result<BatchStatus> {
        self.0.client.ask(SetBatch::new(command, settings)).await?
    }

    /// Sets the most detailed level of the log records that the pool's Python workers send: of those that run, at once and also
    /// while a handler runs, and of those that start later. `None`: the most detailed level that the application's `tracing`
    /// subscriber selects for anything, which is also the default. It does not change what the subscriber shows.
    ///
    /// Levels that the application sets for its own loggers are kept, and so is the limit by `HERDER_LOG_LEVEL` in the pool's
    /// `env`. A worker in another language is told only if its hello states `log_level`.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn set_worker_log_level(&self, level: impl Into<Option<LevelFilter>>) -> Result<()> {
        self.0.client.ask(SetWorkerLogLevel::new(level)).await?
    }

    /// Returns the flight recorder of a worker process: its last frames in both directions, its state transitions, its
    /// output and its exit. Without a `generation`, that is the current process of the slot, or the last one if there
    /// is none now. The recordings of the last 64 processes that ended are kept.
    ///
    /// # Errors
    /// Fails with [`Error::NoSuchWorker`](crate::Error::NoSuchWorker), which lists the known processes, or if the pool
    /// has ended.
    pub async fn recorder(&self, worker: WorkerId, generation: Option<Generation>) -> Result<Arc<Recording>> {
        self.0.client.ask(GetRecorder::new(worker).generation(generation)).await?
    }

    /// Returns the calls and the deaths of the pool's workers within the last minute, as far as the pool keeps them. `since`
    /// is the [`next`](Timeline::next) of an earlier answer: only what has changed since then is returned. With 0, all is.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn timeline(&self, since: u64) -> Result<Timeline> {
        self.0.client.ask(GetTimeline::new().since(since)).await?
    }

    /// Returns the last events of the pool, such as deaths of workers and failed calls, and a way to wait for the next.
    ///
    /// # Errors
    /// Fails if the pool has ended. A feed that was returned before can still be read.
    pub async fn events(&self) -> Result<EventFeed> {
        self.0.client.ask(GetEvents).await?
    }

    /// Returns the stacks of the threads of a Python worker while it runs, for example to see where a handler hangs. The
    /// present process of the slot prints them on a signal, without a pause in its work. Takes up to a second.
    ///
    /// # Errors
    /// Fails with [`Error::NoSuchWorker`](crate::Error::NoSuchWorker) if the slot has no process, or one that does not print
    /// its stacks, such as a worker in another language.
    pub async fn stack(&self, worker: WorkerId) -> Result<WorkerStack> {
        self.0.client.ask(GetStack::new(worker)).await?
    }

    /// Sends SIGKILL to a worker's process group. Returns when the pool has noticed the exit.
    ///
    /// # Errors
    /// Fails if the process no longer exists.
    pub async fn kill_worker(&self, process: WorkerRef) -> Result<()> {
        self.0.client.ask(KillWorker::new(process)).await?
    }

    /// Kills a worker like [`kill_worker`](Self::kill_worker), and notes it with the role of the person who asked for it.
    #[cfg(feature = "http")]
    pub(crate) async fn kill_noted(&self, process: WorkerRef, role: &'static str) -> Result<()> {
        self.0.client.ask(KillWorker::new(process).noted(role)).await?
    }

    /// Returns a page of at most `limit` sessions. The first page has the `cursor` 0; the field `next` of each page is
    /// the cursor of the next one. The order is unspecified, and a page can be short without being the last.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn sessions(&self, cursor: usize, limit: usize) -> Result<SessionPage> {
        self.0.client.ask(ListSessions::new(limit).cursor(cursor)).await?
    }

    /// Returns a page of at most `limit` sessions whose id contains `search`, like [`sessions`](Self::sessions). A page can
    /// be short or empty without being the last.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn search_sessions(&self, search: &str, cursor: usize, limit: usize) -> Result<SessionPage> {
        self.0.client.ask(ListSessions::new(limit).cursor(cursor).search(search)).await?
    }

    /// Returns the history of a session: on which workers its calls ran, and why. The request does not extend the
    /// session's lifetime.
    ///
    /// # Errors
    /// Fails with [`Error::Bind`](crate::Error::Bind) in a pool without session affinity, or if the pool has ended.
    pub async fn why(&self, session: &str) -> Result<SessionHistory> {
        self.0.client.ask(GetSessionHistory::new(session)).await?
    }

    /// Returns the state of a session; `None` if there is no such session. The request does not extend the session's
    /// lifetime.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn session(&self, id: &str) -> Result<Option<SessionInfo>> {
        self.0.client.ask(GetSessionInfo::new(id)).await?
    }

    /// Ends a session after its pending calls. Returns false if there is no such session.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn end_session(&self, id: &str) -> Result<bool> {
        self.0.client.ask(EndSession::new(id)).await?
    }

    /// Returns the state of the pool's circuit breaker; `None` if the pool has no breaker.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn breaker(&self) -> Result<Option<BreakerStatus>> {
        self.0.client.ask(GetBreaker).await?
    }

    /// Closes the pool's circuit breaker, whatever its state. Returns false if the pool has no breaker.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn reset_breaker(&self) -> Result<bool> {
        self.0.client.ask(ResetBreaker).await?
    }

    /// Reports an outcome that was observed outside of the pool to its circuit breaker. Returns false if the pool has
    /// no breaker.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn record_outcome(&self, outcome: Outcome) -> Result<bool> {
        self.0.client.ask(RecordOutcome::new(outcome)).await?
    }

    /// Lists the commands with arguments that killed workers: first those in quarantine, then the suspected ones.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn quarantine(&self) -> Result<Vec<QuarantineEntry>> {
        self.0.client.ask(GetQuarantine).await?
    }

    /// Releases a command with its arguments from quarantine. Returns false if the pool has no entry for this
    /// fingerprint.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn release_from_quarantine(&self, fingerprint: Fingerprint) -> Result<bool> {
        self.0.client.ask(ReleaseFromQuarantine::new(fingerprint)).await?
    }

    /// Replaces every worker by a new process, one after the other, for example after its code has changed. Each
    /// replacement is ready before the old worker is stopped, and the old worker finishes the calls that it was sent.
    /// The state of sessions is lost, as after the death of their worker. Waits until the last replacement is ready. A
    /// reload that another one follows before it has ended fails with [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// # Errors
    /// Fails with [`Error::StartFailed`](crate::Error::StartFailed) if a replacement does not become ready. The workers
    /// that were not replaced before go on serving. Fails with [`Error::PoolClosed`](crate::Error::PoolClosed) if the
    /// pool shuts down or has ended.
    pub async fn reload(&self) -> Result<ReloadReport> {
        self.0.client.ask(Reload).await?
    }

    /// Announces that a [`shutdown`](Self::shutdown) will follow. The pool still accepts calls, but restarts a worker
    /// only if a call waits for one.
    ///
    /// # Errors
    /// Fails with [`Error::PoolClosed`](crate::Error::PoolClosed) if the pool has ended.
    pub async fn prepare_shutdown(&self) -> Result<()> {
        self.0.client.ask(PrepareShutdown).await?
    }

    /// Shuts the pool down: refuses new calls, lets pending calls finish within the given time, fails the others with
    /// `PoolClosed`, then stops the workers.
    ///
    /// # Errors
    /// Fails if the pool has already ended.
    pub async fn shutdown(&self, within: Duration) -> Result<ShutdownReport> {
        self.0.client.ask(Shutdown::new(within)).await?
    }
}
