//! The data that is kept when the state of a pool is rebuilt after a panic in one of its steps: names and numbers only.

use super::Core;
use crate::{CallId, RecoverySnapshot, Settings, Timestamp};

impl Core {
    /// Reads what can be trusted even if a step was interrupted by a panic. A new core that continues with it never
    /// reuses a wire id, epoch or generation.
    pub fn recovery_snapshot(&self) -> RecoverySnapshot {
        RecoverySnapshot {
            generations: self.workers.iter().map(|slot| slot.worker.generation).collect(),
            sessions: self.sessions.snapshot(),
            next_wire: self.next_wire,
            state_rebuilds: self.counters.state_rebuilds + 1,
        }
    }

    /// Returns a core that continues with the numbers of another one. All base workers are started again, unless the pool is idle. The first
    /// call of each session that was bound is answered with the loss of its state.
    pub fn resume(settings: Settings, seed: u64, now: Timestamp, snapshot: RecoverySnapshot) -> Self {
        let mut core = Self::build(settings, seed, now);
        core.next_wire = snapshot.next_wire;
        core.counters.state_rebuilds = snapshot.state_rebuilds;
        if snapshot.generations.len() > core.workers.len() {
            core.add_vacant_slot();
        }
        // A generation begins with the start of a process.
        let has_started = snapshot.generations.iter().any(|generation| generation.0 > 0);
        core.workers.continue_generations(snapshot.generations);
        core.sessions.restore(now, snapshot.sessions);
        if core.settings.lazy && !has_started {
            core.restarts.begin_idle();
        } else {
            core.schedule_base_workers(now);
        }
        core.sessions.start_sweeps(now);
        core
    }

    /// Returns the admitted calls that are not settled, in the order of admission.
    pub fn unsettled(&self) -> Vec<CallId> {
        self.calls.in_order()
    }
}
