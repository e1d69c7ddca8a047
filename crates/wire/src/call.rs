//! The call frame: its head without the arguments (the host's side), and the whole (a worker's side). Holds no state.

use crate::{EncodeError, Flags, Frame, FrameError, FrameKind, Header, body::Body};
use bytes::{BufMut, Bytes, BytesMut};
use herder_core::{Epoch, SessionId, Timestamp, WireId};

/// The bytes of a call's prefix before its command.
const PREFIX: usize = 20;

/// A call without its arguments. The arguments are JSON; the caller writes them after this head.
#[derive(Clone, Copy, Debug)]
pub struct CallHead<'a> {
    /// The attempt; never 0.
    pub wire: WireId,
    /// When the caller stops waiting, on the monotonic clock. `None`: never.
    pub deadline: Option<Timestamp>,
    /// The command's name: at most 65535 bytes.
    pub command: &'a str,
    /// The call's session and which of its lives.
    pub session: Option<(&'a SessionId, Epoch)>,
}

/// Checks that a call fits into a frame, before anything is known of the attempt that sends it.
///
/// `session` and `payload_len` are lengths in bytes; `session` is 0 for a call without one.
///
/// # Errors
/// [`EncodeError::TooLarge`] and [`EncodeError::CommandTooLong`], as [`CallHead::encode`] would return them.
pub fn check_call_size(command: &str, session: usize, payload_len: usize, max_frame: u32) -> Result<(), EncodeError> {
    u16::try_from(command.len()).map_err(|_| EncodeError::CommandTooLong { length: command.len() })?;
    let length = (PREFIX + command.len() + session).saturating_add(payload_len);
    Header::outgoing(FrameKind::Call, Flags::default(), WireId(1), length, max_frame).map(|_| ())
}

impl CallHead<'_> {
    /// Writes header and prefix to `out`; the caller writes `payload_len` bytes of arguments right behind it.
    ///
    /// Allocates only if `out` must grow. Nothing is written on an error.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`], [`EncodeError::CommandTooLong`], and [`EncodeError::Refused`] for the wire id 0.
    pub fn encode(&self, payload_len: usize, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (session, epoch) = self.session.map_or(("", Epoch(0)), |(session, epoch)| (session.as_str(), epoch));
        let long = |_| EncodeError::CommandTooLong { length: self.command.len() };
        let (command_len, session_len) = (u16::try_from(self.command.len()).map_err(long)?, session.len() as u16);
        let names = PREFIX + self.command.len() + session.len();
        let length = names.saturating_add(payload_len);
        let header = Header::outgoing(FrameKind::Call, Flags::default(), self.wire, length, max_frame)?;
        out.reserve(crate::HEADER_LEN + names);
        out.put_slice(&header.encode());
        out.put_u64_le(self.deadline.map_or(0, |deadline| deadline.0.max(1))); // 0 would mean none
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
    /// The attempt; its answer carries the same.
    pub wire: WireId,
    /// When the caller stops waiting.
    pub deadline: Option<Timestamp>,
    /// The command's name; whether there is one of this name is for the worker to say.
    pub command: Box<str>,
    /// The call's session and which of its lives.
    pub session: Option<(SessionId, Epoch)>,
    /// The arguments: JSON, not looked into.
    pub payload: Bytes,
}

impl CallFrame {
    /// The call without its arguments.
    pub fn head(&self) -> CallHead<'_> {
        let session = self.session.as_ref().map(|(session, epoch)| (session, *epoch));
        CallHead { wire: self.wire, deadline: self.deadline, command: &self.command, session }
    }

    pub(crate) fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Header { kind, wire, .. } = frame.header;
        let mut body = Body::new(kind, frame.body);
        let (deadline, epoch) = (body.u64()?, Epoch(body.u64()?));
        let (command_len, session_len) = (body.u16()?.into(), body.u16()?.into());
        let command = body.text("command", command_len)?;
        let session = match session_len {
            0 => None,
            length => Some((body.session(length)?, epoch)),
        };
        let deadline = (deadline != 0).then_some(Timestamp(deadline));
        Ok(Self { wire, deadline, command, session, payload: body.rest() })
    }

    pub(crate) fn encode(&self, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.head().encode(self.payload.len(), max_frame, out)?;
        out.put_slice(&self.payload);
        Ok(())
    }
}
