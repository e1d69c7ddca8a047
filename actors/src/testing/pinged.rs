//! Which workers have a ping to answer. A test that moves a clock faster than answers travel waits for them between two leaps, so
//! that no worker is taken for silent that is not. Holds nothing.

use crate::{Result, WorkerRef};
use actix::Message;

/// Sent to a supervisor: the workers that were pinged and have not answered. Behind all that this sender sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Vec<WorkerRef>>")]
pub struct Pinged;
