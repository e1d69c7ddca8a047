//! The fake processes: stand-ins for worker processes, as a pool knows them. They carry out effects as a real shell
//! would, and fail on an effect that no shell could carry out.

use herder_core::{AttemptState, CallId, Effect, Epoch, KillReason, StopMethod, WireId, WorkerId, WorkerRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// An attempt that a process was sent and has not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) call: CallId,
    /// The session, if the call has one.
    pub(crate) session: Option<usize>,
    pub(crate) strict: bool,
    pub(crate) epoch: Option<Epoch>,
    /// Whether the process was asked to stop it.
    pub(crate) abandoned: bool,
    /// Whether the process was asked to take it back.
    pub(crate) revoked: bool,
    /// Whether it is known to have begun.
    pub(crate) begun: bool,
    /// Whether the process has sent a chunk.
    pub(crate) has_chunks: bool,
    /// Whether the pool knows that the process gave it back: its call is elsewhere.
    pub(crate) taken_back: bool,
    /// The state that the process reported since then.
    pub(crate) state: Option<AttemptState>,
    /// The first attempt of its batch, if it has one.
    pub(crate) batch: Option<WireId>,
}

/// A process that has not exited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) ready: bool,
    /// Whether it was asked to stop.
    pub(crate) stopping: bool,
    /// Whether it may finish its calls before it stops.
    pub(crate) after_calls: bool,
    pub(crate) window: usize,
    pub(crate) control: bool,
    /// How many calls it begins at a time, if it begins them in order.
    pub(crate) in_order: Option<NonZeroU32>,
    /// How many calls count as running.
    pub(crate) places: usize,
    pub(crate) unfinished: BTreeMap<WireId, Attempt>,
    /// The latest attempt that it has answered.
    last_answered: Option<WireId>,
    /// The first attempt that was not written to it, once it has exited.
    pub(crate) unwritten: Option<WireId>,
    pub(crate) pings: Vec<u64>,
    /// The pings that it did not answer and is examined for.
    pub(crate) examined: Vec<u64>,
}

impl Process {
    /// Returns whether an attempt may have begun: if the process begins its calls in order, it is one of the first that
    /// were not withdrawn.
    pub(crate) fn may_have_begun(&self, wire: WireId) -> bool {
        let at_once = self.in_order.map_or(usize::MAX, |calls| calls.get() as usize);
        let is_written = self.unwritten.is_none_or(|first| wire < first);
        is_written && self.not_withdrawn().any(|(other, _, number)| other == wire && number <= at_once)
    }

    /// Returns the first attempt of which it has shown nothing, nor of a later one: these need not have been written to it.
    pub(crate) fn first_unseen(&self) -> Option<WireId> {
        let is_seen = |attempt: &Attempt| {
            let has_state = matches!(attempt.state, Some(AttemptState::Running | AttemptState::Finished));
            attempt.begun || attempt.has_chunks || has_state
        };
        let seen = self.unfinished.iter().rfind(|(_, attempt)| is_seen(attempt)).map(|(wire, _)| *wire);
        let last = seen.max(self.last_answered);
        self.unfinished.keys().copied().find(|wire| last.is_none_or(|last| *wire > last))
    }

    /// Returns the attempts that it did not withdraw, each with the number of its invocation, from 1: the attempts of a batch
    /// are one invocation.
    fn not_withdrawn(&self) -> impl Iterator<Item = (WireId, &Attempt, usize)> {
        let attempts = self.unfinished.iter().filter(|(_, attempt)| attempt.state != Some(AttemptState::Withdrawn));
        let (mut last, mut number) = (None, 0);
        attempts.map(move |(wire, attempt)| {
            let invocation = Some(attempt.batch.unwrap_or(*wire));
            number += usize::from(invocation != last);
            last = invocation;
            (*wire, attempt, number)
        })
    }

    /// Returns the number of unfinished invocations.
    pub(crate) fn invocations(&self) -> usize {
        let invocations = self.unfinished.iter().map(|(wire, attempt)| attempt.batch.unwrap_or(*wire));
        invocations.collect::<BTreeSet<_>>().len()
    }

