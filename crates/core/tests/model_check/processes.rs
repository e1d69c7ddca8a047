//! The fake processes around the core: which are ready, which were asked to stop, and which frames are unanswered.

use herder_core::{AttemptState, CallId, Epoch, StopMethod, WireId, WorkerRef};
use std::collections::{BTreeMap, BTreeSet};

/// An attempt that a process was sent and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) call: CallId,
    pub(crate) session: Option<&'static str>,
    pub(crate) strict: bool,
    pub(crate) epoch: Option<Epoch>,
    /// What a process that begins its calls in order does with it.
    pub(crate) phase: Phase,
    /// Identifies its command and arguments, for the quarantine.
    pub(crate) payload: Option<u64>,
    /// The first attempt of its batch, if it has one.
    pub(crate) batch: Option<WireId>,
}

/// What a process that begins its calls in order does with an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Phase {
    pub(crate) begun: bool,
    /// Whether the process was asked to stop it or to take it back, and has not noticed.
    pub(crate) asked: bool,
    /// Whether the process will not begin it.
    pub(crate) withdrawn: bool,
    /// The answer that has not arrived.
    pub(crate) answer: Option<AttemptState>,
    /// Whether its call may be sent elsewhere, since the process gave it back.
    pub(crate) returned: bool,
    /// Whether the process, in a pool with streams, has sent a chunk of it.
    pub(crate) has_chunks: bool,
}

/// A process that has not exited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) ready: bool,
    /// Whether it was asked to stop.
    pub(crate) stopping: bool,
    /// Whether it may finish its calls before it stops.
    pub(crate) after_calls: bool,
    pub(crate) unfinished: BTreeMap<WireId, Attempt>,
    /// The ping that it has not answered.
    pub(crate) ping: Option<u64>,
    /// The ping for which it is being examined.
    pub(crate) examined: Option<u64>,
    /// Whether it missed a ping, and since then has neither answered one nor been found to compute for its calls.
    pub(crate) missed: bool,
}

/// The stand-ins for worker processes: all that were started and have not exited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FakeProcesses {
    pub(crate) processes: BTreeMap<WorkerRef, Process>,
    /// Whether the pool reported that it has stopped.
    pub(crate) stopped: bool,
}

impl Process {
    /// Returns the number of unfinished invocations: the attempts of a batch are one.
    pub(crate) fn invocations(&self) -> usize {
        let invocations = self.unfinished.iter().map(|(wire, attempt)| attempt.batch.unwrap_or(*wire));
        invocations.collect::<BTreeSet<_>>().len()
    }

    /// Returns the attempt that the process begins next, if it begins one at a time.
    pub(crate) fn next_to_begin(&self) -> Option<WireId> {
        let is_busy = self.unfinished.values().any(|attempt| attempt.phase.begun);
        // It writes the frame of a call that it has withdrawn when it reaches it.
        let (wire, first) = self.unfinished.first_key_value()?;
        (!is_busy && !first.phase.withdrawn).then_some(*wire)
    }

    /// Returns the attempts whose final frame the process may write now.
    pub(crate) fn finishable(&self) -> impl Iterator<Item = WireId> + '_ {
        let first = self.unfinished.keys().next().copied();
        let may_finish = move |wire: WireId, phase: Phase| phase.begun || (phase.withdrawn && first == Some(wire));
        self.unfinished.iter().filter(move |(wire, it)| may_finish(**wire, it.phase)).map(|(wire, _)| *wire)
    }
}

impl FakeProcesses {
    pub(crate) fn phase(&mut self, worker: WorkerRef, wire: WireId) -> Option<&mut Phase> {
        self.processes.get_mut(&worker)?.unfinished.get_mut(&wire).map(|attempt| &mut attempt.phase)
    }

    /// Returns false if the slot already has a process (R21).
    pub(crate) fn start(&mut self, worker: WorkerRef) -> bool {
        let free = self.processes.keys().all(|other| other.id != worker.id);
        self.processes.insert(worker, Process::default());
        free
    }

    /// Returns false if there is no such process.
    pub(crate) fn stop(&mut self, worker: WorkerRef, method: StopMethod) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        (process.stopping, process.after_calls) = (true, method == StopMethod::AfterCalls);
        true
    }

    pub(crate) fn ping(&mut self, worker: WorkerRef, nonce: u64) {
        self.processes.entry(worker).or_default().ping = Some(nonce);
    }

    pub(crate) fn examine(&mut self, worker: WorkerRef, nonce: u64) {
        self.processes.entry(worker).or_default().examined = Some(nonce);
    }

    pub(crate) fn missed_ping(&mut self, worker: WorkerRef) {
        self.processes.entry(worker).or_default().missed = true;
    }

    /// Returns false if the process does not accept calls, or already has the wire id.
    pub(crate) fn send(&mut self, worker: WorkerRef, wire: WireId, attempt: Attempt) -> bool {
        let live = self.is_live(worker);
        let process = self.processes.entry(worker).or_default();
        process.unfinished.insert(wire, attempt).is_none() && live
    }

    pub(crate) fn answer(&mut self, worker: WorkerRef, wire: WireId) -> Option<Attempt> {
        self.processes.get_mut(&worker)?.unfinished.remove(&wire)
    }

    /// Returns whether the process is ready and was not asked to stop.
    pub(crate) fn is_live(&self, worker: WorkerRef) -> bool {
        self.processes.get(&worker).is_some_and(|process| process.ready && !process.stopping)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (WorkerRef, WireId, Attempt)> + '_ {
        let of = |(worker, process): (&WorkerRef, &'_ Process)| (*worker, process.unfinished.clone());
        self.processes
            .iter()
            .map(of)
            .flat_map(|(worker, all)| all.into_iter().map(move |(wire, it)| (worker, wire, it)))
    }

    /// Returns whether all processes are ready and idle.
    pub(crate) fn is_quiet(&self) -> bool {
        self.processes.values().all(|process| process.ready && !process.stopping && process.unfinished.is_empty())
    }
}
