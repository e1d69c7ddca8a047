//! The call frame: [`CallHead`], which the host writes without the arguments, and [`CallFrame`], which a worker receives. Holds
//! no state.

use crate::{CallBuffers, EncodeError, Flags, Frame, FrameError, FrameKind, Header, body::Body};
use bytes::{BufMut, Bytes, BytesMut};
use herder_core::{Epoch, SessionId, Timestamp, WireId};

/// The length of a call's prefix, the fixed fields before its command, in bytes.
const PREFIX: usize = 20;

/// A call without its arguments. The caller writes the arguments, as JSON, after this head.
#[derive(Clone, Copy, Debug)]
pub struct CallHead<'a> {
    /// The wire id of the attempt; never 0.
    pub wire: WireId,
    /// The deadline of the call on the monotonic clock. `None` if the call has no deadline.
    pub deadline: Option<Timestamp>,
    /// The name of the command, at most 65535 bytes.
    pub command: &'a str,
    /// The session of the call and the epoch in which it was admitted.
    pub session: Option<(&'a SessionId, Epoch)>,
    /// Whether the caller takes chunks.
    pub stream: bool,
    /// Whether the arguments are written as [`CallBuffers::parts`].
    pub buffers: bool,
}

/// Checks that a call fits into a frame, before an attempt has a wire id.
///
/// `session` and `payload_len` are lengths in bytes; `session` is 0 for a call without a session.
///
/// # Errors
/// [`EncodeError::TooLarge`] and [`EncodeError::CommandTooLong`], as [`CallHead::encode`] returns them.
pub fn check_call_size(command: &str, session: usize, payload_len: usize, max_frame: u32) -> Result<(), EncodeError> {
    u16::try_from(command.len()).map_err(|_| EncodeError::CommandTooLong { length: command.len() })?;
    let length = (PREFIX + command.len() + session).saturating_add(payload_len);
    Header::outgoing(FrameKind::Call, Flags::default(), WireId(1), length, max_frame).map(|_| ())
}

impl CallHead<'_> {
    /// Returns the length of the body's fields before the arguments, in bytes.
    pub fn length(&self) -> usize {
        PREFIX + self.command.len() + self.session.map_or(0, |(session, _)| session.as_str().len())
    }

    /// Writes the header and the prefix to `out`. The caller must write `payload_len` bytes of arguments directly after them.
    ///
    /// Allocates only if `out` must grow. Writes nothing on an error.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`], [`EncodeError::CommandTooLong`], and [`EncodeError::Refused`] for wire id 0.
    pub fn encode(&self, payload_len: usize, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (session, epoch) = self.session.map_or(("", Epoch(0)), |(session, epoch)| (session.as_str(), epoch));
        let long = |_| EncodeError::CommandTooLong { length: self.command.len() };
        let (command_len, session_len) = (u16::try_from(self.command.len()).map_err(long)?, session.len() as u16);
        let names = self.length();
        let length = names.saturating_add(payload_len);
        let stream = if self.stream { FrameKind::STREAM } else { 0 };
        let buffers = if self.buffers { FrameKind::BUFFERS } else { 0 };
        let flags = Flags { kind_bits: stream | buffers, ..Flags::default() };
        let header = Header::outgoing(FrameKind::Call, flags, self.wire, length, max_frame)?;
        out.reserve(crate::HEADER_LEN + names);
        out.put_slice(&header.encode());
        out.put_u64_le(self.deadline.map_or(0, |deadline| deadline.0.max(1))); // 0 means that the call has no deadline
        out.put_u64_le(epoch.0);
        out.put_u16_le(command_len);
        out.put_u16_le(session_len); // a session id has at most 256 bytes
        out.put_slice(self.command.as_bytes());
        out.put_slice(session.as_bytes());
        Ok(())
    }
}

/// A call as a worker receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFrame {
    /// The wire id of the attempt. The answer must carry the same id.
    pub wire: WireId,
    /// The deadline of the call on the monotonic clock.
    pub deadline: Option<Timestamp>,
    /// The name of the command. The worker checks whether it has such a command.
    pub command: Box<str>,
    /// The session of the call and the epoch in which it was admitted.
    pub session: Option<(SessionId, Epoch)>,
    /// Whether the caller takes chunks.
    pub stream: bool,
    /// The arguments: JSON that this crate has not parsed.
    pub payload: Bytes,
    /// The arguments that are buffers. `None`: the frame has no such section.
    pub buffers: Option<CallBuffers>,
}

impl CallFrame {
    /// Returns the call without its arguments.
    pub fn head(&self) -> CallHead<'_> {
        let session = self.session.as_ref().map(|(session, epoch)| (session, *epoch));
        let (stream, buffers) = (self.stream, self.buffers.is_some());
        CallHead { wire: self.wire, deadline: self.deadline, command: &self.command, session, stream, buffers }
    }

    pub(crate) fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Header { kind, flags, wire, .. } = frame.header;
        let mut body = Body::new(kind, frame.body);
        let (deadline, epoch) = (body.u64()?, Epoch(body.u64()?));
        let (command_len, session_len) = (body.u16()?.into(), body.u16()?.into());
        let command = body.text("command", command_len)?;
        let session = match session_len {
            0 => None,
            length => Some((body.session(length)?, epoch)),
        };
        let deadline = (deadline != 0).then_some(Timestamp(deadline));
        let stream = flags.kind_bits & FrameKind::STREAM != 0;
        let call = Self { wire, deadline, command, session, stream, payload: body.rest(), buffers: None };
        if flags.kind_bits & FrameKind::BUFFERS == 0 {
            return Ok(call);
        }
        let (buffers, payload) = CallBuffers::parse(kind, call.head().length(), call.payload.clone())?;
        Ok(Self { buffers: Some(buffers), payload, ..call })
    }

    pub(crate) fn encode(&self, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let head = self.head();
        let Some(buffers) = &self.buffers else {
            head.encode(self.payload.len(), max_frame, out)?;
            out.put_slice(&self.payload);
            return Ok(());
        };
        let parts = buffers.parts(FrameKind::Call, head.length(), &self.payload)?;
        head.encode(parts.iter().map(Bytes::len).sum(), max_frame, out)?;
        parts.iter().for_each(|part| out.put_slice(part));
        Ok(())
    }
}
