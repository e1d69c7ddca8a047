//! The pure core of a pool: routing, affinity, queue, deadlines and restarts as one synchronous step.
//!
//! Holds a pool's state and decides; performs no I/O, reads no clock, draws no random number. Time and seeds are arguments,
//! so every schedule replays. [`Core::handle`] is the step: an [`Input`] in, [`Effect`]s out.

mod breaker;
mod exit;
mod failure;
mod ids;
mod pace;
mod pool;
mod quarantine;
mod queue;
mod restart;
mod retry;
mod routing;
mod session;
mod session_id;
mod settings;
mod taxonomy;
mod time;
mod timers;
mod worker;

pub use breaker::{BreakerState, BreakerStatus, Outcome};
pub use exit::ExitStatus;
pub use failure::{Doom, End, Failure, Loss};
pub use ids::{
    CallId, Epoch, Fingerprint, Generation, InvalidFingerprint, InvalidPoolName, InvalidWorkerId, POOL_NAME_MAX,
    PoolName, WireId, WorkerId, WorkerRef,
};
pub use pool::{
    AffinityStatus, AttemptState, BindError, Core, Counters, Delivery, Effect, Effects, Features, Input, Lookup, Note,
    PAGE_SCAN, PastLife, PoolState, PoolStatus, QueueStatus, SESSIONS_SHOWN, Salvage, SessionCall, SessionEnd,
    SessionInfo, SessionPage, SessionState, SessionTrail, StopHow, Submission, TransitionStatus, WorkerStatus,
};
pub use quarantine::{Quarantined, Suspect, WATCHED_LIMIT, Watched};
pub use retry::Backoff;
pub use routing::{RebindReason, Routing};
pub use session::{GONE_LIMIT, Happened, TRAIL_LIMIT, TrailEvent};
pub use session_id::{InvalidSessionId, SESSION_ID_MAX, SessionId};
pub use settings::{
    Affinity, AffinitySettings, BreakerSettings, CancelSettings, CountedFailures, Expiry, HealthSettings, IfAbsent,
    KindSettings, OnExpired, PoisonSettings, QueueSettings, RestartSettings, RetrySettings, SessionSettings, Settings,
    WorkerType,
};
pub use taxonomy::{Category, Decision, Incident, Severity, Strategy, decide};
pub use time::Now;
pub use worker::{HISTORY_LIMIT, Health, InvalidTransition, Transition, Vitals, WorkerMetrics, WorkerState};
