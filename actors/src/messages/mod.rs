//! The messages of a pool, in place of the original's GenServer calls (`docs/migration.md` has the table). Plain data: what a
//! message does is implemented by its handler.

mod affinity;
mod calls;
#[cfg(feature = "fault-injection")]
mod inject;
mod metrics;
mod pool;
mod sessions;

pub use affinity::{
    AffinityStats, BindSession, GetInternalStats, GetSessionState, GetStats, GetWorker, InternalStats,
    RemoveWorkerSessions, SessionStatus, UnbindSession,
};
pub use calls::{Execute, ExecuteInSession, Request};
#[cfg(feature = "fault-injection")]
pub use inject::{InjectHold, InjectPanic, InjectStop};
#[cfg(feature = "fault-injection")]
pub(crate) use inject::{Panic, panic_injected};
pub use metrics::{GetMetrics, Measurements};
pub use pool::{
    GetBreaker, GetCommands, GetEvents, GetPoolName, GetQuarantine, GetRecorder, GetStack, GetStatus, GetTimeline,
    HealthCheck, KillWorker, ListRunningCalls, ListWorkers, PoolHealth, PrepareShutdown, RecordOutcome,
    ReleaseFromQuarantine, Reload, ReloadReport, RemainingWorker, ResetBreaker, RunningCall, SetBatch,
    SetWorkerLogLevel, Shutdown, ShutdownReport, WaitReady, WorkerInfo, WorkerStack,
};
pub use sessions::{
    CleanupStaleSessions, EndSession, GetSessionHistory, GetSessionInfo, ListSessions, TrackSession,
    UpdateSessionActivity,
};
