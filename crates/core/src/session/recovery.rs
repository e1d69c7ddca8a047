//! The part of the sessions that outlives a panic in a step of the pool: which sessions were bound.

use super::{Binding, Route, Unbound, sessions::Sessions};
use crate::{SessionId, Timestamp, WorkerRef};

/// The sessions that were bound when the state of a pool was rebuilt, and the epochs that were used.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionsSnapshot {
    bound: Vec<BoundSession>,
    next_epoch: u64,
}

#[derive(Clone, Debug)]
struct BoundSession {
    session: SessionId,
    worker: WorkerRef,
    /// Since when the session has no calls; `None` if it has some.
    idle: Option<Timestamp>,
}

impl Sessions {
    /// Reads what can be trusted even if a step was interrupted by a panic.
    pub(crate) fn snapshot(&self) -> SessionsSnapshot {
        let bound = self.routes().map_or_else(Vec::new, |routes| {
            let rows = routes.table.iter().map(|(_, row)| row);
            rows.filter(|row| row.marked().is_none() && !routes.is_released(&row.route))
                .filter_map(|row| match row.route.binding {
                    Binding::Bound { worker, .. } => Some(BoundSession {
                        session: row.id.clone(),
                        worker,
                        idle: (row.pending() == 0).then_some(row.last),
                    }),
                    Binding::Unbound(_) => None,
                })
                .collect()
        });
        SessionsSnapshot { bound, next_epoch: self.next_epoch }
    }

    /// Continues with the epochs of a snapshot, none of which is reused, and with its sessions: the first call of each
    /// is answered with the loss of its state.
    pub(crate) fn restore(&mut self, now: Timestamp, snapshot: SessionsSnapshot) {
        self.next_epoch = snapshot.next_epoch;
        let timeout = self.timeout;
        for bound in snapshot.bound {
            if bound.idle.is_none_or(|last| now < last.after(timeout)) {
                self.restore_lost(now, bound.session, bound.worker);
            }
        }
    }

    fn restore_lost(&mut self, now: Timestamp, id: SessionId, worker: WorkerRef) {
        let epoch = self.fresh_epoch();
        if let Some(routes) = self.routes_mut().filter(|routes| routes.has_slot(worker.id)) {
            let row = routes.table.insert(now, id, Route::new(epoch, Unbound::New));
            // The process is gone, so the binding is void and the next call reports the loss (R20).
            routes.bind(row, worker, epoch);
            routes.reset_session_count(worker);
        }
    }
}
