//! One state of the model: the core, the time, the processes, and the answers of each caller.

use super::{
    pool::{BATCHED, Pool},
    processes::{Attempt, FakeProcesses, Phase},
};
use herder_core::{
    CallFailure, CallId, Core, Dispatch, Effect, Effects, Epoch, Input, LogEvent, Timestamp, WireId, WorkerRef,
};
use std::collections::BTreeMap;

/// The retries that need no successes. The few successes of a model add less than one.
const RESERVE: u32 = 10;

/// A call, from its submission on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) session: Option<&'static str>,
    /// Whether it runs on its session's worker and in order.
    pub(crate) strict: bool,
    /// The epoch of its session when it was admitted.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) sent: bool,
    pub(crate) deadline: Timestamp,
    /// The maximum number of attempts.
    pub(crate) may_run: u32,
    pub(crate) runs: u32,
    /// Whether a process that begins its calls in order has begun it.
    pub(crate) begun: bool,
    /// The earliest time of its retry.
    pub(crate) cooldown_until: Timestamp,
    pub(crate) payload: Option<u64>,
    /// Whether it was submitted while its command with these arguments was in quarantine.
    pub(crate) poisonous: bool,
    /// If no other call of its session was pending at the submission: for each other session, how many of its calls
    /// were sent while this call waited.
    pub(crate) passed: Option<BTreeMap<&'static str, u8>>,
    /// How often its caller was answered.
    pub(crate) answers: u8,
}

/// How often each event may still happen. This bounds the number of states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) calls: u32,
    pub(crate) cancels: u32,
    /// Attempts that cannot be written to their processes.
    pub(crate) failed_sends: u32,
    /// Exits of processes that were not asked to stop.
    pub(crate) deaths: u32,
    /// Requests to bind, unbind or end a session.
    pub(crate) manual_bindings: u32,
    /// Removals of all sessions of a worker.
    pub(crate) removals: u32,
    /// Waits until sessions are due, and sweeps.
    pub(crate) idles: u32,
    pub(crate) shutdowns: u32,
    pub(crate) reloads: u32,
    /// Failures of the health function of a process.
    pub(crate) unhealthy: u32,
}

/// A rule that a step violated. Rules that can be checked in a state alone are in `rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// A call was answered by the frame of another call.
    Frame,
    /// A strict call was sent in another epoch than that of its admission.
    Epoch,
    /// A strict call was sent before an earlier one of its session, or twice.
    Order,
    /// The strict calls of an epoch were sent to two processes.
    StateOwner,
    /// A process that is not alive was sent something.
    Dead,
    /// A slot had two processes.
    Process,
    /// A call was sent more often than allowed.
    Runs,
    /// A call that had begun was answered as if it had not.
    NotRun,
    /// A call was sent at or after its deadline.
    Late,
    /// A call was retried before its backoff was over.
    Early,
    /// There were more retries than the budget allows.
    Budget,
    /// A degraded worker was sent a call.
    Degraded,
    /// A quarantined call was sent.
    Poison,
    /// A call waited while another session was served twice.
    Unfair,
    /// A batch had fewer than two calls or too many, calls for several processes, a call that was sent before, or two strict
    /// calls of a session.
    Batch,
    /// A reload ended twice.
    Reload,
    /// A session was bound to a worker directly after all sessions of that worker were removed.
    Released,
    /// Something pending has no timer, or other derived data of the core is wrong. Two cores that differ only in derived
    /// data are equal, so this flag distinguishes such a state from an intact one.
    Parts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Boxed, since the checker moves each state several times.
    pub(crate) core: Box<Core>,
    pub(crate) now: Timestamp,
    pub(crate) fakes: FakeProcesses,
    pub(crate) calls: Vec<Call>,
    /// The process that holds the state of an epoch.
    state_owners: BTreeMap<(&'static str, Epoch), WorkerRef>,
    /// The number of retries.
    pub(crate) retries: u32,
    /// The consecutive deaths with each fingerprint, and the time of the last one.
    pub(crate) suspects: BTreeMap<u64, (u32, Timestamp)>,
    /// The number of reloads that have not ended.
    pub(crate) reloads: u32,
    pub(crate) budget: Budget,
    pub(crate) violation: Vec<Violation>,
}

impl State {
    pub(crate) fn first(pool: &Pool) -> Self {
        let now = Timestamp(0);
        let core = Box::new(Core::new(pool.settings.clone(), 1, now));
        let (fakes, budget) = (FakeProcesses::default(), pool.budget.clone());
        let mut state = Self {
            core,
            now,
            fakes,
            calls: Vec::new(),
            state_owners: BTreeMap::new(),
            retries: 0,
            suspects: BTreeMap::new(),
            reloads: 0,
            budget,
            violation: Vec::new(),
        };
        state.step(pool, Input::Tick, None);
        if let Some(limits) = pool.batches {
            let mut effects = Effects::new();
            state.core.set_batch(now, BATCHED, limits, &mut effects);
            state.apply_effects(pool, &effects, None);
        }
        let workers: Vec<WorkerRef> = state.fakes.processes.keys().copied().filter(|_| pool.starts_ready).collect();
        for worker in workers {
            state.ready(pool, worker);
        }
        (0..pool.earlier_retries).for_each(|_| state.lose_one(pool));
        state
    }

