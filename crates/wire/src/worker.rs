//! The messages that a worker sends: parsed by the host, encoded by workers written in Rust. Holds no state.

use crate::{
    Buffer, CallBuffers, EncodeError, Flags, Frame, FrameError, FrameKind, Header, RawJson, WorkerError, WorkerHello,
    body::{Body, SlabIds, put_frame, to_json},
};
use bytes::{Bytes, BytesMut};
use herder_core::{AttemptState, Timestamp, WireId};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

/// The length of [`Stamps`], in bytes.
const STAMPS: usize = 16;

/// A message from a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerMessage {
    /// The first message.
    Hello(WorkerHello),
    /// The worker accepts calls.
    Ready(Ready),
    /// The result of a call. Final.
    Result(CallResult),
    /// An item of a stream: JSON that this crate has not parsed, without a byte order mark. Shares the memory of the buffer
    /// that was decoded. Not final.
    Chunk {
        /// The wire id of the attempt.
        wire: WireId,
        /// The item.
        item: Bytes,
        /// The values in it that are buffers; `null` stands in their places. They share the memory too.
        buffers: Vec<Buffer>,
    },
    /// The end of a stream. Final.
    StreamEnd {
        /// The wire id of the attempt.
        wire: WireId,
        /// The times at which the handler began and ended.
        stamps: Stamps,
    },
    /// The error of a call. Final.
    Error {
        /// The wire id of the attempt.
        wire: WireId,
        /// The times at which the handler began and ended.
        stamps: Stamps,
        /// The error.
        error: WorkerError,
    },
    /// The worker could not start and is about to exit.
    StartFailed(WorkerError),
    /// The answer to a cancel or a revoke.
    AttemptState {
        /// The wire id of the attempt.
        wire: WireId,
        /// The state of the attempt.
        state: AttemptState,
    },
    /// The answer to a ping.
    Pong {
        /// The number of the ping.
        nonce: u64,
    },
    /// The answer to a health check.
    Health {
        /// The number of the check.
        nonce: u64,
        /// Why the worker is unhealthy. Empty: it is healthy.
        reason: Box<str>,
    },
    /// The worker has no view of the arguments in these slabs any more.
    SlabFree(SlabIds),
    /// The worker has unmapped these slabs.
    SlabDrop(SlabIds),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// The wire id of the attempt.
    pub wire: WireId,
    /// The times at which the handler began and ended.
    pub stamps: Stamps,
    /// The value: JSON that this crate has not parsed, without a byte order mark. Shares the memory of the buffer that was
    /// decoded.
    pub payload: Bytes,
    /// The values in it that are buffers; `null` stands in their places. They share the memory too.
    pub buffers: Vec<Buffer>,
}

