//! One call, from its admission until it is settled: plain data.

use super::stream::CallStream;
use crate::{
    Affinity, CallId, Epoch, Fingerprint, RowKey, Timestamp, WireId, WorkerRef,
    admission::Permit,
    batch::Batched,
    failure::LostAttempts,
    waiting::{Queue, QueuePosition},
};

/// One call. Changed only by [`Calls`](super::Calls).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) admitted: Timestamp,
    pub(crate) deadline: Timestamp,
    /// The end of its wait for any worker. Not used while it waits for the worker of its session.
    pub(crate) queue_until: Timestamp,
    pub(crate) idempotent: bool,
    pub(crate) attempts: u32,
    pub(crate) role: Role,
    /// Set if the call waits for a batch. A call whose worker was lost does not: it is sent again alone, so that no other call
    /// is lost with it again.
    pub(crate) batched: Option<Batched>,
    pub(crate) state: CallState,
    /// The position of the call among the waiting ones.
    pub(crate) position: QueuePosition,
    pub(crate) permit: Permit,
    /// Known if the pool watched fingerprints when the call was admitted, or since one of its attempts was lost. Used
    /// to refuse the call. The shell clears fingerprints itself, at final frames.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The lost attempts.
    pub(crate) losses: LostAttempts,
    /// Only of a call whose caller takes chunks. In a box, since most calls have none.
    pub(crate) stream: Option<Box<CallStream>>,
}

/// The requirements of the call's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The call has no session. Any worker may run it.
    AnyWorker,
    /// The session is only tracked. Any worker may run the call.
    Tracked(RowKey),
    /// The session's worker should run the call, if it is free.
    Hint(RowKey),
    /// The session's worker must run the call, one at a time, under the epoch in which the call was admitted
    /// ([I3](crate#invariants)).
    Strict { row: RowKey, epoch: Epoch, fail_fast: bool },
}

/// The queue of the call, or the process to which it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallState {
    /// The call is in no queue.
    New,
    /// The call waits in this queue.
    Queued(Queue),
    /// The call waits between two attempts.
    Backoff { until: Timestamp },
    /// The call was sent.
    Sent { worker: WorkerRef, wire: WireId },
    /// The call was sent in advance and still waits, as far as the pool knows. `is_revoked` states that the worker was
    /// asked to take it back.
    InAdvance { worker: WorkerRef, wire: WireId, is_revoked: bool },
}

impl Role {
    pub(crate) fn row(self) -> Option<RowKey> {
        match self {
            Self::AnyWorker => None,
            Self::Tracked(row) | Self::Hint(row) | Self::Strict { row, .. } => Some(row),
        }
    }

    /// Returns the epoch in which a strict call was admitted.
    pub(crate) fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Strict { epoch, .. } => Some(epoch),
            Self::AnyWorker | Self::Tracked(_) | Self::Hint(_) => None,
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
    /// Returns whether the call waits, in a queue or between two attempts.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, CallState::Queued(_) | CallState::Backoff { .. })
    }

    /// Returns the queue in which the call waits.
    pub(crate) fn queue(&self) -> Option<Queue> {
        match self.state {
            CallState::Queued(queue) => Some(queue),
            _ => None,
        }
    }

    /// Lets the call wait for its batch from now on.
    pub(super) fn restart_batch_wait(&mut self, now: Timestamp) {
        self.batched.iter_mut().for_each(|batched| batched.since = now);
    }

    pub(crate) fn is_in_advance(&self) -> bool {
        matches!(self.state, CallState::InAdvance { .. })
    }

    /// Returns the attempt of the call, if it was sent.
    pub(crate) fn attempt(&self) -> Option<(WorkerRef, WireId)> {
        match self.state {
            CallState::Sent { worker, wire } | CallState::InAdvance { worker, wire, .. } => Some((worker, wire)),
            CallState::New | CallState::Queued(_) | CallState::Backoff { .. } => None,
        }
    }

    /// Records that the call, if it is a stream, begins to run.
    #[inline(always)]
    pub(crate) fn begin_stream(&mut self, now: Timestamp) {
        if let Some(stream) = &mut self.stream {
            stream.begin(now);
        }
    }

    /// Returns whether this is a stream that runs and must be examined.
    pub(crate) fn is_stream_due(&self, now: Timestamp) -> bool {
        let is_due = |stream: &CallStream| stream.due() <= now && now < self.deadline;
        matches!(self.state, CallState::Sent { .. }) && self.stream.as_deref().is_some_and(is_due)
    }

    /// Returns the next time at which the call must be examined.
    #[inline(always)]
    pub(crate) fn due(&self) -> Timestamp {
        match self.state {
            CallState::Queued(queue) if queue.has_timeout() => self.queue_until.min(self.deadline),
            CallState::Backoff { until } => until.min(self.deadline),
            CallState::Sent { .. } => {
                self.stream.as_ref().map_or(self.deadline, |stream| stream.due().min(self.deadline))
            }
            // As in the queue from which it was sent: only the wait for any worker has a limit of its own.
            CallState::InAdvance { is_revoked: false, .. } if !self.role.is_strict() => {
                self.queue_until.min(self.deadline)
            }
            _ => self.deadline,
        }
    }
}
