//! What the shell and the core exchange: the inputs and effects of the core. Plain data.

use crate::{
    Affinity, BatchKey, CallId, Epoch, Fingerprint, IfAbsent, ProcessActivity, ReloadOutcome, SessionId, Suspect,
    Timestamp, WireId, WorkerRef,
    failure::{CallFailure, KillReason, LostAttempts, ProcessExit},
    routing::Routing,
};
use std::{num::NonZeroU32, time::Duration};

/// An event that the shell reports to the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed; timers may be due.
    Tick,
    /// A call was submitted. It is answered by exactly one [`Effect::Settle`] or [`Effect::Deliver`]
    /// ([I1](crate#invariants)).
    Submit(Submission),
    /// The caller abandoned the call.
    Cancel(CallId),
    /// A process sent its ready frame.
    Ready {
        /// The process.
        worker: WorkerRef,
        /// The number of unfinished calls that it accepts, at least 1.
        window: u32,
        /// Whether it has a control channel.
        control: bool,
        /// The maximum number of calls that have begun and are not finished, if it states that it begins its calls in the
        /// order of their wire ids and answers an [`Effect::Revoke`]. `None` if it does not state this.
        in_order: Option<NonZeroU32>,
    },
    /// The final frame of an attempt arrived. The shell also [clears the fingerprint](crate::Core::clear_payload) of
    /// the call.
    Final {
        /// The process that sent it.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
        /// Whether it is a result, not an error.
        ok: bool,
        /// The time for which the handler ran, as the process measured it; zero only if it did not run.
        ran: Duration,
    },
    /// The first chunk of an attempt arrived, or one of an attempt that is not known.
    FirstChunk {
        /// The process that sent it.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
    },
    /// What a stream waits for, as asked by [`Effect::ExamineStream`].
    StreamWait {
        /// The call.
        call: CallId,
        /// What it waits for.
        wait: StreamWait,
    },
    /// An [`Effect::Send`] could not be carried out. The process never receives the call, and the shell has already
    /// answered the caller. Not reported if the exit of the process was, since that answers or retries the call.
    SendFailed {
        /// The process to which the call should have been sent.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
    },
    /// A process answered an [`Effect::Cancel`] or an [`Effect::Revoke`]. Without an answer, its oldest unfinished attempt
    /// is assumed to run.
    AttemptState {
        /// The process.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
        /// The state of the attempt.
        state: AttemptState,
    },
    /// A process answered a ping.
    Pong {
        /// The process.
        worker: WorkerRef,
        /// The number of the ping.
        nonce: u64,
    },
    /// The shell found out what an unresponsive process does, as requested by [`Effect::Examine`].
    Activity {
        /// The process.
        worker: WorkerRef,
        /// The number of the ping that it did not answer.
        nonce: u64,
        /// The activity since that ping, or since the previous examination.
        activity: ProcessActivity,
    },
    /// A process exited. All answers that were read from it were reported before.
    Exited {
        /// The process.
        worker: WorkerRef,
        /// The exit of the process.
        exit: ProcessExit,
        /// Whether all that it answered was read.
        answers: Answers,
        /// The first of its attempts of which nothing was written to it, if there is one. Neither that one nor a later one can
        /// have run, whatever else is known.
        unwritten: Option<WireId>,
        /// The fingerprints of its attempts, if the quarantine needs them
        /// ([`Core::unfinished`](crate::Core::unfinished)).
        suspects: Vec<Suspect>,
    },
    /// A process reported that it is unhealthy. It is stopped when its calls have ended, and another one replaces it.
    Unhealthy {
        /// The process.
        worker: WorkerRef,
    },
    /// A process must be killed.
    Kill {
        /// The process.
        worker: WorkerRef,
        /// The reason.
        kill_reason: KillReason,
    },
    /// Every worker must be replaced, one after the other, each by a process that is ready before the old one is stopped.
    /// Answered by exactly one [`Effect::ReloadEnded`], in the order of these inputs.
    Reload,
    /// A [`Shutdown`](Self::Shutdown) will follow. Calls are still admitted, but a worker that ends is replaced only if
    /// a call waits for one.
    PrepareShutdown,
    /// The pool must shut down: it admits no more calls, finishes those it has, and stops the workers. Calls that are
    /// left at `until` fail with `PoolClosed`.
    Shutdown {
        /// The end of the drain.
        until: Timestamp,
    },
}

