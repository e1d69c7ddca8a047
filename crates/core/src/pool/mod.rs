//! The pool as a state machine. All state on which decisions depend is here.
//!
//! One step takes an [`Input`] and the time, and appends effects. It does no I/O, reads no clock and draws no random
//! number, so every schedule replays.
//!
//! [`Core`] connects the parts of the pool and has no rules of its own about them: each part owns its state, and answers
//! what the next one must know. What is left to decide here is the order of the steps, which comments name where it
//! matters. So a subject has its rules in a module of the crate, and its steps in one of the same name below this one:
//! `crate::restarts` decides whether a process is replaced, and `pool/processes/restarts.rs` replaces it.
//! [`Core::handle`] is the table of contents. The steps are in these modules:
//!
//! 1. `calls`, the life of a call:
//!    - `submit`: it is admitted or refused, by the rules of `admission`.
//!    - `stream`: its chunks, if its caller takes any.
//!    - `completion`: a worker finished it, its deadline passed, or its caller abandoned it.
//!    - `loss`: the process that had it exited. Says what the caller of each kind of call then receives.
//!    - `retries`: it is sent again, or not.
//! 2. `dispatch`, between calls and processes: which process runs a call, and in which queue it waits if none can.
//!    - `waiting`: which waiting call is next, for a process that is free, and for a session.
//! 3. `processes`, the life of a process:
//!    - `start`: it is started, and then ready.
//!    - `stop`: it is stopped, by a timeout, a missed ping or a request.
//!    - `death`: it exited. The order of everything that follows, for its calls, its slot and the pool.
//!    - `restarts`: whether another one replaces it, and whether the pool fails.
//!    - `reload`: all processes are replaced on request, each by one that is ready before.
//! 4. `sessions`: what messages ask of the sessions.
//! 5. `shutdown`: the end of the pool. `rebuild`: its state after a panic in a step.
//! 6. `due`: what the passing of time brings, for all of these.
//! 7. `questions`: the status, and what else the shell asks. `invariants`: checks for tests.

mod calls;
mod dispatch;
mod due;
mod invariants;
mod processes;
mod questions;
mod rebuild;
mod sessions;
mod shutdown;

#[cfg(test)]
mod tests;

use crate::{
    Counters, Effects, Finished, Input, RecoverySnapshot, Settings, Timestamp, WireId, WorkerId, WorkerRef,
    admission::Admission,
    calls::Calls,
    reload::Reload,
    restarts::Restarts,
    retries::Retries,
    session::Sessions,
    waiting::WaitingCalls,
    worker::{Capabilities, Slot, Workers},
};
use std::hash::{Hash, Hasher};

/// The state of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    settings: Settings,
    started: Timestamp,
    restarts: Restarts,
    /// The reload in progress, if there is one.
    reload: Option<Reload>,
    workers: Workers,
    calls: Calls,
    waiting: WaitingCalls,
    /// When the waiting calls are examined to start overflow workers.
    overflow_check: Timestamp,
    retries: Retries,
    admission: Admission,
    sessions: Sessions,
    next_wire: u64,
    counters: Counters,
}

impl Core {
    /// Returns a new pool. Its first step starts the base workers, unless it is lazy. `seed` determines the hashes of the session table
    /// and the jitter of retries.
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> Self {
        Self::resume(settings, seed, now, RecoverySnapshot::default())
    }

    fn build(settings: Settings, seed: u64, now: Timestamp) -> Self {
        let settings = settings.with_shortest_waits();
        let workers = Workers::new(&settings);
        Self {
            started: now,
            restarts: Restarts::new(settings.restart.clone(), settings.pool_size, settings.overflow),
            reload: None,
            waiting: WaitingCalls::new(&settings.queue, workers.len()),
            workers,
            calls: Calls::default(),
            overflow_check: Timestamp::NEVER,
            retries: Retries::new(settings.retry.clone(), seed),
            admission: Admission::new(settings.breaker.clone(), settings.poison.clone()),
            sessions: Sessions::new(&settings, seed),
            next_wire: 0,
            counters: Counters::default(),
            settings,
        }
    }

    /// Performs one step. What is due at `now` is handled before the input.
    /// [`submit`](Self::submit) and [`finish`](Self::finish) are the steps of two inputs that nearly all steps have. They
    /// return the first effect of the step, which this method appends before the others.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Effects) {
        // First, so that no input is processed for a call whose deadline has passed.
        self.tick(now, effects);
        match input {
            Input::Tick => {}
            // The life of a call.
            Input::Submit(submission) => {
                if let Some(dispatch) = self.submit(now, &submission, effects) {
                    effects.insert(0, dispatch.into());
                }
            }
            Input::Cancel(call) => self.abandon(now, call, effects),
            Input::SendFailed { worker, wire } => self.on_send_failed(now, worker, wire, effects),
            Input::FirstChunk { worker, wire } => _ = self.first_chunk(now, worker, wire, effects),
            Input::StreamWait { call, wait } => self.on_stream_wait(now, call, wait, effects),
            Input::AttemptState { worker, wire, state } => self.on_attempt_state(now, worker, wire, state, effects),
            Input::Final { worker, wire, ok, ran } => {
                if let Some(answer) = self.finish(now, Finished { worker, wire, ok, ran }, effects) {
                    effects.insert(0, answer.into());
                }
            }
            // The life of a process.
            Input::Ready { worker, window, control, in_order } => {
                self.on_ready(now, worker, Capabilities { window, control, in_order }, effects);
            }
            Input::Pong { worker, nonce } => self.on_pong(now, worker, nonce, effects),
            Input::Activity { worker, nonce, activity } => self.on_activity(now, worker, nonce, activity, effects),
            Input::Unhealthy { worker } => self.on_unhealthy(now, worker, effects),
            Input::Kill { worker, kill_reason } => self.kill(now, worker, kill_reason, effects),
            Input::Exited { worker, exit, answers, unwritten, suspects } => {
                self.on_exit(now, worker, exit, (answers, unwritten), &suspects, effects);
            }
            Input::Reload => self.begin_reload(now, effects),
            // The end of the pool.
            Input::PrepareShutdown => {
                self.abort_reload(now, effects);
                self.restarts.announce_shutdown();
            }
            Input::Shutdown { until } => {
                self.abort_reload(now, effects);
                self.begin_shutdown(now, until, effects);
            }
        }
    }

    /// Returns when to call [`handle`](Self::handle) with [`Input::Tick`] if there is no other input before. It is the
    /// first time at which anything is due ([I8](crate#invariants)).
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        Some(self.next_due_at()).filter(|at| *at != Timestamp::NEVER)
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn slot(&self, worker: WorkerId) -> &Slot {
        self.workers.slot(worker)
    }

    /// Returns whether this process is ready, so that bindings to it are valid ([I4](crate#invariants)).
    fn is_alive(&self, worker: WorkerRef) -> bool {
        self.workers.is_alive(worker)
    }

    fn fresh_wire(&mut self) -> WireId {
        self.next_wire += 1;
        WireId(self.next_wire)
    }
}

/// Hashes the state on which decisions depend, without counters, start time and what never changes.
impl Hash for Core {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.restarts.hash(state);
        self.reload.hash(state);
        self.workers.hash(state);
        self.waiting.hash(state);
        self.retries.hash(state);
        self.admission.hash(state);
        self.sessions.hash(state);
        self.calls.hash(state);
        self.overflow_check.hash(state);
        self.next_wire.hash(state);
    }
}
