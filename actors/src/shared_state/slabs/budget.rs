//! The number of bytes that all slabs of a pool may have together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The number of bytes that all slabs of a pool may have together. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SlabBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: u64,
    used: AtomicU64,
    /// Holds up the work on slabs until it is disconnected.
    #[cfg(feature = "fault-injection")]
    hold: std::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

/// A part of the budget. It is released when the memory is.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: SlabBudget,
    bytes: u64,
}

impl SlabBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Budget {
            limit,
            used: AtomicU64::new(0),
            #[cfg(feature = "fault-injection")]
            hold: Default::default(),
        }))
    }

    /// Returns the bytes of the slabs, and their limit.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.0.used.load(Ordering::Relaxed), self.0.limit)
    }

    pub(super) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        // Replies are dropped on any thread, but only numbers are shared: no order with other memory is needed.
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }
}

#[cfg(feature = "fault-injection")]
impl SlabBudget {
    /// Holds up the work on slabs until the sender is dropped.
    pub(crate) fn hold(&self, until: std::sync::mpsc::Receiver<()>) {
        *self.0.hold.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(until);
    }
}

#[cfg(feature = "fault-injection")]
impl Reservation {
    pub(super) fn wait_while_held(&self) {
        let mut hold = self.budget.0.hold.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = hold.take().map(|until| until.recv());
    }
}

impl Reservation {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R43: the budget of a pool is never exceeded, and is whole again when all its parts are released.
    #[test]
    fn r43_a_budget_is_never_exceeded() {
        let budget = SlabBudget::new(10);
        let parts = [budget.reserve(6), budget.reserve(4)];
        assert!(parts.iter().all(Option::is_some) && budget.reserve(1).is_none() && budget.reserve(u64::MAX).is_none());
        drop(parts);
        assert!(budget.reserve(10).is_some());
    }
}
