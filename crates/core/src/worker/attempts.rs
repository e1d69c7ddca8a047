//! The unfinished attempts of one process, in the order in which they were sent. Holds call ids only, not calls.

use super::{
    attempt::{AnsweredAttempt, Attempt, Escalation, SlotHolder},
    batches::{SentBatch, SentBatches},
    in_advance::InAdvance,
};
use crate::{CallId, Timestamp, WireId};
use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
};

/// The unfinished attempts of a process. Wire ids rise, so they are in the order of the sends and found by a binary
/// search, also in a window of a million calls.
///
/// # Invariants
/// - `later` is empty unless there is an oldest attempt, and its attempts were sent after that.
/// - The first and the last of the later entries are unfinished. Entries between them that finished are vacant, and
///   never outnumber the others by more than [`VACANT`].
/// - `len`, `abandoned`, `withdrawn` and `in_advance` are counts over the attempts.
/// - An attempt that was not withdrawn is in advance if it was sent after `last_begun`. If any is, at least as many others
///   as the process has places were not withdrawn.
/// - `batches` counts the attempts of each batch.
/// - `timed` has the time and the wire id of each attempt whose next step has a time, and no others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    /// Stored apart, since it nearly always finishes first, and a worker with a window of one call has no other.
    oldest: Option<Attempt>,
    later: VecDeque<(WireId, Option<Attempt>)>,
    len: u32,
    /// The number of attempts whose calls are settled.
    abandoned: u32,
    /// The number of attempts that the worker will not begin.
    withdrawn: u32,
    /// The wire id of the latest attempt that counts as begun, or 0. Only rises, so that what has begun is never in advance again.
    last_begun: u64,
    in_advance: InAdvance,
    /// Which of the attempts are run by one invocation.
    batches: SentBatches,
    /// The latest attempt that finished, or sent a chunk, before an older one finished, or 0; of a batch, the first one. Has an effect only if a process contradicts what it
    /// stated about its order.
    overtook: u64,
    /// Few even if all attempts are abandoned: those that the worker has not answered wait for the oldest of them.
    timed: Vec<(Timestamp, WireId)>,
}

/// The number of vacant entries that are kept at any size. Removing them moves the others, so it waits until it is
/// paid for by as many finished attempts.
const VACANT: usize = 16;

impl Attempts {
    /// Adds the latest attempt, of a call that is not settled. Its wire id must be higher than all others. It is in
    /// advance if `places` others may have begun. Returns whether it is.
    pub(crate) fn push(&mut self, attempt: Attempt, places: u32) -> bool {
        let is_in_advance = self.places_of_others() >= places;
        if is_in_advance {
            self.in_advance += attempt.in_advance();
            self.append(attempt);
        } else {
            self.push_begun(attempt);
        }
        is_in_advance
    }

    /// Adds the attempts of a batch, which are not in advance. Their wire ids are the next ones and follow each other.
    pub(super) fn push_batch(&mut self, attempts: Vec<Attempt>) {
        if let (Some(first), Some(last)) = (attempts.first(), attempts.last()) {
            self.batches.push(first.wire, last.wire);
        }
        attempts.into_iter().for_each(|attempt| self.push_begun(attempt));
    }

    /// Returns the number of places of the attempts that were not withdrawn.
    fn places_of_others(&self) -> u32 {
        self.len - self.withdrawn - self.batches.shared_by_others()
    }

    /// Adds the latest attempt, which is not in advance: fewer others have begun than the process has places.
    #[inline(always)]
    pub(super) fn push_begun(&mut self, attempt: Attempt) {
        self.last_begun = attempt.wire.0;
        self.append(attempt);
    }

    #[inline(always)]
    fn append(&mut self, attempt: Attempt) {
        self.len += 1;
        if self.oldest.is_none() {
            self.oldest = Some(attempt);
        } else {
            self.later.push_back((attempt.wire, Some(attempt)));
        }
    }

