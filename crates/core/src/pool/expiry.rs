//! When sessions are over by themselves (R16): on read, by the sweep, or to make room. A session with calls never is.

use super::{Core, Effects, SessionEndReason};
use crate::{
    Expiry, Timestamp,
    failure::CallFailure,
    session::{Row, RowKey, SessionEventKind, Sessions, Unbound},
    timers::Timer,
};
use std::time::Duration;

/// Rows a sweep looks at before it makes way for calls.
const SWEEP_STEP: usize = 256;
/// Between two steps of a sweep, and between two sweeps at the least.
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// How a session stands when it is read.
pub(super) enum SessionAge {
    Alive,
    /// Expired, marked, still known.
    Marked,
    /// Removed just now; what its next binding says.
    Gone(Unbound),
}

impl Core {
    /// What reading a session finds: under two-phase expiry the read itself marks.
    pub(super) fn expiry_on_read(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) -> SessionAge {
        let timeout = self.settings.sessions.timeout;
        let Sessions::Routed(routes) = &mut self.sessions else { return SessionAge::Alive };
        if !routes.table.is_due(row, now, timeout) {
            return SessionAge::Alive;
        }
        match routes.settings.expiry {
            Expiry::Immediate => {
                self.counters.sessions_expired += 1;
                self.forget(now, row, SessionEndReason::Expired, effects);
                SessionAge::Gone(Unbound::Expired)
            }
            Expiry::TwoPhase { grace } => {
                let marked = routes.table.row(row).and_then(Row::marked);
                if marked.is_some_and(|at| grace_passed(now, at, grace)) {
                    self.counters.sessions_expired += 1;
                    self.forget(now, row, SessionEndReason::Expired, effects);
                    return SessionAge::Gone(Unbound::New);
                }
                self.mark(now, row);
                SessionAge::Marked
            }
        }
    }

    /// Phase one of two-phase expiry.
    fn mark(&mut self, now: Timestamp, row: RowKey) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        if routes.table.mark(row, now) {
            self.record_event(now, row, SessionEventKind::MarkedExpired, None);
            self.sweep_by(self.next_removal());
        }
    }

    /// An expired session begins anew: its old state ends, its row lives.
    pub(super) fn revive(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        self.end_state(row, SessionEndReason::Expired, Unbound::Expired, effects);
        self.record_event(now, row, SessionEventKind::Unbound(SessionEndReason::Expired), None);
        let epoch = self.fresh_epoch();
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.table.touch(row, now);
            if let Some(route) = routes.route_mut(row) {
                route.epoch = epoch;
            }
        }
    }

    /// One bounded step of the sweep, looking at no more than `budget` rows: how many were removed, and whether more is due.
    /// Phase one marks (two-phase only), phase two removes what was marked a grace ago.
    pub fn sweep(&mut self, now: Timestamp, budget: usize, effects: &mut Effects) -> (usize, bool) {
        let mut removed = 0;
        for _ in 0..budget {
            match self.sweep_one(now, effects) {
                Some(gone) => removed += usize::from(gone),
                None => {
                    self.count_sweep(removed, true);
                    return (removed, false);
                }
            }
        }
        self.count_sweep(removed, false);
        (removed, true)
    }

    /// When the next marked session may be removed, never if there is none. Not in the moment of the marking, however short its grace.
    pub(super) fn next_removal(&self) -> Timestamp {
        let grace = self.routes().map(|routes| (routes, routes.settings.expiry));
        let Some((routes, Expiry::TwoPhase { grace })) = grace else { return Timestamp::NEVER };
        routes.table.oldest_marked().map_or(Timestamp::NEVER, |(_, at)| at + grace.max(STEP_PAUSE))
    }

    /// Looks at the oldest due row: whether it was removed (or only marked); `None` if nothing is due.
    fn sweep_one(&mut self, now: Timestamp, effects: &mut Effects) -> Option<bool> {
        if self.mark_one(now) {
            return Some(false);
        }
        let row = self.removable(now)?;
        self.forget(now, row, SessionEndReason::Expired, effects);
        Some(true)
    }

    /// Phase one, of two-phase expiry only.
    fn mark_one(&mut self, now: Timestamp) -> bool {
        let timeout = self.settings.sessions.timeout;
        let Sessions::Routed(routes) = &self.sessions else { return false };
        if routes.settings.expiry == Expiry::Immediate {
            return false;
        }
        let due = routes.table.oldest_idle().filter(|(_, last)| now >= *last + timeout);
        if let Some((row, _)) = due {
            self.mark(now, row);
        }
        due.is_some()
    }

    /// The oldest session that is expired and need not be known any more.
    fn removable(&self, now: Timestamp) -> Option<RowKey> {
        let timeout = self.settings.sessions.timeout;
        let due =
            |oldest: Option<(RowKey, Timestamp)>| oldest.filter(|(_, last)| now >= *last + timeout).map(|(row, _)| row);
        match &self.sessions {
            Sessions::Tracked(table) => due(table.oldest_idle()),
            Sessions::Routed(routes) => match routes.settings.expiry {
                Expiry::Immediate => due(routes.table.oldest_idle()),
                Expiry::TwoPhase { grace } => {
                    routes.table.oldest_marked().filter(|(_, at)| grace_passed(now, *at, grace)).map(|(row, _)| row)
                }
            },
        }
    }

    /// Room for one more session: an expired one that nobody swept yet does not count.
    pub(super) fn make_room(&mut self, now: Timestamp, effects: &mut Effects) -> Result<(), CallFailure> {
        let max = self.settings.sessions.max;
        if self.sessions.len() < max {
            return Ok(());
        }
        let row = self.removable(now).ok_or(CallFailure::SessionQuota { max })?;
        self.counters.sessions_expired += 1;
        self.forget(now, row, SessionEndReason::Expired, effects);
        Ok(())
    }

    fn count_sweep(&mut self, removed: usize, run_over: bool) {
        self.counters.sessions_expired += removed as u64;
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.counters.cleaned += removed as u64;
            routes.counters.cleanup_runs += u64::from(run_over);
        }
    }

    /// One step of the sweep. The next follows after a pause, if more is due; else when the interval is over, or when the next marked
    /// session may go.
    pub(super) fn sweep_due(&mut self, now: Timestamp, effects: &mut Effects) {
        if now < self.next_sweep {
            return; // a sweep that was moved forward, and has its timer
        }
        self.next_sweep = Timestamp::NEVER;
        let (_, more) = self.sweep(now, SWEEP_STEP, effects);
        self.is_sweeping = more;
        if more {
            return self.sweep_by(now + STEP_PAUSE);
        }
        self.sweep_by(now + self.settings.sessions.cleanup_interval.max(STEP_PAUSE));
        self.sweep_by(self.next_removal()); // later than now: what could go is gone
    }

    /// The next sweep is not later than this.
    pub(super) fn sweep_by(&mut self, at: Timestamp) {
        if at < self.next_sweep {
            self.next_sweep = at;
            self.timers.set(at, Timer::Sweep);
        }
    }
}

/// Counted from the marking. Who marks a session is told that it expired, even with a grace of zero.
pub(super) fn grace_passed(now: Timestamp, marked: Timestamp, grace: Duration) -> bool {
    now > marked && now >= marked + grace
}
