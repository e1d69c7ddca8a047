//! What decides whether a call is admitted, besides its session: the estimated wait (R36), and the breaker and the
//! quarantine ([`Admission`](crate::admission::Admission)), with their manual control.

use crate::{
    BreakerStatus, CallId, Fingerprint, Outcome, QuarantineEntry, RowKey, Timestamp, failure::CallFailure, pool::Core,
    waiting::Queue,
};

impl Core {
    /// Refuses a call that would wait too long in this queue.
    pub(super) fn check_estimated_wait(&mut self, now: Timestamp, id: CallId, queue: Queue) -> Result<(), CallFailure> {
        let Some(call) = self.calls.get(id) else { return Ok(()) };
        let until = if queue.has_timeout() { call.queue_until.min(call.deadline) } else { call.deadline };
        let ahead = self.ahead_of(queue, call.role.row());
        let refused = self.waiting.check_estimated_wait(ahead, self.places_for(queue), until - now);
        self.counters.shed += u64::from(refused.is_err());
        refused
    }

    /// Returns the number of calls that are before a new one in this queue, including those in advance.
    pub(in crate::pool) fn ahead_of(&self, queue: Queue, session: Option<RowKey>) -> usize {
        let in_advance = match queue {
            Queue::AnyWorker | Queue::Unbound => self.workers.in_advance().for_any_worker(),
            Queue::Worker(worker) => self.slot(worker.id).attempts().in_advance().calls(),
            Queue::Session => 0,
        };
        in_advance + self.waiting.ahead_of(queue, session)
    }

    /// Refuses a call if no more calls may wait.
    pub(super) fn check_room(&self) -> Result<(), CallFailure> {
        self.waiting.check_room(self.workers.in_advance().calls())
    }

    /// Returns the number of call slots that run the calls of this queue, if all workers of the pool run.
    pub(in crate::pool) fn places_for(&self, queue: Queue) -> usize {
        match queue {
            Queue::Worker(worker) => self.slot(worker.id).places(),
            Queue::Session => 1,
            Queue::AnyWorker | Queue::Unbound => self.workers.capacity_if_all_run(),
        }
    }
}

/// Manual control of the breaker and the quarantine, and the questions of the shell about them.
impl Core {
    /// Returns the state of the breaker, or `None` if the pool has none.
    pub fn breaker(&self, now: Timestamp) -> Option<BreakerStatus> {
        self.admission.breaker(now)
    }

    /// Closes the breaker. Returns false if the pool has none.
    pub fn reset_breaker(&mut self) -> bool {
        self.admission.reset_breaker()
    }

    /// Counts an outcome that was observed outside of the pool. Returns false if the pool has no breaker.
    pub fn record_outcome(&mut self, now: Timestamp, outcome: Outcome) -> bool {
        self.admission.record_outcome(now, outcome)
    }

    /// Returns whether submissions need a fingerprint, because some fingerprint is being watched.
    pub fn needs_fingerprints(&self) -> bool {
        self.admission.needs_fingerprints()
    }

    /// Returns whether [`Input::Exited`](crate::Input::Exited) needs its suspects.
    pub fn needs_suspects(&self) -> bool {
        self.admission.needs_suspects()
    }

    /// Returns the fingerprints that have ended workers, quarantined or not.
    pub fn quarantine_entries(&self, now: Timestamp) -> Vec<QuarantineEntry> {
        self.admission.quarantine_entries(now)
    }

    /// Clears a fingerprint: an attempt with it has finished and its worker is alive, so it did not cause the earlier
    /// deaths. The shell calls this at each final frame while the pool [watches](Self::needs_fingerprints)
    /// fingerprints, since it knows the arguments of every attempt, also of calls that were admitted before and of
    /// settled ones.
    pub fn clear_payload(&mut self, fingerprint: Fingerprint) {
        self.admission.clear_payload(fingerprint);
    }

    /// Ends the quarantine of a fingerprint. Returns false if it is not watched.
    pub fn release_payload(&mut self, fingerprint: Fingerprint) -> bool {
        self.admission.release_payload(fingerprint)
    }
}
