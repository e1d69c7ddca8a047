//! Numbers by which tests check the bounds of a pool from outside ([I6 and I7](crate#invariants)). Reads only.

use super::Core;
use crate::worker::Process;

impl Core {
    /// Returns the number of timer entries, including stale ones. It is O(calls + workers) at any time
    /// ([I6](crate#invariants)).
    pub fn timers_held(&self) -> usize {
        self.timers.len()
    }

    /// Returns the number of base slots with neither a process nor a scheduled start. It is zero unless the pool has
    /// failed or shuts down, or will do so soon ([I7](crate#invariants)).
    pub fn missing_starts(&self) -> usize {
        self.slots.iter().filter(|slot| slot.base && matches!(slot.process, Process::Absent)).count()
    }
}
