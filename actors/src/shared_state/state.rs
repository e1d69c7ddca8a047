//! The fields of the shared state, and how a frame, an exit or a message becomes a step of the core.

use super::{
    CommandTable, Link,
    batched_commands::BatchedCommands,
    call::{Call, buffers_length},
    link::{CommandRules, WorkerLogLevel},
    recent_calls::RecentCalls,
    reported::Reported,
    slabs::SlabBudget,
};
use crate::{
    Error, PoolConfig, PoolState, RemainingWorker, ShutdownReport,
    call_log::{AnsweredCall, CallIdentity, CallLog, LogDecision, Success, Times},
    child::{ChildHandle, LaunchError},
    chunks::Item,
    clock::Clock,
    commands::Descriptions,
    error::ExitRecord,
    launcher::UnclaimedChild,
    metrics::PoolMetrics,
    pool_events::{EventFeed, PoolEventKind},
    recorder::{Descriptor, Recorder},
};
use foldhash::fast::FixedState;
use herder_core::{
    BindError, CallId, Core, Effects, Finished, Input, LogEvent, ProcessActivity, ProcessExit, ReloadOutcome,
    SessionId, Timestamp, WorkerId, WorkerRef,
};
use herder_wire::{
    Buffer, CallResult, CommandEntry, Header, InstalledPackage, SessionStateSupport, Stamps, WorkerError,
};
use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};
use tokio::sync::Notify;

/// The maximum number of characters that are kept of the reason for which a worker is unhealthy.
const MAX_REASON_CHARS: usize = 1000;

/// All state of one pool.
pub(crate) struct State {
    pub(super) config: PoolConfig,
    pub(super) clock: Clock,
    pub(super) core: Core,
    pub(super) calls: HashMap<CallId, Call, FixedState>,
    pub(super) links: Vec<Option<Link>>,
    /// How much memory the workers may share with the host.
    pub(crate) slab_budget: SlabBudget,
    /// The final frame of the current step; taken when the core's effect delivers it.
    pub(super) current_frame: Option<FinalFrame>,
    /// How long the handler ran whose final frame is the current one.
    pub(super) current_ran: Duration,
    /// The time of the current step.
    pub(super) now: Timestamp,
    pub(super) effects: Effects,
    /// Actions for the supervisor.
    pub(super) deferred: Vec<Deferred>,
    /// Processes whose launcher has not returned, including those that the pool no longer waits for.
    launching: Vec<WorkerRef>,
    pub(super) wake: Rc<Notify>,
    /// The time to which the pool's timer is set.
    pub(super) timer_deadline: Timestamp,
    /// Notified when something is due before `timer_deadline`.
    pub(super) rearm: Rc<Notify>,
    /// The commands of the worker that became ready most recently.
    pub(super) commands: Option<Rc<CommandTable>>,
    /// What that worker says about them.
    pub(super) descriptions: Descriptions,
    /// The commands that run in batches.
    pub(super) batches: BatchedCommands,
    /// Whether it was logged that limits of batches have no effect.
    pub(super) warned_of_limits: bool,
    pub(super) exit_records: VecDeque<(WorkerRef, ExitRecord)>,
    /// The most recent failed start. Cleared when every base worker is ready.
    pub(super) last_start_error: Option<(WorkerRef, ProcessExit, ExitRecord)>,
    /// The installed copy of Herder's package that a worker stated most recently.
    pub(super) installed_package: Option<InstalledPackage>,
    /// The level of the workers' log records.
    pub(super) log_level: WorkerLogLevel,
    pub(super) rebuilds: VecDeque<Timestamp>,
    /// When the shutdown was announced.
    announced_at: Option<Timestamp>,
    stopping_since: Option<Timestamp>,
    /// The number of calls that had been admitted and failed with `PoolFailed` when the shutdown started.
    failed_by_pool_before_shutdown: u64,
    /// Why the pool has failed permanently: its state was rebuilt too often. No calls are admitted any more.
    pub(super) failed_permanently: Option<Box<str>>,
    pub(super) call_log: Arc<CallLog>,
    /// What is counted outside of the core.
    pub(super) metrics: PoolMetrics,
    /// What the workers ran recently.
    pub(super) recent_calls: RecentCalls,
    /// What happened to the pool.
    pub(super) event_feed: EventFeed,
    /// What the feed has reported of the pool's present state.
    pub(super) reported: Reported,
}

/// The content of a final frame.
pub(crate) enum FinalFrame {
    Result(CallResult),
    StreamEnd(Stamps),
    Error(WorkerError, Stamps),
}

