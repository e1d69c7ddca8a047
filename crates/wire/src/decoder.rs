//! Finds the frames in a stream of bytes, without copying them. Holds its place in the stream, never bytes.

use crate::{FrameError, HEADER_LEN, Header, header::ParsedHeader};
use bytes::{Buf, Bytes, BytesMut};

/// One frame: a header that was checked, and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Kind, flags, wire id.
    pub header: Header,
    /// Exactly `header.length` bytes, a window on the buffer that was read into.
    pub body: Bytes,
}

/// Finds frames in the bytes of one stream; one decoder a stream.
///
/// Read into a [`BytesMut`] (after `buffer.reserve(decoder.missing(&buffer))` a large body arrives in one piece, in an
/// allocation of its size), then call [`Decoder::next`] until it says `None`. At the stream's end ask [`Decoder::finish`].
///
/// ```
/// use bytes::BytesMut;
/// use herder_wire::{Decoder, FrameError};
///
/// let mut decoder = Decoder::new(1024);
/// let mut one_gib = BytesMut::from(&b"\x00\x00\x00\x40\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00"[..]);
/// assert_eq!(decoder.next(&mut one_gib), Err(FrameError::Oversize { length: 1 << 30, max: 1024 }));
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    max_frame: u32,
    state: DecodeState,
}

#[derive(Clone, Copy, Debug)]
enum DecodeState {
    /// Before or inside a header.
    Header,
    /// Behind the header of a frame whose body is not complete.
    Body(Header),
    /// Inside the body of an optional frame of an unknown kind: `left` of `length` bytes are still to be thrown away.
    SkipBody { left: u32, length: u32 },
}

/// While a frame is passed over, its bytes are thrown away in portions of this size.
const SKIP_CHUNK: u32 = 64 << 10;

impl Decoder {
    /// A decoder at the start of a stream whose bodies have at most `max_frame` bytes.
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, state: DecodeState::Header }
    }

    /// Sets the longest body from the next header on. A worker learns it from the host's hello.
    pub fn set_max_frame(&mut self, max_frame: u32) {
        self.max_frame = max_frame;
    }

    /// Takes the next complete frame off the front of `buffer`; `None` if more bytes must be read first.
    ///
    /// Frames of unknown kinds that are marked optional are passed over. Copies nothing, allocates nothing.
    ///
    /// # Errors
    /// Whatever is wrong with a header. The stream is lost then: `buffer` stays as it is, and asking again gives the same error.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                DecodeState::Header => {
                    let Some(bytes) = buffer.first_chunk() else { return Ok(None) };
                    self.state = match Header::read(bytes, self.max_frame)? {
                        ParsedHeader::Known(header) => DecodeState::Body(header),
                        ParsedHeader::Optional { length } => DecodeState::SkipBody { left: length, length },
                    };
                    buffer.advance(HEADER_LEN);
                }
                DecodeState::Body(header) => {
                    let Some(body) = take(buffer, header.length as usize) else { return Ok(None) };
                    self.state = DecodeState::Header;
                    return Ok(Some(Frame { header, body }));
                }
                DecodeState::SkipBody { left: 0, .. } => self.state = DecodeState::Header,
                DecodeState::SkipBody { .. } if buffer.is_empty() => return Ok(None),
                DecodeState::SkipBody { left, length } => {
                    let portion = (left as usize).min(buffer.len());
                    buffer.advance(portion);
                    self.state = DecodeState::SkipBody { left: left - portion as u32, length };
                }
            }
        }
    }

    /// How many bytes the frame at the front of `buffer` still needs, as far as is known; never more than `max_frame`
    /// (1 MiB for a hello). 0 only if [`Decoder::next`] would get further without reading.
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        match self.state {
            DecodeState::Header => HEADER_LEN.saturating_sub(buffer.len()),
            DecodeState::Body(header) => (header.length as usize).saturating_sub(buffer.len()),
            DecodeState::SkipBody { left, .. } => (left.min(SKIP_CHUNK) as usize).saturating_sub(buffer.len()),
        }
    }

    /// Whether the stream may end here, with `buffer` holding what [`Decoder::next`] left.
    ///
    /// # Errors
    /// [`FrameError::TruncatedHeader`] or [`FrameError::TruncatedBody`]: the peer ended in the middle of a frame.
    pub fn finish(&self, buffer: &BytesMut) -> Result<(), FrameError> {
        match self.state {
            DecodeState::Header if buffer.is_empty() => Ok(()),
            DecodeState::Header => Err(FrameError::TruncatedHeader { have: buffer.len() }),
            DecodeState::Body(Header { kind, length, .. }) => {
                Err(FrameError::TruncatedBody { kind: kind.name(), have: buffer.len() as u32, need: length })
            }
            DecodeState::SkipBody { left: 0, .. } => Ok(()),
            DecodeState::SkipBody { left, length } => {
                Err(FrameError::TruncatedBody { kind: "optional", have: length - left, need: length })
            }
        }
    }
}

/// An empty body shares nothing with the buffer, so that it can't keep it alive.
fn take(buffer: &mut BytesMut, length: usize) -> Option<Bytes> {
    if length == 0 {
        return Some(Bytes::new());
    }
    (buffer.len() >= length).then(|| buffer.split_to(length).freeze())
}
