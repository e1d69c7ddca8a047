//! What goes into the core and what comes out: all of it plain data.

use crate::{
    Affinity, CallId, Epoch, Fingerprint, IfAbsent, ProcessActivity, SessionId, Suspect, Timestamp, WireId, WorkerRef,
    failure::{CallFailure, KillReason, ProcessExit, WorkerLoss},
    routing::Routing,
};
use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time passed: look at what is due.
    Tick,
    /// A call was submitted. Exactly one [`Effect::Settle`] or [`Effect::Deliver`] answers it (I1).
    Submit(Submission),
    /// The call's caller went away.
    Cancel(CallId),
    /// The process said ready.
    Ready {
        /// Which.
        worker: WorkerRef,
        /// Calls it takes unfinished, at least 1.
        window: u32,
        /// Whether it serves the control channel.
        control: bool,
    },
    /// The final frame of an attempt. Its payload is [acquitted](super::Core::clear_payload) beside it.
    Final {
        /// From which process.
        worker: WorkerRef,
        /// Of which attempt.
        wire: WireId,
        /// A result, not an error.
        ok: bool,
    },
    /// An [`Effect::Send`] could not be carried out: the process never gets the call, and the shell has answered its caller.
    SendFailed {
        /// To which process.
        worker: WorkerRef,
        /// Which attempt.
        wire: WireId,
    },
    /// The process's answer to an [`Effect::Cancel`]. Without one, its oldest unfinished attempt is taken to run.
    AttemptState {
        /// From which process.
        worker: WorkerRef,
        /// Of which attempt.
        wire: WireId,
        /// Where the attempt is.
        state: AttemptState,
    },
    /// An answer to a ping.
    Pong {
        /// From which process.
        worker: WorkerRef,
        /// The ping's number.
        nonce: u64,
    },
    /// What a silent process does: the answer to an [`Effect::Examine`].
    Activity {
        /// Which process.
        worker: WorkerRef,
        /// The number of the ping it let pass.
        nonce: u64,
        /// What it did since that ping, or since the examination before.
        activity: ProcessActivity,
    },
    /// The process is gone *and* its socket was read until it would block.
    Exited {
        /// Which.
        worker: WorkerRef,
        /// How.
        end: ProcessExit,
        /// The payloads of the attempts it had, where a quarantine wants them ([`Core::unfinished`](super::Core::unfinished)).
        suspects: Vec<Suspect>,
    },
    /// End a process now.
    Kill {
        /// Which.
        worker: WorkerRef,
        /// Why.
        kill_reason: KillReason,
    },
    /// A [`Shutdown`](Self::Shutdown) will follow. Calls are taken as before, but a worker that ended is started again only if a call waits
    /// for one.
    PrepareShutdown,
    /// Take no more calls, finish those there are, end the workers; what is left at `until` is answered `PoolClosed`.
    Shutdown {
        /// The end of patience.
        until: Timestamp,
    },
}

/// A call, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Submission {
    /// Its number, higher than any before.
    pub call: CallId,
    /// Its session, if it has one.
    pub session: Option<SessionCall>,
    /// The end of the whole: queue, run, retries.
    pub deadline: Timestamp,
    /// It may run again elsewhere when its worker dies in the middle.
    pub idempotent: bool,
    /// Its payload, wanted while the pool [watches](super::Core::needs_fingerprints) some.
    pub fingerprint: Option<Fingerprint>,
}

/// What a call says of its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionCall {
    /// Which session.
    pub id: SessionId,
    /// What to do if there is none.
    pub if_absent: IfAbsent,
    /// How strictly to keep to its worker; the pool's mode if none is given.
    pub affinity: Option<Affinity>,
}

/// Something to carry out. The order matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Start this process; answer with `Ready` or `Exited`.
    Start(WorkerRef),
    /// Send the call to the process.
    Send {
        /// To which.
        worker: WorkerRef,
        /// What.
        call: CallId,
        /// The attempt's id.
        wire: WireId,
        /// The session's epoch, if the call's session is routed.
        epoch: Option<Epoch>,
    },
    /// The final frame just handed in answers this call.
    Deliver {
        /// Which.
        call: CallId,
        /// How it came there.
        delivery: Delivery,
        /// Its attempts that were lost before, in order.
        earlier: Vec<WorkerLoss>,
    },
    /// The call ends without a worker's answer.
    Settle {
        /// Which.
        call: CallId,
        /// Why.
        failure: CallFailure,
        /// Its attempts that were lost before and are not the reason, in order.
        earlier: Vec<WorkerLoss>,
    },
    /// Ask the attempt to stop; with `interrupt`, break it.
    Cancel {
        /// In which process.
        worker: WorkerRef,
        /// Which attempt.
        wire: WireId,
        /// Break the running code.
        interrupt: bool,
    },
    /// Ping the process.
    Ping {
        /// Which.
        worker: WorkerRef,
        /// The number its pong must have.
        nonce: u64,
    },
    /// The process let a ping pass: find out what it does, and answer with [`Input::Activity`]. Without an answer within
    /// `health.timeout` it is taken for [`ProcessActivity::Unknown`].
    Examine {
        /// Which.
        worker: WorkerRef,
        /// The ping's number.
        nonce: u64,
    },
    /// Tell the process that a session it holds is over.
    EndSession {
        /// Which process.
        worker: WorkerRef,
        /// Which session.
        session: SessionId,
        /// Which of its lives.
        epoch: Epoch,
        /// Why.
        reason: SessionEndReason,
    },
    /// End the process; answer with `Exited`.
    Stop {
        /// Which.
        worker: WorkerRef,
        /// How.
        method: StopMethod,
        /// Why.
        kill_reason: KillReason,
    },
    /// Worth a line in the log.
    Log(LogEvent),
    /// The drain is over. No process is left, or the time to end is up for those that [`Core::processes`](super::Core::processes)
    /// names.
    Stopped,
}

/// How a reply came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Who answered.
    pub worker: WorkerRef,
    /// How the call was routed.
    pub routing: Routing,
    /// How often it was sent.
    pub attempts: u32,
    /// When the call was admitted.
    pub admitted: Timestamp,
    /// From admission to the last send.
    pub queued: Duration,
    /// From the last send to the final frame.
    pub ran: Duration,
}

/// Where an attempt is that its worker was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// Its handler runs.
    Running,
    /// It has not begun, and will not. Its final frame comes when the worker gets there.
    Withdrawn,
    /// Its handler has ended. Its final frame is on the way.
    Finished,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEndReason {
    /// Somebody ended it.
    Ended,
    /// Its timeout passed.
    Expired,
    /// It was bound to another worker.
    Moved,
}

/// How to end a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopMethod {
    /// Shutdown message, SIGTERM, SIGKILL.
    Graceful,
    /// SIGKILL.
    Kill,
}

/// Something an operator wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogEvent {
    /// A process ended that was not told to.
    WorkerDied(WorkerRef, ProcessExit),
    /// A process was not ready when it ended.
    StartFailed(WorkerRef, ProcessExit),
    /// So many pings in a row were missed; what it did instead.
    PingMissed(WorkerRef, u32, ProcessActivity),
    /// A process began to let pings pass while it computes for its calls: C code holds the GIL.
    GilHeld(WorkerRef),
    /// The pool failed and rests until then.
    PoolFailed(Timestamp),
    /// The pool failed before and has a worker again.
    PoolRecovered,
    /// A final frame came after its call was settled.
    LateAnswer(WorkerRef, WireId),
    /// A final frame of an attempt nobody knows.
    UnknownAnswer(WorkerRef, WireId),
}
