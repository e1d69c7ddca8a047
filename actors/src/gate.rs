//! The admission gate of a pool: an atomic count, passed on the caller's own thread. It is the bound of what is on its way to
//! the pool, so that the supervisor's mailbox is not a second, invisible queue. Knows nothing of calls.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts calls between their submission and their settling.
#[derive(Debug)]
pub(crate) struct Gate {
    admitted: AtomicUsize,
    limit: usize,
}

/// One call's place. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { admitted: AtomicUsize::new(0), limit })
    }

    /// A place, unless all are taken. Never waits.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let before = self.admitted.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.clone()); // dropped at once if there was no room
        (before < self.limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_permit_is_dropped() {
        let gate = Gate::new(2);
        let (one, two) = (gate.enter(), gate.enter());
        assert!(one.is_some() && two.is_some() && gate.enter().is_none());
        drop(one);
        assert!(gate.enter().is_some());
    }
}
