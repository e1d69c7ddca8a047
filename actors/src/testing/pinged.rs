//! Which workers have a ping to answer. A test that moves a clock faster than answers travel waits for them between two leaps, so
//! that no worker is taken for silent that is not. Holds nothing.

use crate::Result;
use actix::Message;

/// Sent to a supervisor: how many workers were pinged and have not answered, of those that do so by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<usize>")]
pub(crate) struct UnansweredPings;
