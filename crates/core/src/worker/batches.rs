//! The batches of one process: which of its attempts are run by one invocation, and so take one place together. Holds wire ids
//! and numbers only.

use crate::WireId;

/// The batches of one process that have unfinished attempts, in the order of the sends.
///
/// # Invariants
/// The numbers of a batch are counts over its unfinished attempts, and `shared` is the number of attempts that need no place of
/// their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SentBatches {
    batches: Vec<SentBatch>,
    shared: u32,
}

/// What the numbers of a batch count of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) wire: WireId,
    /// Whether its call is not settled.
    pub(super) is_wanted: bool,
    pub(super) is_withdrawn: bool,
}

/// A batch of attempts, whose wire ids follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SentBatch {
    first: WireId,
    last: WireId,
    unfinished: u32,
    /// The attempts whose calls are not settled.
    wanted: u32,
    /// The attempts that the worker will not begin.
    withdrawn: u32,
    /// Whether the worker answered that an attempt of it runs.
    is_running: bool,
}

impl SentBatch {
    pub(super) fn contains(&self, wire: WireId) -> bool {
        (self.first..=self.last).contains(&wire)
    }

    /// Returns the number of attempts that were sent.
    fn size(&self) -> u32 {
        u32::try_from(self.last.0 - self.first.0).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Returns whether a caller waits for one of the attempts. Then none of them may be interrupted.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted > 0
    }

    /// Returns whether the worker answered that an attempt of it runs.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Returns whether some attempt of it was not withdrawn.
    pub(super) fn may_run(&self) -> bool {
        self.withdrawn < self.unfinished
    }
}

impl SentBatches {
    /// Adds a batch that is sent now, of the attempts from `first` to `last`.
    pub(super) fn push(&mut self, first: WireId, last: WireId) {
        let batch = SentBatch { first, last, unfinished: 0, wanted: 0, withdrawn: 0, is_running: false };
        let unfinished = batch.size();
        self.batches.push(SentBatch { unfinished, wanted: unfinished, ..batch });
        self.shared += unfinished - 1;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns the number of attempts that need no place of their own.
    #[inline]
    pub(super) fn shared(&self) -> u32 {
        self.shared
    }

    /// Returns the same number over the attempts that were not withdrawn.
    pub(super) fn shared_by_others(&self) -> u32 {
        self.batches.iter().map(|batch| (batch.unfinished - batch.withdrawn).saturating_sub(1)).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SentBatch> {
        self.batches.iter()
    }

    /// Returns the batch of an attempt.
    pub(super) fn of(&self, wire: WireId) -> Option<&SentBatch> {
        self.batches.iter().find(|batch| batch.contains(wire))
    }

    /// Returns the wire id that stands for the invocation of an attempt: the first one of its batch.
    pub(super) fn invocation(&self, wire: WireId) -> WireId {
        self.of(wire).map_or(wire, |batch| batch.first)
    }

    /// Returns how many calls the invocation of an attempt has run.
    pub(super) fn size_of(&self, wire: WireId) -> u32 {
        self.of(wire).map_or(1, SentBatch::size)
    }

    fn of_mut(&mut self, wire: WireId) -> Option<&mut SentBatch> {
        self.batches.iter_mut().find(|batch| batch.contains(wire))
    }

    /// Records that the worker answered that this attempt runs.
    pub(super) fn set_running(&mut self, wire: WireId) {
        self.of_mut(wire).into_iter().for_each(|batch| batch.is_running = true);
    }

    /// Updates the numbers after a change of an attempt.
    pub(super) fn changed(&mut self, before: Counted, after: Counted) {
        let Some(batch) = self.of_mut(after.wire) else { return };
        batch.wanted = batch.wanted + u32::from(after.is_wanted) - u32::from(before.is_wanted);
        batch.withdrawn = batch.withdrawn + u32::from(after.is_withdrawn) - u32::from(before.is_withdrawn);
    }

    /// Updates the numbers after an attempt is finished. Removes its batch with the last one.
    pub(super) fn finished(&mut self, attempt: Counted) {
        let Some(batch) = self.of_mut(attempt.wire) else { return };
        batch.unfinished -= 1;
        batch.wanted -= u32::from(attempt.is_wanted);
        batch.withdrawn -= u32::from(attempt.is_withdrawn);
        if batch.unfinished == 0 {
            self.batches.retain(|batch| batch.unfinished > 0);
        } else {
            self.shared -= 1;
        }
    }

    /// Returns whether the numbers are those of the unfinished attempts. For tests.
    pub(super) fn is_consistent(&self, attempts: &[Counted]) -> bool {
        let is_right = |batch: &SentBatch| {
            let of_batch = attempts.iter().filter(|attempt| batch.contains(attempt.wire));
            let count = |counts: fn(&Counted) -> bool| of_batch.clone().filter(|attempt| counts(attempt)).count();
            let found = [count(|_| true), count(|attempt| attempt.is_wanted), count(|attempt| attempt.is_withdrawn)];
            found == [batch.unfinished, batch.wanted, batch.withdrawn].map(|number| number as usize) && found[0] > 0
        };
        let shared: u32 = self.batches.iter().map(|batch| batch.unfinished - 1).sum();
        self.batches.iter().all(is_right) && shared == self.shared
    }
}
