//! The data that is kept when the state of a pool is rebuilt after a panic in one of its steps: names and numbers only.

use crate::{Generation, session::SessionsSnapshot};

/// The part of a core with which a new core continues.
#[derive(Clone, Debug, Default)]
pub struct RecoverySnapshot {
    pub(crate) generations: Vec<Generation>,
    pub(crate) sessions: SessionsSnapshot,
    pub(crate) next_wire: u64,
    pub(crate) state_rebuilds: u64,
}
