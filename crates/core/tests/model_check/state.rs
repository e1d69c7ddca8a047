//! One state of the model: the core, the time, the world around the core, and what each caller was answered.

use super::{
    pool::Pool,
    processes::{Attempt, FakeProcesses},
};
use herder_core::{CallId, Core, Effect, Effects, Epoch, Input, LogEvent, Timestamp, WireId, WorkerRef};
use std::collections::BTreeMap;

/// Retries that need no results before them. What the few results of a model add is less than one.
const RESERVE: u32 = 10;

/// A call from its submission on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) session: Option<&'static str>,
    /// It keeps to its session's worker and order.
    pub(crate) strict: bool,
    /// Its session's epoch when it was admitted.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) sent: bool,
    pub(crate) deadline: Timestamp,
    /// It may be sent so often.
    pub(crate) may_run: u32,
    pub(crate) runs: u32,
    /// Its process died: it is not sent again before.
    pub(crate) cooldown_until: Timestamp,
    pub(crate) payload: Option<u64>,
    /// It was submitted while its payload was in quarantine.
    pub(crate) poisonous: bool,
    /// Nothing of its session was unanswered when it came, and how many calls of which session were sent since, while it waited.
    pub(crate) passed: Option<BTreeMap<&'static str, u8>>,
    /// How often its caller was answered.
    pub(crate) answers: u8,
}

/// What may happen yet: each bounds the state space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) calls: u32,
    pub(crate) cancels: u32,
    /// Deaths of processes that were not told to end.
    pub(crate) deaths: u32,
    /// Binds, unbinds and ends of sessions by hand.
    pub(crate) manual_bindings: u32,
    /// Times that all sessions of a worker are removed.
    pub(crate) removals: u32,
    /// Waits until sessions are due, and sweeps.
    pub(crate) idles: u32,
    pub(crate) shutdowns: u32,
}

/// A rule that a step broke. What can be seen in a state is not here: `rules` looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// A call was answered by another call's frame.
    Frame,
    /// A strict call ran at another epoch than that of its admission.
    Epoch,
    /// A strict call was sent before one of its session that was admitted earlier, or twice.
    Order,
    /// An epoch's strict calls went to two processes.
    StateOwner,
    /// A process was sent something that does not live.
    Dead,
    /// A slot had two processes.
    Process,
    /// A call was sent more often than it may be.
    Runs,
    /// A call was sent at or after its deadline.
    Late,
    /// A call was sent again before its wait was over.
    Early,
    /// More calls were sent again than the budget allows.
    Budget,
    /// A worker that missed a ping was sent a call.
    Degraded,
    /// A payload in quarantine was sent.
    Poison,
    /// A call waited while another session was served twice.
    Unfair,
    /// A session was bound to a worker right after all of that worker's were removed.
    Released,
    /// Something is pending, and no timer leads to it. A core does not differ by its timers, so this is what tells such a state from
    /// one that has them all.
    Timer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) now: Timestamp,
    pub(crate) fakes: FakeProcesses,
    pub(crate) calls: Vec<Call>,
    /// Where the state of an epoch is.
    state_owners: BTreeMap<(&'static str, Epoch), WorkerRef>,
    /// How often calls were sent again.
    pub(crate) retries: u32,
    /// Deaths in a row with a payload, and the last of them.
    pub(crate) suspects: BTreeMap<u64, (u32, Timestamp)>,
    pub(crate) budget: Budget,
    pub(crate) violation: Vec<Violation>,
}

impl State {
    pub(crate) fn first(pool: &Pool) -> Self {
        let now = Timestamp(0);
        let core = Core::new(pool.settings.clone(), 1, now);
        let (fakes, left) = (FakeProcesses::default(), pool.budget.clone());
        let mut state = Self {
            core,
            now,
            fakes: fakes,
            calls: Vec::new(),
            state_owners: BTreeMap::new(),
            retries: 0,
            suspects: BTreeMap::new(),
            budget: left,
            violation: Vec::new(),
        };
        state.step(pool, Input::Tick, None);
        let workers: Vec<WorkerRef> = state.fakes.processes.keys().copied().filter(|_| pool.warm).collect();
        for worker in workers {
            state.ready(pool, worker);
        }
        (0..pool.spent).for_each(|_| state.lose_one(pool));
        state
    }

    /// One step of the core, and all that comes of it. `answered` is the call whose final frame it is. False if nothing came.
    pub(crate) fn step(&mut self, pool: &Pool, input: Input, answered: Option<CallId>) -> bool {
        let mut effects = Effects::new();
        self.core.handle(self.now, input, &mut effects);
        self.apply_effects(pool, &effects, answered);
        !effects.is_empty()
    }

