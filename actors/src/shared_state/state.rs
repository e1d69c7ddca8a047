//! What the cell holds, and how a frame, an exit or a message becomes a step of the core.

use super::{CommandTable, Link, call::Call};
use crate::{
    Error, PoolConfig, PoolState, RemainingWorker, ShutdownReport,
    call_log::{AnsweredCall, CallLog, LogDecision, Success},
    child::ChildHandle,
    clock::Clock,
    error::ExitRecord,
    launcher::{LaunchError, UnclaimedChild},
    recorder::{Descriptor, Recorder},
};
use foldhash::fast::FixedState;
use herder_core::{
    BindError, CallId, Core, Effects, Input, LogEvent, ProcessExit, SessionId, Timestamp, WorkerId, WorkerRef,
};
use herder_wire::{CallResult, Header, SessionStateSupport, WorkerError};
use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// All state of one pool.
pub(crate) struct State {
    pub(super) config: PoolConfig,
    pub(super) clock: Clock,
    pub(super) core: Core,
    pub(super) calls: HashMap<CallId, Call, FixedState>,
    pub(super) links: Vec<Option<Link>>,
    /// The frame of the step that is being carried out.
    pub(super) current_frame: Option<FinalFrame>,
    /// The time of the step that is being carried out.
    pub(super) now: Timestamp,
    pub(super) effects: Effects,
    /// What the supervisor has to do.
    pub(super) deferred: Vec<Deferred>,
    /// Starts whose launcher has not returned, those included that the pool no longer waits for.
    launching: Vec<WorkerRef>,
    pub(super) wake: Rc<Notify>,
    /// When the timer is set to, and what moves it.
    pub(super) timer_deadline: Timestamp,
    pub(super) rearm: Rc<Notify>,
    /// The commands of the worker that became ready last.
    pub(super) commands: Option<Rc<CommandTable>>,
    pub(super) exit_records: VecDeque<(WorkerRef, ExitRecord)>,
    /// Until every base worker is ready.
    pub(super) last_start_error: Option<(WorkerRef, ProcessExit, ExitRecord)>,
    pub(super) rebuilds: VecDeque<Timestamp>,
    stopping_since: Option<Timestamp>,
    /// Calls that were admitted and answered `PoolFailed` before that.
    calls_failed_by_rebuild: u64,
    /// Set when the state was rebuilt too often: nothing is admitted any more.
    pub(super) failed_permanently: Option<Box<str>>,
    pub(super) call_log: Arc<CallLog>,
}

/// The content of a final frame.
pub(crate) enum FinalFrame {
    Result(CallResult),
    Error(WorkerError),
}

/// Something only the supervisor can do.
pub(crate) enum Deferred {
    /// Start this process.
    Start(WorkerRef),
    /// Remember what this process did so far: it was pinged.
    SampleCpu(WorkerRef),
    /// Find out what this process did since, instead of answering that ping.
    Examine(WorkerRef, u64),
    /// Tell the log.
    Log(LogEvent),
    /// The launcher is done with this process: it runs, or why not.
    Launched(WorkerRef, Result<UnclaimedChild, LaunchError>),
    /// The end of this process was noticed.
    Gone(WorkerRef),
    /// This process lost its actor, and is being killed.
    Orphaned(WorkerRef, Rc<dyn ChildHandle>),
    /// A call has its answer, and the log is to tell of it.
    Answered(Box<AnsweredCall>),
    /// Failures begin to be left out of the log.
    FailuresSuppressed,
    /// The affinity actor ended.
    AffinityGone,
    /// A worker became ready, or could not.
    Readiness,
    /// The pool has stopped.
    Stopped,
    /// A step panicked and the state was built anew.
    Rebuilt(Box<str>),
}

impl State {
    pub(crate) fn new(config: PoolConfig, seed: u64, clock: Clock) -> Self {
        let settings = config.settings();
        let slots = (settings.pool_size + settings.overflow) as usize;
        let now = clock.now();
        Self {
            core: Core::new(settings, seed, now),
            call_log: Arc::new(CallLog::new(config.name().clone())),
            now,
            clock,
            config,
            calls: HashMap::default(),
            links: (0..slots).map(|_| None).collect(),
            current_frame: None,
            effects: Effects::new(),
            deferred: Vec::new(),
            launching: Vec::new(),
            wake: Rc::default(),
            timer_deadline: Timestamp::NEVER,
            rearm: Rc::default(),
            commands: None,
            exit_records: VecDeque::new(),
            last_start_error: None,
            rebuilds: VecDeque::new(),
            stopping_since: None,
            calls_failed_by_rebuild: 0,
            failed_permanently: None,
        }
    }

