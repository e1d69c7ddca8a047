//! What the host sends: written by the host, read by a worker. Holds no state.

use crate::{
    Call, EncodeError, Flags, Frame, FrameError, Header, HostHello, Kind, SessionEnd, Way,
    body::{Body, put_frame},
};
use bytes::BytesMut;
use herder_core::WireId;

/// A message from the host. The host itself writes calls with [`CallHead::encode`](crate::CallHead::encode), which leaves the
/// arguments where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// The first message.
    Hello(HostHello),
    /// One attempt of a call.
    Call(Call),
    /// Give up one call.
    Cancel {
        /// The attempt.
        wire: WireId,
        /// Break the running code, not only ask.
        interrupt: bool,
    },
    /// Are you there?
    Ping {
        /// What the pong must carry.
        nonce: u64,
    },
    /// One life of a session is over.
    SessionEnd(SessionEnd),
    /// Finish what was received, then exit with status 0.
    Shutdown,
    /// A reserved kind: go on. Encodes to nothing.
    Ignored(Kind),
}

impl HostMessage {
    /// Reads a frame from the host.
    ///
    /// # Errors
    /// Whatever is wrong with its body, or that it does not come from a host.
    pub fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Header { kind, flags, wire, .. } = frame.header;
        if !kind.way().admits(Way::ToWorker) {
            return Err(FrameError::WrongDirection(kind));
        }
        let body = || Body::new(kind, frame.body.clone());
        Ok(match kind {
            Kind::Hello => Self::Hello(HostHello::parse(&body())?),
            Kind::Call => Self::Call(Call::parse(frame)?),
            Kind::Cancel => Self::Cancel { wire, interrupt: flags.of_kind & Kind::INTERRUPT != 0 },
            Kind::Ping => Self::Ping { nonce: wire.0 },
            Kind::SessionEnd => Self::SessionEnd(SessionEnd::parse(body())?),
            Kind::Shutdown => Self::Shutdown,
            reserved => Self::Ignored(reserved),
        })
    }

    /// Writes the whole frame to `out`; nothing on an error.
    ///
    /// # Errors
    /// [`EncodeError`]: too large, or something a worker would refuse.
    pub fn encode(&self, max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut put = |kind, flags, wire, parts: &[&[u8]]| put_frame(kind, flags, wire, parts, max_frame, out);
        let (none, no_call) = (Flags::default(), WireId(0));
        match self {
            Self::Hello(hello) => put(Kind::Hello, none, no_call, &[&hello.to_json()?]),
            Self::Call(call) => call.encode(max_frame, out),
            Self::Cancel { wire, interrupt } => {
                let of_kind = if *interrupt { Kind::INTERRUPT } else { 0 };
                put(Kind::Cancel, Flags { of_kind, ..none }, *wire, &[])
            }
            Self::Ping { nonce } => put(Kind::Ping, none, WireId(*nonce), &[]),
            Self::SessionEnd(SessionEnd { session, epoch, reason }) => {
                let parts: [&[u8]; 3] = [&epoch.0.to_le_bytes(), &[*reason as u8], session.as_str().as_bytes()];
                put(Kind::SessionEnd, none, no_call, &parts)
            }
            Self::Shutdown => put(Kind::Shutdown, none, no_call, &[]),
            Self::Ignored(_) => Ok(()),
        }
    }
}