impl FinalFrame {
    /// Returns the bytes of the result, with its buffers.
    pub(super) fn result_size(&self) -> Option<usize> {
        match self {
            Self::Result(result) => Some(result.payload.len() + buffers_length(&result.buffers)),
            Self::StreamEnd(_) | Self::Error(..) => None,
        }
    }

    pub(super) fn buffers(&self) -> &[Buffer] {
        match self {
            Self::Result(result) => &result.buffers,
            Self::StreamEnd(_) | Self::Error(..) => &[],
        }
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Error(..))
    }
}

/// An action that a step cannot take itself, because it does I/O, runs user code or needs the supervisor's context.
pub(crate) enum Deferred {
    /// Start this process.
    Start(WorkerRef),
    /// Record the CPU time of this process: it was sent a ping.
    SampleCpu(WorkerRef),
    /// Measure what this process has done since the ping with this nonce, which it did not answer in time.
    Examine(WorkerRef, u64),
    /// Log an event of the core.
    Log(LogEvent),
    /// Report the end of the first reload that has not ended.
    ReloadEnded(ReloadOutcome),
    /// Take over the started process, or handle the failed start.
    Launched(WorkerRef, Result<UnclaimedChild, LaunchError>),
    /// Handle the exit of this process.
    Exited(WorkerRef),
    /// Wait for the exit of this process, which lost its actor and is being killed.
    Orphaned(WorkerRef, Rc<dyn ChildHandle>),
    /// Log a call that has been answered.
    CallAnswered(Box<AnsweredCall>),
    /// Log the number of suppressed failures when the window ends.
    FailuresSuppressed,
    /// Restart the affinity actor, which stopped.
    AffinityStopped,
    /// Check whether callers that wait for readiness can be answered: a worker became ready or failed to.
    CheckReadiness,
    /// Report the end of the pool and stop the supervisor.
    Stopped,
    /// Handle a rebuild of the state after a panic with this text.
    Rebuilt(Box<str>),
}

impl State {
    pub(crate) fn new(config: PoolConfig, seed: u64, clock: Clock) -> Self {
        let settings = config.settings();
        let slots = (settings.pool_size + settings.overflow) as usize;
        let (now, slab_limit) = (clock.now(), config.max_buffer_bytes());
        let core = Core::new(settings, seed, now);
        let call_log = Arc::new(CallLog::new(config.name().clone()));
        Self {
            recent_calls: RecentCalls::new(now),
            event_feed: EventFeed::new(config.name().clone(), call_log.events().clone()),
            reported: Reported::of(&core, now),
            metrics: PoolMetrics::new(now, core.features(), slots),
            core,
            call_log,
            now,
            clock,
            config,
            calls: HashMap::default(),
            links: (0..slots).map(|_| None).collect(),
            slab_budget: SlabBudget::new(slab_limit),
            current_frame: None,
            current_ran: Duration::ZERO,
            effects: Effects::new(),
            deferred: Vec::new(),
            launching: Vec::new(),
            wake: Rc::default(),
            timer_deadline: Timestamp::NEVER,
            rearm: Rc::default(),
            commands: None,
            batches: BatchedCommands::default(),
            warned_of_limits: false,
            descriptions: Descriptions::default(),
            exit_records: VecDeque::new(),
            last_start_error: None,
            installed_package: None,
            log_level: WorkerLogLevel::default(),
            rebuilds: VecDeque::new(),
            announced_at: None,
            stopping_since: None,
            failed_by_pool_before_shutdown: 0,
            failed_permanently: None,
        }
    }

    pub(crate) fn call_log(&self) -> Arc<CallLog> {
        self.call_log.clone()
    }

    /// Uses the call log that the pool's handles have.
    pub(crate) fn share_call_log(&mut self, call_log: Arc<CallLog>) {
        self.event_feed = EventFeed::new(self.config.name().clone(), call_log.events().clone());
        self.call_log = call_log;
    }

    /// Records a failed call: adds the id to its error, and queues a log event unless the limit suppresses it. Returns the
    /// error for the caller.
    pub(super) fn record_failure(&mut self, call: CallIdentity<'_>, error: Error) -> Error {
        self.record_failure_with(call, error, None).0
    }

