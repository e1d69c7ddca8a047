//! The messages that the host sends: encoded by the host, parsed by workers written in Rust. Holds no state.

use crate::{
    CallFrame, CallHeaders, EncodeError, Flags, Frame, FrameError, FrameKind, Header, HostHello,
    body::{Body, SlabIds, put_frame},
    encode_headers,
};
use bytes::{BufMut, BytesMut};
use herder_core::{Epoch, SessionId, WireId};

/// A message from the host. The host itself writes calls with [`CallHead::encode`](crate::CallHead::encode), which does not
/// copy the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// The first message.
    Hello(HostHello),
    /// One attempt of a call.
    Call(CallFrame),
    /// The headers of the call that follows.
    Headers {
        /// The wire id of the attempt.
        wire: WireId,
        /// Its headers.
        headers: CallHeaders,
    },
    /// The calls with these wire ids, which follow next, are run by one invocation of their handler. Sent only for a command
    /// for which the worker states [`batch`](crate::CommandEntry::batch).
    Batch {
        /// The wire ids, in the order of the calls; at least one.
        calls: Vec<WireId>,
    },
    /// Cancels one call.
    Cancel {
        /// The wire id of the attempt.
        wire: WireId,
        /// Whether running code must be interrupted. Otherwise the handler is only asked to stop.
        interrupt: bool,
    },
    /// Takes one call back if it has not begun.
    Revoke {
        /// The wire id of the attempt.
        wire: WireId,
    },
    /// Lets the worker send more of a stream.
    Credit {
        /// The wire id of the attempt.
        wire: WireId,
        /// The number of bytes that the consumer has taken since the last credit: the length of each chunk, and 16 for each.
        bytes: u32,
    },
    /// Asks the worker for a pong.
    Ping {
        /// The number that the pong must repeat.
        nonce: u64,
    },
    /// Ends one epoch of a session.
    SessionEnd(SessionEnd),
    /// Tells the worker to finish the calls it has received, and then to exit with status 0.
    Shutdown,
    /// Asks the worker to run the health function of its app. Sent only to a worker that states that it has one.
    HealthCheck {
        /// The number that the answer must repeat.
        nonce: u64,
        /// The time in milliseconds after which the function counts as failed.
        timeout_ms: u64,
    },
    /// Lets the worker write to these slabs again: their results were read.
    SlabFree(SlabIds),
    /// Tells the worker to unmap these slabs. It answers with the same message.
    SlabDrop(SlabIds),
    /// Changes the most detailed level of the log records that the worker sends. Sent only to a worker that states
    /// [`log_level`](crate::WorkerHello::log_level).
    LogLevel(LogLevel),
}

impl HostMessage {
    /// Parses a frame from the host.
    ///
    /// # Errors
    /// Any defect of the body, or a kind that only workers send.
    pub fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Header { kind, flags, wire, .. } = frame.header;
        let body = || Body::new(kind, frame.body.clone());
        Ok(match kind {
            FrameKind::Hello => Self::Hello(HostHello::parse(&body())?),
            FrameKind::Call => Self::Call(CallFrame::parse(frame)?),
            FrameKind::Headers => Self::Headers { wire, headers: CallHeaders::parse(&body())? },
            FrameKind::Batch => Self::Batch { calls: parse_batch(body())? },
            FrameKind::Cancel => Self::Cancel { wire, interrupt: flags.kind_bits & FrameKind::INTERRUPT != 0 },
            FrameKind::Revoke => Self::Revoke { wire },
            FrameKind::Credit => Self::Credit { wire, bytes: body().u32()? },
            FrameKind::Ping => Self::Ping { nonce: wire.0 },
            FrameKind::SessionEnd => Self::SessionEnd(SessionEnd::parse(body())?),
            FrameKind::Shutdown => Self::Shutdown,
            FrameKind::HealthCheck => Self::HealthCheck { nonce: wire.0, timeout_ms: body().u64()? },
            FrameKind::SlabFree => Self::SlabFree(SlabIds::parse(body())?),
            FrameKind::SlabDrop => Self::SlabDrop(SlabIds::parse(body())?),
            FrameKind::LogLevel => Self::LogLevel(LogLevel::from_byte(body().u8()?)),
            FrameKind::Ready
            | FrameKind::Result
            | FrameKind::Error
            | FrameKind::Chunk
            | FrameKind::AttemptState
            | FrameKind::Pong
            | FrameKind::Health => return Err(FrameError::WrongDirection(kind)),
        })
    }

    /// Writes the whole frame to `out`. Writes nothing on an error.
    ///
    /// # Errors
    /// [`EncodeError`]: the message is too large, or a worker would refuse it.
    pub fn encode(&self, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut put = |kind, flags, wire, parts: &[&[u8]]| put_frame(kind, flags, wire, parts, max_frame, out);
        let (none, no_call) = (Flags::default(), WireId(0));
        match self {
            Self::Hello(hello) => put(FrameKind::Hello, none, no_call, &[&hello.to_json()?]),
            Self::Call(call) => call.encode(max_frame, out),
            Self::Headers { wire, headers } => encode_headers(*wire, &headers.to_json()?, max_frame, out),
            Self::Batch { calls } => encode_batch(calls.iter().copied(), max_frame, out),
            Self::Cancel { wire, interrupt } => {
                let of_kind = if *interrupt { FrameKind::INTERRUPT } else { 0 };
                put(FrameKind::Cancel, Flags { kind_bits: of_kind, ..none }, *wire, &[])
            }
            Self::Revoke { wire } => put(FrameKind::Revoke, none, *wire, &[]),
            Self::Credit { wire, bytes } => put(FrameKind::Credit, none, *wire, &[&bytes.to_le_bytes()]),
            Self::Ping { nonce } => put(FrameKind::Ping, none, WireId(*nonce), &[]),
            Self::SessionEnd(SessionEnd { session, epoch, reason }) => {
                let parts: [&[u8]; 3] = [&epoch.0.to_le_bytes(), &[*reason as u8], session.as_str().as_bytes()];
                put(FrameKind::SessionEnd, none, no_call, &parts)
            }
            Self::Shutdown => put(FrameKind::Shutdown, none, no_call, &[]),
            Self::HealthCheck { nonce, timeout_ms } => {
                put(FrameKind::HealthCheck, none, WireId(*nonce), &[&timeout_ms.to_le_bytes()])
            }
            Self::SlabFree(slabs) => put(FrameKind::SlabFree, none, no_call, &[&slabs.encode()]),
            Self::SlabDrop(slabs) => put(FrameKind::SlabDrop, none, no_call, &[&slabs.encode()]),
            Self::LogLevel(level) => put(FrameKind::LogLevel, none, no_call, &[&[*level as u8]]),
        }
    }
}

