//! What the bounds of a pool can be held to from outside (I6, I7). Counts; changes nothing.

use super::Core;
use crate::worker::Process;

impl Core {
    /// Entries in the heap of timers, stale ones too: O(calls + workers), whatever happened before (I6).
    pub fn timers_held(&self) -> usize {
        self.timers.len()
    }

    /// Base slots with neither a process nor a start to come. Zero unless the pool failed, is closing, or will soon (I7).
    pub fn missing_starts(&self) -> usize {
        self.slots.iter().filter(|slot| slot.base && matches!(slot.process, Process::Absent)).count()
    }
}
