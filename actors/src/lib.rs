//! The actors of a Herder pool: [`PoolSupervisor`] starts one [`WorkerActor`] per process and, in a pool with session
//! affinity, one [`SessionAffinityActor`]. They pass inputs to the core (`herder-core`) and apply the effects that it
//! returns.
//!
//! All state of a pool is in one value that its actors share on one arbiter, and each change is one synchronous step.
//! Applications use this crate through `herder`.

#[cfg(panic = "abort")]
compile_error!(
    "Herder needs `panic = \"unwind\"`: it catches a panic in an actor, answers the calls concerned and rebuilds its state; with \
     `panic = \"abort\"` any panic would end the process and all sessions. Remove `panic = \"abort\"` from the profile in Cargo.toml."
);

mod call_log;
mod child;
mod chunks;
mod client;
mod clock;
mod commands;
mod config;
mod error;
mod events;
mod gate;
mod launcher;
mod messages;
mod metrics;
mod package;
mod panic_text;
mod pool_events;
mod pool_supervisor;
mod process_usage;
mod recorder;
pub mod registry;
mod reply;
mod session_affinity;
mod session_history;
mod shared_state;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod timeline;
pub mod traces;
mod worker;

pub use child::{ChildHandle, LaunchError, Sampler};
pub use client::{PendingReply, PendingStream, PoolClient};
pub use clock::now;
pub use commands::CommandDescription;
pub use config::{
    Affinity, AppPath, Backoff, Basic, BatchSettings, Breaker, Buffers, Cancel, CountedFailures, Enhanced, EnvMode,
    Expiry, Features, Health, IfAbsent, InvalidConfig, Launch, NumericThreads, OnExpired, Pipeline, Poison,
    PoolBuilder, PoolConfig, Queue, Restart, Retry, Routed, Sessions, StartMethod, Stop, StopSettings, Streams,
    Tracked, WorkerType, schema,
};
#[cfg(feature = "http")]
pub use error::set_error_detail;
pub use error::{
    Attempt, AttemptProblemDetails, Attempts, Category, Cause, Decision, Error, ErrorDetail, ErrorId, ExitReport,
    Incident, InvalidErrorDetail, ProblemDetails, Result, Severity, Strategy, decide,
};
pub use events::{EventLog, wait_emitted};
pub use launcher::{LaunchFuture, Launched, Launcher, TemplateStatus};
pub use messages::{
    AffinityStats, BindSession, CleanupStaleSessions, EndSession, Execute, ExecuteInSession, GetBreaker, GetCommands,
    GetEvents, GetInternalStats, GetMetrics, GetPoolName, GetQuarantine, GetRecorder, GetSessionHistory,
    GetSessionInfo, GetSessionState, GetStack, GetStats, GetStatus, GetTimeline, GetWorker, HealthCheck, InternalStats,
    KillWorker, ListRunningCalls, ListSessions, ListWorkers, Measurements, PoolHealth, PrepareShutdown, RecordOutcome,
    ReleaseFromQuarantine, Reload, ReloadReport, RemainingWorker, RemoveWorkerSessions, Request, ResetBreaker,
    RunningCall, SessionStatus, SetBatch, SetWorkerLogLevel, Shutdown, ShutdownReport, TrackSession, UnbindSession,
    UpdateSessionActivity, WaitReady, WorkerInfo, WorkerStack,
};
#[cfg(feature = "fault-injection")]
pub use messages::{InjectHold, InjectPanic, InjectStop};
pub use metrics::{
    CommandMetrics, CoreCounts, Exemplar, FeatureUse, Histogram, Outcomes, PoolMetrics, ProcessMetrics, SessionMetrics,
    SlotMetrics, TIME_BOUNDS,
};
pub use pool_events::{EventBatch, EventFeed, PoolEvent, PoolEventKind};
pub use pool_supervisor::{PoolSupervisor, execute::CallResponse};
pub use recorder::{Descriptor, Direction, RecordedExit, RecordedFrame, RecordedTransition, Recording};
pub use reply::{Reply, ReplyMetadata};
pub use session_affinity::SessionAffinityActor;
pub use session_history::{HistoryEntry, HistoryState, PastSessionEntry, SessionHistory};
pub use status::{
    BufferStatus, CommandStatus, Percentiles, RunningCallStatus, RunningSummary, SessionAffinity, Status,
    WorkerActivity, WorkerEntry,
};
pub use timeline::{Timeline, TimelineCall, TimelineDeath};
pub use worker::WorkerActor;

pub use herder_wire::{Buffer, InvalidBuffer};

pub use herder_core::{
    BatchStatus, BindError, BreakerState, BreakerStatus, Counters, Epoch, Fingerprint, Generation, InvalidFingerprint,
    InvalidPoolName, InvalidSessionId, InvalidTransition, InvalidWorkerId, Outcome, PoolName, PoolState,
    ProcessActivity, QuarantineEntry, QueueStatus, RebindReason, Routing, SessionCall, SessionId, SessionInfo,
    SessionPage, SessionState, Timestamp, TransitionStatus, WorkerId, WorkerMetrics, WorkerRef, WorkerState,
    WorkerStatus,
};
/// The settings that [`PoolConfig::settings`] returns, group by group.
pub mod settings {
    pub use herder_core::{BreakerSettings, PoisonSettings, RetrySettings};
}
pub use herder_core::{Features as ActiveFeatures, Health as WorkerHealth};
#[doc(hidden)]
pub use herder_process::explain as explain_io_error;
pub use herder_process::{
    ExitMemory, OutOfMemory, ProcessSample, Signal, raise_descriptor_limit, reap_orphans, reset_signals,
    return_large_buffers, set_foreground, thread_builder,
};
#[cfg(feature = "inspect")]
pub use herder_process::{in_fork, inspect};
#[doc(hidden)]
pub use herder_python::FILES as PYTHON_PACKAGE;
pub use herder_wire::{
    ArgumentError, ArgumentStep, PayloadError, RejectionData, Stamps, TraceParent, check_json, check_json_object,
    without_byte_order_mark,
};
#[doc(hidden)]
pub use launcher::{CLEAN_ENV_VARIABLES, TOKEN_VARIABLES};
