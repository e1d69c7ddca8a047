//! Messages about a pool and its workers. Sent to the supervisor.

use crate::{
    BatchSettings, CommandDescription, EventFeed, Recording, Result, Timeline,
    error::counted,
    metrics::Outcomes,
    status::{Status, WorkerEntry, millis},
};
use actix::Message;
use herder_core::{
    BatchStatus, BreakerStatus, Counters, Fingerprint, Generation, Health, Outcome, PoolName, PoolState,
    QuarantineEntry, Reloaded, WorkerId, WorkerRef, WorkerState,
};
use serde::Serialize;
use std::{fmt, sync::Arc, time::Duration};
use tracing::level_filters::LevelFilter;

/// Waits until every base worker is ready. If one failed to start, the answer is an error with the reason. Answered at once
/// by an idle pool (`lazy`), whose workers are started by the first call.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct WaitReady;

/// Returns the pool's status, in the same shape for both worker types. Always answered, also by a failed pool.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// Returns the pool's name.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PoolName")]
pub struct GetPoolName;

/// Returns whether the pool can serve at present.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<PoolHealth>")]
pub struct HealthCheck;

/// Returns the pool's workers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<WorkerInfo>>")]
pub struct ListWorkers;

/// Returns the calls that workers were sent and have not finished, the oldest first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<RunningCall>>")]
pub struct ListRunningCalls;

/// Returns the descriptions of the commands of the worker that became ready most recently, in the order in which it
/// registered them. Empty before the first worker is ready.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<[CommandDescription]>>")]
pub struct GetCommands;

/// Changes the limits of the batches of a command, also for calls that wait already. The pool keeps these values, whatever
/// later workers state. The error is `UnknownCommand` if the command does not run in batches, and `Config` if a value is too
/// large.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<BatchStatus>")]
pub struct SetBatch {
    pub(crate) command: String,
    pub(crate) settings: BatchSettings,
}

impl SetBatch {
    /// Creates the message for this command.
    pub fn new(command: impl Into<String>, settings: BatchSettings) -> Self {
        Self { command: command.into(), settings }
    }
}

/// Sets the most detailed level of the log records that the pool's Python workers send: of those that run, at once and also while
/// a handler runs, and of those that start later. The pool keeps it until it ends.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct SetWorkerLogLevel {
    pub(crate) level: Option<LevelFilter>,
}

impl SetWorkerLogLevel {
    /// Creates the message. `None`: the most detailed level that the application's `tracing` subscriber selects for anything.
    pub fn new(level: impl Into<Option<LevelFilter>>) -> Self {
        Self { level: level.into() }
    }
}

/// Returns the recording of a worker process: its last frames, its state transitions, its last output, and its exit. The
/// error is `NoSuchWorker` and lists the recorded processes.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<Recording>>")]
pub struct GetRecorder {
    pub(crate) worker: WorkerId,
    pub(crate) generation: Option<Generation>,
}

impl GetRecorder {
    /// Creates the message for the present process of a slot, or the last one if there is none.
    pub fn new(worker: WorkerId) -> Self {
        Self { worker, generation: None }
    }

    /// Sets the generation of the process.
    #[must_use]
    pub fn generation(mut self, generation: impl Into<Option<Generation>>) -> Self {
        self.generation = generation.into();
        self
    }
}

/// Returns what the pool's workers ran within the last minute.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<Timeline>")]
pub struct GetTimeline {
    pub(crate) since: u64,
}

impl GetTimeline {
    /// Creates the message for everything that the pool keeps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the [`next`](Timeline::next) of an earlier answer: only what has changed since is returned.
    #[must_use]
    pub fn since(mut self, since: u64) -> Self {
        self.since = since;
        self
    }
}

/// Returns the last events of the pool, and waits for further ones.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<EventFeed>")]
pub struct GetEvents;

/// Returns the stacks of the threads of a Python worker, while it runs: the main thread first, and of each thread the most recent
/// calls first, at most 16 KiB. Works also if the handler does not return. Takes up to a second. The error is `NoSuchWorker` if
/// there is no such process, or if it does not print its stacks (a worker in another language, one that a wrapper starts, or one
/// that has not said hello).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<WorkerStack>")]
pub struct GetStack {
    pub(crate) worker: WorkerId,
}

impl GetStack {
    /// Creates the message for the present process of a slot.
    pub fn new(worker: WorkerId) -> Self {
        Self { worker }
    }
}

/// The stacks of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerStack {
    /// The slot.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// The stacks, as Python's `faulthandler` prints them.
    pub stack: String,
}

/// Sends SIGKILL to the group of a process. Answers when the process has exited.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct KillWorker {
    pub(crate) process: WorkerRef,
    pub(crate) role: Option<&'static str>,
}

impl KillWorker {
    /// Creates the message for this process.
    pub fn new(process: WorkerRef) -> Self {
        Self { process, role: None }
    }

    /// Notes the kill before the death in the [events](crate::EventFeed::note_action) of the pool, with the role of the person
    /// who asked for it. A process that does not exist is not noted.
    #[must_use]
    pub fn noted(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }
}

/// Returns the status of the pool's circuit breaker; `None` in a pool without one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<BreakerStatus>>")]
pub struct GetBreaker;

/// Closes the circuit breaker, whatever its state. Answers false in a pool without one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct ResetBreaker;

/// Counts an outcome that was observed outside of the pool for the circuit breaker. Answers false in a pool without one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct RecordOutcome {
    pub(crate) outcome: Outcome,
}

impl RecordOutcome {
    /// Creates the message for this outcome.
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome }
    }
}

/// Returns the calls that are quarantined or suspected because they killed workers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<QuarantineEntry>>")]
pub struct GetQuarantine;

