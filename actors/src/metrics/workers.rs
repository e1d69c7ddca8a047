//! What only pools with features of enhanced pools count: the calls of each slot with `worker_metrics`, and the calls with a
//! session with `session_affinity`.

use super::{
    histogram::{Histogram, micros},
    rate::Rate,
};
use herder_core::{Delivery, RebindReason, Routing, Timestamp, WorkerId};
use std::{sync::Arc, time::Duration};

/// The counts of one slot, across its processes.
#[derive(Clone, Debug, Default)]
pub struct SlotMetrics {
    rate: Rate,
    /// Allocated by the first answer. Clones share it until the next one.
    run: Option<Arc<Histogram>>,
    /// The CPU time of the processes that have exited, as last read.
    pub(crate) exited_cpu: Duration,
}

impl SlotMetrics {
    /// Returns the counts of a slot. A reload may have added it.
    pub(super) fn of(slots: &mut Vec<Self>, worker: WorkerId) -> &mut Self {
        let place = (worker.0 as usize).saturating_sub(1);
        if place >= slots.len() {
            slots.resize_with(place + 1, Self::default);
        }
        &mut slots[place]
    }

    #[inline]
    pub(super) fn answered(&mut self, delivery: &Delivery) {
        self.rate.count(delivery.finished);
        Arc::make_mut(self.run.get_or_insert_default()).record(micros(delivery.ran()));
    }

    /// Returns the run times of the answered calls in microseconds. `None` before the first answer.
    pub(crate) fn run_time(&self) -> Option<&Histogram> {
        self.run.as_deref()
    }

    pub(crate) fn per_second(&self, now: Timestamp, since: Timestamp) -> f64 {
        self.rate.per_second(now, since)
    }

    /// Returns the CPU time of the processes of the slot that have exited, as last read.
    pub fn exited_cpu(&self) -> Duration {
        self.exited_cpu
    }
}

/// The answered calls with a session by their routing, and the lost sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionMetrics {
    /// Calls that were the first of their session.
    pub bound: u64,
    /// Calls that ran on the worker of their session.
    pub hit: u64,
    /// Calls that ran elsewhere, because the worker of their session was lost.
    pub rebound_worker_lost: u64,
    /// Calls that ran elsewhere, because their session had expired.
    pub rebound_expired: u64,
    /// Calls with `hint` affinity that ran elsewhere, because the worker of their session was busy.
    pub rebound_busy: u64,
    /// Calls that were answered with the loss of their session's state.
    pub lost: u64,
}

impl SessionMetrics {
    /// The kind of the error that reports a loss.
    pub(super) const LOST: &str = "session-worker-lost";

    #[inline]
    pub(super) fn count(&mut self, routing: Routing) {
        match routing {
            Routing::New => self.bound += 1,
            Routing::Hit => self.hit += 1,
            Routing::Rebound(RebindReason::WorkerLost) => self.rebound_worker_lost += 1,
            Routing::Rebound(RebindReason::Expired) => self.rebound_expired += 1,
            Routing::Rebound(RebindReason::Busy) => self.rebound_busy += 1,
            _ => {}
        }
    }
}
