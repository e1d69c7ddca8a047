//! The pure core of a pool: routing, affinity, queue, deadlines and restarts as one synchronous step.
//!
//! Holds a pool's state and decides; performs no I/O, reads no clock, draws no random number. Time and seeds are arguments.
mod exit;
mod ids;
mod settings;
mod time;

pub use exit::ExitStatus;
pub use ids::{
    CallId, Epoch, Generation, InvalidPoolName, InvalidSessionId, InvalidWorkerId, POOL_NAME_MAX, PoolName,
    SESSION_ID_MAX, SessionId, WireId, WorkerId, WorkerRef,
};
pub use settings::{
    Affinity, AffinitySettings, CancelSettings, Expiry, HealthSettings, IfAbsent, KindSettings, OnExpired,
    QueueSettings, RestartSettings, SessionSettings, Settings, WorkerType,
};
pub use time::Now;
