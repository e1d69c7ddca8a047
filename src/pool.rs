//! [`Pool`]: the handle most users take. Any thread, any tokio runtime; cheap to clone. It encodes and decodes on the caller's
//! thread and holds no state of the pool.

mod call;
mod start;

pub use call::{Call, UntilGone};
pub use start::Start;
#[cfg(feature = "testing")]
pub(crate) use start::supervised;

use crate::{
    BreakerStatus, EndSession, Fingerprint, Generation, GetBreaker, GetQuarantine, GetRecorder, GetSessionHistory,
    GetSessionInfo, GetStatus, HealthCheck, KillWorker, ListSessions, ListWorkers, Outcome, PoolConfig, PoolHealth,
    PoolName, PrepareShutdown, QuarantineEntry, RecordOutcome, Recording, ReleasePayload, ResetBreaker, Result,
    SessionHistory, SessionInfo, SessionPage, Shutdown, ShutdownReport, Status, WaitReady, WorkerId, WorkerInfo,
    WorkerRef,
};
use actix::Addr;
use bytes::Bytes;
use herder_actors::{PoolClient, PoolSupervisor, Request};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// A running pool.
///
/// Clones share it. When the last one is dropped the pool ends: calls that wait are answered `PoolClosed` and workers are killed;
/// that drop never blocks. [`shutdown`](Self::shutdown) ends it in order.
///
/// In a forked copy of the process that started the pool every method fails at once with [`Error::Forked`](crate::Error::Forked).
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
    /// The bodies of routes that are mounted for this pool alone: once for each thread, with one limit.
    #[cfg(feature = "http")]
    buffers: Arc<crate::http::Buffers>,
}

impl Pool {
    /// Starts a pool on a thread of its own. Awaiting it waits until every base worker is ready or could not start. While a pool of the
    /// same name is ending it waits for that one first, at most `start_timeout`.
    ///
    /// # Errors
    /// [`Error::PoolNameTaken`](crate::Error::PoolNameTaken) or [`Error::PoolEnding`](crate::Error::PoolEnding), or [`Error::StartFailed`](crate::Error::StartFailed) when no
    /// worker at all became ready; the pool is ended then.
    pub fn start(config: PoolConfig) -> Start {
        Start::new(config)
    }

    fn new(client: PoolClient, config: PoolConfig) -> Self {
        #[cfg(feature = "http")]
        let buffers = crate::http::Buffers::new(usize::try_from(config.max_frame()).unwrap_or(usize::MAX));
        Self(Arc::new(Inner {
            client,
            config,
            #[cfg(feature = "http")]
            buffers,
        }))
    }

    #[cfg(feature = "http")]
    pub(crate) fn buffers(&self) -> &Arc<crate::http::Buffers> {
        &self.0.buffers
    }

    /// The pool's name.
    pub fn name(&self) -> &PoolName {
        self.0.config.name()
    }

    /// What it was started with.
    pub fn config(&self) -> &PoolConfig {
        &self.0.config
    }

    /// The pool's supervisor, to be spoken to by messages.
    pub fn supervisor(&self) -> &Addr<PoolSupervisor> {
        self.0.client.supervisor()
    }

    /// A call of `command`; it is submitted when it is awaited. The arguments must encode as an object.
    ///
    /// Cancel safe in this sense: dropping the future cancels the call in its worker, in steps (see `cancel` in the configuration).
    ///
    /// `block_on` of a call works on any thread but that of the arbiter that the pool was started on
    /// ([`on_current_arbiter`](Start::on_current_arbiter)): there it never returns, not even at the call's deadline.
    pub fn call<T>(&self, command: &str, arguments: &(impl Serialize + ?Sized)) -> Call<T> {
        Call::new(self.0.client.clone(), Request::typed(command, arguments))
    }

    /// A call with arguments that are JSON text of an object already; passed through untouched.
    pub fn call_json<T>(&self, command: &str, arguments: Bytes) -> Call<T> {
        Call::new(self.0.client.clone(), Request::encoded(command, arguments))
    }

    /// Logs a call that was refused before it was submitted.
    #[cfg(feature = "http")]
    pub(crate) fn log_refusal(&self, command: &str, error: &crate::Error) -> crate::ErrorId {
        self.0.client.refused(command, error)
    }

