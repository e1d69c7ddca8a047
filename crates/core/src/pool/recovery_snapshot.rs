//! The data that is kept when the state of a pool is rebuilt after a panic in one of its steps: names and numbers only.

use super::Core;
use crate::{
    CallId, Generation, SessionId, Settings, Timestamp, WorkerId, WorkerRef,
    session::{Binding, Route, Sessions, Unbound},
};

/// The part of a core with which a new core continues.
#[derive(Clone, Debug, Default)]
pub struct RecoverySnapshot {
    generations: Vec<Generation>,
    sessions: Vec<BoundSession>,
    next_wire: u64,
    next_epoch: u64,
    state_rebuilds: u64,
}

#[derive(Clone, Debug)]
struct BoundSession {
    session: SessionId,
    worker: WorkerRef,
    /// Since when the session has no calls; `None` if it has some.
    idle: Option<Timestamp>,
}

impl Core {
    /// Reads what can be trusted even if a step was interrupted by a panic. A new core that continues with it never
    /// reuses a wire id, epoch or generation.
    pub fn recovery_snapshot(&self) -> RecoverySnapshot {
        let bound = |sessions: &Sessions| match sessions {
            Sessions::Tracked(_) => Vec::new(),
            Sessions::Routed(routes) => routes
                .table
                .iter()
                .filter(|(_, row)| row.marked().is_none() && !routes.is_released(&row.route))
                .filter_map(|(_, row)| match row.route.binding {
                    Binding::Bound { worker, .. } => Some(BoundSession {
                        session: row.id.clone(),
                        worker,
                        idle: (row.pending() == 0).then_some(row.last),
                    }),
                    Binding::Unbound(_) => None,
                })
                .collect(),
        };
        RecoverySnapshot {
            generations: self.workers.iter().map(|slot| slot.worker.generation).collect(),
            sessions: bound(&self.sessions),
            next_wire: self.next_wire,
            next_epoch: self.next_epoch,
            state_rebuilds: self.counters.state_rebuilds + 1,
        }
    }

    /// Returns a core that continues with the numbers of another one. All base workers are started again. The first
    /// call of each session that was bound is answered with the loss of its state.
    pub fn resume(settings: Settings, seed: u64, now: Timestamp, snapshot: RecoverySnapshot) -> Self {
        let mut core = Self::build(settings, seed, now);
        core.next_wire = snapshot.next_wire;
        core.next_epoch = snapshot.next_epoch;
        core.counters.state_rebuilds = snapshot.state_rebuilds;
        core.workers.continue_generations(snapshot.generations);
        let timeout = core.settings.sessions.timeout;
        for bound in snapshot.sessions {
            if bound.idle.is_none_or(|last| now < last + timeout) {
                core.restore_lost_session(now, bound.session, bound.worker);
            }
        }
        for worker in (1..=core.settings.pool_size).map(WorkerId) {
            core.schedule(worker, now);
        }
        core.sweep_by(now + core.settings.sessions.cleanup_interval);
        core
    }

    fn restore_lost_session(&mut self, now: Timestamp, id: SessionId, worker: WorkerRef) {
        let epoch = self.fresh_epoch();
        if self.workers.get(worker.id).is_some()
            && let Sessions::Routed(routes) = &mut self.sessions
        {
            let row = routes.table.insert(now, id, Route::new(epoch, Unbound::New));
            // The process is gone, so the binding is void and the next call reports the loss (R20).
            routes.bind(row, worker, epoch);
            routes.on_worker_exit(worker);
        }
    }

    /// Returns the admitted calls that are not settled, in the order of admission.
    pub fn unsettled(&self) -> Vec<CallId> {
        self.calls.in_order()
    }
}