    pub(crate) fn apply_effects(&mut self, pool: &Pool, effects: &[Effect], answered: Option<CallId>) {
        self.core.drop_stale_timers(); // one is left for each thing, if there is one: how many there were is no part of a state
        let all_there = self.core.missing_timers().is_empty();
        self.demand(all_there, Violation::Timer);
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
                self.demand(free, Violation::Process);
            }
            Effect::Stop { worker, .. } => {
                let known = self.fakes.stop(worker);
                self.demand(known, Violation::Process);
            }
            Effect::Send { worker, call, wire, epoch } => self.sent(pool, worker, call, wire, epoch),
            Effect::Deliver { call, .. } => {
                self.demand(answered == Some(call), Violation::Frame);
                self.answer_caller(call);
            }
            Effect::Settle { call, .. } => self.answer_caller(call),
            Effect::EndSession { worker, .. } => self.demand(self.fakes.is_live(worker), Violation::Dead),
            Effect::Stopped => self.fakes.stopped = true,
            Effect::Ping { worker, nonce } => self.fakes.ping(worker, nonce),
            Effect::Examine { worker, nonce } => self.fakes.examine(worker, nonce),
            Effect::Log(LogEvent::PingMissed(worker, ..)) => self.fakes.missed_ping(worker),
            Effect::Cancel { .. } | Effect::Log(_) => {}
        }
    }

    /// Forgets what matters no more: equal ends make equal states.
    fn answer_caller(&mut self, id: CallId) {
        let call = self.call(id);
        call.answers += 1;
        (call.deadline, call.cooldown_until, call.passed) = (Timestamp(0), Timestamp(0), None);
    }

    pub(crate) fn sent(&mut self, pool: &Pool, worker: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) {
        let call = self.call(id).clone();
        self.sent_in_time(pool, worker, &call);
        self.sent_fairly(call.session);
        if let (true, Some(session), Some(epoch)) = (call.strict, call.session, epoch) {
            self.sent_strict(worker, id, &call, (session, epoch));
        }
        let attempt = Attempt { call: id, session: call.session, strict: call.strict, epoch };
        let taken = self.fakes.send(worker, wire, attempt);
        self.demand(taken, Violation::Dead);
        let call = self.call(id);
        (call.sent, call.passed, call.cooldown_until) = (true, None, Timestamp(0));
        call.runs += 1;
    }

    /// R26, R33, R37
    fn sent_in_time(&mut self, pool: &Pool, worker: WorkerRef, call: &Call) {
        self.demand(call.runs < call.may_run, Violation::Runs);
        self.demand(self.now < call.deadline, Violation::Late);
        self.demand(self.now >= call.cooldown_until, Violation::Early);
        self.retries += u32::from(call.runs > 0);
        self.demand(self.retries <= RESERVE, Violation::Budget);
        let missed = self.fakes.processes.get(&worker).is_some_and(|process| process.missed);
        self.demand(!(missed && pool.is_gated()), Violation::Degraded);
        let poison = (call.poisonous || call.runs > 0) && self.is_quarantined(pool, call.payload);
        self.demand(!poison, Violation::Poison);
    }

    /// R36: all that wait see that a call of this session goes first.
    fn sent_fairly(&mut self, session: Option<&'static str>) {
        let Some(session) = session else { return };
        let waiting = self.calls.iter_mut().filter(|call| call.answers == 0 && call.session != Some(session));
        let counts = waiting.filter_map(|call| call.passed.as_mut()).map(|passed| {
            let count = passed.entry(session).or_default();
            *count += 1;
            *count
        });
        let most = counts.max();
        self.demand(most.is_none_or(|most| most <= 1), Violation::Unfair);
    }

    /// R37
    pub(crate) fn is_quarantined(&self, pool: &Pool, payload: Option<u64>) -> bool {
        let Some((poison, payload)) = pool.settings.poison.as_ref().zip(payload) else { return false };
        let entry = self.suspects.get(&payload);
        entry.is_some_and(|&(deaths, last)| deaths >= poison.max_worker_deaths && self.now < last + poison.quarantine)
    }

    /// I3
    fn sent_strict(&mut self, worker: WorkerRef, id: CallId, call: &Call, key: (&'static str, Epoch)) {
        self.demand(call.epoch == Some(key.1), Violation::Epoch);
        self.demand(!call.sent && !self.waits_before(id, key.0), Violation::Order);
        let home = *self.state_owners.entry(key).or_insert(worker);
        self.demand(home == worker, Violation::StateOwner);
    }

    /// Whether a strict call of this session that was admitted before is neither sent nor answered.
    fn waits_before(&self, id: CallId, session: &str) -> bool {
        let earlier = &self.calls[..call_state(id)];
        earlier.iter().any(|call| call.strict && call.session == Some(session) && !call.sent && call.answers == 0)
    }

    pub(crate) fn demand(&mut self, holds: bool, rule: Violation) {
        if !holds && !self.violation.contains(&rule) {
            self.violation.push(rule);
        }
    }

    pub(crate) fn call(&mut self, id: CallId) -> &mut Call {
        &mut self.calls[call_state(id)]
    }

    /// Goes to the next moment at which anything happens; false if nothing ever does. Timers of what is over by now are passed
    /// over: they are no part of the core's state, and must not be of the model's.
    pub(crate) fn pass(&mut self, pool: &Pool) -> bool {
        let before = self.core.clone();
        while let Some(next) = self.core.next_wakeup() {
            self.now = self.now.max(next);
            if self.step(pool, Input::Tick, None) || self.core != before || self.violation.contains(&Violation::Timer) {
                return true;
            }
        }
        false
    }

    /// Nothing will happen any more unless somebody asks for it.
    pub(crate) fn is_at_rest(&self, pool: &Pool) -> bool {
        self.fakes.is_quiet() && !self.clone().pass(pool)
    }
}

fn call_state(id: CallId) -> usize {
    id.0 as usize - 1
}
