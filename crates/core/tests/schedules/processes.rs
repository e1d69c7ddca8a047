//! The processes a pool believes in, and what it sent them. Carries out effects as a real shell would, and refuses those
//! that no shell could carry out.

use herder_core::{AttemptState, CallId, Effect, Epoch, KillReason, WireId, WorkerId, WorkerRef};
use std::collections::BTreeMap;

/// What a process was sent and has not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) call: CallId,
    /// Which session, if it has one.
    pub(crate) session: Option<usize>,
    pub(crate) strict: bool,
    pub(crate) epoch: Option<Epoch>,
    /// Its caller has gone, and the process was asked to stop it.
    pub(crate) abandoned: bool,
    /// What the process said of it then.
    pub(crate) state: Option<AttemptState>,
}

/// A process that has not exited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) ready: bool,
    /// Told to end.
    pub(crate) stopping: bool,
    pub(crate) window: usize,
    pub(crate) control: bool,
    pub(crate) unfinished: BTreeMap<WireId, Attempt>,
    pub(crate) pings: Vec<u64>,
    /// Pings it let pass, and is examined for.
    pub(crate) examined: Vec<u64>,
}

impl Process {
    /// Whether its oldest attempt is one that it withdrew.
    fn is_held_up(&self) -> bool {
        self.unfinished.first_key_value().is_some_and(|(_, first)| first.state == Some(AttemptState::Withdrawn))
    }

    /// Abandoned attempts that run, by its own word, or because they are the oldest.
    fn overdue(&self) -> impl Iterator<Item = WireId> + '_ {
        let begun = |attempt: &Attempt| attempt.state != Some(AttemptState::Withdrawn);
        let oldest = self.unfinished.iter().find(|(_, attempt)| begun(attempt)).map(|(wire, _)| *wire);
        let runs = move |wire: WireId, attempt: &Attempt| {
            let told = matches!(attempt.state, Some(AttemptState::Running | AttemptState::Finished));
            attempt.abandoned && begun(attempt) && (told || oldest == Some(wire))
        };
        self.unfinished.iter().filter(move |(wire, attempt)| runs(**wire, attempt)).map(|(wire, _)| *wire)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeProcesses {
    pub(crate) processes: BTreeMap<WorkerRef, Process>,
    /// Those that exited, the last few.
    pub(crate) dead: Vec<WorkerRef>,
    /// Attempts that were answered, the last few.
    pub(crate) answered: Vec<(WorkerRef, WireId)>,
    generations: BTreeMap<WorkerId, u32>,
    pub(crate) stopped: bool,
}

impl FakeProcesses {
    pub(crate) fn apply(&mut self, effect: &Effect) {
        match *effect {
            Effect::Start(worker) => self.start(worker),
            Effect::Stop { worker, kill_reason, .. } => {
                assert!(self.processes.contains_key(&worker), "stops {worker}, which is no process");
                let guilty = self.process(worker).is_held_up()
                    || kill_reason != KillReason::CancelTimeout
                    || self.process(worker).stopping
                    || self.process(worker).overdue().next().is_some();
                assert!(guilty, "R35: {worker} is killed for a call that has not begun: {:?}", self.process(worker));
                self.process(worker).stopping = true;
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
                let may = !interrupt || self.process(worker).overdue().any(|other| other == wire);
                assert!(may, "R35: {wire} has not begun and is interrupted: {:?}", self.process(worker));
            }
            Effect::Stopped => {
                let told = self.processes.values().all(|process| process.stopping); // its time to end may be up
                assert!(told && !self.stopped, "stopped with {:?}", self.processes);
                self.stopped = true;
            }
            _ => {}
        }
    }

    /// R21: a slot has one process at a time, and each has the next generation.
    fn start(&mut self, worker: WorkerRef) {
        assert!(self.processes.keys().all(|other| other.id != worker.id), "{worker} starts beside another");
        let generation = self.generations.entry(worker.id).or_default();
        *generation += 1;
        assert_eq!(*generation, worker.generation.0, "generations count from 1");
        self.processes.insert(worker, Process::default());
    }

    pub(crate) fn sent(&mut self, worker: WorkerRef, wire: WireId, attempt: Attempt) {
        assert!(self.is_live(worker), "sends to {worker}, which is not ready for work");
        let before = self.process(worker).unfinished.insert(wire, attempt);
        assert!(before.is_none(), "the wire id {wire} is used twice");
    }

    pub(crate) fn answer(&mut self, worker: WorkerRef, wire: WireId) -> Option<Attempt> {
        let attempt = self.processes.get_mut(&worker)?.unfinished.remove(&wire)?;
        remember(&mut self.answered, (worker, wire));
        Some(attempt)
    }

    pub(crate) fn exit(&mut self, worker: WorkerRef) -> Process {
        remember(&mut self.dead, worker);
        self.processes.remove(&worker).unwrap_or_default()
    }

    /// Ready, and not told to end.
    pub(crate) fn is_live(&self, worker: WorkerRef) -> bool {
        self.processes.get(&worker).is_some_and(|process| process.ready && !process.stopping)
    }

    /// Whether it has unfinished attempts.
    pub(crate) fn is_busy(&self, worker: WorkerRef) -> bool {
        self.processes.get(&worker).is_some_and(|process| !process.unfinished.is_empty())
    }

    pub(crate) fn base_lives(&self, pool_size: u32) -> bool {
        self.processes.iter().any(|(worker, process)| worker.id.0 <= pool_size && process.ready && !process.stopping)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (WorkerRef, WireId, Attempt)> + '_ {
        self.processes
            .iter()
            .flat_map(|(worker, process)| process.unfinished.iter().map(|(wire, attempt)| (*worker, *wire, *attempt)))
    }

    /// Strict calls of a session that a process has, settled or not (I3).
    pub(crate) fn unfinished_strict(&self, session: usize) -> impl Iterator<Item = Attempt> + '_ {
        self.unfinished().map(|(.., attempt)| attempt).filter(move |a| a.strict && a.session == Some(session))
    }

    pub(crate) fn process(&mut self, worker: WorkerRef) -> &mut Process {
        self.processes.entry(worker).or_default()
    }

    pub(crate) fn those(&self, which: impl Fn(&Process) -> bool) -> Vec<WorkerRef> {
        self.processes.iter().filter(|(_, process)| which(process)).map(|(worker, _)| *worker).collect()
    }
}

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == 16 {
        list.remove(0);
    }
    list.push(item);
}
