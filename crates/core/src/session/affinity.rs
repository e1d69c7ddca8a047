//! Where each session's state is: the rows of a pool with affinity, and what is counted over them (R5, R14). Whether a
//! worker is alive is the pool's to know: a binding names a process for ever and is void once that process is gone (I4).

use super::{RowKey, Table};
use crate::{AffinitySettings, CallId, Epoch, Generation, WorkerRef};
use std::collections::VecDeque;

/// The affinity table of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Routes {
    pub(crate) settings: AffinitySettings,
    pub(crate) table: Table<Route>,
    /// Sessions bound to each slot's process of that generation. A death makes its count void at once.
    counts: Vec<(Generation, u32)>,
    pub(crate) counters: AffinityCounters,
}

/// Decisions counted since the pool started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AffinityCounters {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) rebinds: u64,
    pub(crate) cleanup_runs: u64,
    pub(crate) cleaned: u64,
}

/// What routing adds to a session's row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// The epoch of calls admitted now. Higher than the binding's while an end waits for earlier calls.
    pub(crate) epoch: Epoch,
    pub(crate) binding: Binding,
    /// The strict call whose turn it is, queued or unfinished (I3).
    pub(crate) turn: Option<CallId>,
    /// What becomes of the row when the calls of the binding's epoch are over.
    pub(crate) then: Then,
    /// What few sessions have.
    pub(crate) line: Option<Box<Line>>,
}

/// Calls behind the turn, and workers other than the bound one that ran a hint call in this epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) waiting: VecDeque<CallId>,
    pub(crate) strays: Vec<WorkerRef>,
}

/// Where a session's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Binding {
    /// Nowhere; the next dispatch chooses, and says why.
    None(Unbound),
    /// In this process, under this epoch.
    To { at: WorkerRef, epoch: Epoch },
}

/// Why a session is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unbound {
    New,
    WorkerLost,
    Expired,
}

/// What an ended epoch leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The row, unbound.
    Stay,
    /// Nothing, unless calls came meanwhile.
    Forget,
    /// The row, bound to this process if it lives.
    Bind(WorkerRef),
}

impl Routes {
    pub(crate) fn new(settings: AffinitySettings, seed: u64, slots: usize) -> Self {
        let counts = vec![(Generation(0), 0); slots];
        Self { settings, table: Table::new(seed), counts, counters: AffinityCounters::default() }
    }

    pub(crate) fn route(&self, key: RowKey) -> Option<&Route> {
        self.table.row(key).map(|row| &row.route)
    }

    pub(crate) fn route_mut(&mut self, key: RowKey) -> Option<&mut Route> {
        self.table.row_mut(key).map(|row| &mut row.route)
    }

    pub(crate) fn bind(&mut self, key: RowKey, at: WorkerRef, epoch: Epoch) {
        self.unbind(key, Unbound::New);
        if let Some(route) = self.route_mut(key) {
            route.binding = Binding::To { at, epoch };
            let (generation, count) = &mut self.counts[slot(at)];
            *count = if *generation == at.generation { *count + 1 } else { 1 };
            *generation = at.generation;
        }
    }

    /// Makes a session unbound; the process it was bound to, if it was.
    pub(crate) fn unbind(&mut self, key: RowKey, why: Unbound) -> Option<(WorkerRef, Epoch)> {
        let route = self.route_mut(key)?;
        let before = std::mem::replace(&mut route.binding, Binding::None(why));
        let Binding::To { at, epoch } = before else { return None };
        let (generation, count) = &mut self.counts[slot(at)];
        if *generation == at.generation {
            *count = count.saturating_sub(1);
        }
        Some((at, epoch))
    }

    /// How many sessions are bound to this process.
    pub(crate) fn bound_to(&self, at: WorkerRef) -> u32 {
        let (generation, count) = self.counts[slot(at)];
        if generation == at.generation { count } else { 0 }
    }

    /// The process is gone: its count is void, its rows go when they are next met.
    pub(crate) fn worker_gone(&mut self, at: WorkerRef) {
        if self.counts[slot(at)].0 == at.generation {
            self.counts[slot(at)].1 = 0;
        }
    }

    pub(crate) fn workers_with_sessions(&self) -> usize {
        self.counts.iter().filter(|(_, count)| *count > 0).count()
    }
}

impl Route {
    pub(crate) fn new(epoch: Epoch, why: Unbound) -> Self {
        Self { epoch, binding: Binding::None(why), turn: None, then: Then::Stay, line: None }
    }

    pub(crate) fn line_mut(&mut self) -> &mut Line {
        self.line.get_or_insert_default()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.waiting.len())
    }

    pub(crate) fn next_waiting(&self) -> Option<CallId> {
        self.line.as_ref().and_then(|line| line.waiting.front().copied())
    }
}

fn slot(at: WorkerRef) -> usize {
    at.worker.0 as usize - 1
}