impl WorkerMessage {
    /// Parses a frame from a worker. Neither copies nor allocates for a result.
    ///
    /// # Errors
    /// Any defect of the body, or a kind that only the host sends.
    pub fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Header { kind, flags, wire, .. } = frame.header;
        let ends_stream = frame.header.ends_stream();
        let mut body = Body::new(kind, frame.body);
        Ok(match kind {
            FrameKind::Hello => Self::Hello(WorkerHello::parse(&body)?),
            FrameKind::Ready => Self::Ready(Ready::parse(&body)?),
            FrameKind::Result if ends_stream => Self::StreamEnd { wire, stamps: Stamps::take(&mut body)? },
            FrameKind::Result => {
                let stamps = Stamps::take(&mut body)?;
                let (buffers, payload) = value(kind, flags, STAMPS, body)?;
                Self::Result(CallResult { wire, stamps, payload, buffers })
            }
            FrameKind::Error => match (wire, Stamps::take(&mut body)?, body.json()?) {
                (WireId(0), _, error) => Self::StartFailed(error),
                (wire, stamps, error) => Self::Error { wire, stamps, error },
            },
            FrameKind::Chunk => {
                let (buffers, item) = value(kind, flags, 0, body)?;
                Self::Chunk { wire, item, buffers }
            }
            FrameKind::AttemptState => Self::AttemptState { wire, state: state_from_byte(body.u8()?)? },
            FrameKind::Pong => Self::Pong { nonce: wire.0 },
            FrameKind::Health => Self::Health { nonce: wire.0, reason: body.last_text("reason")? },
            FrameKind::SlabFree => Self::SlabFree(SlabIds::parse(body)?),
            FrameKind::SlabDrop => Self::SlabDrop(SlabIds::parse(body)?),
            FrameKind::Call
            | FrameKind::Headers
            | FrameKind::Batch
            | FrameKind::Cancel
            | FrameKind::Revoke
            | FrameKind::Credit
            | FrameKind::LogLevel
            | FrameKind::Ping
            | FrameKind::SessionEnd
            | FrameKind::Shutdown
            | FrameKind::HealthCheck => return Err(FrameError::WrongDirection(kind)),
        })
    }

    /// Writes the whole frame to `out`. Writes nothing on an error.
    ///
    /// # Errors
    /// [`EncodeError`]: the message is too large, or a host would refuse it.
    pub fn encode(&self, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut put = |kind, flags, wire, parts: &[&[u8]]| put_frame(kind, flags, wire, parts, max_frame, out);
        let (none, no_call) = (Flags::default(), WireId(0));
        match self {
            Self::Hello(hello) => put(FrameKind::Hello, none, no_call, &[&hello.to_json()?]),
            Self::Ready(ready) => put(FrameKind::Ready, none, no_call, &[&to_json(FrameKind::Ready, ready)?]),
            Self::Result(CallResult { wire, stamps, payload, buffers }) if buffers.is_empty() => {
                put(FrameKind::Result, none, *wire, &[&stamps.encode(), payload])
            }
            Self::Result(CallResult { wire, stamps, payload, buffers }) => {
                let (stamps, parts) = (stamps.encode(), parts(FrameKind::Result, STAMPS, payload, buffers)?);
                let parts: Vec<&[u8]> =
                    std::iter::once(&stamps[..]).chain(parts.iter().map(|part| &part[..])).collect();
                put(FrameKind::Result, with_buffers(), *wire, &parts)
            }
            Self::Chunk { wire, item, buffers } if buffers.is_empty() => put(FrameKind::Chunk, none, *wire, &[item]),
            Self::Chunk { wire, item, buffers } => {
                let parts = parts(FrameKind::Chunk, 0, item, buffers)?;
                let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                put(FrameKind::Chunk, with_buffers(), *wire, &parts)
            }
            Self::StreamEnd { wire, stamps } => {
                let flags = Flags { kind_bits: FrameKind::END_OF_STREAM, ..none };
                put(FrameKind::Result, flags, *wire, &[&stamps.encode()])
            }
            Self::Error { wire: WireId(0), .. } => Err(FrameError::MissingWireId(FrameKind::Error).into()),
            Self::Error { wire, stamps, error } => {
                put(FrameKind::Error, none, *wire, &[&stamps.encode(), &to_json(FrameKind::Error, error)?])
            }
            Self::StartFailed(error) => {
                put(FrameKind::Error, none, no_call, &[&Stamps::NOT_RUN.encode(), &to_json(FrameKind::Error, error)?])
            }
            Self::AttemptState { wire, state } => {
                put(FrameKind::AttemptState, none, *wire, &[&[state_to_byte(*state)]])
            }
            Self::Pong { nonce } => put(FrameKind::Pong, none, WireId(*nonce), &[]),
            Self::Health { nonce, reason } => put(FrameKind::Health, none, WireId(*nonce), &[reason.as_bytes()]),
            Self::SlabFree(slabs) => put(FrameKind::SlabFree, none, no_call, &[&slabs.encode()]),
            Self::SlabDrop(slabs) => put(FrameKind::SlabDrop, none, no_call, &[&slabs.encode()]),
        }
    }
}

/// Reads a value from byte `start` of a body on, with its buffers if the frame has the flag.
fn value(kind: FrameKind, flags: Flags, start: usize, body: Body) -> Result<(Vec<Buffer>, Bytes), FrameError> {
    if flags.kind_bits & FrameKind::BUFFERS == 0 {
        return Ok((Vec::new(), body.value()));
    }
    let (found, json) = CallBuffers::parse(kind, start, body.rest())?;
    Ok((found.buffers, json))
}

fn parts(kind: FrameKind, start: usize, json: &Bytes, buffers: &[Buffer]) -> Result<Vec<Bytes>, EncodeError> {
    CallBuffers { take: false, buffers: buffers.to_vec() }.parts(kind, start, json)
}

