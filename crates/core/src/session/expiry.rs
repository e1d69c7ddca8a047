//! The expiry of sessions (R16): on read, by the sweep, or to make room. A session with calls never expires.

use super::{
    Row, SessionEventKind, Unbound,
    sessions::{Kind, Sessions},
    step::Step,
};
use crate::{Expiry, RowKey, SessionEndReason, Timestamp, failure::CallFailure};
use std::time::Duration;

/// The number of rows that a sweep visits before it lets calls run.
const SWEEP_STEP: usize = 256;
/// The time between two steps of a sweep, and the shortest time between two sweeps.
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// Whether a session that was read has expired.
pub(super) enum SessionAge {
    Alive,
    /// Expired and marked, but still remembered.
    Marked,
    /// Expired, and removed by this read. The next binding of the session reports this reason.
    Gone(Unbound),
}

impl Sessions {
    /// Applies the expiry to a session that is read. With two-phase expiry, the read itself marks the session.
    pub(super) fn expiry_on_read(&mut self, row: RowKey, step: &mut Step<'_>) -> SessionAge {
        let (now, timeout) = (step.now, self.timeout);
        let Some(routes) = self.routes() else { return SessionAge::Alive };
        if !routes.table.is_due(row, now, timeout) {
            return SessionAge::Alive;
        }
        match routes.settings.expiry {
            Expiry::Immediate => {
                self.expired += 1;
                self.remove(row, SessionEndReason::Expired, step);
                SessionAge::Gone(Unbound::Expired)
            }
            Expiry::TwoPhase { grace } => {
                let marked = routes.table.row(row).and_then(Row::marked);
                if marked.is_some_and(|at| grace_passed(now, at, grace)) {
                    self.expired += 1;
                    self.remove(row, SessionEndReason::Expired, step);
                    return SessionAge::Gone(Unbound::New);
                }
                self.mark(row, step);
                SessionAge::Marked
            }
        }
    }

    /// Marks a session as expired: the first phase of two-phase expiry.
    fn mark(&mut self, row: RowKey, step: &mut Step<'_>) {
        let Some(routes) = self.routes_mut() else { return };
        let Expiry::TwoPhase { grace } = routes.settings.expiry else { return };
        if routes.table.mark(row, step.now) {
            self.record(step.now, row, SessionEventKind::MarkedExpired, None);
            // The removal may be due before the next sweep (I8). Not `next_removal`: a session that was marked earlier may be
            // due now, and a sweep that marks this one removes it in the same step. Another sweep would follow at once.
            self.sweep_by(removal_of(step.now, grace));
        }
    }

    /// Renews an expired session: ends its old state and keeps its row, with a new epoch.
    pub(super) fn renew_expired(&mut self, row: RowKey, step: &mut Step<'_>) {
        self.end_state(row, SessionEndReason::Expired, Unbound::Expired, step);
        self.record(step.now, row, SessionEventKind::Unbound(SessionEndReason::Expired), None);
        let epoch = self.fresh_epoch();
        if let Some(routes) = self.routes_mut() {
            routes.table.touch(row, step.now);
            if let Some(route) = routes.route_mut(row) {
                route.epoch = epoch;
            }
        }
    }

    /// Performs one step of the sweep, which visits at most `budget` rows. Returns the number of removed sessions and
    /// whether more are due. With two-phase expiry, sessions are first marked, and removed after `grace`.
    pub(crate) fn sweep(&mut self, budget: usize, step: &mut Step<'_>) -> (usize, bool) {
        let mut removed = 0;
        for _ in 0..budget {
            match self.sweep_one(step) {
                Some(gone) => removed += usize::from(gone),
                None => {
                    self.count_removed_sessions(removed, true);
                    return (removed, false);
                }
            }
        }
        self.count_removed_sessions(removed, false);
        (removed, true)
    }

    /// Returns when the next marked session may be removed, or [`Timestamp::NEVER`]. It is always later than the
    /// marking, even if `grace` is zero.
    pub(crate) fn next_removal(&self) -> Timestamp {
        let grace = self.routes().map(|routes| (routes, routes.settings.expiry));
        let Some((routes, Expiry::TwoPhase { grace })) = grace else { return Timestamp::NEVER };
        routes.table.oldest_marked().map_or(Timestamp::NEVER, |(_, at)| removal_of(at, grace))
    }

