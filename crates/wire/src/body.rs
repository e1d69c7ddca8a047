//! Reads the fields of a frame's body from front to back, and writes frames whose body is in memory. Holds no state.

use crate::{EncodeError, Flags, FrameError, FrameKind, Header, without_byte_order_mark};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use herder_core::{SessionId, WireId};
use serde::{Serialize, de::DeserializeOwned};

/// The unread rest of a frame's body.
pub(crate) struct Body {
    kind: FrameKind,
    remaining: Bytes,
    taken: usize,
}

impl Body {
    pub(crate) fn new(kind: FrameKind, rest: Bytes) -> Self {
        Self { kind, remaining: rest, taken: 0 }
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        let value = self.remaining.try_get_u64_le();
        value.map_err(|_| self.short(8)).inspect(|_| self.taken += 8)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        let value = self.remaining.try_get_u32_le();
        value.map_err(|_| self.short(4)).inspect(|_| self.taken += 4)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        let value = self.remaining.try_get_u16_le();
        value.map_err(|_| self.short(2)).inspect(|_| self.taken += 2)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        let value = self.remaining.try_get_u8();
        value.map_err(|_| self.short(1)).inspect(|_| self.taken += 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Takes the next `length` bytes as UTF-8 text.
    pub(crate) fn text(&mut self, field: &'static str, length: usize) -> Result<Box<str>, FrameError> {
        let bytes = self.remaining.get(..length).ok_or_else(|| self.short(length))?;
        let text = std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8 { kind: self.kind, field })?.into();
        self.remaining.advance(length);
        self.taken += length;
        Ok(text)
    }

    /// Takes the rest of the body as UTF-8 text.
    pub(crate) fn last_text(mut self, field: &'static str) -> Result<Box<str>, FrameError> {
        self.text(field, self.remaining.len())
    }

    /// Takes the next `length` bytes as a session id.
    pub(crate) fn session(&mut self, length: usize) -> Result<SessionId, FrameError> {
        let kind = self.kind;
        let text = self.text("session", length)?;
        SessionId::new(text).map_err(|source| FrameError::InvalidSession { kind, source })
    }

    /// Takes the rest of the body as a session id.
    pub(crate) fn last_session(mut self) -> Result<SessionId, FrameError> {
        self.session(self.remaining.len())
    }

    /// Takes the rest of the body as JSON text, without a byte order mark.
    pub(crate) fn value(mut self) -> Bytes {
        let mark = self.remaining.len() - without_byte_order_mark(&self.remaining).len();
        self.remaining.advance(mark);
        self.remaining
    }

    /// Takes the rest of the body.
    pub(crate) fn rest(self) -> Bytes {
        self.remaining
    }

    /// Parses the rest of the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let malformed = |reason| FrameError::MalformedJson { kind: self.kind, reason };
        let text =
            std::str::from_utf8(without_byte_order_mark(&self.remaining)).map_err(|e| malformed(e.to_string()))?;
        serde_json::from_str(text).map_err(|e| malformed(e.to_string()))
    }

    fn short(&self, next: usize) -> FrameError {
        FrameError::ShortBody { kind: self.kind, have: self.taken + self.remaining.len(), need: self.taken + next }
    }
}

/// The numbers of slabs, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabIds(pub Vec<u64>);

impl SlabIds {
    pub(crate) fn parse(mut body: Body) -> Result<Self, FrameError> {
        let mut slabs = Vec::new();
        while !body.is_empty() {
            slabs.push(body.u64()?);
        }
        Ok(Self(slabs))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|slab| slab.to_le_bytes()).collect()
    }
}

/// Writes one frame whose body is the concatenation of `parts`. Writes nothing on an error.
pub(crate) fn put_frame(
    kind: FrameKind,
    flags: Flags,
    wire: WireId,
    parts: &[&[u8]],
    max_frame: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let length = parts.iter().map(|part| part.len()).sum();
    let header = Header::outgoing(kind, flags, wire, length, max_frame)?;
    out.put_slice(&header.encode());
    for part in parts {
        out.put_slice(part);
    }
    Ok(())
}

pub(crate) fn to_json<T: Serialize>(kind: FrameKind, value: &T) -> Result<Vec<u8>, EncodeError> {
    serde_json::to_vec(value).map_err(|e| EncodeError::Json { kind, reason: e.to_string() })
}
