//! One schedule: a pool, its processes and a clock, and each step followed by all checks.

use super::{
    model::{Call, Cause, ReferenceModel},
    processes::{Attempt, FakeProcesses},
    rng::Rng,
    settings,
};
use herder_core::{
    Affinity, CallFailure, CallId, Core, Effect, Effects, Epoch, ExitStatus, Fingerprint, IfAbsent, Input, KillReason,
    ProcessExit, SessionCall, SessionId, SessionState, Settings, Submission, Suspect, Timestamp, WorkerRef,
    WorkerTypeSettings,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

pub(crate) struct Harness {
    pub(crate) rng: Rng,
    pub(crate) core: Core,
    pub(crate) now: Timestamp,
    pub(crate) settings: Settings,
    pub(crate) fakes: FakeProcesses,
    pub(crate) model: ReferenceModel,
    pub(crate) next_call: u64,
    pub(crate) draining: bool,
    /// A shutdown was announced: workers start for waiting calls alone.
    pub(crate) announced: bool,
    pub(crate) base_lived: bool,
    /// Timers are dropped as soon as they are stale: what a pool does that has thousands (I8). Else their number is looked at (I6).
    pub(crate) is_tidy: bool,
    loud: bool,
}

/// What decides a schedule.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Seed(u64),
    /// Of a fuzzer.
    Bytes(&'a [u8]),
}

/// Names a seed that failed. Bytes are printed by whoever has them.
struct Line<'a>(Source<'a>);

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Source::Seed(seed) = self.0
            && std::thread::panicking()
        {
            eprintln!("HERDER_SEED={seed} cargo test -p herder-core --test it schedules::replay -- --nocapture");
        }
    }
}

pub(crate) fn run(seed: u64) {
    schedule(Source::Seed(seed), false);
}

/// A target of fuzzing.
pub(crate) fn check_input(bytes: &[u8]) {
    schedule(Source::Bytes(bytes), false);
}

/// Prints each step.
pub(crate) fn replay(source: Source<'_>) {
    schedule(source, true);
}

fn schedule(source: Source<'_>, loud: bool) {
    let _line = Line(source);
    let (rng, seed) = match source {
        Source::Seed(seed) => (Rng::new(seed), seed),
        Source::Bytes(bytes) => (Rng::of(bytes), bytes.len() as u64),
    };
    let mut harness = Harness::new(rng, seed, loud);
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
}

impl Harness {
    /// `seed` scatters the core's sessions.
    fn new(mut rng: Rng, seed: u64, loud: bool) -> Self {
        let settings = settings::random(&mut rng);
        if loud {
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
            base_lived: false,
            is_tidy: !seed.is_multiple_of(4),
            rng,
            settings,
            loud,
        }
    }