    /// Visits the oldest due session. Returns whether it was removed, not only marked; `None` if no session is due.
    fn sweep_one(&mut self, step: &mut Step<'_>) -> Option<bool> {
        if self.mark_one(step) {
            return Some(false);
        }
        let row = self.oldest_removable(step.now)?;
        self.remove(row, SessionEndReason::Expired, step);
        Some(true)
    }

    /// Marks the oldest due session (two-phase expiry only).
    fn mark_one(&mut self, step: &mut Step<'_>) -> bool {
        let timeout = self.timeout;
        let Some(routes) = self.routes() else { return false };
        if routes.settings.expiry == Expiry::Immediate {
            return false;
        }
        let due = routes.table.oldest_idle().filter(|(_, last)| step.now >= last.after(timeout));
        if let Some((row, _)) = due {
            self.mark(row, step);
        }
        due.is_some()
    }

    /// Returns the oldest session that has expired and need not be remembered.
    fn oldest_removable(&self, now: Timestamp) -> Option<RowKey> {
        let timeout = self.timeout;
        let due = |oldest: Option<(RowKey, Timestamp)>| {
            oldest.filter(|(_, last)| now >= last.after(timeout)).map(|(row, _)| row)
        };
        match &self.kind {
            Kind::Tracked(table) => due(table.oldest_idle()),
            Kind::Routed(routes) => match routes.settings.expiry {
                Expiry::Immediate => due(routes.table.oldest_idle()),
                Expiry::TwoPhase { grace } => {
                    routes.table.oldest_marked().filter(|(_, at)| grace_passed(now, *at, grace)).map(|(row, _)| row)
                }
            },
        }
    }

    /// Makes room for one more session, if necessary by the removal of an expired one that no sweep has removed yet.
    pub(super) fn make_room(&mut self, step: &mut Step<'_>) -> Result<(), CallFailure> {
        let max = self.settings.max;
        if self.len() < max {
            return Ok(());
        }
        let row = self.oldest_removable(step.now).ok_or(CallFailure::SessionQuota { max })?;
        self.expired += 1;
        self.remove(row, SessionEndReason::Expired, step);
        Ok(())
    }

    fn count_removed_sessions(&mut self, removed: usize, is_complete: bool) {
        self.expired += removed as u64;
        if let Some(routes) = self.routes_mut() {
            routes.counters.cleaned += removed as u64;
            routes.counters.cleanup_runs += u64::from(is_complete);
        }
    }

    /// Performs one step of the sweep. The next step follows after a pause if more sessions are due, and otherwise
    /// after the interval, or when the next marked session may be removed.
    pub(crate) fn sweep_due(&mut self, step: &mut Step<'_>) {
        self.next_sweep = Timestamp::NEVER;
        let (_, more) = self.sweep(SWEEP_STEP, step);
        self.is_sweeping = more;
        if more {
            return self.sweep_by(step.now + STEP_PAUSE);
        }
        self.sweep_by(step.now + self.settings.cleanup_interval.max(STEP_PAUSE));
        // Later than `now`, since everything that can be removed has been removed.
        self.sweep_by(self.next_removal());
    }

    /// Makes sure that a sweep takes place at `at` or earlier.
    fn sweep_by(&mut self, at: Timestamp) {
        self.next_sweep = self.next_sweep.min(at);
    }

    /// Starts the sweeps of a pool that starts at `now`.
    pub(crate) fn start_sweeps(&mut self, now: Timestamp) {
        self.sweep_by(now + self.settings.cleanup_interval);
    }

    /// Returns the number of sessions that have expired and are not removed yet.
    pub(super) fn count_expired(&self, now: Timestamp) -> usize {
        match &self.kind {
            Kind::Tracked(table) => table.count_due(now, self.timeout),
            Kind::Routed(routes) => routes.table.count_due(now, self.timeout) + routes.table.marked_len(),
        }
    }
}

/// Returns when a sweep removes a session that is marked at `at`.
fn removal_of(at: Timestamp, grace: Duration) -> Timestamp {
    at + grace.max(STEP_PAUSE)
}

/// Returns whether `grace` has passed since the marking. Never at the time of the marking itself: the call that marks a
/// session is answered that it expired, even with a grace of zero.
pub(super) fn grace_passed(now: Timestamp, marked: Timestamp, grace: Duration) -> bool {
    now > marked && now >= marked + grace
}
