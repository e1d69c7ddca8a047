//! The end of a session. Holds no state.

use crate::{FrameError, body::Body};
use herder_core::{Epoch, SessionId};

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
