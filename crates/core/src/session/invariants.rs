//! Checks of the invariants of [`Sessions`], for tests. Reads only.

use super::{
    AfterEpoch, Binding, Route, Row,
    sessions::{Kind, Sessions},
};
use crate::{
    CallId, RowKey,
    calls::{Call, CallState, Calls, Role},
    waiting::Queue,
    worker::{SlotHolder, Workers},
};

impl Sessions {
    /// Reports each broken invariant of the sessions, given the workers and the unsettled calls of the pool.
    pub(crate) fn verify(&self, workers: &Workers, calls: &Calls, broken: &mut Vec<String>) {
        if self.len() > self.settings.max {
            broken.push(format!("S4: there are {} sessions, more than {}", self.len(), self.settings.max));
        }
        if self.next_sweep > self.next_removal() && !self.is_sweeping {
            broken.push(format!("I8: the sweep at {:?} is too late for a marked session", self.next_sweep));
        }
        let pending = pending_rows(workers, calls);
        match &self.kind {
            Kind::Tracked(table) => {
                table.verify(broken);
                table.iter().for_each(|(key, row)| verify_pending(key, row, &pending, broken));
            }
            Kind::Routed(routes) => {
                routes.table.verify(broken);
                routes.verify(workers.iter().filter(|slot| slot.is_live()).map(|slot| slot.worker), broken);
                for (key, row) in routes.table.iter() {
                    verify_pending(key, row, &pending, broken);
                    self.verify_epochs(key, row, calls, broken);
                    if row.route.after_epoch() == AfterEpoch::Forget && row.pending() == 0 {
                        broken.push(format!("R22: session {} was ended and has no calls, but exists", row.id));
                    }
                    verify_current(key, row, workers, calls, broken);
                }
            }
        }
        for key in pending.into_iter().filter(|key| !self.has_row(*key)) {
            broken.push(format!("S3: the session of a call is gone: {key:?}"));
        }
    }

    /// Reports a session whose epochs are not in order, or whose calls are not its own.
    fn verify_epochs(&self, key: RowKey, row: &Row<Route>, calls: &Calls, broken: &mut Vec<String>) {
        let (id, route) = (&row.id, &row.route);
        let epoch_of = |call: CallId| match calls.get(call).map(|call| call.role) {
            Some(Role::Strict { row, epoch, .. }) if row == key => Some(epoch),
            _ => None,
        };
        let bound = match route.binding {
            Binding::Bound { epoch, .. } => Some(epoch),
            Binding::Unbound(_) => None,
        };
        // The current call may be settled already, but nothing that waits behind it.
        let current = route.current_call().filter(|call| calls.contains(*call));
        let mut waiting: Vec<CallId> = calls.iter().filter(|call| waits_for(key, call)).map(|call| call.id).collect();
        waiting.sort_unstable();
        if !waiting.is_empty() && route.current_call().is_none() {
            broken.push(format!("S2: calls of session {id} wait for no current call"));
        }
        let mut epochs: Vec<_> = current.into_iter().chain(waiting).map(epoch_of).collect();
        if epochs.contains(&None) {
            broken.push(format!("S2: a call of session {id} is not its own"));
        }
        epochs.push(Some(route.epoch));
        if !epochs.is_sorted() || bound > Some(route.epoch) || route.epoch.0 > self.next_epoch {
            broken.push(format!("S2: the epochs of session {id} are not in order: {bound:?}, {epochs:?}"));
        }
    }

    fn has_row(&self, key: RowKey) -> bool {
        match &self.kind {
            Kind::Tracked(table) => table.row(key).is_some(),
            Kind::Routed(routes) => routes.table.row(key).is_some(),
        }
    }
}

/// Reports a session whose current call has neither a call nor an attempt, so that its other strict calls wait for
/// nothing.
fn verify_current(key: RowKey, row: &Row<Route>, workers: &Workers, calls: &Calls, broken: &mut Vec<String>) {
    let Some(current) = row.route.current_call().filter(|call| !calls.contains(*call)) else { return };
    let mut attempts = workers.iter().flat_map(|slot| slot.attempts().iter());
    // The call was settled while its attempt ran, which still uses the state of the session.
    if !attempts.any(|attempt| attempt.strict_row() == Some(key)) {
        broken.push(format!("S2: session {} waits for {current}, which neither waits nor runs", row.id));
    }
}

/// Returns whether the call waits for the current call of this session.
fn waits_for(row: RowKey, call: &Call) -> bool {
    call.role.row() == Some(row) && call.state == CallState::Queued(Queue::Session)
}

/// Returns the session of each call that is queued or unfinished: those that are not settled, and the attempts of
/// settled ones.
fn pending_rows(workers: &Workers, calls: &Calls) -> Vec<RowKey> {
    let unsettled = calls.iter().filter_map(|call| call.role.row());
    let attempts = workers.iter().flat_map(|slot| slot.attempts().iter());
    let abandoned = attempts.filter(|attempt| matches!(attempt.holder, SlotHolder::Abandoned { .. }));
    unsettled.chain(abandoned.filter_map(|attempt| attempt.session.map(|session| session.row))).collect()
}

fn verify_pending<R>(key: RowKey, row: &Row<R>, pending: &[RowKey], broken: &mut Vec<String>) {
    let found = pending.iter().filter(|row| **row == key).count();
    if found != row.pending() as usize {
        broken.push(format!("S3: session {} has {found} calls, but counts {}", row.id, row.pending()));
    }
}
