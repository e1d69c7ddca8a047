//! What a call gives: the worker's value as JSON, and how it came about.

use crate::{Error, Result};
use bytes::Bytes;
use herder_core::{Generation, Routing, Timestamp, WorkerId};
use herder_wire::Stamps;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// A worker's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The slot that answered.
    pub worker: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// How the call was routed.
    pub routing: Routing,
    /// How often it was sent.
    pub attempts: u32,
    /// When the call was admitted, on the clock that host and worker share.
    pub admitted: Timestamp,
    /// From admission to the last send.
    pub queued: Duration,
    /// From the last send to the final frame.
    pub ran: Duration,
    /// When the handler began and ended, on the clock that host and worker share.
    pub stamps: Stamps,
    pub(crate) body: Bytes,
}

/// A reply's circumstances, as HTTP shows them.
#[derive(Clone, Debug, Serialize)]
pub struct ReplyMetadata {
    /// The slot that answered.
    pub worker: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// `new`, `hit`, `rebound` or `unrouted`.
    pub routing: &'static str,
    /// Why it was rebound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// How often it was sent.
    pub attempts: u32,
    /// Microseconds from admission to the last send.
    pub queue_us: u64,
    /// Microseconds from the last send to the answer.
    pub run_us: u64,
}

impl Reply {
    /// Decodes the value with serde_json. `T` cannot borrow from the reply.
    ///
    /// # Errors
    /// [`Error::Decode`] when the value is not a `T`, or is nested more than 127 levels deep.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(Error::decode)
    }

    /// The value as JSON text, as the worker sent it.
    pub fn json(&self) -> &Bytes {
        &self.body
    }

    /// Its circumstances.
    pub fn metadata(&self) -> ReplyMetadata {
        ReplyMetadata {
            worker: self.worker,
            generation: self.generation,
            routing: self.routing.as_str(),
            why: self.routing.why(),
            attempts: self.attempts,
            queue_us: micros(self.queued),
            run_us: micros(self.ran),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
