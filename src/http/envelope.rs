//! The body of a call's response: its result between the braces, with its circumstances. A large result is not copied, and goes to the
//! connection in pieces as that takes them.

use super::buffers::Room;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::{BufMut, Bytes, BytesMut};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// A connection has at most one piece of this size in its own buffer, beside what was there before.
const PIECE: usize = 32 * 1024;

/// The body, with the room of a large result.
pub(super) fn body(result: &Bytes, meta: &[u8], room: Option<Room>) -> BoxBody {
    let Some(room) = room else { return BoxBody::new(copied(result, meta)) };
    let tail = [b",\"meta\":", meta, b"}"].concat().into();
    BoxBody::new(InPieces { parts: [Bytes::from_static(BEGIN), result.clone(), tail], _room: room })
}

const BEGIN: &[u8] = b"{\"result\":";

fn copied(result: &[u8], meta: &[u8]) -> Bytes {
    let parts: [&[u8]; 5] = [BEGIN, result, b",\"meta\":", meta, b"}"];
    let mut text = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.put_slice(part));
    text.freeze()
}

/// What is left to write. The connection drops it with its end, or with the last piece.
struct InPieces {
    parts: [Bytes; 3],
    _room: Room,
}

impl MessageBody for InPieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.parts.iter().map(|part| part.len() as u64).sum())
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let part = self.parts.iter_mut().find(|part| !part.is_empty());
        Poll::Ready(part.map(|part| Ok(part.split_to(part.len().min(PIECE)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::buffers::Buffers;
    use actix_web::body::to_bytes;

    /// Spaces, key order, and numbers that no double holds stay as the worker wrote them.
    #[test]
    fn a_result_passes_through_untouched() {
        let result = br#"{"b": 12345678901234567890.10, "a":"\u00e4"}"#;
        let text = copied(result, br#"{"worker":"w1"}"#);
        assert_eq!(text, &br#"{"result":{"b": 12345678901234567890.10, "a":"\u00e4"},"meta":{"worker":"w1"}}"#[..]);
    }

    /// R68: in pieces it is the same text, of the length that is announced, and it is in use until it is gone.
    #[actix_web::test]
    async fn r68_a_large_result_is_counted_while_it_is_written() {
        let buffers = Buffers::with_limit(1024 * 1024, 1024);
        let result = Bytes::from((0..100_000).flat_map(|n: u32| n.to_le_bytes()).collect::<Vec<_>>());
        let whole = body(&result, b"{}", Some(buffers.hold_result(result.len()).unwrap()));
        assert_eq!(buffers.used(), result.len());
        let expected = copied(&result, b"{}");
        assert_eq!(whole.size(), BodySize::Sized(expected.len() as u64));
        assert!(to_bytes(whole).await.unwrap() == expected);
        assert_eq!(buffers.used(), 0);
    }
}
