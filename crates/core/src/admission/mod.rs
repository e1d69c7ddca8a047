//! Whether the pool takes a call at all, by what happened to earlier ones: its breaker and its quarantine (R34, R37).
//! Holds no calls, and knows neither sessions nor the room in the queues.

mod breaker;
mod quarantine;

pub(crate) use breaker::Permit;
pub use breaker::{BreakerState, BreakerStatus, Outcome};
pub(crate) use quarantine::DeathAttribution;
pub use quarantine::{QUARANTINE_LIMIT, QuarantineEntry, Suspect};

use crate::{
    CallFailure, Fingerprint, Timestamp,
    settings::{BreakerSettings, CountedFailures, PoisonSettings},
};
use breaker::Breaker;
use quarantine::Quarantine;

/// The breaker and the quarantine of a pool, both of which it may lack.
///
/// # Invariants
/// - Each permit comes back exactly once. It cannot be copied and is taken by value, so not twice; that none is lost is
///   checked by [`verify`](Self::verify).
/// - A quarantined fingerprint is refused before a permit is issued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Admission {
    breaker: Option<Breaker>,
    /// The failures that the breaker counts.
    counts: CountedFailures,
    quarantine: Quarantine,
}

impl Admission {
    pub(crate) fn new(breaker: Option<BreakerSettings>, poison: Option<PoisonSettings>) -> Self {
        let counts = breaker.as_ref().map(|settings| settings.counts).unwrap_or_default();
        Self { breaker: breaker.map(Breaker::new), counts, quarantine: Quarantine::new(poison) }
    }

    /// Admits a call, or returns why it is refused.
    #[inline]
    pub(crate) fn enter(&mut self, now: Timestamp, fingerprint: Option<Fingerprint>) -> Result<Permit, CallFailure> {
        self.check_poison(now, fingerprint)?;
        match &mut self.breaker {
            // Last, after the checks that need no permit.
            Some(breaker) => breaker.permit(now).map_err(|retry_at| CallFailure::BreakerOpen { retry_at }),
            None => Ok(Permit::NONE),
        }
    }

    /// Takes back the permit of a call that a worker answered.
    #[inline]
    pub(crate) fn answered(&mut self, now: Timestamp, permit: Permit, ok: bool) {
        self.leave(now, permit, self.counts.outcome_of_answer(ok));
    }

    /// Takes back the permit of an admitted call that failed without an answer.
    pub(crate) fn failed(&mut self, now: Timestamp, permit: Permit, failure: &CallFailure) {
        self.leave(now, permit, self.counts.outcome_of_failure(failure));
    }

    /// Takes back the permit of a call that says nothing about the pool: it was refused later on, or not sent.
    pub(crate) fn ignored(&mut self, now: Timestamp, permit: Permit) {
        self.leave(now, permit, Outcome::Ignored);
    }

    /// Handles that the stream of a call has begun. Returns what is left of the call's permit.
    pub(crate) fn stream_began(&mut self, now: Timestamp, permit: Permit) -> Permit {
        match &mut self.breaker {
            Some(breaker) => breaker.stream_began(now, permit),
            None => permit,
        }
    }

    #[inline]
    fn leave(&mut self, now: Timestamp, permit: Permit, outcome: Outcome) {
        if let Some(breaker) = &mut self.breaker {
            breaker.return_permit(now, permit, outcome);
        }
    }

    /// Returns why a call with this fingerprint is refused, if it is in quarantine.
    #[inline]
    pub(crate) fn check_poison(&mut self, now: Timestamp, fingerprint: Option<Fingerprint>) -> Result<(), CallFailure> {
        let Some(fingerprint) = fingerprint else { return Ok(()) };
        self.quarantine.check(now, fingerprint).map_or(Ok(()), |found| Err(CallFailure::Poison(found)))
    }

    /// Counts the death of a worker while it ran this call. `began` is when the attempt was sent.
    pub(crate) fn record_death(&mut self, now: Timestamp, suspect: &Suspect, began: Timestamp) {
        self.quarantine.record_death(now, suspect, began);
    }

