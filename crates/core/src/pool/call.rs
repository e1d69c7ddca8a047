//! A call from admission to its settling. Payloads and callers are elsewhere; here is where it stands.

use crate::{
    Affinity, CallId, Epoch, Fingerprint, Timestamp, WireId, WorkerRef, breaker::Permit, failure::WorkerLoss,
    queue::VirtualTime, session::RowKey,
};
use foldhash::fast::FixedState;
use std::{collections::HashMap, time::Duration};

/// The admitted, unsettled calls. Never iterated to decide anything.
pub(crate) type Calls = HashMap<CallId, Call, FixedState>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) admitted: Timestamp,
    pub(crate) deadline: Timestamp,
    /// The end of its wait for any worker; later than the deadline where it waits for its session's own.
    pub(crate) queue_until: Timestamp,
    pub(crate) idempotent: bool,
    pub(crate) attempts: u32,
    pub(crate) role: Role,
    pub(crate) state: CallState,
    /// Its place in the order of those that wait, and whether it was among them.
    pub(crate) virtual_time: VirtualTime,
    pub(crate) has_waited: bool,
    pub(crate) permit: Permit,
    /// Known if its pool watched payloads when it was admitted, or since an attempt of it was lost. For refusals: what clears a
    /// payload is told with each final frame.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Its lost attempts, if there were any.
    pub(crate) retry: Option<Box<RetryState>>,
}

/// What was before a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RetryState {
    pub(crate) losses: Vec<WorkerLoss>,
    /// The last wait between two attempts.
    pub(crate) wait: Duration,
}

/// What the call's session demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Any worker.
    AnyWorker,
    /// Any worker; the session is only tracked.
    Tracked(RowKey),
    /// Its session's worker if that is free.
    Hint(RowKey),
    /// Its session's worker, in turn, under the epoch it was admitted in (I3).
    Strict { row: RowKey, epoch: Epoch, fail_fast: bool },
}

/// Where the call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallState {
    /// Not yet placed.
    New,
    /// In the queue for any worker.
    AnyWorkerQueue,
    /// In the queue of first calls of unbound sessions.
    UnboundQueue,
    /// In its session's worker's queue.
    WorkerQueue(WorkerRef),
    /// Behind another call of its session.
    SessionQueue,
    /// Between two attempts.
    Backoff { until: Timestamp },
    /// Sent.
    Sent { worker: WorkerRef, wire: WireId },
}

impl Role {
    pub(crate) fn row(self) -> Option<RowKey> {
        match self {
            Self::AnyWorker => None,
            Self::Tracked(row) | Self::Hint(row) | Self::Strict { row, .. } => Some(row),
        }
    }

    pub(crate) fn is_strict(self) -> bool {
        matches!(self, Self::Strict { .. })
    }

    pub(crate) fn routed(row: RowKey, epoch: Epoch, mode: Affinity) -> Self {
        match mode {
            Affinity::Hint => Self::Hint(row),
            Affinity::StrictQueue => Self::Strict { row, epoch, fail_fast: false },
            Affinity::StrictFailFast => Self::Strict { row, epoch, fail_fast: true },
        }
    }
}

impl Call {
    pub(crate) fn is_queued(&self) -> bool {
        matches!(
            self.state,
            CallState::AnyWorkerQueue
                | CallState::UnboundQueue
                | CallState::WorkerQueue(_)
                | CallState::SessionQueue
                | CallState::Backoff { .. }
        )
    }

    /// Its lost attempts.
    pub(crate) fn into_losses(self) -> Vec<WorkerLoss> {
        self.retry.map_or_else(Vec::new, |retried| retried.losses)
    }

    /// The next moment to look at it.
    pub(crate) fn due(&self) -> Timestamp {
        match self.state {
            CallState::AnyWorkerQueue | CallState::UnboundQueue => self.queue_until.min(self.deadline),
            CallState::Backoff { until } => until.min(self.deadline),
            _ => self.deadline,
        }
    }
}
