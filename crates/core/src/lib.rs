//! The pure core of a pool.
mod exit;
mod ids;

pub use exit::ExitStatus;
pub use ids::{
    CallId, Epoch, Generation, InvalidPoolName, InvalidSessionId, InvalidWorkerId, POOL_NAME_MAX, PoolName,
    SESSION_ID_MAX, SessionId, WireId, WorkerId, WorkerRef,
};