    /// Does what [`record_failure`](Self::record_failure) does, for a call that a worker may have answered, with its times. Also
    /// returns whether the failure is logged.
    pub(super) fn record_failure_with(
        &mut self,
        call: CallIdentity<'_>,
        error: Error,
        times: Option<Times>,
    ) -> (Error, bool) {
        self.metrics.failed(call.command, &error);
        let error = error.with_id(self.call_log.error_id(call.id));
        let admission = self.call_log.admit(call.command, &error, self.now);
        if admission.logged().is_some() {
            self.event_feed.call_failed(call.command, &error);
        }
        self.report_breaker();
        if admission == LogDecision::FirstSuppressed {
            self.defer(Deferred::FailuresSuppressed);
        }
        self.log_call(call, Err(&error), times, admission.logged());
        (error, admission.logged().is_some())
    }

    /// Queues a log event for a call if `logged` is set, and at level DEBUG in any case.
    pub(super) fn log_call(
        &mut self,
        call: CallIdentity<'_>,
        outcome: Result<Success, &Error>,
        times: Option<Times>,
        logged: Option<u64>,
    ) {
        if logged.is_some() || CallLog::logs_all() {
            self.defer(Deferred::CallAnswered(Box::new(AnsweredCall::new(call, outcome, times, logged))));
        }
    }