    /// Removes the only attempt, in by far the most frequent case: its call is not settled and no stream, and it is not in
    /// advance, so that nothing else of the process changes. Returns `None`, and changes nothing, in all other cases.
    // Returns the fields that are needed, since the compiler would copy the whole attempt several times.
    #[inline(always)]
    pub(super) fn remove_only(&mut self, wire: WireId) -> Option<AnsweredAttempt> {
        let oldest = self.oldest.as_ref().filter(|oldest| oldest.wire == wire)?;
        let SlotHolder::Call(call) = oldest.holder else { return None };
        if self.len > 1 || !self.in_advance.is_empty() || !self.batches.is_empty() {
            return None;
        }
        let answered = oldest.answered(call);
        self.len = 0;
        self.oldest = None;
        Some(answered)
    }

    pub(super) fn remove(&mut self, wire: WireId) -> Option<Attempt> {
        let attempt = match &self.oldest {
            Some(oldest) if oldest.wire == wire => self.oldest.take()?,
            _ => self.vacate(wire)?,
        };
        self.len -= 1;
        if self.abandoned > 0 && attempt.call().is_none() {
            self.forget_abandoned(&attempt);
        }
        if !self.in_advance.is_empty() {
            self.remove_in_advance(&attempt);
        }
        if !self.batches.is_empty() {
            self.batches.finished(attempt.counted());
        }
        if !self.later.is_empty() {
            self.drop_vacant();
        }
        Some(attempt)
    }

    fn remove_in_advance(&mut self, attempt: &Attempt) {
        if self.is_in_advance(attempt) {
            self.in_advance -= attempt.in_advance();
        }
    }

    fn forget_abandoned(&mut self, attempt: &Attempt) {
        self.abandoned -= 1;
        self.withdrawn -= u32::from(attempt.is_withdrawn());
        self.timed.retain(|(_, timed)| *timed != attempt.wire);
    }

    fn vacate(&mut self, wire: WireId) -> Option<Attempt> {
        let place = self.place_of(wire)?;
        let invocation = self.batches.invocation(wire);
        self.overtook = self.overtook.max(invocation.0);
        self.later[place].1.take()
    }

    /// Replaces the oldest attempt if it has finished, removes the vacant entries before the first of the later ones and
    /// after the last one, and all of them if they are many.
    fn drop_vacant(&mut self) {
        if self.oldest.is_none() {
            self.oldest = self.later.pop_front().and_then(|(_, entry)| entry);
        }
        while self.later.front().is_some_and(|(_, entry)| entry.is_none()) {
            self.later.pop_front();
        }
        while self.later.back().is_some_and(|(_, entry)| entry.is_none()) {
            self.later.pop_back();
        }
        if self.later.len() > 2 * self.len() + VACANT {
            self.later.retain(|(_, entry)| entry.is_some());
        }
    }

    /// Records that the worker sent a chunk of an attempt. So it has begun, and it will not be given back. Returns its call, or
    /// `None` within if that is settled; `None` if there is no such attempt.
    pub(super) fn chunk_arrived(&mut self, wire: WireId) -> Option<Option<CallId>> {
        if let SlotHolder::Revoking(call) = self.get(wire)?.holder {
            self.set_holder(wire, SlotHolder::Stream(call));
        }
        if self.oldest.as_ref().is_some_and(|oldest| oldest.wire != wire) {
            self.overtook = self.overtook.max(wire.0);
        }
        Some(self.get(wire)?.call())
    }

    /// Records that the call of an attempt is settled, and that the worker was asked to stop the attempt. Returns false
    /// if there is no such attempt.
    pub(super) fn abandon(&mut self, wire: WireId) -> bool {
        let Some(before) = self.get(wire).map(Attempt::call) else { return false };
        self.abandoned += u32::from(before.is_some());
        self.set_holder(wire, SlotHolder::Abandoned { next: Escalation::Asked });
        true
    }

    /// Returns the next step of stopping an abandoned attempt.
    pub(super) fn escalation(&self, wire: WireId) -> Option<Escalation> {
        match self.get(wire)?.holder {
            SlotHolder::Abandoned { next } => Some(next),
            SlotHolder::Call(_) | SlotHolder::Stream(_) | SlotHolder::Revoking(_) => None,
        }
    }

    /// Sets the next step of stopping an abandoned attempt.
    pub(super) fn set_escalation(&mut self, wire: WireId, next: Escalation) {
        if self.escalation(wire).is_some() {
            self.set_holder(wire, SlotHolder::Abandoned { next });
        }
    }

