//! The number of attempts in advance. Holds numbers only.

use std::ops::{AddAssign, SubAssign};

/// The number of attempts that were sent in advance and have not begun. Their calls still wait, unless they are settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InAdvance {
    attempts: u32,
    /// Those whose calls any worker can run.
    any_worker: u32,
    /// Those whose calls only this worker can run, since it has the state of their sessions.
    bound: u32,
}

impl InAdvance {
    /// Counts one attempt. `waits` is whether its call is not settled, `is_strict` whether only this worker can run it.
    pub(super) fn one(waits: bool, is_strict: bool) -> Self {
        Self { attempts: 1, any_worker: u32::from(waits && !is_strict), bound: u32::from(waits && is_strict) }
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.attempts == 0
    }

    /// Returns the number of attempts, including those whose calls are settled.
    pub(super) fn attempts(self) -> u32 {
        self.attempts
    }

    /// Returns the number of calls that wait in advance.
    pub(crate) fn calls(self) -> usize {
        (self.any_worker + self.bound) as usize
    }

    /// Returns the number of calls that wait in advance and could run on any worker.
    pub(crate) fn for_any_worker(self) -> usize {
        self.any_worker as usize
    }
}

impl AddAssign for InAdvance {
    fn add_assign(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.any_worker += other.any_worker;
        self.bound += other.bound;
    }
}

impl SubAssign for InAdvance {
    fn sub_assign(&mut self, other: Self) {
        self.attempts -= other.attempts;
        self.any_worker -= other.any_worker;
        self.bound -= other.bound;
    }
}