    /// Waits until every base worker is ready.
    ///
    /// # Errors
    /// When one could not start, with the reason.
    pub async fn ready(&self) -> Result<()> {
        self.0.client.ask(WaitReady).await?
    }

    /// The pool's status. Waits at most a second for the affinity statistics.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn status(&self) -> Result<Status> {
        self.0.client.ask(GetStatus).await
    }

    /// Whether it can serve.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn health(&self) -> Result<PoolHealth> {
        self.0.client.ask(HealthCheck).await?
    }

    /// Its workers.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.0.client.ask(ListWorkers).await?
    }

    /// What passed between the host and a worker last, how it changed its states, what it printed, and how it ended: of the slot's
    /// present process, or the last if there is none now, unless a generation is named. The last 64 that ended are remembered.
    ///
    /// # Errors
    /// [`Error::NoSuchWorker`](crate::Error::NoSuchWorker), with those there are; when the pool is gone.
    pub async fn recorder(&self, worker: WorkerId, generation: Option<Generation>) -> Result<Arc<Recording>> {
        self.0.client.ask(GetRecorder { worker, generation }).await?
    }

    /// SIGKILL to a worker's process group; answers when its end was noticed.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub async fn kill_worker(&self, process: WorkerRef) -> Result<()> {
        self.0.client.ask(KillWorker(process)).await?
    }

    /// A page of its sessions, at most `limit`: the first for a `cursor` of 0, then each one's `next` gives the following. In no
    /// order that means anything; a page may be short and not the last.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn sessions(&self, cursor: usize, limit: usize) -> Result<SessionPage> {
        self.0.client.ask(ListSessions { cursor, limit }).await?
    }

    /// Why a session's calls ran where they ran, as far as the pool remembers. Asking does not renew the session.
    ///
    /// # Errors
    /// [`Error::Bind`](crate::Error::Bind) in a pool without session affinity; when the pool is gone.
    pub async fn why(&self, session: &str) -> Result<SessionHistory> {
        self.0.client.ask(GetSessionHistory(session.into())).await?
    }

    /// What is known of a session. Asking does not renew it.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn session(&self, id: &str) -> Result<Option<SessionInfo>> {
        self.0.client.ask(GetSessionInfo(id.into())).await?
    }

    /// Ends a session after the calls it has; false if there is none.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn end_session(&self, id: &str) -> Result<bool> {
        self.0.client.ask(EndSession(id.into())).await?
    }

    /// Its circuit breaker as it stands; `None` if it has none.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn breaker(&self) -> Result<Option<BreakerStatus>> {
        self.0.client.ask(GetBreaker).await?
    }

    /// Closes its circuit breaker, whatever was; false if it has none.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn reset_breaker(&self) -> Result<bool> {
        self.0.client.ask(ResetBreaker).await?
    }

    /// Counts an outcome for its circuit breaker that was seen elsewhere; false if it has none.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn record_outcome(&self, outcome: Outcome) -> Result<bool> {
        self.0.client.ask(RecordOutcome(outcome)).await?
    }

    /// The commands with arguments that ended workers: those in quarantine first, then those that are suspected.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn quarantine(&self) -> Result<Vec<QuarantineEntry>> {
        self.0.client.ask(GetQuarantine).await?
    }

    /// Lets a command with its arguments out of quarantine; false if they were not watched.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn release_payload(&self, fingerprint: Fingerprint) -> Result<bool> {
        self.0.client.ask(ReleasePayload(fingerprint)).await?
    }

    /// Announces that a [`shutdown`](Self::shutdown) follows: calls are accepted as before, but a worker that ended is started again only if a call
    /// waits for one.
    ///
    /// # Errors
    /// [`Error::PoolClosed`](crate::Error::PoolClosed) when the pool is gone.
    pub async fn prepare_shutdown(&self) -> Result<()> {
        self.0.client.ask(PrepareShutdown).await?
    }

    /// Ends the pool: no new calls, those there are finish within the time or are answered `PoolClosed`, then the workers end.
    ///
    /// # Errors
    /// When the pool is gone already.
    pub async fn shutdown(&self, within: Duration) -> Result<ShutdownReport> {
        self.0.client.ask(Shutdown::timeout(within)).await?
    }
}
