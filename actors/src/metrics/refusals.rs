//! Counts calls that are refused on the threads of their callers, until the pool's thread counts them.

use foldhash::fast::FixedState;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The maximum number of pairs of command and kind of error. Further calls are counted without their command, since callers can
/// invent any number of names.
const MAX_PAIRS: usize = 256;

/// The refused calls by command and kind of error.
pub(crate) type RefusedCalls = HashMap<(Arc<str>, &'static str), u64, FixedState>;

/// Refused calls that the pool's thread has not counted yet. Refusals are rare or cheap to delay, so a lock is good enough.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<RefusedCalls>);

impl Refusals {
    pub(crate) fn count(&self, command: &Arc<str>, kind: &'static str) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (command.clone(), kind);
        let pair = if calls.len() < MAX_PAIRS || calls.contains_key(&pair) { pair } else { (Arc::from(""), kind) };
        *calls.entry(pair).or_default() += 1;
    }

    /// Returns the refused calls, and forgets them.
    pub(crate) fn take(&self) -> RefusedCalls {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R54: names that callers invent do not make the map grow, and no call is lost.
    #[test]
    fn r54_refusals_are_counted_in_bounded_memory() {
        let refusals = Refusals::default();
        for number in 0..2000 {
            refusals.count(&number.to_string().into(), "queue-full");
            refusals.count(&number.to_string().into(), "malformed");
        }
        let calls = refusals.take();
        assert_eq!((calls.len(), calls.values().sum::<u64>()), (MAX_PAIRS + 2, 4000));
        assert!(refusals.take().is_empty());
    }
}