    pub(crate) fn call_log(&self) -> Arc<CallLog> {
        self.call_log.clone()
    }

    /// Goes on with the account that the pool's handles have.
    pub(crate) fn share_call_log(&mut self, call_log: Arc<CallLog>) {
        self.call_log = call_log;
    }

    /// A call failed: its error gets its id, and the log an event of it, within the limit.
    pub(super) fn failed(
        &mut self,
        id: CallId,
        command: &Arc<str>,
        session: Option<&SessionId>,
        error: Error,
    ) -> Error {
        let error = error.with_id(self.call_log.error_id(id));
        let admission = self.call_log.admit(command, &error, self.now);
        if admission == LogDecision::FirstSuppressed {
            self.defer(Deferred::FailuresSuppressed);
        }
        self.log_call(id, command, session, Err(&error), admission.logged());
        error
    }

    /// A call that is no failure is told of at DEBUG alone.
    pub(super) fn log_call(
        &mut self,
        id: CallId,
        command: &Arc<str>,
        session: Option<&SessionId>,
        outcome: Result<Success, &Error>,
        logged: Option<u64>,
    ) {
        if logged.is_some() || CallLog::logs_all() {
            let (command, session) = (command.clone(), session.cloned());
            let outcome = outcome.map_err(Clone::clone);
            self.defer(Deferred::Answered(Box::new(AnsweredCall { id, command, session, outcome, logged })));
        }
    }

    pub(crate) fn config(&self) -> &PoolConfig {
        &self.config
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn wake(&self) -> Rc<Notify> {
        self.wake.clone()
    }

    pub(crate) fn rearm(&self) -> Rc<Notify> {
        self.rearm.clone()
    }

    /// When to look at the pool again; the timer is taken to be set to that from now on.
    pub(crate) fn arm(&mut self) -> Option<Timestamp> {
        self.timer_deadline = self.core.next_wakeup().unwrap_or(Timestamp::NEVER);
        self.core.next_wakeup()
    }

    pub(crate) fn take_deferred(&mut self) -> Vec<Deferred> {
        std::mem::take(&mut self.deferred)
    }

    /// A step begins: all that follows from it happens at this moment.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.now = self.clock.now();
        self.now
    }

    pub(crate) fn handle(&mut self, input: Input) {
        let now = self.tick();
        self.core.handle(now, input, &mut self.effects);
    }

    /// Begins the end of the pool. One that is down already only has to say so.
    pub(crate) fn shut_down(&mut self, within: Duration) {
        let now = self.clock.now();
        if self.stopping_since.is_none() {
            self.stopping_since = Some(now);
            self.calls_failed_by_rebuild = self.core.status(now).counters.failed_by_pool;
        }
        if self.core.pool_state() == PoolState::Stopped {
            return self.defer(Deferred::Stopped);
        }
        self.handle(Input::Shutdown { until: now + within });
        self.defer(Deferred::Readiness); // nobody waits for that any more
    }

    /// The pool is gone with its last owner: its calls are answered, its processes killed.
    pub(crate) fn end_with_owner(&mut self) {
        self.shut_down(Duration::ZERO);
        self.apply_effects();
        self.fail_pending_calls(&Error::closed(true));
    }

    /// Why nothing is admitted any more, if the state was built anew too often.
    pub(crate) fn permanent_failure(&self) -> Option<Error> {
        self.failed_permanently.as_ref().map(|reason| Error::Internal { reason: reason.clone() })
    }

    /// Whether it takes calls. One that panicked too often has failed, however orderly its core has stopped.
    pub(crate) fn pool_state(&self) -> PoolState {
        if self.failed_permanently.is_some() { PoolState::Failed } else { self.core.pool_state() }
    }

    pub(crate) fn stopping_since(&self) -> Option<Timestamp> {
        self.stopping_since
    }

