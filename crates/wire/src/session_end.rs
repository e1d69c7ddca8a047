//! The end of a session. Holds no state.

use crate::{FrameError, body::Body};
use herder_core::{Epoch, SessionId};

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// Somebody asked for it.
    Ended = 1,
    /// It was not used for its timeout.
    Expired = 2,
    /// Another worker has it now.
    Moved = 3,
}

impl EndReason {
    /// Its name, as session-end handlers are told.
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

/// Tells a worker that one life of a session is over, in order with its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The session.
    pub session: SessionId,
    /// Which of its lives.
    pub epoch: Epoch,
    /// Why.
    pub reason: EndReason,
}

impl SessionEnd {
    pub(crate) fn parse(mut body: Body) -> Result<Self, FrameError> {
        let (epoch, reason) = (Epoch(body.u64()?), EndReason::from_byte(body.u8()?)?);
        Ok(Self { session: body.last_session()?, epoch, reason })
    }
}