    pub(crate) fn log(&self, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:>9.3} ms  {}", self.now.0 as f64 / 1e6, what());
        }
    }

    /// One step of the core, now and then checked to be a function of state and input alone.
    pub(crate) fn input(&mut self, input: Input, cause: Cause) {
        self.log(|| format!("{input:?}"));
        let twin = self.rng.chance(2).then(|| self.core.clone());
        let mut effects = Effects::new();
        self.core.handle(self.now, input.clone(), &mut effects);
        if let Some(mut twin) = twin {
            let mut again = Effects::new();
            twin.handle(self.now, input, &mut again);
            assert_eq!(effects, again);
            assert!(twin == self.core && hash(&twin) == hash(&self.core), "equal cores have equal hashes");
        }
        self.after(&effects, &cause);
    }

    /// Anything asked of the core besides its inputs.
    pub(crate) fn ask<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        question: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::new();
        let answer = question(&mut self.core, self.now, &mut effects);
        self.log(|| format!("{what}: {answer:?}"));
        self.after(&effects, &Cause::Other);
        answer
    }

    fn after(&mut self, effects: &[Effect], cause: &Cause) {
        if self.is_tidy {
            self.core.drop_stale_timers();
        }
        for effect in effects {
            self.log(|| format!("    {effect:?}"));
        }
        if let Cause::Submit(id) = cause {
            self.note_epoch(*id);
        }
        let ended = effects.iter().any(|effect| matches!(effect, Effect::EndSession { .. }));
        assert!(!ended || self.affinity_mode().is_some(), "I5: a pool without affinity ends a session");
        self.model.observe(&mut self.fakes, effects, cause);
        if let Cause::Exit(worker) = cause {
            self.model.all_notified(*worker);
        }
        self.check();
    }

    /// The epoch under which the call was admitted just now.
    fn note_epoch(&mut self, id: CallId) {
        let Some(call) = self.model.calls.get(&id).filter(|call| call.mode.is_some()) else { return };
        let epoch = call.session.and_then(|session| self.epoch(session));
        let Some(call) = self.model.calls.get_mut(&id) else { return };
        call.epoch = epoch;
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

    /// R20: whether the next strict call of this session, found with nobody before it, is to be told of a loss.
    pub(crate) fn loss_unreported(&self, session: usize) -> Option<WorkerRef> {
        let info = self.core.session_info(self.now, self.model.names[session].as_str())?;
        let epoch = info.epoch.filter(|_| info.state == SessionState::Active)?;
        let taken =
            self.model.strict(session).next().is_some() || self.fakes.unfinished_strict(session).next().is_some();
        let home = self.model.state_owner((session, epoch))?;
        let told = self.model.lost.contains(&(session, epoch)) || self.model.released.contains(&(session, epoch));
        (!taken && !told && !self.fakes.is_live(home)).then_some(home)
    }

    /// Submits a call: its number.
    pub(crate) fn submit(&mut self, session: Option<usize>, affinity: Option<Affinity>, wait: Duration) -> CallId {
        self.input(Input::Tick, Cause::Other);
        self.next_call += 1;
        let call = CallId(self.next_call);
        let (idempotent, deadline) = (self.rng.chance(40), self.now + wait);
        let if_absent = if self.rng.chance(15) { IfAbsent::Reject } else { IfAbsent::Create };
        let mode = self.affinity_mode().filter(|_| session.is_some()).map(|mode| affinity.unwrap_or(mode));
        let waits = mode == Some(Affinity::Hint) && session.is_some_and(|session| self.is_ending(session));
        let mode = if waits { Some(Affinity::StrictQueue) } else { mode };
        let record = Call {
            session,
            mode,
            epoch: None,
            admitted: self.now,
            deadline,
            idempotent,
            attempts: 0,
            sent: None,
            cooldown_until: Timestamp(0),
        };
        let open = !self.draining && wait > Duration::ZERO;
        let owed = session.filter(|_| open && record.is_strict()).and_then(|session| self.loss_unreported(session));
        self.model.calls.insert(call, record);
        self.model.submitted += 1;
        let number = session;
        let epoch_before = session.and_then(|n| self.epoch(n));
        let session = session.map(|n| SessionCall { id: self.model.names[n].clone(), if_absent, affinity });
        let fingerprint = self.core.needs_fingerprints().then(|| payload(call));
        let input = Input::Submit(Submission { call, session, deadline, idempotent, fingerprint });
        let mut effects = Effects::new();
        self.log(|| format!("{input:?}"));
        self.core.handle(self.now, input, &mut effects);
        let unseen = reported_loss(&effects, call)
            .is_some_and(|worker| number.is_some_and(|n| self.bound_unseen(n, epoch_before, worker)));
        assert!(
            never_looked_at(&effects, call) || unseen || reported_loss(&effects, call) == owed,
            "R20: {call} is told of a loss, {owed:?} is owed"
        );
        if reported_loss(&effects, call).is_some() {
            self.model.lost.extend(number.zip(epoch_before));
        }
        self.after(&effects, &Cause::Submit(call));
        call
    }

    /// R22: whether calls of an earlier life of the session still run or wait. A hint call that comes then waits as a strict one does.
    fn is_ending(&self, session: usize) -> bool {
        let now = self.epoch(session);
        let waiting = self.model.strict(session).any(|(_, call)| call.epoch < now);
        waiting || self.fakes.unfinished_strict(session).any(|attempt| attempt.epoch < now)
    }

    /// Whether a session that no step's end showed bound may have been bound there by hand meanwhile.
    fn bound_unseen(&self, session: usize, epoch: Option<Epoch>, worker: WorkerRef) -> bool {
        let home = epoch.and_then(|epoch| self.model.state_owner((session, epoch)));
        home.is_none() && self.model.by_hand.contains(&(session, worker))
    }

    /// The process ended, and all it said was read.
    pub(crate) fn exit(&mut self, worker: WorkerRef) {
        self.log(|| format!("{worker} exits"));
        let suspects = if self.core.needs_suspects() { self.suspects(worker) } else { Vec::new() };
        let starts = self.fakes.those(|process| !process.ready && !process.stopping).contains(&worker);
        self.fakes.exit(worker);
        self.model.returned(worker, self.now + self.settings.retry.max);
        let status = if self.rng.chance(50) { ExitStatus::Signal(9) } else { ExitStatus::Code(1) };
        // Each third start that fails does so for want of descriptors. Not by chance: what schedules of the corpus do stays the same.
        let kill_reason = (starts && worker.generation.0.is_multiple_of(3)).then_some(KillReason::NoDescriptors);
        self.input(Input::Exited { worker, end: ProcessExit { status, kill_reason }, suspects }, Cause::Exit(worker));
    }

    /// What the process had, by payload. Calls of three payloads come in turn.
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

/// The process whose death the call was told of.
fn reported_loss(effects: &[Effect], call: CallId) -> Option<WorkerRef> {
    match answer(effects, call) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => Some(loss.worker),
        _ => None,
    }
}

/// Whether the call was refused before its session was looked at.
fn never_looked_at(effects: &[Effect], call: CallId) -> bool {
    use CallFailure::{BreakerOpen, Poison, PoolFailed};
    matches!(answer(effects, call), Some(PoolFailed { .. } | BreakerOpen { .. } | Poison(_)))
}

fn hash(core: &Core) -> u64 {
    let mut hasher = DefaultHasher::new();
    core.hash(&mut hasher);
    hasher.finish()
}