    /// What the pool had done when it ended.
    pub(crate) fn report(&self) -> ShutdownReport {
        let now = self.clock.now();
        let counters = self.core.status(now).counters;
        ShutdownReport {
            pool: self.config.name().clone(),
            duration: self.stopping_since.map_or(Duration::ZERO, |since| now.since(since)),
            counters,
            aborted_calls: counters.failed_by_pool.saturating_sub(self.calls_failed_by_rebuild),
            still_running: self.remaining_processes(),
        }
    }

    /// Processes that have not exited and starts that have not completed.
    fn remaining_processes(&self) -> Vec<RemainingWorker> {
        let pid = |worker| self.links().find(|link| link.worker == worker).map(|link| link.child.pid());
        let unresolved =
            self.launching.iter().copied().filter(|worker| self.core.processes().all(|other| other != *worker));
        let left = self.core.processes().chain(unresolved);
        left.map(|worker| RemainingWorker { id: worker.id, generation: worker.generation, pid: pid(worker) }).collect()
    }

    /// A launcher began to start this process.
    pub(crate) fn launching(&mut self, worker: WorkerRef) {
        self.launching.push(worker);
    }

    /// The launcher of this process returned.
    pub(crate) fn launcher_returned(&mut self, worker: WorkerRef) {
        self.launching.retain(|other| *other != worker);
    }

    /// The final frame of an attempt, on the calls descriptor.
    pub(crate) fn arrived(&mut self, worker: WorkerRef, header: &Header, arrival: FinalFrame, recorder: &Recorder) {
        let (now, ok) = (self.tick(), matches!(arrival, FinalFrame::Result(_)));
        recorder.received(now, Descriptor::Calls, header);
        let cleared = self.cleared_payload(worker, header.wire, &arrival); // before the attempt is forgotten
        self.current_frame = Some(arrival);
        if let Some(link) = self.link(worker) {
            link.finished(header.wire);
        }
        self.core.handle(now, Input::Final { worker, wire: header.wire, ok }, &mut self.effects);
        if let Some(payload) = cleared {
            self.core.clear_payload(payload);
        }
    }

    /// The worker said ready.
    pub(crate) fn ready(&mut self, worker: WorkerRef, window: u32, commands: CommandTable) {
        let Some(control) = self.link(worker).map(|link| link.has_control) else { return };
        self.commands = Some(Rc::new(commands));
        self.handle(Input::Ready { worker, window, control });
        if self.core.ready_workers() >= self.core.settings().pool_size as usize {
            self.last_start_error = None; // whatever it was, it is over
        }
        self.defer(Deferred::Readiness);
    }

    pub(crate) fn bind(&mut self, session: SessionId, worker: WorkerId) -> Result<WorkerRef, BindError> {
        let now = self.tick();
        self.core.bind_session(now, session, worker, &mut self.effects)
    }

    /// Asks the core something that may have effects.
    pub(crate) fn ask<T>(&mut self, question: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> T) -> T {
        let now = self.tick();
        question(&mut self.core, now, &mut self.effects)
    }

    pub(crate) fn link(&mut self, worker: WorkerRef) -> Option<&mut Link> {
        self.links.get_mut((worker.id.0 as usize).checked_sub(1)?)?.as_mut().filter(|link| link.worker == worker)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().flatten()
    }

    /// A process was started: from now on the pool reaches it.
    pub(crate) fn connect(&mut self, link: Link) {
        let slot = link.worker.id.0 as usize - 1;
        self.links[slot] = Some(link);
    }

    pub(crate) fn defer(&mut self, post: Deferred) {
        self.deferred.push(post);
        self.wake.notify_one();
    }

    /// Whether handlers may keep a session's state, or why not.
    pub(crate) fn session_state(&self) -> SessionStateSupport {
        let name = self.config.name();
        if self.core.features().session_affinity {
            return SessionStateSupport::Kept;
        }
        let key = match self.config.worker_type() {
            herder_core::WorkerType::Basic => "worker_type = \"enhanced\"",
            herder_core::WorkerType::Enhanced => "features.session_affinity = true",
        };
        SessionStateSupport::Refused(format!(
            "pool `{name}` has no session affinity, so handlers cannot keep session state: set `{key}` in [pools.{name}]"
        ))
    }
}