fn with_buffers() -> Flags {
    Flags { kind_bits: FrameKind::BUFFERS, ..Flags::default() }
}

fn state_from_byte(byte: u8) -> Result<AttemptState, FrameError> {
    match byte {
        1 => Ok(AttemptState::Running),
        2 => Ok(AttemptState::Withdrawn),
        3 => Ok(AttemptState::Finished),
        other => Err(FrameError::UnknownState(other)),
    }
}

fn state_to_byte(state: AttemptState) -> u8 {
    match state {
        AttemptState::Running => 1,
        AttemptState::Withdrawn => 2,
        AttemptState::Finished => 3,
    }
}

/// The command table of a worker. Each name occurs once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The commands, in the order in which the worker registered them.
    pub commands: Vec<CommandEntry>,
    /// Replaces the window of the hello if the worker has found while loading that it can accept fewer calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<NonZeroU32>,
    /// Replaces the same key of the hello, if the worker has found while loading that it begins calls in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_order: Option<NonZeroU32>,
    /// Whether the worker answers health checks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub health: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The batches of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEntry {
    /// The maximum number of calls of a batch.
    pub max_batch_size: NonZeroU32,
    /// The longest time in microseconds that a call waits for others, while a worker could run it.
    pub max_wait_us: u64,
}

/// One command of a worker.
///
/// The keys that describe the command for people and clients are unchecked JSON: calls do not depend on them, so a wrong one
/// is no error of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// The name that calls use.
    pub name: String,
    /// Whether a call of this command may run again on another worker after its worker died.
    #[serde(default)]
    pub idempotent: bool,
    /// The most time in milliseconds that a call of this command may take, if it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<NonZeroU64>,
    /// Whether the handler is a generator: a caller that takes chunks gets its items as they come.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stream: bool,
    /// How the calls of this command are put into batches, if one invocation can run several of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchEntry>,
    /// Whether a call of this command is refused if it has no session: true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_session: Option<RawJson>,
    /// What the command does: a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<RawJson>,
    /// The JSON Schema of the arguments: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<RawJson>,
    /// The JSON Schema of the result: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RawJson>,
    /// Why a schema is missing or accepts more than the command: a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<RawJson>,
}

impl CommandEntry {
    /// Creates the entry of a command without a description.
    pub fn new(name: impl Into<String>, idempotent: bool) -> Self {
        Self {
            name: name.into(),
            idempotent,
            stream: false,
            needs_session: None,
            description: None,
            parameters: None,
            result: None,
            schema_error: None,
            timeout_ms: None,
            batch: None,
        }
    }
}

impl Ready {
    pub(crate) fn parse(body: &Body) -> Result<Self, FrameError> {
        let ready: Self = body.json()?;
        let mut names = HashSet::new();
        match ready.commands.iter().find(|command| !names.insert(command.name.as_str())) {
            Some(twice) => Err(FrameError::DuplicateCommand(twice.name.clone())),
            None => Ok(ready),
        }
    }
}

/// The times at which a handler began and ended, in nanoseconds of the monotonic clock that both sides share. Both are 0 if the
/// handler did not run.
///
/// The worker reports them and nothing checks them: `ended` may be before `started`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Stamps {
    /// The time at which the handler began.
    pub started: Timestamp,
    /// The time at which the handler ended.
    pub ended: Timestamp,
}

impl Stamps {
    /// The stamps of a handler that did not run.
    pub const NOT_RUN: Self = Self { started: Timestamp(0), ended: Timestamp(0) };

    /// Whether the handler ran at all.
    pub fn ran(self) -> bool {
        self != Self::NOT_RUN
    }

    /// Returns how long the handler ran: zero only if it did not run. A worker whose clock is coarse may report one time for
    /// the begin and the end of a call that ran.
    pub fn run_time(self) -> Duration {
        if self.ended.0 == 0 { Duration::ZERO } else { self.ended.since(self.started).max(Duration::from_nanos(1)) }
    }

    pub(crate) fn take(body: &mut Body) -> Result<Self, FrameError> {
        Ok(Self { started: Timestamp(body.u64()?), ended: Timestamp(body.u64()?) })
    }

    pub(crate) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.started.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.ended.0.to_le_bytes());
        bytes
    }
}