    /// Changes the holder of an attempt, and with it the time of its next step, and whether it is in advance.
    fn set_holder(&mut self, wire: WireId, holder: SlotHolder) {
        let Some(attempt) = self.get_mut(wire) else { return };
        let before = *attempt;
        attempt.holder = holder;
        let after = *attempt;
        if before.due().is_some() {
            self.timed.retain(|(_, timed)| *timed != wire);
        }
        self.timed.extend(after.due().map(|due| (due, wire)));
        self.withdrawn += u32::from(after.is_withdrawn());
        self.withdrawn -= u32::from(before.is_withdrawn());
        if !self.batches.is_empty() {
            self.batches.changed(before.counted(), after.counted());
        }
        if self.is_in_advance(&before) {
            self.in_advance -= before.in_advance();
        }
        if self.is_in_advance(&after) {
            self.in_advance += after.in_advance();
        }
    }

    /// Returns the attempt whose next step is due first, and when.
    pub(super) fn next_due(&self) -> Option<(Timestamp, WireId)> {
        self.timed.iter().min().copied()
    }

    pub(crate) fn get(&self, wire: WireId) -> Option<&Attempt> {
        match &self.oldest {
            Some(oldest) if oldest.wire == wire => Some(oldest),
            _ => self.later[self.place_of(wire)?].1.as_ref(),
        }
    }

    fn get_mut(&mut self, wire: WireId) -> Option<&mut Attempt> {
        if self.oldest.as_ref().is_some_and(|oldest| oldest.wire == wire) {
            return self.oldest.as_mut();
        }
        let place = self.place_of(wire)?;
        self.later[place].1.as_mut()
    }

    /// Returns the place of a later attempt.
    fn place_of(&self, wire: WireId) -> Option<usize> {
        self.later.binary_search_by_key(&wire, |(wire, _)| *wire).ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns the number of unfinished invocations, as a window is counted.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.len - self.batches.shared()
    }

    /// Returns how many calls the invocation of an attempt has run.
    pub(super) fn batch_size(&self, wire: WireId) -> u32 {
        self.batches.size_of(wire)
    }

    /// Records that the worker answered that this attempt runs. Returns whether its timeouts may start: nobody waits for another
    /// attempt of its batch, and the timeouts of no other one run, which stand for the batch.
    pub(super) fn report_running(&mut self, wire: WireId) -> bool {
        self.batches.set_running(wire);
        self.batches.of(wire).is_none_or(|batch| !batch.is_wanted() && !self.has_timeouts(batch, Some(wire)))
    }

    /// Returns whether the timeouts of an attempt of this batch run, other than of `except`.
    fn has_timeouts(&self, batch: &SentBatch, except: Option<WireId>) -> bool {
        let is_running =
            |wire: WireId| matches!(self.escalation(wire), Some(Escalation::Interrupt(_) | Escalation::Kill(_)));
        self.timed.iter().any(|(_, wire)| batch.contains(*wire) && Some(*wire) != except && is_running(*wire))
    }

