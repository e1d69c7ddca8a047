//! The 16 bytes before each body. A defect of the header is reported before the body is read. Holds no state.

use crate::{
    EncodeError, FrameError, FrameKind, HEADER_LEN, MAX_HELLO,
    kind::{BodyRule, WireRule},
};
use herder_core::WireId;

/// The flags of a frame: bit 0 means *optional*; bits 1 to 7 depend on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// A receiver that does not know the kind skips the frame.
    pub optional: bool,
    /// Bits 1 to 7, not shifted; bit 0 is ignored.
    pub kind_bits: u8,
}

impl Flags {
    const OPTIONAL: u8 = 0b0000_0001;

    /// Returns the flags byte of the header.
    pub fn to_byte(self) -> u8 {
        u8::from(self.optional) | (self.kind_bits & !Self::OPTIONAL)
    }

    /// Parses the flags byte. Bits that the kind does not allow are refused later, when the header is checked.
    pub fn from_byte(byte: u8) -> Self {
        Self { optional: byte & Self::OPTIONAL != 0, kind_bits: byte & !Self::OPTIONAL }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The length of the body in bytes, without the header.
    pub length: u32,
    /// The kind of the frame.
    pub kind: FrameKind,
    /// The flags of the frame.
    pub flags: Flags,
    /// The wire id of the attempt, the nonce of a ping, or 0.
    pub wire: WireId,
}

/// The result of parsing a header: a known kind, or an optional frame to skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParsedHeader {
    Known(Header),
    /// An optional frame of a kind that this version does not know.
    Optional {
        length: u32,
    },
}

impl Header {
    /// Returns the 16 bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags.to_byte();
        bytes[8..].copy_from_slice(&self.wire.0.to_le_bytes());
        bytes
    }

    /// Parses 16 bytes. Returns `Ok(None)` for an optional frame of an unknown kind, which the caller must skip.
    ///
    /// # Errors
    /// Any defect that is visible before the body is read. The length is checked first, against `max_frame` ([`MAX_HELLO`] for
    /// a hello).
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

    /// Creates the header of a frame that is about to be sent. Returns an error if the peer would refuse it.
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

    /// Whether this is the header of a result that ends a stream and has no value.
    pub(crate) fn ends_stream(&self) -> bool {
        self.kind == FrameKind::Result && self.flags.kind_bits & FrameKind::END_OF_STREAM != 0
    }

    /// Checks the header against the rules of its kind.
    fn check(&self) -> Result<(), FrameError> {
        let Self { length, kind, flags, wire } = *self;
        let shape = kind.header_rules();
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
            _ if length > FrameKind::END_OF_STREAM_LEN && self.ends_stream() => {
                Err(FrameError::UnexpectedBody { kind, have: length - FrameKind::END_OF_STREAM_LEN })
            }
            BodyRule::AtLeast(need) if length < need => {
                Err(FrameError::ShortBody { kind, have: length as usize, need: need as usize })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the maximum length of a body. A hello has a limit of its own, because it is sent before `max_frame` is agreed on.
fn limit(kind: Option<FrameKind>, max_frame: u32) -> u32 {
    if kind == Some(FrameKind::Hello) { MAX_HELLO } else { max_frame }
}