    /// Returns the events of the pool.
    pub(crate) fn event_feed(&self) -> EventFeed {
        self.event_feed.clone()
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

    /// Returns the time of the next wakeup. From now on the timer counts as set to that time.
    pub(crate) fn arm(&mut self) -> Option<Timestamp> {
        self.timer_deadline = self.core.next_wakeup().unwrap_or(Timestamp::NEVER);
        self.core.next_wakeup()
    }

    pub(crate) fn take_deferred(&mut self) -> Vec<Deferred> {
        std::mem::take(&mut self.deferred)
    }

    /// Starts a step: everything that follows from it happens at the returned time.
    pub(super) fn begin_step(&mut self) -> Timestamp {
        self.now = self.clock.now();
        self.now
    }

    /// Does what is due when the timer of the pool has run, which was set to this time.
    pub(crate) fn on_timer(&mut self, due: Option<Timestamp>) {
        let late_by = due.map_or(Duration::ZERO, |due| self.clock.now().since(due));
        self.metrics.timer_ran(late_by);
        self.handle(Input::Tick);
    }

    pub(crate) fn handle(&mut self, input: Input) {
        let now = self.begin_step();
        self.core.handle(now, input, &mut self.effects);
        self.report_changes();
    }

    /// Begins a reload. Its end is reported as [`Deferred::ReloadEnded`]. A pool that has failed permanently or was stopped
    /// reloads nothing.
    pub(crate) fn reload(&mut self) {
        self.handle(Input::Reload);
    }

    /// Announces a shutdown. The time that the report shows begins.
    pub(crate) fn prepare_shutdown(&mut self) {
        self.announced_at.get_or_insert(self.clock.now());
        self.handle(Input::PrepareShutdown);
    }

    /// Starts the shutdown of the pool, whose drain takes at most `within`. A pool that has already stopped only reports its end
    /// again.
    pub(crate) fn shut_down(&mut self, within: Duration) {
        let now = self.clock.now();
        // Only the first shutdown starts the clock of the report. The counter is stored because it includes calls that
        // failed with `PoolFailed` before: the shutdown did not abort these.
        if self.stopping_since.is_none() {
            self.stopping_since = Some(now);
            self.failed_by_pool_before_shutdown = self.core.status(now).counters.failed_by_pool;
        }
        // The core reports its end once. A pool that panicked too often has reported it before, when its supervisor did not
        // stop (see `drain_deferred`), so the action is repeated here.
        if self.core.pool_state() == PoolState::Stopped {
            return self.defer(Deferred::Stopped);
        }
        self.handle(Input::Shutdown { until: now + within });
        self.defer(Deferred::CheckReadiness); // a draining pool does not become ready: callers that wait for it get an error
    }

    /// Ends the pool at once, because its last owner dropped it: fails all calls and kills all processes.
    pub(crate) fn end_at_once(&mut self) {
        self.shut_down(Duration::ZERO);
        self.apply_effects();
        self.fail_pending_calls(&Error::closed(true));
    }

    /// Returns the error with which all calls fail after the state was rebuilt too often.
    pub(crate) fn permanent_failure(&self) -> Option<Error> {
        self.failed_permanently.as_ref().map(|reason| Error::Internal { reason: reason.clone() })
    }

    /// Returns the pool's state: `Failed` after too many panics, even if the core has stopped in order.
    pub(crate) fn pool_state(&self) -> PoolState {
        if self.failed_permanently.is_some() { PoolState::Failed } else { self.core.pool_state() }
    }

    pub(crate) fn stopping_since(&self) -> Option<Timestamp> {
        self.stopping_since
    }

    /// Returns the report of the shutdown.
    pub(crate) fn report(&mut self) -> ShutdownReport {
        let now = self.clock.now();
        let counters = self.core.status(now).counters;
        ShutdownReport {
            pool: self.config.name().clone(),
            duration: self.announced_at.or(self.stopping_since).map_or(Duration::ZERO, |since| now.since(since)),
            counters,
            outcomes: self.outcomes(),
            aborted_calls: counters.failed_by_pool.saturating_sub(self.failed_by_pool_before_shutdown),
            still_running: self.remaining_processes(),
        }
    }

    /// Returns the processes that have not exited and the starts that have not completed.
    fn remaining_processes(&self) -> Vec<RemainingWorker> {
        let pid = |worker| self.links().find(|link| link.worker == worker).map(|link| link.child.pid());
        // A start that has timed out is no process of the core any more, but its launcher may still return one.
        let unresolved =
            self.launching.iter().copied().filter(|worker| self.core.processes().all(|other| other != *worker));
        let remaining = self.core.processes().chain(unresolved);
        remaining
            .map(|worker| RemainingWorker { id: worker.id, generation: worker.generation, pid: pid(worker) })
            .collect()
    }

    /// Records that a launcher started to launch this process.
    pub(crate) fn on_launch(&mut self, worker: WorkerRef) {
        self.launching.push(worker);
    }

    /// Records that the launcher of this process returned.
    pub(crate) fn on_launcher_returned(&mut self, worker: WorkerRef) {
        self.launching.retain(|other| *other != worker);
    }

    /// Handles the final frame of an attempt, received on the calls descriptor. `ran`: the time for which the handler ran, by
    /// the worker's stamps.
    pub(crate) fn on_final_frame(
        &mut self,
        worker: WorkerRef,
        header: &Header,
        frame: FinalFrame,
        ran: Duration,
        recorder: &Recorder,
    ) {
        let (now, ok) = (self.begin_step(), !frame.is_error());
        recorder.received(now, Descriptor::Calls, header);
        // Must be computed before the core handles the frame: the core then forgets the attempt, and the link its
        // fingerprint.
        let cleared = self.cleared_fingerprint(worker, header.wire, &frame);
        self.log_late_failure(worker, header.wire, &frame);
        (self.current_frame, self.current_ran) = (Some(frame), ran);
        if let Some(link) = self.link(worker) {
            link.finished(header.wire);
        }
        let finished = Finished { worker, wire: header.wire, ok, ran };
        if let Some(answer) = self.core.finish(now, finished, &mut self.effects) {
            self.deliver(&answer);
        }
        if self.reported.breaker_is_tripped() {
            self.report_breaker();
        }
        if let Some(fingerprint) = cleared {
            self.core.clear_payload(fingerprint);
        }
    }

    /// Handles the first chunk of an attempt, or one of an unknown attempt. Returns the consumer if it waits for the chunk.
    pub(crate) fn on_first_chunk(
        &mut self,
        worker: WorkerRef,
        header: &Header,
        chunk: Item,
        recorder: &Recorder,
    ) -> Option<Waker> {
        let now = self.begin_step();
        // Further chunks are not recorded. They would replace everything else within a moment.
        recorder.received(now, Descriptor::Calls, header);
        let is_taken = self.core.first_chunk(now, worker, header.wire, &mut self.effects).is_some();
        self.link(worker)?.streams.decide(header.wire, is_taken, chunk)
    }

    /// Reports to the core what a stream waits for.
    pub(super) fn examine_stream(&mut self, call: CallId) {
        let now = self.now;
        let Some((worker, wire)) = self.calls.get(&call).and_then(|call| call.sent) else { return };
        if let Some(wait) = self.link(worker).and_then(|link| link.streams.wait(now, wire)) {
            self.handle(Input::StreamWait { call, wait });
        }
    }

    /// Handles the worker's ready message.
    pub(crate) fn on_ready(
        &mut self,
        worker: WorkerRef,
        window: u32,
        in_order: Option<NonZeroU32>,
        commands: Vec<CommandEntry>,
    ) {
        // Without a link the state was rebuilt, and this process is being killed.
        let Some(control) = self.link(worker).map(|link| link.has_control) else { return };
        if let Some(link) = self.link(worker).filter(|_| control && commands.iter().any(|entry| entry.stream)) {
            link.streams.offer();
        }
        let metrics = &mut self.metrics;
        let mut rules = |entry: &CommandEntry| CommandRules::new(entry, metrics.add_command(&entry.name));
        self.commands = Some(Rc::new(commands.iter().map(|entry| (entry.name.clone(), rules(entry))).collect()));
        self.state_batches(worker, &commands);
        self.describe_commands(commands);
        // Without a control descriptor the worker cannot answer a revoke, which it has to for `in_order`.
        let in_order = in_order.filter(|_| control);
        self.event_feed.add(PoolEventKind::WorkerReady, Some(worker), "the worker is ready");
        if self.core.is_late_start(worker) {
            let pool = self.config.name().clone();
            self.call_log.events().queue(tracing::Level::INFO, move || tracing::info!(%pool, %worker, "worker ready"));
        }
        self.handle(Input::Ready { worker, window, control, in_order });
        if self.core.ready_workers() >= self.core.settings().pool_size as usize {
            // All base workers are ready, so the error no longer explains anything. A later death of a worker is not a failed
            // start.
            self.last_start_error = None;
        }
        self.defer(Deferred::CheckReadiness);
    }

    /// Handles the answer to a health check. `reason`: why the worker is unhealthy; empty if it is healthy.
    pub(crate) fn on_health(&mut self, worker: WorkerRef, reason: &str) {
        let reason: Box<str> = reason.chars().take(MAX_REASON_CHARS).collect::<String>().into();
        if self.link(worker).is_some_and(|link| link.on_health(reason.clone())) {
            let (pool, text) = (self.config.name().clone(), reason.clone());
            self.call_log.events().queue(tracing::Level::WARN, move || {
                tracing::warn!(%pool, %worker, reason = %text, "worker is unhealthy: it is replaced when its calls have ended");
            });
            self.event_feed.add(PoolEventKind::Unhealthy, Some(worker), &format!("the worker is unhealthy: {reason}"));
            self.handle(Input::Unhealthy { worker });
        }
    }

    pub(crate) fn bind(&mut self, session: SessionId, worker: WorkerId) -> Result<WorkerRef, BindError> {
        let now = self.begin_step();
        self.core.bind_session(now, session, worker, &mut self.effects)
    }

    /// Runs a query or a change of the core that may have effects.
    pub(crate) fn with_core<T>(&mut self, change: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> T) -> T {
        let now = self.begin_step();
        let value = change(&mut self.core, now, &mut self.effects);
        self.report_changes();
        value
    }

    pub(crate) fn link(&mut self, worker: WorkerRef) -> Option<&mut Link> {
        self.links.get_mut((worker.id.0 as usize).checked_sub(1)?)?.as_mut().filter(|link| link.worker == worker)
    }

    pub(crate) fn link_of(&self, worker: WorkerRef) -> Option<&Link> {
        self.links.get((worker.id.0 as usize).checked_sub(1)?)?.as_ref().filter(|link| link.worker == worker)
    }

    /// Records the CPU time of a process and returns its activity since the previous sample. Reads `/proc`, so no step
    /// calls it.
    pub(crate) fn activity_since_sample(&mut self, worker: WorkerRef) -> ProcessActivity {
        let moment = self.clock.now();
        self.link(worker).map_or(ProcessActivity::Unknown, |link| link.activity_since_sample(moment))
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().flatten()
    }

    /// Adds the link to a started process: from now on messages to the process are queued there.
    pub(crate) fn connect(&mut self, link: Link) {
        let slot = link.worker.id.0 as usize - 1;
        if slot >= self.links.len() {
            self.links.resize_with(slot + 1, || None); // the slot that the first reload adds
        }
        self.links[slot] = Some(link);
    }

    pub(crate) fn defer(&mut self, action: Deferred) {
        self.deferred.push(action);
        self.wake.notify_one();
    }

    /// Returns whether handlers may keep session state, and the reason if not.
    pub(crate) fn session_state(&self) -> SessionStateSupport {
        let name = self.config.name();
        if self.core.features().session_affinity {
            return SessionStateSupport::Kept;
        }
        let key = match self.config.worker_type() {
            herder_core::WorkerType::Basic => "worker_type = \"enhanced\"",
            herder_core::WorkerType::Enhanced => "features.session_affinity = true",
        };
        let option = match self.config.worker_type() {
            herder_core::WorkerType::Basic => ", or start the app with `--enhanced`",
            herder_core::WorkerType::Enhanced => "",
        };
        SessionStateSupport::Refused(format!(
            "pool `{name}` has no session affinity, so handlers cannot keep session state: set `{key}` in [pools.{name}]{option}"
        ))
    }
}