    /// Returns an attempt of a batch that the worker runs although nobody waits for it any more, and whose timeouts have not
    /// started.
    fn unwanted_in_batch(&self) -> Option<WireId> {
        let is_unwanted =
            |batch: &&SentBatch| !batch.is_wanted() && batch.is_running() && !self.has_timeouts(batch, None);
        let batch = self.batches.iter().find(is_unwanted)?;
        let is_asked = |attempt: &&Attempt| attempt.holder == SlotHolder::Abandoned { next: Escalation::Asked };
        self.iter().filter(|attempt| batch.contains(attempt.wire)).find(is_asked).map(|attempt| attempt.wire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn has_abandoned(&self) -> bool {
        self.abandoned > 0
    }

    /// Returns the attempts in the order in which they were sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.oldest.iter().chain(self.later.iter().filter_map(|(_, entry)| entry.as_ref()))
    }

    /// Returns the attempt that is assumed to run while the worker has not answered a cancel.
    pub(super) fn oldest_running(&self) -> Option<&Attempt> {
        self.iter().find(|attempt| !attempt.is_withdrawn())
    }

    /// Returns the oldest attempt, if the worker has withdrawn that one.
    fn oldest_if_withdrawn(&self) -> Option<&Attempt> {
        self.iter().next().filter(|attempt| attempt.is_withdrawn())
    }

    /// Returns the abandoned attempts whose timeouts must start now: a withdrawn one that is the oldest, and the one that
    /// is assumed to run. At the end of a step there are none ([I8](crate#invariants)).
    pub(super) fn without_timeouts(&self) -> (Option<WireId>, Option<WireId>) {
        let waits_in = |attempt: &Attempt, next| attempt.holder == SlotHolder::Abandoned { next };
        let undecided = Escalation::Withdrawn { kill: None };
        // The final frame of a withdrawn attempt may come with those of its batch.
        let is_alone = |first: &&Attempt| self.batches.of(first.wire).is_none_or(|batch| !batch.may_run());
        let withdrawn = self.oldest_if_withdrawn().filter(|first| waits_in(first, undecided)).filter(is_alone);
        let may_end = |batch: &SentBatch| !batch.is_wanted() && !self.has_timeouts(batch, None);
        let asked = self.oldest_running().filter(|oldest| waits_in(oldest, Escalation::Asked));
        let asked = asked.filter(|oldest| self.batches.of(oldest.wire).is_none_or(may_end));
        (withdrawn.map(|attempt| attempt.wire), asked.map(|attempt| attempt.wire).or_else(|| self.unwanted_in_batch()))
    }

    /// Returns whether an attempt may have begun. It has not if at least `concurrency` older ones may still run.
    pub(crate) fn may_run(&self, concurrency: u32) -> impl Fn(&Attempt) -> bool + use<> {
        let later =
            self.invocations().filter(|(_, number)| *number > concurrency).map(|(attempt, _)| attempt.wire).next();
        // Without that many attempts, all of them may run.
        let later = later.unwrap_or(WireId(u64::MAX));
        move |attempt| match attempt.holder {
            SlotHolder::Abandoned { next: Escalation::Withdrawn { .. } } => false,
            SlotHolder::Abandoned { next: Escalation::Interrupt(_) | Escalation::Kill(_) } => true,
            SlotHolder::Abandoned { next: Escalation::Asked }
            | SlotHolder::Call(_)
            | SlotHolder::Stream(_)
            | SlotHolder::Revoking(_) => attempt.wire < later,
        }
    }

    /// Returns whether the answers show that the process does not begin its attempts in order, at most `at_once` at a time: one
    /// has finished while that many older ones had neither finished nor been withdrawn.
    pub(super) fn contradict_order(&self, at_once: u32) -> bool {
        let older = self.invocations().take_while(|(attempt, _)| attempt.wire.0 < self.overtook);
        older.last().is_some_and(|(_, number)| number >= at_once)
    }

    /// Returns the attempts that were not withdrawn, in the order of the sends, each with the number of its invocation, from 1.
    fn invocations(&self) -> impl Iterator<Item = (&Attempt, u32)> {
        let (mut last, mut number) = (None, 0);
        self.iter().filter(|attempt| !attempt.is_withdrawn()).map(move |attempt| {
            let invocation = Some(self.batches.invocation(attempt.wire));
            number += u32::from(invocation != last);
            last = invocation;
            (attempt, number)
        })
    }

    /// Returns the latest attempt that finished before an older one, or 0.
    pub(super) fn overtook(&self) -> u64 {
        self.overtook
    }

    pub(super) fn set_overtook(&mut self, wire: u64) {
        self.overtook = wire;
    }

    /// Returns the attempts that have not begun, as far as the pool knows.
    pub(crate) fn in_advance(&self) -> InAdvance {
        self.in_advance
    }

    /// Returns whether there is an attempt with this wire id in advance.
    pub(super) fn is_wire_in_advance(&self, wire: WireId) -> bool {
        self.get(wire).is_some_and(|attempt| self.is_in_advance(attempt))
    }

    fn is_in_advance(&self, attempt: &Attempt) -> bool {
        attempt.wire.0 > self.last_begun && !attempt.is_withdrawn()
    }

    /// Returns the number of invocations that count as begun. The others wait in advance, or the worker will not begin them.
    pub(crate) fn begun(&self) -> u32 {
        self.places_of_others() - self.in_advance.attempts()
    }

    /// Returns the attempts in advance, the oldest first.
    pub(super) fn iter_in_advance(&self) -> impl Iterator<Item = &Attempt> {
        let from = match self.in_advance.is_empty() {
            true => self.later.len(),
            false => self.later.partition_point(|(wire, _)| wire.0 <= self.last_begun),
        };
        let later = self.later.range(from..).filter_map(|(_, entry)| entry.as_ref());
        self.oldest.iter().chain(later).filter(|attempt| self.is_in_advance(attempt))
    }

    /// Returns the attempts that have begun, as far as the pool knows, and have no final frame.
    pub(crate) fn iter_begun(&self) -> impl Iterator<Item = &Attempt> {
        self.iter().filter(|attempt| !self.is_in_advance(attempt) && !attempt.is_withdrawn())
    }

    /// Counts the first attempt in advance as begun, if there is one and fewer than `places` others have begun. Returns
    /// it.
    pub(super) fn begin_next(&mut self, now: Timestamp, places: u32) -> Option<&Attempt> {
        if self.begun() >= places {
            return None;
        }
        let next = *self.iter_in_advance().next()?;
        self.in_advance -= next.in_advance();
        self.last_begun = next.wire.0;
        let attempt = self.get_mut(next.wire)?;
        attempt.since = now;
        Some(attempt)
    }

    /// Records that the worker was asked to take back an attempt. Returns false if it was asked before, or the call is
    /// settled.
    pub(super) fn revoke(&mut self, wire: WireId) -> bool {
        let holder = self.get(wire).map(|attempt| attempt.holder);
        let Some(SlotHolder::Call(call) | SlotHolder::Stream(call)) = holder else { return false };
        self.set_holder(wire, SlotHolder::Revoking(call));
        true
    }

    /// Records that the worker gave back an attempt as asked: it will not begin. Returns its call, which is no longer in
    /// this process.
    pub(super) fn take_back(&mut self, wire: WireId) -> Option<CallId> {
        let SlotHolder::Revoking(call) = self.get(wire)?.holder else { return None };
        self.set_holder(wire, SlotHolder::Abandoned { next: Escalation::Withdrawn { kill: None } });
        self.abandoned += 1;
        let attempt = self.get_mut(wire)?;
        // The session waits for the call, which goes on, not for this attempt.
        (attempt.is_taken_back, attempt.session) = (true, None);
        Some(call.id)
    }

    fn timed_in_order(&self) -> Vec<(WireId, Timestamp)> {
        let mut timed: Vec<_> = self.timed.iter().map(|(due, wire)| (*wire, *due)).collect();
        timed.sort_unstable();
        timed
    }

    fn recounted_in_advance(&self) -> InAdvance {
        let mut found = InAdvance::default();
        let in_advance = self.iter().filter(|attempt| self.is_in_advance(attempt));
        in_advance.for_each(|attempt| found += attempt.in_advance());
        found
    }

    /// Returns whether the invariants hold. For tests.
    pub(super) fn is_consistent(&self) -> bool {
        let is_vacant = |entry: Option<&(WireId, Option<Attempt>)>| entry.is_some_and(|(_, entry)| entry.is_none());
        self.later.iter().is_sorted_by(|(before, _), (after, _)| before < after)
            && self.iter().is_sorted_by(|before, after| before.wire < after.wire)
            && !is_vacant(self.later.front())
            && !is_vacant(self.later.back())
            && self.later.len() <= 2 * self.len() + VACANT
            && (self.oldest.is_some() || self.later.is_empty())
            && self.len() == self.iter().count()
            && self.abandoned as usize == self.iter().filter(|attempt| attempt.call().is_none()).count()
            && self.withdrawn as usize == self.iter().filter(|attempt| attempt.is_withdrawn()).count()
            && self.in_advance == self.recounted_in_advance()
            && self.batches.is_consistent(&self.iter().map(Attempt::counted).collect::<Vec<_>>())
            && self.timed_in_order()
                == self.iter().filter_map(|attempt| Some((attempt.wire, attempt.due()?))).collect::<Vec<_>>()
    }
}

/// Vacant entries are not compared: they depend on the order in which attempts finished.
impl PartialEq for Attempts {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter()) && self.batches == other.batches
    }
}

impl Eq for Attempts {}

impl Hash for Attempts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.batches.hash(state);
        self.iter().for_each(|attempt| attempt.hash(state));
    }
}

#[cfg(test)]
mod tests;
