//! Describes a frame that violated the protocol, or bytes that are not a frame. Plain data.

use super::Descriptor;
use herder_core::WireId;
use herder_wire::{FrameError, FrameKind, HEADER_LEN, Header};
use std::{borrow::Cow, fmt::Write};

/// A malformed frame, as far as its header could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MalformedFrame {
    pub(super) descriptor: Descriptor,
    /// The name of the fault: as in `docs/protocol.md`, or `out_of_order`, or `closed`.
    pub(super) fault: &'static str,
    pub(super) kind: Cow<'static, str>,
    pub(super) length: Option<u32>,
    pub(super) wire: Option<WireId>,
    /// The first bytes in hexadecimal, if they are not a valid header.
    pub(super) bytes: Option<Box<str>>,
}

impl MalformedFrame {
    /// Describes a frame with a valid header whose body is invalid, or that was sent at a wrong time.
    pub(crate) fn frame(descriptor: Descriptor, fault: &'static str, header: &Header) -> Self {
        let (kind, length, wire) = (header.kind.name().into(), Some(header.length), Some(header.wire));
        Self { descriptor, fault, kind, length, wire, bytes: None }
    }

    /// Describes the end of a stream that should not have ended.
    pub(crate) fn closed(descriptor: Descriptor) -> Self {
        Self { descriptor, fault: "closed", kind: "end_of_stream".into(), length: None, wire: None, bytes: None }
    }

    /// Describes bytes that a decoder could not read; `unread` is the rest of its buffer.
    pub(crate) fn bytes(descriptor: Descriptor, error: &FrameError, unread: &[u8]) -> Self {
        let fault = error.name();
        if let FrameError::TruncatedBody { kind, need, .. } = *error {
            return Self { descriptor, fault, kind: kind.into(), length: Some(need), wire: None, bytes: None };
        }
        let start = &unread[..unread.len().min(HEADER_LEN)];
        let bytes = Some(hex(start).into());
        match start.first_chunk() {
            Some(header) => {
                let (length, kind, wire) = raw(header);
                Self { descriptor, fault, kind: name(kind), length: Some(length), wire: Some(wire), bytes }
            }
            None => Self { descriptor, fault, kind: "unknown".into(), length: None, wire: None, bytes },
        }
    }
}

/// Returns length, kind and wire id as the header states them, valid or not.
pub(super) fn raw(header: &[u8; HEADER_LEN]) -> (u32, u8, WireId) {
    let [a, b, c, d, kind, _, _, _, wire @ ..] = *header;
    (u32::from_le_bytes([a, b, c, d]), kind, WireId(u64::from_le_bytes(wire)))
}

/// Returns the name of a kind, known or not.
pub(super) fn name(kind: u8) -> Cow<'static, str> {
    match FrameKind::from_byte(kind) {
        Some(kind) => kind.name().into(),
        None => format!("unknown ({kind:#04x})").into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a string does not fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use herder_wire::Decoder;

    fn malformed(bytes: &[u8]) -> MalformedFrame {
        let (mut decoder, mut buffer) = (Decoder::new(1024), BytesMut::from(bytes));
        let error = decoder.next(&mut buffer).err().or_else(|| decoder.finish(&buffer).err());
        MalformedFrame::bytes(Descriptor::Calls, &error.unwrap(), &buffer)
    }

    /// R38, R41: a malformed frame is described by kind and length as far as they are known, the fault's name, and the first
    /// bytes if there is no header.
    #[test]
    fn r38_a_malformed_frame_is_described_as_far_as_known() {
        let text = malformed(b"Hello, this is no frame at all.");
        assert_eq!((text.fault, &*text.kind, text.length), ("reserved_bytes", "unknown (0x6f)", Some(0x6c6c_6548)));
        assert_eq!(text.bytes.as_deref(), Some("48656c6c6f2c2074686973206973206e"));
        let large = malformed(b"\x00\x00\x00\x40\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00");
        assert_eq!((large.fault, &*large.kind, large.length), ("oversize", "result", Some(1 << 30)));
        assert_eq!(large.wire, Some(WireId(7)));
        let half = malformed(b"\x17\x00\x00\x00\x04");
        assert_eq!((half.fault, &*half.kind, half.length), ("truncated_header", "unknown", None));
        assert_eq!(half.bytes.as_deref(), Some("1700000004"));
        let body = malformed(b"\x17\x00\x00\x00\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xaa");
        assert_eq!((body.fault, &*body.kind, body.length), ("truncated_body", "result", Some(0x17)));
    }
}