    /// Performs one step of the core and applies its effects. `answered` is the call whose final frame arrived. Returns
    /// false if there was no effect.
    pub(crate) fn step(&mut self, pool: &Pool, input: Input, answered: Option<CallId>) -> bool {
        let mut effects = Effects::new();
        self.core.handle(self.now, input, &mut effects);
        self.apply_effects(pool, &effects, answered);
        !effects.is_empty()
    }

    pub(crate) fn apply_effects(&mut self, pool: &Pool, effects: &[Effect], answered: Option<CallId>) {
        let is_intact = self.core.verify().is_empty();
        self.require(is_intact, Violation::Parts);
        for effect in effects {
            self.apply(pool, effect, answered);
        }
        if let Some(fault) = pool.fault {
            self.apply_fault(pool, fault, effects);
        }
    }

    fn apply(&mut self, pool: &Pool, effect: &Effect, answered: Option<CallId>) {
        match *effect {
            Effect::Start(worker) => {
                let free = self.fakes.start(worker);
                self.require(free, Violation::Process);
            }
            Effect::Stop { worker, method, .. } => {
                let is_ignored = self.ignores_stop(pool, worker);
                let known = is_ignored || self.fakes.stop(worker, method);
                self.require(known, Violation::Process);
            }
            Effect::Send { worker, call, wire, epoch } => self.on_send(pool, worker, call, wire, epoch, None),
            Effect::SendBatch(ref sends) => self.on_send_batch(pool, sends),
            Effect::Deliver { call, .. } => {
                self.require(answered == Some(call), Violation::Frame);
                self.answer_caller(pool, call);
            }
            Effect::Settle { call, ref failure, .. } => {
                let found = self.call(call);
                let is_wrong = found.begun && says_not_run(failure, found.may_run > 1);
                self.require(!is_wrong, Violation::NotRun);
                self.answer_caller(pool, call);
            }
            Effect::EndSession { worker, .. } => self.require(self.fakes.is_live(worker), Violation::Dead),
            Effect::Stopped => self.fakes.stopped = true,
            Effect::Ping { worker, nonce } => self.fakes.ping(worker, nonce),
            Effect::Examine { worker, nonce } => self.fakes.examine(worker, nonce),
            Effect::Log(LogEvent::PingMissed(worker, ..)) => self.fakes.missed_ping(worker),
            Effect::Cancel { worker, wire, .. } | Effect::Revoke { worker, wire } => {
                if let Some(phase) = self.fakes.phase(worker, wire).filter(|_| pool.in_order) {
                    phase.asked = true;
                }
            }
            Effect::ReloadEnded(_) => {
                self.require(self.reloads > 0, Violation::Reload);
                self.reloads = self.reloads.saturating_sub(1);
            }
            // No stream of these pools has limits of time.
            Effect::Log(_) | Effect::ExamineStream { .. } => {}
        }
    }

    /// Clears what no longer matters, so that equal outcomes are equal states. What an unfinished attempt of the call still
    /// needs is in the attempt. From here on any send of the call is a violation, since it may not run any more.
    pub(crate) fn answer_caller(&mut self, pool: &Pool, id: CallId) {
        let call = self.call(id);
        call.answers += 1;
        (call.deadline, call.cooldown_until, call.passed) = (Timestamp(0), Timestamp(0), None);
        // A faulty shell still looks at answered calls.
        if pool.fault.is_none() {
            *call = Call { answers: call.answers, ..Call::default() };
        }
    }

    fn on_send_batch(&mut self, pool: &Pool, sends: &[Dispatch]) {
        let most = pool.batches.map_or(1, |limits| limits.max_batch_size as usize);
        let Some(first) = sends.first().filter(|_| (2..=most).contains(&sends.len())) else {
            return self.require(false, Violation::Batch);
        };
        let mut sessions = Vec::new();
        for send in sends {
            let call = self.call(send.call).clone();
            let session = call.session.filter(|_| call.strict);
            let is_alone = session.is_none_or(|session| !sessions.contains(&session));
            self.require(send.worker == first.worker && call.runs == 0 && is_alone, Violation::Batch);
            sessions.extend(session);
            self.on_send(pool, send.worker, send.call, send.wire, send.epoch, Some(first.wire));
        }
    }

