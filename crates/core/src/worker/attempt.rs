//! One attempt of a call, and what holds its place in a worker: plain data.

use super::{batches::Counted, in_advance::InAdvance};
use crate::{CallId, Routing, RowKey, Timestamp, WireId, calls::CallKey};
use std::time::Duration;

/// One unfinished attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) wire: WireId,
    pub(crate) holder: SlotHolder,
    /// When it was sent.
    pub(crate) sent: Timestamp,
    /// When it began, as far as the pool knows: when it was sent, unless it was in advance.
    pub(crate) since: Timestamp,
    pub(crate) routing: Routing,
    pub(crate) session: Option<AttemptSession>,
    /// Whether the worker gave it back, and its call was sent elsewhere or waits.
    pub(crate) is_taken_back: bool,
    /// Whether its caller takes chunks. How long it runs says little about the worker, and nothing about other calls.
    pub(crate) is_stream: bool,
}

/// An attempt that is over and answers its call: what is left of an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnsweredAttempt {
    pub(crate) call: CallKey,
    pub(crate) sent: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) routing: Routing,
    pub(crate) session: Option<AttemptSession>,
}

/// The session of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptSession {
    pub(crate) row: RowKey,
    /// Whether the call is strict. It is then the current call of the session until the attempt is over, even if it is
    /// settled before ([I3](crate#invariants)).
    pub(crate) is_strict: bool,
}

/// The occupant of a call slot of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SlotHolder {
    /// An attempt of a call that is not settled, and is no stream.
    Call(CallKey),
    /// An attempt of a stream that is not settled.
    Stream(CallKey),
    /// An attempt of a call that is not settled. The worker was asked to take it back.
    Revoking(CallKey),
    /// An attempt whose call is settled or was taken back. The call slot stays occupied until the final frame.
    Abandoned { next: Escalation },
}

/// The next step of stopping an abandoned attempt, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Escalation {
    /// None yet: the worker was asked to stop the attempt and has not answered whether the attempt runs, and an older
    /// attempt is assumed to run.
    Asked,
    Interrupt(Timestamp),
    Kill(Timestamp),
    /// The worker answered that the attempt has not begun and will not begin. `kill` is set once the attempt is the
    /// oldest that the worker has. From then on only something that is not a call, such as a hook, can delay its final
    /// frame.
    Withdrawn {
        kill: Option<Timestamp>,
    },
}

impl Attempt {
    /// Returns whether a final frame with this result and run time contradicts the worker's answer that the attempt will not
    /// begin.
    pub(crate) fn contradicts(&self, ok: bool, ran: Duration) -> bool {
        self.is_withdrawn() && (ok || !ran.is_zero())
    }

    /// Returns whether the worker answered that the attempt has not begun and will not begin.
    pub(super) fn is_withdrawn(&self) -> bool {
        matches!(self.holder, SlotHolder::Abandoned { next: Escalation::Withdrawn { .. } })
    }

    /// Returns the call of the attempt, unless it is settled.
    pub(crate) fn call(&self) -> Option<CallId> {
        match self.holder {
            SlotHolder::Call(call) | SlotHolder::Stream(call) | SlotHolder::Revoking(call) => Some(call.id),
            SlotHolder::Abandoned { .. } => None,
        }
    }

    /// Returns what is left of the attempt if it answers this call.
    #[inline(always)]
    pub(crate) fn answered(&self, call: CallKey) -> AnsweredAttempt {
        let Self { sent, since, routing, session, .. } = *self;
        AnsweredAttempt { call, sent, since, routing, session }
    }

    /// Returns whether its final frame, with this result and run time, shows that the worker gave it back. The frame may
    /// overtake the worker's answer, which is on the other descriptor.
    pub(crate) fn is_given_back(&self, ok: bool, ran: Duration) -> bool {
        self.is_taken_back || (!ok && ran.is_zero() && matches!(self.holder, SlotHolder::Revoking(_)))
    }

    /// Returns the session, if its calls run one at a time and this is one of them.
    pub(crate) fn strict_row(&self) -> Option<RowKey> {
        self.session.filter(|session| session.is_strict).map(|session| session.row)
    }

    /// Returns whether it runs its session's current strict call, which no other worker can run.
    pub(super) fn is_strict(&self) -> bool {
        self.strict_row().is_some()
    }

    /// Returns what its batch counts of it.
    pub(super) fn counted(&self) -> Counted {
        Counted { wire: self.wire, is_wanted: self.call().is_some(), is_withdrawn: self.is_withdrawn() }
    }

    /// Returns what it adds to the attempts in advance, if it is one of them.
    pub(super) fn in_advance(&self) -> InAdvance {
        InAdvance::one(self.call().is_some(), self.is_strict())
    }

    /// Returns when the next step of stopping the attempt is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.holder {
            SlotHolder::Abandoned { next: Escalation::Interrupt(due) | Escalation::Kill(due) } => Some(due),
            SlotHolder::Abandoned { next: Escalation::Withdrawn { kill } } => kill,
            SlotHolder::Abandoned { next: Escalation::Asked }
            | SlotHolder::Call(_)
            | SlotHolder::Stream(_)
            | SlotHolder::Revoking(_) => None,
        }
    }
}
