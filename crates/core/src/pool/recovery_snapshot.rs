//! What survives when a pool's state is built anew after a panic in its own step: names and numbers, nothing else.

use super::{Core, index};
use crate::{
    CallId, Generation, SessionId, Settings, Timestamp, WorkerRef,
    session::{Binding, Route, Sessions, Unbound},
    timers::Timer,
    worker::Process,
};

/// The part of a core that a new one goes on from.
#[derive(Clone, Debug, Default)]
pub struct RecoverySnapshot {
    generations: Vec<Generation>,
    sessions: Vec<BoundSession>,
    next_wire: u64,
    next_epoch: u64,
    restarts_counted: u64,
}

#[derive(Clone, Debug)]
struct BoundSession {
    session: SessionId,
    worker: WorkerRef,
    /// Since when it has no calls, if it has none.
    idle: Option<Timestamp>,
}

impl Core {
    /// Takes what can be trusted even if a step was torn: no id, epoch or generation is ever used twice.
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
            generations: self.slots.iter().map(|slot| slot.worker.generation).collect(),
            sessions: bound(&self.sessions),
            next_wire: self.next_wire,
            next_epoch: self.next_epoch,
            restarts_counted: self.counters.state_rebuilds + 1,
        }
    }

    /// A pool that goes on from another's salvage: all workers are started anew, and each session that was bound is told once.
    pub fn resume(settings: Settings, seed: u64, now: Timestamp, snapshot: RecoverySnapshot) -> Self {
        let mut core = Self::build(settings, seed, now);
        core.next_wire = snapshot.next_wire;
        core.next_epoch = snapshot.next_epoch;
        core.counters.state_rebuilds = snapshot.restarts_counted;
        for (slot, generation) in core.slots.iter_mut().zip(snapshot.generations) {
            slot.worker.generation = generation;
        }
        let timeout = core.settings.sessions.timeout;
        for bound in snapshot.sessions {
            if bound.idle.is_none_or(|last| now < last + timeout) {
                core.restore_lost(now, bound.session, bound.worker);
            }
        }
        for slot in core.slots.iter_mut().filter(|slot| slot.base) {
            slot.process = Process::Scheduled { at: now };
            core.timers.set(now, Timer::Worker(slot.worker.id));
        }
        core.sweep_by(now + core.settings.sessions.cleanup_interval);
        core
    }

    fn restore_lost(&mut self, now: Timestamp, id: SessionId, worker: WorkerRef) {
        let epoch = self.fresh_epoch();
        if index(worker.id) < self.slots.len()
            && let Sessions::Routed(routes) = &mut self.sessions
        {
            let row = routes.table.insert(now, id, Route::new(epoch, Unbound::New));
            routes.bind(row, worker, epoch); // to a process that is gone: the next call is told
            routes.on_worker_exit(worker);
        }
    }

    /// All calls that are admitted and not settled, in the order of admission.
    pub fn unsettled(&self) -> Vec<CallId> {
        let mut all: Vec<CallId> = self.calls.keys().copied().collect();
        all.sort_unstable();
        all
    }
}
