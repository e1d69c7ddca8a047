//! The body of a call's response: an object with the result and the metadata. A large result is not copied; the
//! connection takes it in pieces.

use crate::body_buffers::Room;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use serde::Serialize;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// The size of a piece. A connection copies at most one piece into its own buffer.
const PIECE: usize = 32 * 1024;

/// The space on the stack for the metadata. All but very unusual metadata fits.
const META: usize = 256;
const BEGIN: &[u8] = b"{\"result\":";

/// Creates the body. `room` is the reservation of a large result.
///
/// # Errors
/// Fails if the metadata cannot be serialized.
pub(super) fn body(result: &Bytes, meta: &impl Serialize, room: Option<Room>) -> serde_json::Result<BoxBody> {
    with_text(meta, |meta| {
        let Some(room) = room else { return BoxBody::new(copied(result, meta)) };
        let tail = [b",\"meta\":", meta, b"}"].concat().into();
        in_pieces(vec![Bytes::from_static(BEGIN), result.clone(), tail], Some(room))
    })
}

/// Creates the body of these parts, which are not copied. `room` is their reservation, if they are large.
pub(super) fn in_pieces(parts: Vec<Bytes>, room: Option<Room>) -> BoxBody {
    BoxBody::new(InPieces { parts, _room: room })
}

/// Calls `use_text` with the value as JSON. The text is written to the stack first, so that the length of the body is
/// known before the body is allocated.
fn with_text<R>(value: &impl Serialize, use_text: impl FnOnce(&[u8]) -> R) -> serde_json::Result<R> {
    let mut space = [0; META];
    let mut rest = &mut space[..];
    if serde_json::to_writer(&mut rest, value).is_ok() {
        let length = META - rest.len();
        return Ok(use_text(&space[..length]));
    }
    serde_json::to_vec(value).map(|text| use_text(&text))
}

fn copied(result: &[u8], meta: &[u8]) -> Bytes {
    let parts: [&[u8]; 5] = [BEGIN, result, b",\"meta\":", meta, b"}"];
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.extend_from_slice(part));
    text.into()
}

/// The unwritten rest of a body. The connection drops it after the last piece, or when the connection ends.
struct InPieces {
    parts: Vec<Bytes>,
    _room: Option<Room>,
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
    use crate::{
        body_buffers::Buffers,
        testing::{Script, scripted},
    };
    use actix_web::body::to_bytes;
    use serde::de::IgnoredAny;
    use serde_json::json;

    /// Spaces, the order of keys, and numbers that do not fit a double are passed on unchanged.
    #[test]
    fn a_result_passes_through_untouched() {
        let result = br#"{"b": 12345678901234567890.10, "a":"\u00e4"}"#;
        let text = copied(result, br#"{"worker":"w1"}"#);
        assert_eq!(text, &br#"{"result":{"b": 12345678901234567890.10, "a":"\u00e4"},"meta":{"worker":"w1"}}"#[..]);
    }

    #[test]
    fn metadata_of_any_length_is_written() {
        for length in [0, META - 2, META - 1, 10 * META] {
            let value = "x".repeat(length);
            assert_eq!(with_text(&value, <[u8]>::to_vec).unwrap(), format!("\"{value}\"").as_bytes());
        }
    }

    /// A handler of an application that returns a `Reply` as JSON answers like these routes.
    #[actix_web::test]
    async fn a_reply_is_serialized_like_a_response() {
        let script = Script::new().command("numbers", async |_| Ok(json!({ "b": [1.50, null], "a": "ä" })));
        let pool = scripted("serialized", script, |context| context.enhanced().app("app:app").build()).await;
        let call = pool.call::<IgnoredAny>("numbers", &json!({})).session("ann");
        let reply = call.reply().await.unwrap();
        let expected = copied(reply.json(), &serde_json::to_vec(&reply.metadata()).unwrap());
        assert_eq!(serde_json::to_string(&reply).unwrap(), expected);
        pool.shutdown_and_check().await;
    }

    /// R68: a large result is written in pieces, with the announced length, and is counted until it is dropped.
    #[actix_web::test]
    async fn r68_a_large_result_is_counted_while_it_is_written() {
        let buffers = Buffers::with_limit(1024 * 1024, 1024);
        let result = Bytes::from((0..100_000).flat_map(|n: u32| n.to_le_bytes()).collect::<Vec<_>>());
        let large = body(&result, &json!({}), Some(buffers.hold_result(result.len()).unwrap())).unwrap();
        assert_eq!(buffers.used(), result.len());
        let expected = copied(&result, b"{}");
        assert_eq!(large.size(), BodySize::Sized(expected.len() as u64));
        assert!(to_bytes(large).await.unwrap() == expected);
        assert_eq!(buffers.used(), 0);
    }
}
