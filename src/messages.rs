//! The messages that an actix application sends to a pool.
//!
//! ```
//! use actix::Actor;
//! use herder::{PoolConfig, PoolSupervisor, messages::{Execute, GetStatus, Shutdown, WaitReady}};
//! use serde_json::json;
//! use std::time::Duration;
//!
//! # #[actix::main]
//! # async fn main() -> herder::Result<()> {
//! let pool = PoolSupervisor::new(PoolConfig::basic("echoes").app("herder.demo:app").pool_size(1).build()?).start();
//! pool.send(WaitReady).await??;
//! let reply = pool.send(Execute::new("echo", &json!({ "text": "hello" })).timeout(Duration::from_secs(2))).await??;
//! assert_eq!(reply.json(), r#"{"text":"hello"}"#.as_bytes());
//! assert_eq!(pool.send(GetStatus).await?.counters.ok, 1);
//! pool.send(Shutdown::new(Duration::from_secs(5))).await??;
//! # Ok(()) }
//! ```
//!
//! An application that uses messages depends on `actix` 0.13 itself, with its feature `macros` for `#[actix::main]`.
//!
//! All messages are sent to the [`PoolSupervisor`](crate::PoolSupervisor), except those about bindings, which are sent to
//! the [`SessionAffinityActor`](crate::session::SessionAffinityActor) of a pool with session affinity. The methods of
//! [`Pool`](crate::Pool) send the same messages.

#[doc(inline)]
pub use herder_actors::{
    AffinityStats, BatchSettings, BindSession, CleanupStaleSessions, EndSession, Execute, ExecuteInSession, GetBreaker,
    GetCommands, GetEvents, GetInternalStats, GetPoolName, GetQuarantine, GetRecorder, GetSessionHistory,
    GetSessionInfo, GetSessionState, GetStack, GetStats, GetStatus, GetTimeline, GetWorker, HealthCheck, InternalStats,
    KillWorker, ListRunningCalls, ListSessions, ListWorkers, PrepareShutdown, RecordOutcome, ReleaseFromQuarantine,
    Reload, RemoveWorkerSessions, ResetBreaker, SessionStatus, SetBatch, SetWorkerLogLevel, Shutdown, TrackSession,
    UnbindSession, UpdateSessionActivity, WaitReady,
};
