//! Panics, stops and held work on request, for tests of supervision and of slabs. Exists only with the feature `fault-injection`, which no release
//! enables.

use crate::Result;
use actix::Message;
use herder_core::WorkerId;
use std::sync::mpsc::Receiver;

/// Makes one of the pool's actors panic. Sent to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<()>")]
pub enum InjectPanic {
    /// The actor of this worker, in a handler.
    Worker(WorkerId),
    /// The affinity actor, in a handler.
    Affinity,
    /// The supervisor, in the handler of this message.
    Supervisor,
    /// A step, while the state is borrowed.
    Step,
}

/// Makes the actor of this worker stop without a panic, as if its last address had been dropped. Sent to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<()>")]
pub struct InjectStop(pub WorkerId);

/// Holds up the copies of large arguments, and the making of slabs, until the sender is dropped. Sent to the supervisor.
#[derive(Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct InjectHold(pub Receiver<()>);

/// Makes the receiving actor panic.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Panic;

/// Panics.
#[expect(clippy::panic, reason = "this feature exists to panic")]
pub(crate) fn panic_injected() {
    panic!("injected")
}
