//! What is known of a frame that broke the protocol, or of bytes that are none. Pure data.

use super::{Descriptor, ring::raw};
use herder_core::WireId;
use herder_wire::{FrameError, FrameKind, HEADER_LEN, Header};
use std::{borrow::Cow, fmt::Write};

/// A frame that may not be, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MalformedFrame {
    pub(super) descriptor: Descriptor,
    /// The fault's name: as in `docs/protocol.md`, or `out_of_order`, or `closed`.
    pub(super) fault: &'static str,
    pub(super) kind: Cow<'static, str>,
    pub(super) length: Option<u32>,
    pub(super) wire: Option<WireId>,
    /// The first bytes, in hexadecimal, where they are no header that can be believed.
    pub(super) bytes: Option<Box<str>>,
}

impl MalformedFrame {
    /// A frame with a good header and a bad body, or at a wrong time.
    pub(crate) fn frame(descriptor: Descriptor, fault: &'static str, header: &Header) -> Self {
        let (kind, length, wire) = (header.kind.name().into(), Some(header.length), Some(header.wire));
        Self { descriptor, fault, kind, length, wire, bytes: None }
    }

    /// The stream ended, and should not have.
    pub(crate) fn closed(descriptor: Descriptor) -> Self {
        Self { descriptor, fault: "closed", kind: "end_of_stream".into(), length: None, wire: None, bytes: None }
    }

    /// What a decoder could not read: `unread` is what it left in its buffer.
    pub(crate) fn bytes(descriptor: Descriptor, error: &FrameError, unread: &[u8]) -> Self {
        let fault = error.name();
        if let FrameError::TruncatedBody { kind, need, .. } = *error {
            return Self { descriptor, fault, kind: kind.into(), length: Some(need), wire: None, bytes: None };
        }
        let seen = &unread[..unread.len().min(HEADER_LEN)];
        let bytes = Some(hex(seen).into());
        match seen.first_chunk() {
            Some(header) => {
                let (length, kind, wire) = raw(header);
                Self { descriptor, fault, kind: name(kind), length: Some(length), wire: Some(wire), bytes }
            }
            None => Self { descriptor, fault, kind: "unknown".into(), length: None, wire: None, bytes },
        }
    }
}

/// The name of a kind, known or not.
pub(super) fn name(kind: u8) -> Cow<'static, str> {
    match FrameKind::from_byte(kind) {
        Some(kind) => kind.name().into(),
        None => format!("unknown ({kind:#04x})").into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // to a text, which never fails
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use herder_wire::Decoder;

    fn found(bytes: &[u8]) -> MalformedFrame {
        let (mut decoder, mut buffer) = (Decoder::new(1024), BytesMut::from(bytes));
        let error = decoder.next(&mut buffer).err().or_else(|| decoder.finish(&buffer).err());
        MalformedFrame::bytes(Descriptor::Calls, &error.unwrap(), &buffer)
    }

    /// R38, R41: kind and length as far as they are known, the fault's name, and the first bytes where there is no header.
    #[test]
    fn r38_a_bad_frame_is_told_as_far_as_it_is_known() {
        let text = found(b"Hello, this is no frame at all.");
        assert_eq!((text.fault, &*text.kind, text.length), ("reserved_bytes", "unknown (0x6f)", Some(0x6c6c_6548)));
        assert_eq!(text.bytes.as_deref(), Some("48656c6c6f2c2074686973206973206e"));
        let large = found(b"\x00\x00\x00\x40\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00");
        assert_eq!((large.fault, &*large.kind, large.length), ("oversize", "result", Some(1 << 30)));
        assert_eq!(large.wire, Some(WireId(7)));
        let half = found(b"\x17\x00\x00\x00\x04");
        assert_eq!((half.fault, &*half.kind, half.length), ("truncated_header", "unknown", None));
        assert_eq!(half.bytes.as_deref(), Some("1700000004"));
        let body = found(b"\x17\x00\x00\x00\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xaa");
        assert_eq!((body.fault, &*body.kind, body.length), ("truncated_body", "result", Some(0x17)));
    }
}
