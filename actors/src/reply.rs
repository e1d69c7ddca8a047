//! The reply of a call: the worker's result as JSON, and where and how the call ran.

use crate::{Error, Result};
use bytes::Bytes;
use herder_core::{Generation, Routing, Timestamp, WorkerId, WorkerRef};
use herder_wire::{Buffer, Stamps, pointer_of};
use serde::{
    Serialize, Serializer,
    de::DeserializeOwned,
    ser::{Error as _, SerializeStruct},
};
use serde_json::value::RawValue;
use std::time::Duration;

/// The reply of a call.
///
/// It is serialized as `herder serve` answers a call: `{"result": .., "meta": ..}`, with the [`ReplyMetadata`] as `meta`.
/// With serde_json, the text of the result is passed on unchanged. Serializing fails if the worker sent invalid JSON.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the worker's process.
    pub generation: Generation,
    /// How the call was routed.
    pub routing: Routing,
    /// The number of times the call was sent.
    pub attempts: u32,
    /// The time of admission, on the clock that host and worker share.
    pub admitted: Timestamp,
    /// The time from admission to the last send.
    pub queued: Duration,
    /// The time from the last send to the final frame.
    pub ran: Duration,
    /// When the handler started and ended, on the clock that host and worker share.
    pub stamps: Stamps,
    pub(crate) body: Bytes,
    pub(crate) buffers: Vec<Buffer>,
}

/// Where and how a call ran, as HTTP responses show it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplyMetadata {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the worker's process.
    pub generation: Generation,
    /// `new`, `hit`, `rebound` or `unrouted`.
    pub routing: &'static str,
    /// Why the session was rebound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The number of times the call was sent.
    pub attempts: u32,
    /// Microseconds from admission to the last send.
    pub queue_us: u64,
    /// Microseconds from the last send to the answer.
    pub run_us: u64,
}

impl Reply {
    /// Decodes the result with serde_json. `T` cannot borrow from the reply.
    ///
    /// # Errors
    /// [`Error::Decode`] if the result is not a `T`, or is nested more than 127 levels deep.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(Error::decode)
    }

    /// Returns the result as JSON text, as the worker sent it.
    pub fn json(&self) -> &Bytes {
        &self.body
    }

    /// Returns the buffers of the result: the values that were sent beside the JSON, which has `null` in their places. Empty,
    /// unless the call was made to take buffers.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the buffer that is the value of this key of the result; with an empty key the buffer that is the result itself.
    pub fn buffer(&self, key: &str) -> Option<&Buffer> {
        find_buffer(&self.buffers, key)
    }

    /// Returns the process that answered.
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }

    /// Returns where and how the call ran.
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

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let result: &RawValue = serde_json::from_slice(&self.body).map_err(S::Error::custom)?;
        let mut reply = serializer.serialize_struct("Reply", 2)?;
        reply.serialize_field("result", result)?;
        reply.serialize_field("meta", &self.metadata())?;
        reply.end()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
/// Returns the buffer that is the value of this key; with an empty key the one that is the whole value.
pub(crate) fn find_buffer<'a>(buffers: &'a [Buffer], key: &str) -> Option<&'a Buffer> {
    let pointer = if key.is_empty() { Box::default() } else { pointer_of(key) };
    buffers.iter().find(|buffer| *buffer.pointer() == *pointer)
}
