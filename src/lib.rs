//! Pools of Python worker processes for Rust services, supervised by actix actors. A session stays with the worker that
//! holds its state. When a worker process dies, the calls that ran on it fail, all other calls are unaffected, and the
//! pool replaces the worker.
//!
//! Most users take the handle [`Pool`]. [`PoolSupervisor`] accepts the same operations as messages ([`Execute`],
//! [`ExecuteInSession`], [`GetStatus`], ...). [`Config`] reads a configuration file.
//!
//! Features:
//! - `http`: `herder::http` adds a pool's routes to any actix-web app and contains a server for them
//!   (`herder::http::Server`); [`Error`] implements `ResponseError`.
//! - `chaos`: `herder::chaos` injects faults into a pool and reports the results.
//! - `testing`: `herder::testing` helps to test pools and the services that use them.
//!
//! ```no_run
//! use herder::{Pool, PoolConfig};
//! use serde_json::json;
//!
//! # async fn example() -> herder::Result<()> {
//! let pool = Pool::start(PoolConfig::enhanced("carts").app("carts.py:app").pool_size(4).build()?).await?;
//! let items: Vec<String> = pool.call("add", &json!({ "item": "tea" })).session("ann").await?;
//! # Ok(()) }
//! ```
//!
//! At the beginning of `main`, a host may call [`reset_signals`], [`raise_descriptor_limit`] and
//! [`return_large_buffers`]. A host that is PID 1 or a subreaper calls [`reap_orphans`] after each SIGCHLD. `herder
//! serve` does all of this.
//!
//! All guarantees are in `docs/semantics.md`.

#[cfg(feature = "chaos")]
pub mod chaos;
pub mod config;
pub mod efficiency;
#[cfg(feature = "http")]
pub mod http;
pub mod legacy;
mod pool;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::{Config, ConfigError, ConfigProblem};
pub use herder_actors::{
    ActiveFeatures, Affinity, AffinityStats, AppPath, Attempt, AttemptProblemDetails, Attempts, Backoff, Basic,
    BindError, BindSession, Breaker, BreakerState, BreakerStatus, Cancel, Category, Cause, CleanupStaleSessions,
    CountedFailures, Counters, Decision, Descriptor, Direction, EndSession, Enhanced, EnvMode, Epoch, Error,
    ErrorDetail, ErrorId, Execute, ExecuteInSession, ExitMemory, ExitReport, Expiry, Features, Fingerprint, Generation,
    GetBreaker, GetInternalStats, GetPoolName, GetQuarantine, GetRecorder, GetSessionHistory, GetSessionInfo,
    GetSessionState, GetStats, GetStatus, GetWorker, Health, HealthCheck, HistoryEntry, HistoryState, IfAbsent,
    Incident, InternalStats, InvalidConfig, InvalidErrorDetail, InvalidFingerprint, InvalidSessionId, KillWorker,
    Launch, ListSessions, ListWorkers, NumericThreads, OnExpired, OutOfMemory, Outcome, PastSessionEntry, PendingReply,
    Poison, PoolBuilder, PoolConfig, PoolHealth, PoolName, PoolState, PoolSupervisor, PrepareShutdown, ProcessActivity,
    QuarantineEntry, Queue, QueueStatus, RebindReason, RecordOutcome, RecordedExit, RecordedFrame, RecordedTransition,
    Recording, ReleasePayload, RemainingWorker, RemoveWorkerSessions, Reply, ReplyMetadata, ResetBreaker, Restart,
    Result, Retry, Routed, Routing, SessionAffinity, SessionAffinityActor, SessionHistory, SessionId, SessionInfo,
    SessionPage, SessionState, SessionStatus, Sessions, Severity, Shutdown, ShutdownReport, Stamps, Status, Stop,
    StopSettings, Strategy, Timestamp, TrackSession, Tracked, UnbindSession, UpdateSessionActivity, WaitReady,
    WorkerEntry, WorkerHealth, WorkerId, WorkerInfo, WorkerMetrics, WorkerRef, WorkerState, WorkerStatus, WorkerType,
    decide, now, raise_descriptor_limit, reap_orphans, registry, reset_signals, return_large_buffers,
};
pub use herder_efficiency::{concurrency, performance};
pub use pool::{Call, CancelWhen, Pool, Start};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/http.md")]
struct HttpPage;
