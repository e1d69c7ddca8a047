//! The calls and the deaths of workers within the last minute, for [`Timeline`]: rings of fixed size, which outlive the workers.
//! The short calls of a worker become one entry, so that recording a call is usually an update in place, without an allocation
//! or an atomic operation, and the minute fits also under load.

use super::call::Call;
use crate::timeline::{Timeline, TimelineCall, TimelineDeath};
use herder_core::{CallId, SessionId, Timestamp, WorkerRef};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How far back a timeline reaches.
const SPAN: Duration = Duration::from_secs(60);
/// The maximum number of entries of calls: about half a megabyte, without the names of commands and sessions.
const ENTRIES: usize = 4096;
const DEATHS: usize = 256;
/// Calls are put together if at most this many nanoseconds are between them. It is less than can be seen in a picture of a minute.
const GAP: u64 = 20_000_000;
/// The longest entry of several calls, in nanoseconds.
const LONGEST: u64 = 250_000_000;

/// The recent calls and deaths of a pool.
pub(crate) struct RecentCalls {
    /// The start of the pool, from which times are counted.
    started: Timestamp,
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// The number of the last entry of each slot.
    last_of_slot: Vec<Option<u64>>,
    /// The number of changes so far.
    changes: u64,
    deaths: VecDeque<(u64, TimelineDeath)>,
}

struct Entry {
    /// The number of its last change.
    changed: u64,
    worker: WorkerRef,
    command: Arc<str>,
    session: Option<SessionId>,
    call: CallId,
    from: Timestamp,
    to: Timestamp,
    ran: u64,
    count: u32,
    outcome: &'static str,
}

/// A call that has ended on a worker.
pub(super) struct EndedRun<'a> {
    pub(super) worker: WorkerRef,
    pub(super) id: CallId,
    pub(super) call: &'a Call,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) outcome: &'static str,
}

impl RecentCalls {
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            started,
            entries: VecDeque::new(),
            first: 0,
            last_of_slot: Vec::new(),
            changes: 0,
            deaths: VecDeque::new(),
        }
    }

    /// Records a call that has ended.
    pub(super) fn ended(&mut self, run: &EndedRun<'_>) {
        self.changes += 1;
        let changed = self.changes;
        match self.last_entry(run.worker).filter(|entry| entry.accepts(run)) {
            Some(entry) => entry.extend(run, changed),
            None => self.add(run),
        }
    }

    fn last_entry(&mut self, worker: WorkerRef) -> Option<&mut Entry> {
        let number = (*self.last_of_slot.get(slot(worker))?)?;
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(place).filter(|entry| entry.worker == worker)
    }

    fn add(&mut self, run: &EndedRun<'_>) {
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
            self.first += 1;
        }
        let slot = slot(run.worker);
        if slot >= self.last_of_slot.len() {
            self.last_of_slot.resize(slot + 1, None);
        }
        self.last_of_slot[slot] = Some(self.first + self.entries.len() as u64);
        self.entries.push_back(Entry::of(run, self.changes));
    }

    /// Records the death of a process.
    pub(super) fn died(&mut self, worker: WorkerRef, at: Timestamp, cause: Box<str>) {
        self.changes += 1;
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        let WorkerRef { id: worker, generation } = worker;
        self.deaths.push_back((self.changes, TimelineDeath { worker, generation, at_us: self.micros(at), cause }));
    }

    /// Returns what has ended within the last minute, and was changed after the answer whose `next` was `since`.
    pub(super) fn timeline(&self, now: Timestamp, since: u64) -> Timeline {
        let is_recent = |to: Timestamp| now.since(to) <= SPAN;
        let entries = self.entries.iter().enumerate();
        let entries = entries.filter(|(_, entry)| entry.changed > since && is_recent(entry.to));
        let calls = entries.map(|(place, entry)| self.call(self.first + place as u64, entry)).collect();
        let begin = self.micros(now).saturating_sub(u64::try_from(SPAN.as_micros()).unwrap_or(u64::MAX));
        let deaths = self.deaths.iter().filter(|(changed, death)| *changed > since && death.at_us >= begin);
        let deaths = deaths.map(|(_, death)| death.clone()).collect();
        Timeline { now_us: self.micros(now), next: self.changes, calls, deaths }
    }

    fn call(&self, number: u64, entry: &Entry) -> TimelineCall {
        TimelineCall {
            seq: Some(number),
            worker: entry.worker.id,
            generation: entry.worker.generation,
            command: Some(entry.command.clone()),
            session: entry.session.clone(),
            call: Some(entry.call.0),
            count: entry.count,
            from_us: self.micros(entry.from),
            to_us: Some(self.micros(entry.to)),
            run_us: entry.ran / 1000,
            outcome: Some(entry.outcome),
        }
    }

    /// Returns the end of the last call that was recorded for a process.
    pub(super) fn last_end(&self, worker: WorkerRef) -> Option<Timestamp> {
        let number = (*self.last_of_slot.get(slot(worker))?)?;
        let entry = self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        (entry.worker == worker).then_some(entry.to)
    }

    pub(super) fn micros(&self, at: Timestamp) -> u64 {
        nanos(self.started, at) / 1000
    }
}

