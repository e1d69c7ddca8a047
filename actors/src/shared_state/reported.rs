//! What the event feed of a pool was told of its state, of its breaker and of its quarantine. Pure data.

use herder_core::{BreakerState, Core, PoolState, Timestamp};
use std::collections::BTreeMap;

/// What was reported last.
pub(super) struct Reported {
    pub(super) pool: PoolState,
    /// `None`: the pool has no breaker.
    pub(super) breaker: Option<BreakerState>,
    /// The commands of the calls in quarantine, by their fingerprints.
    pub(super) quarantined: BTreeMap<u64, String>,
}

impl Reported {
    pub(super) fn of(core: &Core, now: Timestamp) -> Self {
        let breaker = core.breaker(now).map(|status| status.state);
        Self { pool: core.pool_state(), breaker, quarantined: BTreeMap::new() }
    }

    /// Returns whether the breaker was reported as not closed, so that a success can change it.
    pub(super) fn breaker_is_tripped(&self) -> bool {
        self.breaker.is_some_and(|state| state != BreakerState::Closed)
    }
}
