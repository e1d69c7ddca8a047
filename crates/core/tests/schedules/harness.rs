//! The harness of the schedules: runs one schedule step by step, and checks all invariants after each step.

use super::{
    model::{Call, Cause, ReferenceModel},
    processes::{Attempt, FakeProcesses},
    rng::Rng,
    settings,
};
use herder_core::{
    Affinity, Answers, BatchKey, BatchLimits, CallFailure, CallId, Core, Effect, Effects, Epoch, ExitStatus,
    Fingerprint, IfAbsent, Input, KillReason, LogEvent, ProcessExit, SessionCall, SessionId, SessionState, Settings,
    StreamLimits, Submission, Suspect, Timestamp, WorkerRef, WorkerTypeSettings,
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// A pool under test with everything around it: the core, the virtual clock, the random numbers that choose the
/// operations, the [`FakeProcesses`] that stand in for real worker processes, and the [`ReferenceModel`] that states
/// what callers and workers must receive.
///
/// In some pools, two of three calls are of a command with batches.
pub(crate) struct Harness {
    pub(crate) rng: Rng,
    pub(crate) core: Core,
    pub(crate) now: Timestamp,
    pub(crate) settings: Settings,
    pub(crate) fakes: FakeProcesses,
    pub(crate) model: ReferenceModel,
    pub(crate) next_call: u64,
    pub(crate) draining: bool,
    /// Whether a shutdown was announced: workers then start only for waiting calls.
    pub(crate) announced: bool,
    /// The number of reloads that have not ended.
    pub(crate) reloads: usize,
    pub(crate) had_live_base_worker: bool,
    /// The ends of processes that may have made the pool fail, since it last failed.
    failures: u32,
    /// Whether the pool has failed and has not recovered.
    has_failed: bool,
    /// Since when each call of a command with batches waits although a worker is free.
    pub(crate) waiting_for_batch: BTreeMap<CallId, Timestamp>,
    output: Output,
}

/// The command whose calls run in batches.
pub(crate) const BATCHED: BatchKey = BatchKey(1);

/// What is done with the lines that describe each step.
enum Output {
    Discarded,
    Printed,
    /// Their hash is printed at the end: two versions of the core that print the same hashes do the same.
    Hashed(RefCell<DefaultHasher>),
}

/// The source of the decisions of a schedule.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Seed(u64),
    /// From a fuzzer.
    Bytes(&'a [u8]),
}

/// Prints the command that replays a failing seed. Bytes are printed by the caller.
struct ReplayCommand<'a>(Source<'a>);

impl Drop for ReplayCommand<'_> {
    fn drop(&mut self) {
        if let Source::Seed(seed) = self.0
            && std::thread::panicking()
        {
            eprintln!("HERDER_SEED={seed} cargo test -p herder-core --test it schedules::replay -- --nocapture");
        }
    }
}

pub(crate) fn run(seed: u64) {
    schedule(Source::Seed(seed), Output::Discarded);
}

/// Runs one schedule, and prints a hash of everything that it did.
pub(crate) fn trace(seed: u64) {
    schedule(Source::Seed(seed), Output::Hashed(RefCell::default()));
}

/// The fuzz target.
pub(crate) fn check_input(bytes: &[u8]) {
    schedule(Source::Bytes(bytes), Output::Discarded);
}

/// Runs one schedule and prints each step.
pub(crate) fn replay(source: Source<'_>) {
    schedule(source, Output::Printed);
}

fn schedule(source: Source<'_>, output: Output) {
    let _replay_command = ReplayCommand(source);
    let (rng, seed) = match source {
        Source::Seed(seed) => (Rng::new(seed), seed),
        Source::Bytes(bytes) => (Rng::of(bytes), bytes.len() as u64),
    };
    let mut harness = Harness::new(rng, seed, output);
    harness.set_batches();
    harness.input(Input::Tick, Cause::Other);
    match source {
        Source::Seed(_) => (0..harness.rng.range(60, 200)).for_each(|_| harness.operate()),
        Source::Bytes(_) => {
            while harness.rng.has_input() {
                harness.operate();
            }
        }
    }
    harness.quiesce();
    if let Output::Hashed(hash) = &harness.output {
        println!("schedule {seed}: {:016x}", hash.borrow().finish());
    }
}