/// Returns the nanoseconds between two times; zero if the second one is earlier.
fn nanos(from: Timestamp, to: Timestamp) -> u64 {
    to.0.saturating_sub(from.0)
}

fn slot(worker: WorkerRef) -> usize {
    (worker.id.0 as usize).saturating_sub(1)
}

impl Entry {
    fn of(run: &EndedRun<'_>, changed: u64) -> Self {
        Self {
            changed,
            worker: run.worker,
            command: run.call.command.clone(),
            session: run.call.session.clone(),
            call: run.id,
            from: run.from,
            to: run.to,
            ran: nanos(run.from, run.to),
            count: 1,
            outcome: run.outcome,
        }
    }

    /// Returns whether a call continues this entry, which is the last one of the same process.
    fn accepts(&self, run: &EndedRun<'_>) -> bool {
        nanos(self.to, run.from) <= GAP
            && nanos(self.from, run.to) <= LONGEST
            && self.outcome == run.outcome
            && self.command == run.call.command
    }

    fn extend(&mut self, run: &EndedRun<'_>, changed: u64) {
        (self.changed, self.to) = (changed, self.to.max(run.to));
        self.from = self.from.min(run.from);
        self.ran += nanos(run.from, run.to);
        self.count = self.count.saturating_add(1);
        if self.session != run.call.session {
            self.session = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_state::Replier;
    use bytes::Bytes;
    use herder_core::{Generation, WorkerId};
    use tokio::sync::oneshot;

    const MS: u64 = 1_000_000;
    const W1: WorkerRef = WorkerRef { id: WorkerId(1), generation: Generation(1) };

    fn call(command: &str, session: Option<&str>) -> Call {
        Call {
            command: command.into(),
            number: Default::default(),
            session: session.map(|id| SessionId::new(id).unwrap()),
            body: Bytes::new(),
            deadline: Timestamp::NEVER,
            headers: None,
            buffers: None,
            command_timeout: None,
            sent: None,
            sent_at: Timestamp(0),
            reply: Replier::Once(oneshot::channel().0),
            permit: None,
            trace: None,
        }
    }

    fn add(recent: &mut RecentCalls, worker: WorkerRef, call: &Call, from: u64, to: u64) {
        let (from, to) = (Timestamp(from * MS), Timestamp(to * MS));
        recent.ended(&EndedRun { worker, id: CallId(from.0), call, from, to, outcome: "ok" });
    }

    /// The number, the count, begin and end of each entry, in milliseconds.
    fn entries(timeline: &Timeline) -> Vec<(u64, u32, u64, u64)> {
        let entry =
            |call: &TimelineCall| (call.seq.unwrap(), call.count, call.from_us / 1000, call.to_us.unwrap() / 1000);
        timeline.calls.iter().map(entry).collect()
    }

    #[test]
    fn short_calls_of_a_worker_and_a_command_are_one_entry() {
        let mut recent = RecentCalls::new(Timestamp(0));
        let (ann, bob, other) = (call("a", Some("ann")), call("a", Some("bob")), call("b", None));
        add(&mut recent, W1, &ann, 0, 1);
        add(&mut recent, W1, &ann, 2, 3);
        let first = recent.timeline(Timestamp(3 * MS), 0);
        assert_eq!(first.calls[0].session.as_ref().map(SessionId::as_str), Some("ann"));
        add(&mut recent, W1, &bob, 4, 10);
        add(&mut recent, W1, &bob, 31, 40); // after a pause
        add(&mut recent, W1, &bob, 40, 300); // too long
        add(&mut recent, W1, &other, 300, 301);
        let next = WorkerRef { generation: Generation(2), ..W1 };
        add(&mut recent, next, &other, 301, 302); // another process
        let all = recent.timeline(Timestamp(302 * MS), 0);
        let expected = [(0, 3, 0, 10), (1, 1, 31, 40), (2, 1, 40, 300), (3, 1, 300, 301), (4, 1, 301, 302)];
        assert_eq!(entries(&all), expected);
        assert_eq!((&all.calls[0].session, all.calls[0].run_us), (&None, 8000));
        assert_eq!(entries(&recent.timeline(Timestamp(302 * MS), first.next)), expected, "the first entry has changed");
        assert_eq!(entries(&recent.timeline(Timestamp(302 * MS), all.next)), []);
        let late = recent.timeline(Timestamp(60_040 * MS), 0);
        assert_eq!(entries(&late), expected[1..], "the first entry ended more than a minute ago");
    }

    /// R10: what is kept does not grow with the calls.
    #[test]
    fn r10_recent_calls_and_deaths_are_bounded() {
        let mut recent = RecentCalls::new(Timestamp(0));
        let calls = [call("a", None), call("b", None)];
        for number in 0..10_000 {
            add(&mut recent, W1, &calls[number as usize % 2], number, number + 1);
            recent.died(W1, Timestamp(number * MS), "died".into());
        }
        let all = recent.timeline(Timestamp(10_000 * MS), 0);
        assert_eq!((all.calls.len(), all.deaths.len()), (ENTRIES, DEATHS));
        assert_eq!(entries(&all).last(), Some(&(9999, 1, 9999, 10_000)));
    }
}
