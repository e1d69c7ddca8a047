//! The admission gate of a pool: a counter that is checked on the caller's thread. It bounds the calls on their way to the
//! pool, so that the supervisor's mailbox, which accepts everything, is not a second, invisible queue.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts the calls from their submission until they are settled.
#[derive(Debug)]
pub(crate) struct Gate {
    admitted: AtomicUsize,
    limit: usize,
}

/// The place of one call. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { admitted: AtomicUsize::new(0), limit })
    }

    /// Returns a place, unless all are taken. Never waits.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let before = self.admitted.fetch_add(1, Ordering::Relaxed);
        // The permit is created in any case: without room it is dropped on return, which takes back the increment. A refused
        // caller is counted until then, so another one may be refused although a place has just become free; but no more than
        // `limit` are ever admitted.
        let permit = Permit(self.clone());
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
