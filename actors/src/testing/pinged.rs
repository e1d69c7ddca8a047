//! Asks a pool for its unanswered pings. A test that moves a clock waits for the answers between two moves, since they do not
//! arrive faster than the machine runs; otherwise a working worker would be taken for unresponsive. Holds nothing.

use crate::Result;
use actix::Message;

/// Asks a supervisor how many workers were pinged and have not answered, of those that answer by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<usize>")]
pub(crate) struct UnansweredPings;