    /// Returns whether the process may write the final frame of an attempt now: it begins another call only after that.
    pub(crate) fn may_finish(&self, wire: WireId) -> bool {
        let is_first = self.unfinished.first_key_value().is_some_and(|(first, _)| *first == wire);
        self.in_order.is_none() || is_first || self.may_have_begun(wire)
    }

    /// Returns the calls that the pool counts as waiting although the process has them.
    pub(crate) fn in_advance(&self) -> impl Iterator<Item = CallId> + '_ {
        self.not_withdrawn().filter(|(_, _, number)| *number > self.places).map(|(_, attempt, _)| attempt.call)
    }

    /// Returns the number of invocations that may run now.
    pub(crate) fn begun(&self) -> usize {
        self.not_withdrawn().map(|(_, _, number)| number).last().unwrap_or_default().min(self.places)
    }

    /// Returns whether its oldest attempt is one that it has withdrawn.
    fn is_blocked(&self) -> bool {
        self.unfinished.first_key_value().is_some_and(|(_, first)| first.state == Some(AttemptState::Withdrawn))
    }

    /// Returns the abandoned attempts that run: those that it reported as running or finished, and the oldest one that
    /// it has not withdrawn. Of a batch, only if all its attempts are abandoned.
    fn overdue(&self) -> impl Iterator<Item = WireId> + '_ {
        let begun = |attempt: &Attempt| attempt.state != Some(AttemptState::Withdrawn);
        let invocation = |wire: WireId, attempt: &Attempt| attempt.batch.unwrap_or(wire);
        let oldest = self.unfinished.iter().find(|(_, attempt)| begun(attempt));
        let oldest = oldest.map(|(wire, attempt)| invocation(*wire, attempt));
        let runs = move |wire: WireId, attempt: &Attempt| {
            let this = invocation(wire, attempt);
            let mut batch = self.unfinished.iter().filter(move |(wire, other)| invocation(**wire, other) == this);
            let reported =
                |other: &Attempt| matches!(other.state, Some(AttemptState::Running | AttemptState::Finished));
            let is_running = oldest == Some(this) || batch.clone().any(|(_, other)| reported(other));
            attempt.abandoned && begun(attempt) && is_running && batch.all(|(_, other)| other.abandoned)
        };
        self.unfinished.iter().filter(move |(wire, attempt)| runs(**wire, attempt)).map(|(wire, _)| *wire)
    }
}

/// All processes that the pool has started and that have not exited, with the attempts that each of them was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeProcesses {
    pub(crate) processes: BTreeMap<WorkerRef, Process>,
    /// The last processes that exited.
    pub(crate) dead: Vec<WorkerRef>,
    /// The last attempts that were answered.
    pub(crate) answered: Vec<(WorkerRef, WireId)>,
    generations: BTreeMap<WorkerId, u32>,
    pub(crate) stopped: bool,
}