/// Whether the shell has read all that a process answered before it exited.
///
/// Decides whether the unfinished calls of a process that [begins its calls in order](Input::Ready::in_order) show which of
/// them it had begun. An answer that was not read would make a call that has run look unfinished, and the calls after it,
/// which may have run as well, look as if they had not begun. They would run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answers {
    /// All of them: the process wrote nothing after what was read, and all of that was understood and handled in order.
    ReadToEnd,
    /// Perhaps not all. Each unfinished call may have run.
    Unknown,
}

/// The final frame of an attempt. See [`Input::Final`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Finished {
    /// The process that sent it.
    pub worker: WorkerRef,
    /// The attempt.
    pub wire: WireId,
    /// Whether it is a result, not an error.
    pub ok: bool,
    /// The time for which the handler ran, as the process measured it; zero if it did not run.
    pub ran: Duration,
}

/// A call without its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Submission {
    /// The id of the call, higher than that of any call before.
    pub call: CallId,
    /// The session of the call, if it has one.
    pub session: Option<SessionCall>,
    /// The time by which it must be answered. Covers the queue, the run and all retries.
    pub deadline: Timestamp,
    /// Whether it may run again if its worker dies while it runs.
    pub idempotent: bool,
    /// The command of the call, if it runs in batches.
    pub batch: Option<BatchKey>,
    /// The fingerprint of the call, which is needed while the pool [watches](crate::Core::needs_fingerprints) some.
    pub fingerprint: Option<Fingerprint>,
    /// The limits of the stream, if the caller takes chunks.
    pub stream: Option<StreamLimits>,
}

/// The limits of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamLimits {
    /// The longest time between two chunks, and before the first one, in which the worker could send one.
    pub idle: Option<Duration>,
}

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamWait {
    /// The worker may send a chunk.
    Worker {
        /// When it sent the last one, or could send again.
        since: Timestamp,
    },
    /// The worker may send nothing until the consumer has taken some of what has arrived.
    Consumer {
        /// When the worker sent the last chunk, or the consumer was last seen to have taken one.
        since: Timestamp,
    },
}

/// The part of a call that concerns its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionCall {
    /// The id of the session.
    pub id: SessionId,
    /// The action if the session does not exist.
    pub if_absent: IfAbsent,
    /// The affinity of the call; `None` for the mode of the pool.
    pub affinity: Option<Affinity>,
}

/// The list to which effects are appended, in the order in which they must be carried out.
pub type Effects = Vec<Effect>;

/// An action that the shell must carry out. Effects must be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Start this process. Report [`Input::Ready`] or [`Input::Exited`].
    Start(WorkerRef),
    /// Send a call to a process.
    Send {
        /// The process.
        worker: WorkerRef,
        /// The call.
        call: CallId,
        /// The id of the attempt.
        wire: WireId,
        /// The epoch of the session, if the pool routes the call's session.
        epoch: Option<Epoch>,
    },
    /// Send several calls to a process, which runs them by one invocation of their handler. Each may be reported by
    /// [`Input::SendFailed`] on its own.
    SendBatch(Vec<Dispatch>),
    /// Answer a call with the final frame that was just reported.
    Deliver {
        /// The call.
        call: CallId,
        /// The circumstances of the answer.
        delivery: Delivery,
        /// The losses of its earlier attempts, in order.
        earlier: LostAttempts,
    },
    /// Answer a call with a failure.
    Settle {
        /// The call.
        call: CallId,
        /// The failure.
        failure: CallFailure,
        /// The losses of its earlier attempts, except for the one that is the failure, in order.
        earlier: LostAttempts,
    },
    /// Find out what a stream that has chunks waits for, and report [`Input::StreamWait`] in the same step. Without a report
    /// it is asked again later.
    ExamineStream {
        /// The call.
        call: CallId,
    },
    /// Ask a process to stop an attempt.
    Cancel {
        /// The process.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
        /// Whether running code must be interrupted.
        interrupt: bool,
    },
    /// Ask a process that [begins its calls in order](Input::Ready::in_order) to take an attempt back if it has not begun.
    /// If it has begun, nothing happens. The process reports [`Input::AttemptState`].
    Revoke {
        /// The process.
        worker: WorkerRef,
        /// The attempt.
        wire: WireId,
    },
    /// Send a ping.
    Ping {
        /// The process.
        worker: WorkerRef,
        /// The number that the answer must have.
        nonce: u64,
    },
    /// Find out what a process does that did not answer a ping, and report [`Input::Activity`]. Without a report within
    /// `health.timeout`, [`ProcessActivity::Unknown`] is assumed.
    Examine {
        /// The process.
        worker: WorkerRef,
        /// The number of the ping.
        nonce: u64,
    },
    /// Tell a process that a session has ended whose state it holds.
    EndSession {
        /// The process.
        worker: WorkerRef,
        /// The session.
        session: SessionId,
        /// The epoch that has ended.
        epoch: Epoch,
        /// The reason.
        reason: SessionEndReason,
    },
    /// Stop a process. Report [`Input::Exited`]. The same process may have to be stopped again by a faster method.
    Stop {
        /// The process.
        worker: WorkerRef,
        /// The method.
        method: StopMethod,
        /// The reason.
        kill_reason: KillReason,
    },
    /// Write a log line.
    Log(LogEvent),
    /// The first reload that has not ended has ended.
    ReloadEnded(ReloadOutcome),
    /// The pool has stopped. Either no process is left, or the time for stopping is up for those that
    /// [`Core::processes`](crate::Core::processes) returns.
    Stopped,
}

