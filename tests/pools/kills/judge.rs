//! The judge of the kill test (R20, R21). It compares each answer of a session with the state that follows from the answers
//! before it, with the kills, and with the execution log that the workers wrote. It does no I/O and has no access to the pool.

use herder::{
    session::{RebindReason, Routing},
    status::WorkerRef,
};
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
    /// The number of deaths that the pool had noticed before it was submitted.
    pub(super) noticed: usize,
    pub(super) end: CallOutcome,
}

#[derive(Clone, Debug)]
pub(super) enum CallOutcome {
    Ran { worker: WorkerRef, pid: u32, count: u64, routing: Routing },
    LossReported { worker: WorkerRef, may_have_run: bool },
    Other(String),
}

/// One process that was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) worker: WorkerRef,
    pub(super) pid: u32,
    /// The number of the session's last call that the pool had certainly admitted before the kill.
    pub(super) admitted: u64,
}

/// A line that a handler wrote when it began: its process, and the count in the session's state before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) before: u64,
}

/// The lines of a session's calls, by the number of the call.
pub(super) type ExecutionLog = BTreeMap<u64, Vec<Entry>>;

/// The number of answers of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) ran: u64,
    /// Loss reports of all kinds.
    pub(super) loss_reported: u64,
    /// Loss reports to the next call, because none was pending when the worker died.
    pub(super) loss_reported_next: u64,
    /// Loss reports of the same loss as the call before.
    pub(super) loss_reported_again: u64,
    /// Loss reports with `may_have_run`.
    pub(super) may_have_run: u64,
    /// Loss reports with `may_have_run` whose handler had begun.
    pub(super) had_begun: u64,
}

/// The state of the session, according to the answers so far.
#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Live {
        worker: WorkerRef,
        count: u64,
    },
    /// Lost by this kill, and first reported to one of the calls submitted together with `first`. `next` states that it was
    /// reported to the next call, because none was pending.
    Lost {
        kill: usize,
        first: u64,
        next: bool,
    },
}

/// Checks the recorded answers of one session after the run. It returns a tally of correct answers, or the first answer that is
/// wrong.
pub(super) struct Judge<'a> {
    kills: &'a [Kill],
    execution_log: &'a ExecutionLog,
    state: State,
    /// Processes whose loss was reported.
    reported: BTreeSet<WorkerRef>,
    tally: Tally,
}

type Verdict<T = ()> = Result<T, String>;

/// Returns the error `otherwise` unless the condition is true.
fn ensure(condition: bool, otherwise: &str) -> Verdict {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

impl<'a> Judge<'a> {
    /// Creates a judge. `kills` are all kills in their order.
    pub(super) fn new(kills: &'a [Kill], execution_log: &'a ExecutionLog) -> Self {
        Self { kills, execution_log, state: State::New, reported: BTreeSet::new(), tally: Tally::default() }
    }

    /// Returns the tally of the answers, or describes the first wrong answer.
    pub(super) fn judge(mut self, calls: &[Call]) -> Verdict<Tally> {
        for call in calls {
            let before = self.state;
            let verdict = match &call.end {
                CallOutcome::Ran { worker, pid, count, routing } => self.ran(call, *worker, (*pid, *count), *routing),
                CallOutcome::LossReported { worker, may_have_run } => self.loss_reported(call, *worker, *may_have_run),
                CallOutcome::Other(what) => Err(format!("neither a result nor a loss report: {what}")),
            };
            verdict.map_err(|why| format!("{why}: {call:?}, after {before:?}"))?;
        }
        Ok(self.tally)
    }

    fn entries(&self, call: &Call) -> &'a [Entry] {
        self.execution_log.get(&call.number).map_or(&[], Vec::as_slice)
    }

    fn ran(&mut self, call: &Call, worker: WorkerRef, (pid, count): (u32, u64), routing: Routing) -> Verdict {
        let entry = Entry { pid, before: count.wrapping_sub(1) };
        ensure(self.entries(call) == [entry], "the call did not run exactly once, in that process and on that state")?;
        ensure(!self.reported.contains(&worker), "a process answered after its loss was reported")?;
        match self.state {
            State::New => ensure(
                (count, routing) == (1, Routing::New),
                "the count of a new session is not 1, or its routing is wrong",
            )?,
            State::Live { worker: holder, count: before } => {
                ensure(
                    worker == holder,
                    "the call ran on a worker without the session's state, and no loss was reported",
                )?;
                ensure((count, routing) == (before + 1, Routing::Hit), "the count does not follow from the state")?;
            }
            State::Lost { kill, .. } => {
                ensure(
                    call.number > self.kills[kill].admitted,
                    "the call was admitted before the death, but got no loss report",
                )?;
                let why = Routing::Rebound(RebindReason::WorkerLost);
                ensure((count, routing) == (1, why), "the count of a new state is not 1, or its routing is wrong")?;
            }
        }
        self.state = State::Live { worker, count };
        self.tally.ran += 1;
        Ok(())
    }

    fn loss_reported(&mut self, call: &Call, worker: WorkerRef, may_have_run: bool) -> Verdict {
        let kill =
            self.kills.iter().position(|kill| kill.worker == worker).ok_or("the reported process was not killed")?;
        let before = match self.state {
            State::Lost { kill: known, first, next } if known == kill => {
                return self.loss_reported_again(call, (first, next), may_have_run);
            }
            State::Lost { kill: known, .. } => {
                ensure(
                    call.number > self.kills[known].admitted,
                    "the call was admitted before one death, but got the report of another",
                )?;
                0
            }
            State::New => 0,
            State::Live { worker: holder, count } => {
                ensure(worker == holder, "the session's state was in another process")?;
                count
            }
        };
        ensure(self.reported.insert(worker), "a loss is reported a second time")?;
        self.check_log(call, may_have_run, Some(Entry { pid: self.kills[kill].pid, before }))?;
        self.first_loss_report(call, kill, may_have_run)
    }

    /// Checks the report of a loss that the call before also got. This is right only if both calls were pending.
    fn loss_reported_again(&mut self, call: &Call, (first, next): (u64, bool), may_have_run: bool) -> Verdict {
        ensure(first == call.first, "a loss is reported again to a later call")?;
        ensure(!next, "a loss without a pending call is reported to more than one call")?;
        ensure(!may_have_run, "two calls of a session were sent at the same time")?;
        self.tally.loss_reported += 1;
        self.tally.loss_reported_again += 1;
        self.check_log(call, may_have_run, None)
    }

    /// Checks the first report of a loss.
    fn first_loss_report(&mut self, call: &Call, kill: usize, may_have_run: bool) -> Verdict {
        let next = kill < call.noticed;
        if next {
            ensure(call.number == call.first, "an earlier call should have got the loss report")?;
            ensure(!may_have_run, "the call was sent to a process that the pool knew to be dead")?;
            self.tally.loss_reported_next += 1;
        }
        self.state = State::Lost { kill, first: call.first, next };
        self.tally.loss_reported += 1;
        self.tally.may_have_run += u64::from(may_have_run);
        Ok(())
    }

    /// Checks the execution log of a call that got a loss report: no line, or one line with the expected process and state if
    /// the call may have run.
    fn check_log(&mut self, call: &Call, may_have_run: bool, expected: Option<Entry>) -> Verdict {
        match self.entries(call) {
            [] => return Ok(()),
            [only] => {
                ensure(may_have_run && Some(*only) == expected, "the call ran, but its loss report excludes this")?;
            }
            _ => return Err("the call ran more than once".into()),
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
