//! The core of a pool: routing, session affinity, queues, deadlines and restarts, as one synchronous state machine.
//!
//! The core holds the state of a pool and makes all its decisions. It performs no I/O, reads no clock and draws no random
//! number: times and seeds are arguments, so runs can be replayed. [`Core::handle`] performs one step: it takes an [`Input`]
//! and appends [`Effect`]s, which the caller (the *shell*) carries out.
//!
//! # Invariants
//!
//! These hold after each step. Comments, tests and the model checker cite them by number.
//!
//! - **I1**: each submitted call is answered exactly once, and only by a final frame of its own attempt or by a failure. If I1
//!   broke, a caller would wait forever or receive the result of another call.
//! - **I2**: a process never has more unfinished invocations than its window, counting those whose calls are already settled. An
//!   invocation is one attempt, or the attempts of one batch, and is unfinished as long as one of them is. If I2
//!   broke, a worker would be sent more calls than it accepts, and calls would wait in it while another worker is free.
//! - **I3**: the strict calls of a session run one at a time, in the order of admission, under the epoch in which they were
//!   admitted, and the state of an epoch stays in one process. If I3 broke, two handlers would change a session's state at the
//!   same time, or a call would run with the state of an earlier epoch.
//! - **I4**: lookups return only live processes, calls are sent only to these; a binding names one process (slot and
//!   generation), never its successor. If I4 broke, calls would be sent to processes that have exited or do not hold the
//!   session's state.
//! - **I5**: a pool without session affinity binds no sessions and sends no epochs, and a basic pool has neither metrics nor
//!   history. If I5 broke, the features of an enhanced pool would change how a basic pool behaves and what it costs.
//! - **I6**: everything in the core that grows has a bound: queues, sessions, timers, histories, events, quarantine entries, and
//!   the session ends that are sent to a worker. If I6 broke, a host that runs for months would exhaust its memory.
//! - **I7**: each base slot has a process, or a start scheduled for a later time, unless the pool is idle, has failed, or its
//!   shutdown was announced or has begun; an idle pool has no call, and a failed pool has a scheduled probe. If I7 broke, a pool would lose capacity until its
//!   host is restarted.
//! - **I8**: everything that is pending is due at exactly the time at which it must be examined. If I8 broke, a call, a start
//!   or a sweep would wait forever.

mod admission;
mod batch;
mod calls;
mod derived;
mod due;
mod error_policy;
mod failure;
mod ids;
mod indexed_heap;
mod messages;
mod pool;
mod process_activity;
mod recovery_snapshot;
mod reload;
mod restarts;
mod retries;
mod routing;
mod session;
mod session_id;
mod settings;
mod slab;
mod status;
mod time;
mod waiting;
mod worker;

pub use admission::{BreakerState, BreakerStatus, Outcome, QUARANTINE_LIMIT, QuarantineEntry, Suspect};
pub use batch::{BATCHED_COMMAND_LIMIT, BatchKey, BatchLimits, BatchStatus};
pub use error_policy::{Category, Decision, Incident, Severity, Strategy, decide};
pub use failure::{CallFailure, ExitStatus, KillReason, LostAttempts, ProcessExit, Quarantined, WorkerLoss};
pub(crate) use ids::RowKey;
pub use ids::{
    CallId, Epoch, Fingerprint, Generation, InvalidFingerprint, InvalidPoolName, InvalidWorkerId, POOL_NAME_MAX,
    PoolName, WireId, WorkerId, WorkerRef,
};
pub use messages::{
    Answers, AttemptState, Delivery, Dispatch, Effect, Effects, FinalAnswer, Finished, Input, LogEvent, SessionCall,
    SessionEndReason, StopMethod, StreamLimits, StreamWait, Submission,
};
pub use pool::Core;
pub use process_activity::ProcessActivity;
pub use recovery_snapshot::RecoverySnapshot;
pub use reload::{ReloadOutcome, Reloaded};
pub use routing::{RebindReason, Routing};
pub use session::{
    AffinityStatus, BindError, Lookup, PAGE_SCAN, PastSession, REMOVED_SESSION_LIMIT, SESSION_EVENT_LIMIT,
    SessionEvent, SessionEventKind, SessionEventLog, SessionInfo, SessionPage, SessionState,
};
pub use session_id::{InvalidSessionId, SESSION_ID_MAX, SessionId};
pub use settings::{
    Affinity, AffinitySettings, Backoff, BreakerSettings, CancelSettings, CountedFailures, Expiry, HealthSettings,
    IfAbsent, OnExpired, Pipeline, PoisonSettings, QueueSettings, RestartSettings, RetrySettings, SessionSettings,
    Settings, StreamSettings, WorkerType, WorkerTypeSettings,
};
pub use status::{
    Counters, Features, PoolState, PoolStatus, QueueStatus, SESSIONS_SHOWN, TransitionStatus, WorkerStatus,
};
pub use time::Timestamp;
pub use worker::{HISTORY_LIMIT, Health, InvalidTransition, Transition, WorkerMetrics, WorkerState};