    /// Reports trials of the breaker that no call holds, or the reverse. `permits` are those of all pending calls.
    pub(crate) fn verify<'a>(&self, permits: impl Iterator<Item = &'a Permit>, broken: &mut Vec<String>) {
        if let Some(breaker) = &self.breaker {
            breaker.verify(permits, broken);
        }
    }
}

/// Manual control, and questions of the shell.
impl Admission {
    /// Returns the state of the breaker, or `None` if the pool has none.
    pub(crate) fn breaker(&self, now: Timestamp) -> Option<BreakerStatus> {
        self.breaker.as_ref().map(|breaker| breaker.status(now))
    }

    /// Closes the breaker. Returns false if the pool has none.
    pub(crate) fn reset_breaker(&mut self) -> bool {
        self.breaker.as_mut().map(Breaker::reset).is_some()
    }

    /// Counts an outcome that belongs to no call. Returns false if the pool has no breaker.
    pub(crate) fn record_outcome(&mut self, now: Timestamp, outcome: Outcome) -> bool {
        self.breaker.as_mut().map(|breaker| breaker.record(now, outcome)).is_some()
    }

    /// Returns whether some fingerprint is being watched, so that submissions need theirs.
    pub(crate) fn needs_fingerprints(&self) -> bool {
        !self.quarantine.is_empty()
    }

    /// Returns whether the pool has a quarantine, so that it must know what a process ran when it ended.
    pub(crate) fn needs_suspects(&self) -> bool {
        self.quarantine.is_enabled()
    }

    /// Returns the fingerprints that have ended workers, quarantined or not.
    pub(crate) fn quarantine_entries(&self, now: Timestamp) -> Vec<QuarantineEntry> {
        self.quarantine.list(now)
    }

    /// Clears a fingerprint: an attempt with it has finished and its worker is alive.
    pub(crate) fn clear_payload(&mut self, fingerprint: Fingerprint) {
        self.quarantine.clear_payload(fingerprint);
    }

    /// Ends the quarantine of a fingerprint. Returns false if it is not watched.
    pub(crate) fn release_payload(&mut self, fingerprint: Fingerprint) -> bool {
        self.quarantine.release(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission() -> Admission {
        let breaker = BreakerSettings { failure_threshold: 1, half_open_max_calls: 1, ..BreakerSettings::default() };
        let poison = PoisonSettings { max_worker_deaths: 1, quarantine: Duration::from_secs(600) };
        Admission::new(Some(breaker), Some(poison))
    }

    fn broken(admission: &Admission, permits: &[Permit]) -> Vec<String> {
        let mut broken = Vec::new();
        admission.verify(permits.iter(), &mut broken);
        broken
    }

    const LATER: Timestamp = Timestamp(100_000_000_000);

    /// R34, R37
    #[test]
    fn r37_quarantined_call_takes_no_permit() {
        let mut admission = admission();
        let suspect = Suspect { wire: crate::WireId(1), fingerprint: Fingerprint(7), command: "predict".into() };
        admission.record_death(Timestamp(0), &suspect, Timestamp(0));
        admission.record_outcome(Timestamp(0), Outcome::Failure);
        let refused = admission.enter(LATER, Some(Fingerprint(7)));
        assert!(matches!(refused, Err(CallFailure::Poison(_))), "{refused:?}");
        let trial = admission.enter(LATER, None).unwrap();
        assert_eq!(broken(&admission, &[trial]), [""; 0]);
    }

    /// R34: a trial that is lost with its call is found, and one that is returned leaves none behind.
    #[test]
    fn r34_each_trial_belongs_to_a_call() {
        let mut admission = admission();
        admission.record_outcome(Timestamp(0), Outcome::Failure);
        let trial = admission.enter(LATER, None).unwrap();
        assert_eq!(broken(&admission, &[]).len(), 1);
        admission.ignored(LATER, trial);
        assert_eq!(broken(&admission, &[]), [""; 0]);
    }

    #[test]
    fn pool_with_neither_admits_everything() {
        let mut admission = Admission::new(None, None);
        let permit = admission.enter(Timestamp(0), Some(Fingerprint(7))).unwrap();
        admission.failed(Timestamp(0), permit, &CallFailure::QueueTimeout);
        assert!(!admission.reset_breaker() && !admission.needs_fingerprints() && !admission.needs_suspects());
    }
}