/// A call that must be sent to a process. See [`Effect::Send`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dispatch {
    /// The process.
    pub worker: WorkerRef,
    /// The call.
    pub call: CallId,
    /// The id of the attempt.
    pub wire: WireId,
    /// The epoch of the session, if the pool routes the call's session.
    pub epoch: Option<Epoch>,
}

/// A call that must be answered with the final frame that was just reported. See [`Effect::Deliver`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FinalAnswer {
    /// The call.
    pub call: CallId,
    /// The circumstances of the answer.
    pub delivery: Delivery,
    /// The losses of its earlier attempts, in order.
    pub earlier: LostAttempts,
}

impl From<Dispatch> for Effect {
    fn from(Dispatch { worker, call, wire, epoch }: Dispatch) -> Self {
        Self::Send { worker, call, wire, epoch }
    }
}

impl From<FinalAnswer> for Effect {
    fn from(FinalAnswer { call, delivery, earlier }: FinalAnswer) -> Self {
        Self::Deliver { call, delivery, earlier }
    }
}

/// Returns an effect that is the first one of a step; otherwise appends it. Nearly all steps have one effect, which then
/// need not pass through the list.
#[inline(always)]
pub(crate) fn return_first<T: Into<Effect>>(effect: T, effects: &mut Effects) -> Option<T> {
    if effects.is_empty() {
        return Some(effect);
    }
    effects.push(effect.into());
    None
}

/// The circumstances of an answer: the process, the routing, the attempts and the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The process that answered.
    pub worker: WorkerRef,
    /// The routing of the call.
    pub routing: Routing,
    /// The number of attempts.
    pub attempts: u32,
    /// The time of the admission.
    pub admitted: Timestamp,
    /// The time of the last send.
    pub sent: Timestamp,
    /// The time of the final frame.
    pub finished: Timestamp,
}

impl Delivery {
    /// Returns the time from the admission to the last send.
    pub fn queued(&self) -> Duration {
        self.sent - self.admitted
    }

    /// Returns the time from the last send to the final frame.
    pub fn ran(&self) -> Duration {
        self.finished - self.sent
    }
}

/// The state of an attempt, as its worker reports it when asked to stop the attempt or to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// The handler runs.
    Running,
    /// The handler has not begun and will not begin. The worker sends the final frame after those of earlier attempts.
    Withdrawn,
    /// The handler has ended. The final frame will follow.
    Finished,
}

/// Why a session, or its state on a worker, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEndReason {
    /// A message ended it.
    Ended,
    /// The timeout of the session passed.
    Expired,
    /// The session was bound to another worker.
    Moved,
}

/// The method of stopping a process, the slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopMethod {
    /// As graceful, but the signals wait until the deadlines of its calls.
    AfterCalls,
    /// Shutdown message, then SIGTERM, then SIGKILL.
    Graceful,
    /// SIGKILL.
    Kill,
}

/// An event for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogEvent {
    /// A process that had been ready exited, and the reason was neither a shutdown nor idleness.
    WorkerDied(WorkerRef, ProcessExit),
    /// A process exited before it was ready.
    StartFailed(WorkerRef, ProcessExit),
    /// A process that had been ready exited, because it was idle or a reload replaced it.
    WorkerStopped(WorkerRef, ProcessExit),
    /// A process missed this many consecutive pings; what it did instead.
    PingMissed(WorkerRef, u32, ProcessActivity),
    /// A process that runs calls began to miss pings while it computes: C code holds the GIL.
    GilHeld(WorkerRef),
    /// The pool failed; the probe starts at this time.
    PoolFailed(Timestamp),
    /// A failed pool has a ready worker again.
    PoolRecovered,
    /// A final frame arrived after its call was settled.
    LateAnswer(WorkerRef, WireId),
    /// A final frame of an unknown attempt arrived, or a result of an attempt that the process had withdrawn.
    UnknownAnswer(WorkerRef, WireId),
}
