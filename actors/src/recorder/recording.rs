//! The recording of one process as people and programs read it: frames, transitions, output and exit. A snapshot.

use herder_core::{Generation, WorkerId, WorkerRef, WorkerState};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, fmt, time::SystemTime};

/// The recording of one process, running or exited: its last 128 frames without their contents, its state transitions, its
/// output, and its exit.
///
/// Times are system times with microseconds. Of a process that could not be spawned only the exit is known.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Recording {
    /// The slot.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// When the process was started.
    #[serde(serialize_with = "optional")]
    pub started_at: Option<SystemTime>,
    /// When its exit was noticed; `None` while it runs.
    #[serde(serialize_with = "optional")]
    pub ended_at: Option<SystemTime>,
    /// Its exit; `None` while it runs.
    pub exit: Option<RecordedExit>,
    /// The last frames in both directions, the oldest first. A frame counts as sent when it is put into the outbox.
    pub frames: Vec<RecordedFrame>,
    /// The number of earlier frames, which are no longer recorded.
    pub dropped_frames: u64,
    /// Its state transitions, the oldest first; only in a pool with `state_machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Vec<RecordedTransition>>,
    /// The last lines of its output.
    pub stderr_tail: Vec<String>,
}

/// One frame, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordedFrame {
    /// When it was sent or received.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// Whether the host sent or received it.
    pub direction: Direction,
    /// On which of the two descriptors.
    pub descriptor: Descriptor,
    /// The kind as the protocol names it; `unknown` if there is no such kind, `end_of_stream` if the worker closed the
    /// descriptor too early.
    pub kind: Cow<'static, str>,
    /// The attempt that it concerns, or the nonce of a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<u64>,
    /// The length of the body in bytes, as the header states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// The command of the call, at most the first 24 bytes of its name; also for an answer if its call is among these frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<str>>,
    /// The protocol violation as the protocol names it, or `out_of_order`, or `closed`. The process was killed because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// The bytes of a faulty header in hexadecimal, at most 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Box<str>>,
}

// Bounds the memory of the 64 recordings that are kept, as docs/semantics.md states it: most of it is frames.
const _: () = assert!(size_of::<RecordedFrame>() <= 128);

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the worker.
    Sent,
    /// From the worker.
    Received,
}

/// One of a worker's two descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Descriptor {
    /// Calls and answers.
    Calls,
    /// Pings, cancels, shutdown.
    Control,
}

/// A state transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordedTransition {
    /// When it happened.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// The previous state.
    pub from: WorkerState,
    /// The new state.
    pub to: WorkerState,
    /// The reason.
    pub reason: &'static str,
}

/// The exit of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordedExit {
    /// The reason, as in errors.
    pub reason: Box<str>,
    /// The exit status, if the process returned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed the process, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The peak of its resident memory in bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed because memory was short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_out_of_memory: Option<String>,
}

impl Recording {
    /// Returns the last frames, at most `count`.
    pub fn last_frames(&self, count: usize) -> &[RecordedFrame] {
        &self.frames[self.frames.len().saturating_sub(count)..]
    }

    /// Returns the process.
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

/// Shortened, since errors contain a recording; the JSON form is complete.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({}, {} frames, {:?})", self.process(), self.frames.len(), self.exit)
    }
}

fn micros<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*time))
}

fn optional<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => micros(time, serializer),
        None => serializer.serialize_none(),
    }
}