    pub(crate) fn on_send(
        &mut self,
        pool: &Pool,
        worker: WorkerRef,
        id: CallId,
        wire: WireId,
        epoch: Option<Epoch>,
        batch: Option<WireId>,
    ) {
        let call = self.call(id).clone();
        self.check_send(pool, worker, &call);
        self.check_fairness(call.session);
        if let (true, Some(session), Some(epoch)) = (call.strict, call.session, epoch) {
            self.check_strict_send(worker, id, &call, (session, epoch));
        }
        let Call { session, strict, payload, .. } = call;
        let attempt = Attempt { call: id, session, strict, epoch, payload, batch, phase: Phase::default() };
        let taken = self.fakes.send(worker, wire, attempt);
        self.require(taken, Violation::Dead);
        let call = self.call(id);
        (call.sent, call.passed, call.cooldown_until) = (true, None, Timestamp(0));
        call.runs += 1;
    }

    /// R26, R33, R37
    fn check_send(&mut self, pool: &Pool, worker: WorkerRef, call: &Call) {
        self.require(call.runs < call.may_run, Violation::Runs);
        self.require(self.now < call.deadline, Violation::Late);
        self.require(self.now >= call.cooldown_until, Violation::Early);
        self.retries += u32::from(call.runs > 0);
        self.require(self.retries <= RESERVE, Violation::Budget);
        let missed = self.fakes.processes.get(&worker).is_some_and(|process| process.missed);
        self.require(!(missed && pool.is_health_gated()), Violation::Degraded);
        let poison = (call.poisonous || call.runs > 0) && self.is_quarantined(pool, call.payload);
        self.require(!poison, Violation::Poison);
    }

    /// R36: counts, for each waiting call, the calls of other sessions that are sent before it.
    fn check_fairness(&mut self, session: Option<&'static str>) {
        let Some(session) = session else { return };
        let waiting = self.calls.iter_mut().filter(|call| call.answers == 0 && call.session != Some(session));
        let counts = waiting.filter_map(|call| call.passed.as_mut()).map(|passed| {
            let count = passed.entry(session).or_default();
            *count += 1;
            *count
        });
        let most = counts.max();
        self.require(most.is_none_or(|most| most <= 1), Violation::Unfair);
    }

    /// R37
    pub(crate) fn is_quarantined(&self, pool: &Pool, payload: Option<u64>) -> bool {
        let Some((poison, payload)) = pool.settings.poison.as_ref().zip(payload) else { return false };
        let entry = self.suspects.get(&payload);
        entry.is_some_and(|&(deaths, last)| deaths >= poison.max_worker_deaths && self.now < last + poison.quarantine)
    }

    /// I3
    fn check_strict_send(&mut self, worker: WorkerRef, id: CallId, call: &Call, key: (&'static str, Epoch)) {
        self.require(call.epoch == Some(key.1), Violation::Epoch);
        self.require(!call.sent && !self.has_earlier_waiting_call(id, key.0), Violation::Order);
        let owner = *self.state_owners.entry(key).or_insert(worker);
        self.require(owner == worker, Violation::StateOwner);
    }

    /// Returns whether an earlier strict call of this session is neither sent nor answered.
    fn has_earlier_waiting_call(&self, id: CallId, session: &str) -> bool {
        let earlier = &self.calls[..call_index(id)];
        earlier.iter().any(|call| call.strict && call.session == Some(session) && !call.sent && call.answers == 0)
    }

    pub(crate) fn require(&mut self, holds: bool, rule: Violation) {
        if !holds && !self.violation.contains(&rule) {
            self.violation.push(rule);
        }
    }

    pub(crate) fn call(&mut self, id: CallId) -> &mut Call {
        &mut self.calls[call_index(id)]
    }

    /// Advances the time to the next wakeup at which anything happens. Returns false if nothing ever happens. Wakeups
    /// that change nothing are skipped, such as the check of an overflow worker that is busy: the time of the next one
    /// is not part of the core's state, and must not be part of the model's.
    pub(crate) fn advance(&mut self, pool: &Pool) -> bool {
        let before = self.core.clone();
        while let Some(next) = self.core.next_wakeup() {
            self.now = self.now.max(next);
            if self.step(pool, Input::Tick, None) || self.core != before || self.violation.contains(&Violation::Parts) {
                return true;
            }
        }
        false
    }

    /// Returns whether nothing will happen any more without a new request.
    pub(crate) fn is_idle(&self, pool: &Pool) -> bool {
        self.fakes.is_quiet() && !self.clone().advance(pool)
    }
}

/// Returns whether a failure says that the call did not run. A call that may run again may also time out in the queue.
fn says_not_run(failure: &CallFailure, may_run_again: bool) -> bool {
    match failure {
        CallFailure::DeadlineExceeded { may_have_run } | CallFailure::PoolClosed { may_have_run } => !may_have_run,
        CallFailure::WorkerLost(loss) | CallFailure::SessionWorkerLost { loss, .. } => !loss.may_have_run,
        CallFailure::QueueTimeout => !may_run_again,
        _ => false,
    }
}

fn call_index(id: CallId) -> usize {
    id.0 as usize - 1
}
