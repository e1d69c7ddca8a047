//! The state for each slot that only an enhanced pool has (R9): metrics and the history of states.

use super::{History, Transition, WorkerMetrics, WorkerState};
use crate::{Settings, Timestamp, WorkerTypeSettings};

/// The metrics and histories of all slots, each only if its feature is on. A basic pool has no field for them
/// ([I5](crate#invariants)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum EnhancedState {
    Basic,
    Enhanced { metrics: Option<Vec<WorkerMetrics>>, history: Option<Vec<History>> },
}

impl EnhancedState {
    pub(super) fn new(settings: &Settings, slots: usize) -> Self {
        match settings.worker_type {
            WorkerTypeSettings::Basic => Self::Basic,
            WorkerTypeSettings::Enhanced { worker_metrics, state_machine, .. } => Self::Enhanced {
                metrics: worker_metrics.then(|| vec![WorkerMetrics::default(); slots]),
                history: state_machine.then(|| vec![History::default(); slots]),
            },
        }
    }

    /// Adds one more slot.
    pub(super) fn add_slot(&mut self) {
        if let Self::Enhanced { metrics, history } = self {
            metrics.iter_mut().for_each(|metrics| metrics.push(WorkerMetrics::default()));
            history.iter_mut().for_each(|history| history.push(History::default()));
        }
    }

    pub(super) fn metrics_of(&self, slot: usize) -> Option<&WorkerMetrics> {
        match self {
            Self::Enhanced { metrics: Some(metrics), .. } => metrics.get(slot),
            _ => None,
        }
    }

    pub(super) fn has_metrics(&self) -> bool {
        matches!(self, Self::Enhanced { metrics: Some(_), .. })
    }

    #[inline]
    pub(super) fn has_history(&self) -> bool {
        matches!(self, Self::Enhanced { history: Some(_), .. })
    }

    /// Returns the last transitions of a slot, the oldest first, or `None` without `state_machine`.
    pub(super) fn transitions(&self, slot: usize) -> Option<impl Iterator<Item = &Transition> + use<'_>> {
        match self {
            Self::Enhanced { history: Some(history), .. } => Some(history.get(slot)?.iter()),
            _ => None,
        }
    }

    /// Counts a finished attempt.
    #[inline]
    pub(super) fn count(&mut self, slot: usize, ran_ns: u64, ok: bool) {
        if let Self::Enhanced { metrics: Some(metrics), .. } = self {
            metrics[slot].count(ran_ns, ok);
        }
    }

    /// Records that a process was started.
    pub(super) fn begin(&mut self, slot: usize, now: Timestamp) {
        if let Self::Enhanced { history: Some(history), .. } = self {
            history[slot].begin(now);
        }
    }

    /// Records a transition of a slot.
    pub(super) fn record(
        &mut self,
        slot: usize,
        from: WorkerState,
        to: WorkerState,
        reason: &'static str,
        now: Timestamp,
    ) {
        if let Self::Enhanced { history: Some(history), .. } = self {
            history[slot].record(from, to, reason, now);
        }
    }
}
