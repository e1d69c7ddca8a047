//! The pure core of a pool: routing, affinity, queue, deadlines and restarts as one synchronous step.
//!
//! Holds a pool's state and decides; performs no I/O, reads no clock, draws no random number. Time and seeds are arguments,
//! so every schedule replays. [`Core::handle`] is the step: an [`Input`] in, [`Effect`]s out.

mod breaker;
mod error_policy;
mod exit;
mod failure;
mod ids;
mod pool;
mod quarantine;
mod queue;
mod restart;
mod retry;
mod routing;
mod service_time;
mod session;
mod session_id;
mod settings;
mod time;
mod timers;
mod worker;

pub use breaker::{BreakerState, BreakerStatus, Outcome};
pub use error_policy::{Category, Decision, Incident, Severity, Strategy, decide};
pub use exit::ExitStatus;
pub use failure::{CallFailure, KillReason, ProcessExit, WorkerLoss};
pub use ids::{
    CallId, Epoch, Fingerprint, Generation, InvalidFingerprint, InvalidPoolName, InvalidWorkerId, POOL_NAME_MAX,
    PoolName, WireId, WorkerId, WorkerRef,
};
pub use pool::{
    AffinityStatus, AttemptState, BindError, Core, Counters, Delivery, Effect, Effects, Features, Input, LogEvent,
    Lookup, PAGE_SCAN, PastSession, PoolState, PoolStatus, QueueStatus, RecoverySnapshot, SESSIONS_SHOWN, SessionCall,
    SessionEndReason, SessionEventLog, SessionInfo, SessionPage, SessionState, StopMethod, Submission,
    TransitionStatus, WorkerStatus,
};
pub use quarantine::{QUARANTINE_LIMIT, QuarantineEntry, Quarantined, Suspect};
pub use retry::Backoff;
pub use routing::{RebindReason, Routing};
pub use session::{REMOVED_SESSION_LIMIT, SESSION_EVENT_LIMIT, SessionEvent, SessionEventKind};
pub use session_id::{InvalidSessionId, SESSION_ID_MAX, SessionId};
pub use settings::{
    Affinity, AffinitySettings, BreakerSettings, CancelSettings, CountedFailures, Expiry, HealthSettings, IfAbsent,
    OnExpired, PoisonSettings, QueueSettings, RestartSettings, RetrySettings, SessionSettings, Settings, WorkerType,
    WorkerTypeSettings,
};
pub use time::Timestamp;
pub use worker::{HISTORY_LIMIT, Health, InvalidTransition, ProcessActivity, Transition, WorkerMetrics, WorkerState};