impl FakeProcesses {
    pub(crate) fn apply(&mut self, effect: &Effect) {
        match *effect {
            Effect::Start(worker) => self.start(worker),
            Effect::Stop { worker, method, kill_reason } => {
                assert!(self.processes.contains_key(&worker), "stops {worker}, which does not exist");
                let may_stop = self.process(worker).is_blocked()
                    || kill_reason != KillReason::CancelTimeout
                    || self.process(worker).stopping
                    || self.process(worker).overdue().next().is_some();
                assert!(may_stop, "R35: {worker} is stopped for a call that has not begun: {:?}", self.process(worker));
                let process = self.process(worker);
                let is_sooner = method == StopMethod::Kill || process.after_calls;
                assert!(!process.stopping || is_sooner, "{worker} is stopped again, and not sooner: {method:?}");
                (process.stopping, process.after_calls) = (true, method == StopMethod::AfterCalls);
            }
            Effect::Ping { worker, nonce } => {
                assert!(self.is_live(worker) && self.processes[&worker].control, "pings {worker}");
                self.process(worker).pings.push(nonce);
            }
            Effect::Examine { worker, nonce } => {
                assert!(
                    self.is_live(worker) && self.processes[&worker].pings.contains(&nonce),
                    "examines {worker}, which answered"
                );
                self.process(worker).examined.push(nonce);
            }
            Effect::Cancel { worker, wire, interrupt } => {
                let attempt = self.process(worker).unfinished.get_mut(&wire);
                assert!(attempt.is_some(), "cancels {wire} in {worker}, which does not have it");
                attempt.into_iter().for_each(|attempt| attempt.abandoned = true);
                let may_interrupt = !interrupt || self.process(worker).overdue().any(|other| other == wire);
                assert!(may_interrupt, "R35: {wire} has not begun, but is interrupted: {:?}", self.process(worker));
            }
            Effect::Revoke { worker, wire } => {
                let process = self.process(worker);
                assert!(process.control && process.in_order.is_some(), "{worker} takes nothing back");
                let attempt = process.unfinished.get_mut(&wire);
                assert!(attempt.as_ref().is_some_and(|attempt| !attempt.strict), "R71: {worker} is asked for {wire}");
                attempt.into_iter().for_each(|attempt| attempt.revoked = true);
            }
            Effect::Stopped => {
                // Their time for stopping may be up.
                let all_stopping = self.processes.values().all(|process| process.stopping);
                assert!(all_stopping && !self.stopped, "the pool stopped with {:?}", self.processes);
                self.stopped = true;
            }
            _ => {}
        }
    }

    /// R21: a slot has one process at a time, and each process has the next generation.
    fn start(&mut self, worker: WorkerRef) {
        assert!(
            self.processes.keys().all(|other| other.id != worker.id),
            "{worker} starts while its slot has a process"
        );
        let generation = self.generations.entry(worker.id).or_default();
        *generation += 1;
        assert_eq!(*generation, worker.generation.0, "generations count from 1");
        self.processes.insert(worker, Process::default());
    }

    pub(crate) fn sent(&mut self, worker: WorkerRef, wire: WireId, attempt: Attempt) {
        assert!(self.is_live(worker), "sends to {worker}, which is not ready or is being stopped");
        let before = self.process(worker).unfinished.insert(wire, attempt);
        assert!(before.is_none(), "the wire id {wire} is used twice");
    }

    pub(crate) fn answer(&mut self, worker: WorkerRef, wire: WireId) -> Option<Attempt> {
        let process = self.processes.get_mut(&worker)?;
        let attempt = process.unfinished.remove(&wire)?;
        process.last_answered = process.last_answered.max(Some(wire));
        remember(&mut self.answered, (worker, wire));
        Some(attempt)
    }

    pub(crate) fn exit(&mut self, worker: WorkerRef) -> Process {
        remember(&mut self.dead, worker);
        self.processes.remove(&worker).unwrap_or_default()
    }

    /// Returns whether the process is ready and was not asked to stop.
    pub(crate) fn is_live(&self, worker: WorkerRef) -> bool {
        self.processes.get(&worker).is_some_and(|process| process.ready && !process.stopping)
    }

    /// Returns whether the process has unfinished attempts.
    pub(crate) fn is_busy(&self, worker: WorkerRef) -> bool {
        self.processes.get(&worker).is_some_and(|process| !process.unfinished.is_empty())
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (WorkerRef, WireId, Attempt)> + '_ {
        self.processes
            .iter()
            .flat_map(|(worker, process)| process.unfinished.iter().map(|(wire, attempt)| (*worker, *wire, *attempt)))
    }

    /// Returns the unfinished strict attempts of a session, settled or not (I3).
    pub(crate) fn unfinished_strict(&self, session: usize) -> impl Iterator<Item = Attempt> + '_ {
        self.unfinished().map(|(.., attempt)| attempt).filter(move |a| a.strict && a.session == Some(session))
    }

    pub(crate) fn process(&mut self, worker: WorkerRef) -> &mut Process {
        self.processes.entry(worker).or_default()
    }

    pub(crate) fn matching(&self, predicate: impl Fn(&Process) -> bool) -> Vec<WorkerRef> {
        self.processes.iter().filter(|(_, process)| predicate(process)).map(|(worker, _)| *worker).collect()
    }
}

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == 16 {
        list.remove(0);
    }
    list.push(item);
}
