//! Panics and stops on demand, for tests of supervision. Exists only with the feature `fault-injection`, which no release has.

use crate::Result;
use actix::Message;
use herder_core::WorkerId;

/// Sent to a supervisor: lets one of the pool's actors panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<()>")]
pub enum InjectPanic {
    /// The actor of this worker, in a handler.
    Worker(WorkerId),
    /// The affinity actor, in a handler.
    Affinity,
    /// The supervisor, in the handler of this message.
    Supervisor,
    /// The step, while the state is borrowed.
    Step,
}

/// Sent to a supervisor: lets the actor of this worker stop in the ordinary way, as if nobody had its address any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<()>")]
pub struct InjectStop(pub WorkerId);

/// Sent on to the actor that is to panic.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Panic;

/// The panic.
#[expect(clippy::panic, reason = "it is what this feature is for")]
pub(crate) fn injected() {
    panic!("injected")
}
