//! Judges what one session was answered while its workers were killed (R20, R21): each answer against the state that the
//! answers before it leave, against the kills, and against the ledger that the workers wrote. Pure; it knows no pool.

use herder::{RebindReason, Routing, WorkerRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Sum,
};

/// One call and its answer. A session's calls are numbered from 1, in the order in which they were submitted.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    /// The number of the first call that was submitted together with it.
    pub(super) first: u64,
    /// How many deaths had been noticed before that.
    pub(super) noticed: usize,
    pub(super) end: End,
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Ran { worker: WorkerRef, pid: u32, count: u64, routing: Routing },
    LossReported { worker: WorkerRef, may_have_run: bool },
    Other(String),
}

/// One process that was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) worker: WorkerRef,
    pub(super) pid: u32,
    /// The session's last call of which it was known before that the pool had admitted it.
    pub(super) admitted: u64,
}

/// A line that a handler wrote when it began: in which process, and what the session's state counted by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) before: u64,
}

/// What the workers wrote about a session's calls, by number.
pub(super) type ExecutionLog = BTreeMap<u64, Vec<Entry>>;

/// How often what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) ran: u64,
    /// Told of a loss, of all kinds.
    pub(super) loss_reported: u64,
    /// Told as the next call after the death.
    pub(super) loss_reported_next: u64,
    /// Told of the same loss as the call before it.
    pub(super) loss_reported_again: u64,
    /// Told that it may have run.
    pub(super) may_have_run: u64,
    /// Told so, and its handler had begun.
    pub(super) had_begun: u64,
}

/// Where the session's state is, by the answers so far.
#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Live {
        worker: WorkerRef,
        count: u64,
    },
    /// Lost with this kill, and told first among the calls that begin with `first`. `next`: to the next call, since none was
    /// pending.
    Lost {
        kill: usize,
        first: u64,
        next: bool,
    },
}

/// Judges one session.
pub(super) struct Judge<'a> {
    kills: &'a [Kill],
    execution_log: &'a ExecutionLog,
    state: State,
    /// Processes that were told to be lost.
    over: BTreeSet<WorkerRef>,
    tally: Tally,
}

type Verdict<T = ()> = Result<T, String>;

fn ensure(holds: bool, otherwise: &str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

impl<'a> Judge<'a> {
    /// With all kills, in their order.
    pub(super) fn new(kills: &'a [Kill], execution_log: &'a ExecutionLog) -> Self {
        Self { kills, execution_log, state: State::New, over: BTreeSet::new(), tally: Tally::default() }
    }

    /// What there was, or the first thing that must not be.
    pub(super) fn of(mut self, calls: &[Call]) -> Verdict<Tally> {
        for call in calls {
            let before = self.state;
            let heard = match &call.end {
                End::Ran { worker, pid, count, routing } => self.ran(call, *worker, (*pid, *count), *routing),
                End::LossReported { worker, may_have_run } => self.loss_reported(call, *worker, *may_have_run),
                End::Other(what) => Err(format!("neither ran nor told: {what}")),
            };
            heard.map_err(|why| format!("{why}: {call:?}, after {before:?}"))?;
        }
        Ok(self.tally)
    }

    fn entries(&self, call: &Call) -> &'a [Entry] {
        self.execution_log.get(&call.number).map_or(&[], Vec::as_slice)
    }

    fn ran(&mut self, call: &Call, worker: WorkerRef, (pid, count): (u32, u64), routing: Routing) -> Verdict {
        let entry = Entry { pid, before: count.wrapping_sub(1) };
        ensure(self.entries(call) == [entry], "it did not run once, there and on that state")?;
        ensure(!self.over.contains(&worker), "a process answers that was told to be lost")?;
        match self.state {
            State::New => ensure((count, routing) == (1, Routing::New), "the count of a new session is not 1, as new")?,
            State::Live { worker: home, count: before } => {
                ensure(worker == home, "it ran ran on a worker without its state, and nobody was told")?;
                ensure((count, routing) == (before + 1, Routing::Hit), "the count does not follow from the state")?;
            }
            State::Lost { kill, .. } => {
                ensure(call.number > self.kills[kill].admitted, "it was admitted before the death, and not told")?;
                let why = Routing::Rebound(RebindReason::WorkerLost);
                ensure((count, routing) == (1, why), "the count of a new state is not 1, and says why")?;
            }
        }
        self.state = State::Live { worker, count };
        self.tally.ran += 1;
        Ok(())
    }

    fn loss_reported(&mut self, call: &Call, worker: WorkerRef, may_have_run: bool) -> Verdict {
        let kill = self.kills.iter().position(|kill| kill.worker == worker).ok_or("nobody killed that process")?;
        let before = match self.state {
            State::Lost { kill: known, first, next } if known == kill => {
                return self.loss_reported_again(call, (first, next), may_have_run);
            }
            State::Lost { kill: known, .. } => {
                ensure(
                    call.number > self.kills[known].admitted,
                    "it was admitted before a death, and told of another",
                )?;
                0
            }
            State::New => 0,
            State::Live { worker: home, count } => {
                ensure(worker == home, "its state was in another process")?;
                count
            }
        };
        ensure(self.over.insert(worker), "a loss is told again")?;
        self.began(call, may_have_run, Some(Entry { pid: self.kills[kill].pid, before }))?;
        self.first_loss_report(call, kill, may_have_run)
    }

    /// Told of the loss that the call before it was told of: only if both were pending.
    fn loss_reported_again(&mut self, call: &Call, (first, next): (u64, bool), may_have_run: bool) -> Verdict {
        ensure(first == call.first, "a loss is reported again to a later call")?;
        ensure(!next, "a loss that found no call pending is told to more than one")?;
        ensure(!may_have_run, "two calls of a session were sent at once")?;
        self.tally.loss_reported += 1;
        self.tally.loss_reported_again += 1;
        self.began(call, may_have_run, None)
    }

    fn first_loss_report(&mut self, call: &Call, kill: usize, may_have_run: bool) -> Verdict {
        let next = kill < call.noticed;
        if next {
            ensure(call.number == call.first, "a call before it should have been told")?;
            ensure(!may_have_run, "it was sent to a process that was known to be dead")?;
            self.tally.loss_reported_next += 1;
        }
        self.state = State::Lost { kill, first: call.first, next };
        self.tally.loss_reported += 1;
        self.tally.may_have_run += u64::from(may_have_run);
        Ok(())
    }

    /// What the ledger may say of a call that was told: nothing; or, if it was told so, that it began once, there and on that
    /// state.
    fn began(&mut self, call: &Call, may_have_run: bool, there: Option<Entry>) -> Verdict {
        match self.entries(call) {
            [] => return Ok(()),
            [only] => ensure(may_have_run && Some(*only) == there, "it ran where it can't have, by what it was told")?,
            _ => return Err("it ran more than once".into()),
        }
        self.tally.had_begun += 1;
        Ok(())
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            ran: sum.ran + one.ran,
            loss_reported: sum.loss_reported + one.loss_reported,
            loss_reported_next: sum.loss_reported_next + one.loss_reported_next,
            loss_reported_again: sum.loss_reported_again + one.loss_reported_again,
            may_have_run: sum.may_have_run + one.may_have_run,
            had_begun: sum.had_begun + one.had_begun,
        })
    }
}