fn parse_batch(mut body: Body) -> Result<Vec<WireId>, FrameError> {
    let mut calls: Vec<WireId> = Vec::new();
    while !body.is_empty() {
        let wire = WireId(body.u64()?);
        if calls.last().is_some_and(|last| *last >= wire) || wire.0 == 0 {
            return Err(FrameError::UnexpectedWireId { kind: FrameKind::Batch, wire });
        }
        calls.push(wire);
    }
    Ok(calls)
}

/// Writes the frame that makes the calls with these wire ids, which must follow in this order, one batch. Writes nothing on an
/// error.
///
/// # Errors
/// [`EncodeError::TooLarge`], and [`EncodeError::Refused`] without wire ids.
pub fn encode_batch(
    calls: impl ExactSizeIterator<Item = WireId>,
    max_frame: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let length = calls.len().saturating_mul(size_of::<u64>());
    let header = Header::outgoing(FrameKind::Batch, Flags::default(), WireId(0), length, max_frame)?;
    out.put_slice(&header.encode());
    calls.for_each(|wire| out.put_u64_le(wire.0));
    Ok(())
}

/// The most detailed level of the log records that a worker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogLevel {
    /// No records.
    Off = 0,
    /// Errors.
    Error = 1,
    /// Warnings, too.
    Warn = 2,
    /// Information, too.
    Info = 3,
    /// Details for debugging, too.
    Debug = 4,
    /// All records.
    Trace = 5,
}

impl LogLevel {
    /// Returns the name of the level, as in `HERDER_LOG_LEVEL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// A number above those of the levels is that of all records: a later version could have a more detailed one.
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Off,
            1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// The session was ended by request.
    Ended = 1,
    /// The session was not used for its timeout.
    Expired = 2,
    /// The session was bound to another worker.
    Moved = 3,
}

impl EndReason {
    /// Returns the name of the reason as `on_session_end` handlers receive it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Moved => "moved",
        }
    }

    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            1 => Ok(Self::Ended),
            2 => Ok(Self::Expired),
            3 => Ok(Self::Moved),
            other => Err(FrameError::UnknownReason(other)),
        }
    }
}

/// Tells a worker that one epoch of a session has ended. Sent in order with the calls of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The session.
    pub session: SessionId,
    /// The epoch that ended.
    pub epoch: Epoch,
    /// The reason.
    pub reason: EndReason,
}

impl SessionEnd {
    pub(crate) fn parse(mut body: Body) -> Result<Self, FrameError> {
        let (epoch, reason) = (Epoch(body.u64()?), EndReason::from_byte(body.u8()?)?);
        Ok(Self { session: body.last_session()?, epoch, reason })
    }
}
