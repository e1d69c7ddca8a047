//! The 16 bytes before each body. Refuses what no body could mend before a byte of the body is awaited. Holds no state.

use crate::{
    EncodeError, FrameError, FrameKind, HEADER_LEN, MAX_HELLO,
    kind::{BodyRule, WireRule},
};
use herder_core::WireId;

/// The flags of a frame: *optional* in bit 0, and seven bits that belong to its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// A receiver that does not know the kind passes over the frame.
    pub optional: bool,
    /// Bits 1 to 7, unshifted; bit 0 is ignored.
    pub kind_bits: u8,
}

impl Flags {
    const OPTIONAL: u8 = 0b0000_0001;

    /// The byte in the header.
    pub fn to_byte(self) -> u8 {
        u8::from(self.optional) | (self.kind_bits & !Self::OPTIONAL)
    }

    /// Parses the flags byte; never fails. The check of the header rejects bits that its kind does not allow.
    pub fn from_byte(byte: u8) -> Self {
        Self { optional: byte & Self::OPTIONAL != 0, kind_bits: byte & !Self::OPTIONAL }
    }
}

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The body's bytes, without the header.
    pub length: u32,
    /// What the frame is.
    pub kind: FrameKind,
    /// Its flags.
    pub flags: Flags,
    /// The attempt it concerns, a ping's nonce, or 0.
    pub wire: WireId,
}

/// A header that was read: of a frame, or of one to pass over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParsedHeader {
    Known(Header),
    /// An optional frame of a kind this version does not know.
    Optional {
        length: u32,
    },
}

impl Header {
    /// Its 16 bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags.to_byte();
        bytes[8..].copy_from_slice(&self.wire.0.to_le_bytes());
        bytes
    }

    /// Reads 16 bytes. `Ok(None)` is an optional frame of a kind that is not known: pass over it.
    ///
    /// # Errors
    /// Everything that can be wrong before the body is there; first of all a length over `max_frame` ([`MAX_HELLO`] for a hello).
    pub fn decode(bytes: &[u8; HEADER_LEN], max_frame: u32) -> Result<Option<Self>, FrameError> {
        Ok(match Self::read(bytes, max_frame)? {
            ParsedHeader::Known(header) => Some(header),
            ParsedHeader::Optional { .. } => None,
        })
    }

    pub(crate) fn read(bytes: &[u8; HEADER_LEN], max_frame: u32) -> Result<ParsedHeader, FrameError> {
        let [a, b, c, d, kind, flags, reserved @ .., _, _, _, _, _, _, _, _] = *bytes;
        let [.., i, j, k, l, m, n, o, p] = *bytes;
        let (length, wire) = (u32::from_le_bytes([a, b, c, d]), WireId(u64::from_le_bytes([i, j, k, l, m, n, o, p])));
        if reserved != [0, 0] {
            return Err(FrameError::ReservedBytes(u16::from_le_bytes(reserved)));
        }
        let (known, flags) = (FrameKind::from_byte(kind), Flags::from_byte(flags));
        let max = limit(known, max_frame);
        if length > max {
            return Err(FrameError::Oversize { length, max });
        }
        let Some(known) = known else {
            return if flags.optional {
                Ok(ParsedHeader::Optional { length })
            } else {
                Err(FrameError::UnknownKind(kind))
            };
        };
        let header = Self { length, kind: known, flags, wire };
        header.check()?;
        Ok(ParsedHeader::Known(header))
    }

    /// The header of a frame about to be sent, refused if the peer would refuse it.
    pub(crate) fn outgoing(
        kind: FrameKind,
        flags: Flags,
        wire: WireId,
        length: usize,
        max_frame: u32,
    ) -> Result<Self, EncodeError> {
        let max = limit(Some(kind), max_frame);
        let fits = u32::try_from(length).ok().filter(|length| *length <= max);
        let header = Self { length: fits.ok_or(EncodeError::TooLarge { length, max })?, kind, flags, wire };
        header.check()?;
        Ok(header)
    }

    /// Holds the header against its kind's shape.
    fn check(&self) -> Result<(), FrameError> {
        let Self { length, kind, flags, wire } = *self;
        let Some(shape) = kind.header_rules() else { return Ok(()) };
        if flags.kind_bits & !shape.flags != 0 {
            return Err(FrameError::ReservedFlags { kind, flags: flags.kind_bits & !shape.flags });
        }
        match shape.wire {
            WireRule::Zero if wire.0 != 0 => return Err(FrameError::UnexpectedWireId { kind, wire }),
            WireRule::Call if wire.0 == 0 => return Err(FrameError::MissingWireId(kind)),
            _ => {}
        }
        match shape.body {
            BodyRule::Empty if length > 0 => Err(FrameError::UnexpectedBody { kind, have: length }),
            BodyRule::AtLeast(need) if length < need => {
                Err(FrameError::ShortBody { kind, have: length as usize, need: need as usize })
            }
            _ => Ok(()),
        }
    }
}

/// The longest body of a kind. A hello has a limit of its own: it is what agrees on `max_frame`.
fn limit(kind: Option<FrameKind>, max_frame: u32) -> u32 {
    if kind == Some(FrameKind::Hello) { MAX_HELLO } else { max_frame }
}