/// Releases a command with its arguments from the quarantine. Answers false if it was neither quarantined nor suspected.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct ReleaseFromQuarantine {
    pub(crate) fingerprint: Fingerprint,
}

impl ReleaseFromQuarantine {
    /// Creates the message for the [fingerprint](herder_core::QuarantineEntry::fingerprint) of an entry.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint }
    }
}

/// Replaces every worker by a new process, one after the other. Each replacement is ready before the old worker is stopped; the
/// old worker finishes the calls that it was sent. If a replacement fails to start, the workers that were not replaced before
/// go on serving, and the answer is the error. Such restarts do not count for `restart.max`. The state of sessions is lost, as
/// after the death of their worker. Answers when the last replacement is ready. A reload ends the one before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<ReloadReport>")]
pub struct Reload;

/// The report of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The number of base workers that were replaced. A worker that was not ready was started again, and is not counted.
    pub workers: u32,
    /// The number of sessions whose state was lost. Zero in a pool without session affinity.
    pub sessions: u32,
}

impl ReloadReport {
    pub(crate) fn of(Reloaded { workers, sessions }: Reloaded) -> Self {
        Self { workers, sessions }
    }
}

/// Announces a [`Shutdown`]. The pool accepts calls as before, but restarts a worker that exited only if a call waits for
/// one. `herder serve` sends this message when it receives SIGTERM or SIGINT, since a service manager may kill all workers at
/// that moment, and sends `Shutdown` when its requests have finished.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct PrepareShutdown;

/// Shuts the pool down: no calls are admitted, pending calls finish within the timeout or fail with `PoolClosed`, then the
/// workers are stopped.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<ShutdownReport>")]
pub struct Shutdown {
    pub(crate) timeout: Duration,
}

impl Shutdown {
    /// Creates the message with this timeout for pending calls.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

/// Whether a pool can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolHealth {
    /// Whether the pool accepts calls and at least one worker is ready.
    pub healthy: bool,
    /// The pool's state.
    pub state: PoolState,
    /// The number of base workers that are ready.
    pub ready_workers: usize,
    /// The configured number of base workers.
    pub pool_size: usize,
    /// Why the last start of a worker failed, while fewer base workers than configured are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_start_error: Option<String>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The slot.
    pub id: WorkerId,
    /// The generation of its process.
    pub generation: Generation,
    /// The process id, if there is a process.
    pub pid: Option<u32>,
    /// The state.
    pub state: WorkerState,
    /// The health.
    pub health: Health,
    /// Whether it is an overflow worker.
    pub overflow: bool,
    /// The number of unfinished calls.
    pub in_flight: usize,
    /// The number of calls finished, by all processes of the slot.
    pub operations: u64,
}

impl WorkerInfo {
    /// Returns the process, for [`KillWorker`].
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.id, generation: self.generation }
    }
}

impl From<WorkerEntry> for WorkerInfo {
    fn from(entry: WorkerEntry) -> Self {
        let WorkerEntry { pid, status, .. } = entry;
        Self {
            id: status.id,
            generation: status.generation,
            pid,
            state: status.state,
            health: status.health,
            overflow: status.overflow,
            in_flight: status.in_flight,
            operations: status.operations,
        }
    }
}

/// A call that a worker was sent and has not finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunningCall {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of its process.
    pub generation: Generation,
    /// The state of the worker. One that [terminates](WorkerState::Terminating) finishes its calls first if a reload has
    /// replaced it.
    pub state: WorkerState,
    /// The command. `None` if the caller has its answer, such as a passed deadline, and the handler has not ended.
    pub command: Option<String>,
    /// The time since the call was sent to the worker. Serialized as `age_ms`.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
}

impl RunningCall {
    /// Returns the process, for [`KillWorker`].
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

/// The report of a pool's shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The pool.
    pub pool: PoolName,
    /// The time since the shutdown was announced by [`PrepareShutdown`], else since it began. Serialized as `duration_ms`.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// The pool's counters.
    pub counters: Counters,
    /// How all calls of the pool have ended, as in its status.
    pub outcomes: Outcomes,
    /// The number of calls that failed with `PoolClosed` because of the shutdown.
    pub aborted_calls: u64,
    /// The processes and starts that had not ended at the timeout. Empty unless something hangs.
    pub still_running: Vec<RemainingWorker>,
}

/// A worker that had not exited when its pool stopped waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemainingWorker {
    /// The slot.
    pub id: WorkerId,
    /// The generation of its process.
    pub generation: Generation,
    /// The process id; the process was sent SIGKILL and has not exited. `None`: its start has not completed. If it completes
    /// later, the process is killed.
    pub pid: Option<u32>,
}

impl fmt::Display for RemainingWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, generation, pid } = self;
        match pid {
            Some(pid) => write!(f, "{id}.{generation} (process {pid} was killed and has not exited)"),
            None => write!(f, "{id}.{generation} (still starting)"),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcomes { ok, failed, lost, timed_out, refused, abandoned } = self.outcomes;
        let took =
            humantime::format_duration(Duration::from_millis(u64::try_from(self.duration.as_millis()).unwrap_or(0)));
        let ok = counted(ok, "call");
        write!(f, "pool `{}` stopped in {took}: {ok} ok, {failed} failed, {lost} lost, ", self.pool)?;
        write!(f, "{timed_out} timed out, {refused} refused")?;
        if abandoned > 0 {
            write!(f, ", {abandoned} abandoned")?;
        }
        if self.aborted_calls > 0 {
            // These are also among the refused calls, or, if they may have run, among the failed ones.
            write!(f, "; {} aborted by the stop", self.aborted_calls)?;
        }
        for (place, worker) in self.still_running.iter().enumerate() {
            write!(f, "{}{worker}", if place == 0 { "; still running: " } else { ", " })?;
        }
        Ok(())
    }
}
