//! Splits a stream of bytes into frames without copying them. Holds the position in the stream, but no bytes.

use crate::{FrameError, HEADER_LEN, Header, header::ParsedHeader};
use bytes::{Buf, Bytes, BytesMut};

/// One frame: a checked header and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The checked header.
    pub header: Header,
    /// Exactly `header.length` bytes. Shares the memory of the buffer that was decoded.
    pub body: Bytes,
}

/// Splits the bytes of one stream into frames. Each stream needs its own decoder.
///
/// Read into a [`BytesMut`], then call [`Decoder::next`] until it returns `None`. With `buffer.reserve(decoder.missing(&buffer))`
/// before each read, a large body gets one allocation of its size. At the end of the stream call [`Decoder::finish`].
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
    /// After the header of a frame whose body is incomplete.
    Body(Header),
    /// Inside the body of an optional frame of an unknown kind: `left` of `length` bytes remain to be discarded.
    SkipBody { left: u32, length: u32 },
}

/// The number of bytes that are discarded at a time while a frame is skipped.
const SKIP_CHUNK: u32 = 64 << 10;

impl Decoder {
    /// Creates a decoder at the start of a stream whose bodies have at most `max_frame` bytes.
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, state: DecodeState::Header }
    }

    /// Sets the maximum length of a body, from the next header on. A worker learns it from the hello of the host.
    pub fn set_max_frame(&mut self, max_frame: u32) {
        self.max_frame = max_frame;
    }

    /// Takes the next complete frame from the front of `buffer`. Returns `None` if more bytes must be read first.
    ///
    /// Skips frames of unknown kinds that are marked optional. Neither copies nor allocates.
    ///
    /// # Errors
    /// Any defect of a header. The stream cannot be used any more: `buffer` is left unchanged, and a further call returns the
    /// same error.
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

    /// Returns how many more bytes the frame at the front of `buffer` needs, as far as its header is known; at most `max_frame`
    /// (1 MiB for a hello). Returns 0 only if [`Decoder::next`] can make progress without another read.
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        match self.state {
            DecodeState::Header => HEADER_LEN.saturating_sub(buffer.len()),
            DecodeState::Body(header) => (header.length as usize).saturating_sub(buffer.len()),
            DecodeState::SkipBody { left, .. } => (left.min(SKIP_CHUNK) as usize).saturating_sub(buffer.len()),
        }
    }

    /// Checks that the stream may end here, where `buffer` holds what [`Decoder::next`] has left.
    ///
    /// # Errors
    /// [`FrameError::TruncatedHeader`] or [`FrameError::TruncatedBody`]: the peer closed the stream inside a frame.
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

/// Takes the next `length` bytes. An empty body gets memory of its own, so that it does not keep the buffer alive.
fn take(buffer: &mut BytesMut, length: usize) -> Option<Bytes> {
    if length == 0 {
        return Some(Bytes::new());
    }
    (buffer.len() >= length).then(|| buffer.split_to(length).freeze())
}