impl Harness {
    /// `seed` determines the hashes of the core's session table.
    fn new(mut rng: Rng, seed: u64, output: Output) -> Self {
        let settings = settings::random(&mut rng);
        if matches!(output, Output::Printed) {
            eprintln!("{settings:#?}");
        }
        let names = (0..rng.range(1, 4)).filter_map(|n| SessionId::new(format!("s{n}")).ok()).collect();
        Self {
            core: Core::new(settings.clone(), seed, Timestamp(1)),
            now: Timestamp(1),
            fakes: FakeProcesses::default(),
            model: ReferenceModel { names, ..ReferenceModel::default() },
            next_call: 0,
            draining: false,
            announced: false,
            reloads: 0,
            had_live_base_worker: false,
            failures: 0,
            has_failed: false,
            waiting_for_batch: BTreeMap::new(),
            rng,
            settings,
            output,
        }
    }

    pub(crate) fn log(&self, what: impl FnOnce() -> String) {
        match &self.output {
            Output::Discarded => {}
            Output::Printed => eprintln!("{:>9.3} ms  {}", self.now.0 as f64 / 1e6, what()),
            Output::Hashed(hash) => (self.now, what()).hash(&mut *hash.borrow_mut()),
        }
    }

    /// Performs one step of the core. Some steps are performed twice, to check that the core depends on its state and
    /// the input only.
    pub(crate) fn input(&mut self, input: Input, cause: Cause) {
        self.log(|| format!("{input:?}"));
        let copy = self.rng.chance(2).then(|| self.core.clone());
        let mut effects = Effects::new();
        self.core.handle(self.now, input.clone(), &mut effects);
        if let Some(mut copy) = copy {
            let mut again = Effects::new();
            copy.handle(self.now, input, &mut again);
            assert_eq!(effects, again);
            assert!(copy == self.core && hash(&copy) == hash(&self.core), "equal cores have equal hashes");
        }
        self.check_step(&effects, &cause);
    }

    /// Sends the core a request that is not an input.
    pub(crate) fn ask<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        question: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::new();
        let answer = question(&mut self.core, self.now, &mut effects);
        self.log(|| format!("{what}: {answer:?}"));
        self.check_step(&effects, &Cause::Other);
        answer
    }

    fn check_step(&mut self, effects: &[Effect], cause: &Cause) {
        for effect in effects {
            self.log(|| format!("    {effect:?}"));
        }
        if let Cause::Submit(id) = cause {
            self.note_epoch(*id);
        }
        let ended = effects.iter().any(|effect| matches!(effect, Effect::EndSession { .. }));
        assert!(!ended || self.affinity_mode().is_some(), "I5: a pool without affinity ends a session");
        for _ in effects.iter().filter(|effect| matches!(effect, Effect::ReloadEnded(_))) {
            assert!(self.reloads > 0, "R31: a reload ends twice");
            self.reloads -= 1;
        }
        effects.iter().for_each(|effect| self.check_failures(effect));
        self.model.observe(&mut self.fakes, effects, cause);
        if let Cause::Exit(worker) = cause {
            self.model.check_all_answered(*worker);
        }
        self.check();
    }

    /// R28: the pool fails after more failures than are allowed, or again after that of its probe. A process that was killed on
    /// request is none.
    fn check_failures(&mut self, effect: &Effect) {
        match effect {
            Effect::Log(LogEvent::WorkerDied(_, exit) | LogEvent::StartFailed(_, exit)) => {
                self.failures += u32::from(exit.kill_reason != Some(KillReason::Requested));
            }
            Effect::Log(LogEvent::PoolRecovered) => self.has_failed = false,
            Effect::Log(LogEvent::PoolFailed(_)) => {
                let allowed = if self.has_failed { 0 } else { self.settings.restart.max };
                assert!(self.failures > allowed, "R28: the pool fails after {} failures", self.failures);
                (self.failures, self.has_failed) = (0, true);
            }
            _ => {}
        }
    }

    /// Records the epoch under which the call was just admitted.
    fn note_epoch(&mut self, id: CallId) {
        let Some(call) = self.model.calls.get(&id).filter(|call| call.mode.is_some()) else { return };
        let epoch = call.session.and_then(|session| self.epoch(session));
        let Some(call) = self.model.calls.get_mut(&id) else { return };
        call.epoch = epoch;
    }

    /// Returns whether this is the slot of a base worker. Reloads add one after all others.
    pub(crate) fn is_base(&self, worker: WorkerRef) -> bool {
        let Settings { pool_size, overflow, .. } = self.settings;
        worker.id.0 <= pool_size || worker.id.0 > pool_size + overflow
    }

    pub(crate) fn has_live_base_worker(&self) -> bool {
        self.fakes.matching(|process| process.ready && !process.stopping).iter().any(|worker| self.is_base(*worker))
    }

    pub(crate) fn epoch(&self, session: usize) -> Option<Epoch> {
        self.core.session_info(self.now, self.model.names[session].as_str())?.epoch
    }

    pub(crate) fn affinity_mode(&self) -> Option<Affinity> {
        match &self.settings.worker_type {
            WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } => Some(affinity.mode),
            _ => None,
        }
    }

    /// R20: returns the worker whose loss the next strict call of this session must report, if no other call is
    /// pending.
    pub(crate) fn unreported_loss(&self, session: usize) -> Option<WorkerRef> {
        let info = self.core.session_info(self.now, self.model.names[session].as_str())?;
        let epoch = info.epoch.filter(|_| info.state == SessionState::Active)?;
        let taken =
            self.model.strict(session).next().is_some() || self.fakes.unfinished_strict(session).next().is_some();
        let owner = self.model.state_owner((session, epoch))?;
        let is_reported =
            self.model.lost.contains(&(session, epoch)) || self.model.released.contains(&(session, epoch));
        // Only earlier hint calls used this state, after the end of the session.
        let is_after_end = self.model.epochs_after_end.contains_key(&(session, epoch));
        (!taken && !is_reported && !is_after_end && !self.fakes.is_live(owner)).then_some(owner)
    }

    /// Submits a call and returns its id.
    pub(crate) fn submit(&mut self, session: Option<usize>, affinity: Option<Affinity>, wait: Duration) -> CallId {
        self.input(Input::Tick, Cause::Other);
        self.next_call += 1;
        let call = CallId(self.next_call);
        let (idempotent, deadline) = (self.rng.chance(40), self.now + wait);
        let if_absent = if self.rng.chance(15) { IfAbsent::Reject } else { IfAbsent::Create };
        let mode = self.affinity_mode().filter(|_| session.is_some()).map(|mode| affinity.unwrap_or(mode));
        let waits = mode == Some(Affinity::Hint) && session.is_some_and(|session| self.is_ending(session));
        let mode = if waits { Some(Affinity::StrictQueue) } else { mode };
        let stream = self.stream_limits(call);
        let record = Call {
            stream,
            has_chunks: false,
            session,
            mode,
            epoch: None,
            admitted: self.now,
            deadline,
            idempotent,
            attempts: 0,
            sent: None,
            cooldown_until: Timestamp(0),
            lost: false,
            returned: false,
        };
        let open = !self.draining && wait > Duration::ZERO;
        let expected_loss =
            session.filter(|_| open && record.is_strict()).and_then(|session| self.unreported_loss(session));
        self.model.calls.insert(call, record);
        self.model.submitted += 1;
        let number = session;
        let epoch_before = session.and_then(|n| self.epoch(n));
        let session = session.map(|n| SessionCall { id: self.model.names[n].clone(), if_absent, affinity });
        let fingerprint = self.core.needs_fingerprints().then(|| payload(call));
        let batch = self.batches().filter(|_| !call.0.is_multiple_of(3)).map(|_| BATCHED);
        let input = Input::Submit(Submission { call, session, deadline, idempotent, batch, fingerprint, stream });
        let mut effects = Effects::new();
        self.log(|| format!("{input:?}"));
        self.core.handle(self.now, input, &mut effects);
        let unseen = reported_loss(&effects, call)
            .is_some_and(|worker| number.is_some_and(|n| self.may_be_bound_unobserved(n, epoch_before, worker)));
        assert!(
            refused_before_session(&effects, call) || unseen || reported_loss(&effects, call) == expected_loss,
            "R20: {call} does not report the loss {expected_loss:?}"
        );
        if reported_loss(&effects, call).is_some() {
            self.model.lost.extend(number.zip(epoch_before));
        }
        if answer(&effects, call).is_none() {
            // An admitted call begins an ended session anew, also for earlier calls that are sent in a batch with it.
            number.and_then(|session| self.model.ended.remove(&session));
        }
        self.check_step(&effects, &Cause::Submit(call));
        call
    }

    /// Returns the limits of the stream, if the caller of this call takes chunks: of every third call in every fourth pool. This is
    /// not drawn, so that the schedules of the corpus stay the same in the others.
    fn stream_limits(&self, call: CallId) -> Option<StreamLimits> {
        let has_streams = self.settings.cancel.withdrawn.as_millis() % 4 == 2;
        let idle = call.0.is_multiple_of(2).then_some(Duration::from_millis(60));
        (has_streams && call.0.is_multiple_of(3)).then_some(StreamLimits { idle })
    }

    /// Returns the limits of batches, in every fourth pool. This is not drawn, so that the schedules of the corpus stay the same
    /// in the others.
    pub(crate) fn batches(&self) -> Option<BatchLimits> {
        let number = self.settings.cancel.withdrawn.as_millis();
        let max_wait = Duration::from_millis(self.settings.cancel.interrupt.as_millis() as u64 % 4);
        (number % 4 == 2).then(|| BatchLimits { max_batch_size: 2 + number as u32 / 4 % 4, max_wait })
    }

    /// Sets the limits of the batches. Sometimes a command has none.
    pub(crate) fn set_batches(&mut self) {
        let Some(limits) = self.batches() else { return };
        let max_batch_size = if self.next_call % 7 == 6 { 1 } else { limits.max_batch_size };
        let limits = BatchLimits { max_batch_size, ..limits };
        self.ask("set batch", |core, now, effects| core.set_batch(now, BATCHED, limits, effects));
    }

    /// R22: returns whether calls of an earlier epoch of the session still run or wait. A hint call that is submitted
    /// then waits like a strict one.
    fn is_ending(&self, session: usize) -> bool {
        let now = self.epoch(session);
        let waiting = self.model.strict(session).any(|(_, call)| call.epoch < now);
        waiting || self.fakes.unfinished_strict(session).any(|attempt| attempt.epoch < now)
    }

    /// Returns whether a session, which was not bound at the end of any step, may have been bound by a message within a
    /// step.
    fn may_be_bound_unobserved(&self, session: usize, epoch: Option<Epoch>, worker: WorkerRef) -> bool {
        let owner = epoch.and_then(|epoch| self.model.state_owner((session, epoch)));
        owner.is_none() && self.model.bound_by_message.contains(&(session, worker))
    }

    /// Ends a process.
    pub(crate) fn exit(&mut self, worker: WorkerRef) {
        // What is due is handled before the input, so a retry could be sent to a process of which only the fakes know that it
        // has exited.
        if self.core.next_wakeup().is_some_and(|due| due <= self.now) {
            self.input(Input::Tick, Cause::Other);
        }
        self.log(|| format!("{worker} exits"));
        let suspects = if self.core.needs_suspects() { self.suspects(worker) } else { Vec::new() };
        let starts = self.fakes.matching(|process| !process.ready && !process.stopping).contains(&worker);
        let mut dead = self.fakes.exit(worker);
        let answers = self.answers_of(worker);
        if answers == Answers::Unknown {
            // Then its calls in advance may have run as well.
            dead.in_order = None;
        }
        // In every other case, nothing was written of what the process has not shown that it had. This is not random either.
        dead.unwritten = dead.first_unseen().filter(|_| worker.generation.0.is_multiple_of(2));
        let unwritten = dead.unwritten;
        let (begun, not_begun): (Vec<_>, Vec<_>) =
            dead.unfinished.iter().partition(|(wire, _)| dead.may_have_begun(**wire));
        assert!(not_begun.iter().all(|(_, attempt)| !attempt.begun), "{begun:?} and not {not_begun:?} have begun");
        for (wire, attempt) in not_begun {
            self.model.return_call(attempt.call, *wire);
        }
        self.model.requeue_calls(worker, self.now + self.settings.retry.max);
        let status = if self.rng.chance(50) { ExitStatus::Signal(9) } else { ExitStatus::Code(1) };
        // Every third failed start is due to a lack of descriptors. This is not random, so that the schedules of the
        // corpus stay the same.
        let kill_reason = (starts && worker.generation.0.is_multiple_of(3)).then_some(KillReason::NoDescriptors);
        let exit = ProcessExit { status, kill_reason };
        self.input(Input::Exited { worker, exit, answers, unwritten, suspects }, Cause::Exit(worker));
    }

    /// Returns whether all answers of a process that exits were read: never after a violation of the protocol, and otherwise
    /// in two of three cases. This is not random, so that the schedules of the corpus stay the same.
    fn answers_of(&self, worker: WorkerRef) -> Answers {
        let is_violation = self.core.kill_reason_of(worker) == Some(KillReason::ProtocolViolation);
        let is_missed = (worker.id.0 + worker.generation.0).is_multiple_of(3);
        if is_violation || is_missed { Answers::Unknown } else { Answers::ReadToEnd }
    }

    /// Returns the attempts of the process with their fingerprints. There are three fingerprints, in rotation.
    fn suspects(&self, worker: WorkerRef) -> Vec<Suspect> {
        let attempts = self.fakes.unfinished().filter(|(process, ..)| *process == worker);
        let suspect = |(_, wire, attempt): (_, _, Attempt)| Suspect {
            wire,
            fingerprint: payload(attempt.call),
            command: "any".into(),
        };
        attempts.map(suspect).collect()
    }
}

pub(crate) fn payload(call: CallId) -> Fingerprint {
    Fingerprint(call.0 % 3)
}

fn answer(effects: &[Effect], call: CallId) -> Option<&CallFailure> {
    effects.iter().find_map(|effect| match effect {
        Effect::Settle { call: id, failure, .. } if *id == call => Some(failure),
        _ => None,
    })
}

/// Returns the process whose loss the call reported.
fn reported_loss(effects: &[Effect], call: CallId) -> Option<WorkerRef> {
    match answer(effects, call) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => Some(loss.worker),
        _ => None,
    }
}

/// Returns whether the call was refused before its session was looked up.
fn refused_before_session(effects: &[Effect], call: CallId) -> bool {
    use CallFailure::{BreakerOpen, Poison, PoolFailed};
    matches!(answer(effects, call), Some(PoolFailed { .. } | BreakerOpen { .. } | Poison(_)))
}

fn hash(core: &Core) -> u64 {
    let mut hasher = DefaultHasher::new();
    core.hash(&mut hasher);
    hasher.finish()
}
