//! Responses with buffers, for clients that accept them: a single buffer as the whole body, or `multipart/mixed` with the JSON
//! first. No state.

use super::envelope;
use crate::{Buffer, Reply, body_buffers::Room};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, Accept, Header, HeaderValue},
};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt::Write, hash::BuildHasher};

const JSON: &str = "application/json";
const PARTS: &str = "multipart/mixed";
const BYTES: &str = "application/octet-stream";

/// The form of the result that a client prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// JSON, in which binary data is text or lists.
    Json,
    /// `multipart/mixed`.
    Parts,
    /// The only buffer of the result. The type is used if the handler has stated none; `None`: any.
    Bytes(Option<HeaderValue>),
}

impl Accepted {
    /// Reads the header `Accept`. Clients that name no type get JSON.
    pub(super) fn of(request: &HttpRequest) -> Self {
        match request.headers().get(header::ACCEPT) {
            None => Self::Json,
            Some(any) if any == "*/*" || any == JSON => Self::Json,
            Some(_) => Accept::parse(request).map_or(Self::Json, |accept| {
                let preferred = accept.preference();
                Self::preferring(preferred.essence_str())
            }),
        }
    }

    fn preferring(media_type: &str) -> Self {
        match media_type {
            PARTS => Self::Parts,
            "*/*" | JSON | "text/html" | "text/plain" | "text/event-stream" => Self::Json,
            other if other.ends_with("json") => Self::Json,
            other if other.ends_with("/*") => Self::Bytes(None),
            other => Self::Bytes(HeaderValue::from_str(other).ok()),
        }
    }
}

/// Creates the response. Results without a buffer are JSON for clients that prefer a single buffer, and results with several are
/// `multipart/mixed`. Returns `None` for JSON; otherwise takes `room`, the reservation of a large result.
///
/// # Errors
/// Fails if the metadata cannot be serialized.
pub(super) fn response(
    reply: &Reply,
    accepted: Accepted,
    room: &mut Option<Room>,
) -> actix_web::Result<Option<HttpResponse>> {
    Ok(match (accepted, reply.buffers()) {
        (Accepted::Json, _) | (Accepted::Bytes(_), []) => None,
        (Accepted::Bytes(media_type), [buffer]) => {
            let stated = buffer.media_type().and_then(|name| HeaderValue::from_str(name).ok());
            let media_type = stated.or(media_type).unwrap_or(HeaderValue::from_static(BYTES));
            let mut response = HttpResponse::Ok();
            response.content_type(media_type);
            // The type is the handler's choice: no browser may guess another one, such as a page with scripts.
            response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
            for named in described(buffer) {
                response.insert_header(named);
            }
            Some(response.body(envelope::in_pieces(vec![buffer.bytes().clone()], room.take())))
        }
        (Accepted::Bytes(_) | Accepted::Parts, buffers) => {
            let boundary = boundary();
            let parts = mixed(&boundary, serde_json::to_vec(reply)?.into(), buffers);
            let media_type = format!("{PARTS}; boundary={boundary}");
            Some(HttpResponse::Ok().content_type(media_type).body(envelope::in_pieces(parts, room.take())))
        }
    })
}

/// Returns the pieces of the body. `json` has the result and the metadata, as in other responses.
fn mixed(boundary: &str, json: Bytes, buffers: &[Buffer]) -> Vec<Bytes> {
    let mut pieces = vec![format!("--{boundary}\r\nContent-Type: {JSON}\r\n\r\n").into(), json];
    for buffer in buffers {
        let mut head = format!("\r\n--{boundary}\r\nContent-Type: {}\r\n", buffer.media_type().unwrap_or(BYTES));
        let _ = write!(head, "Content-Length: {}\r\n", buffer.length());
        for (name, value) in described(buffer) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        pieces.extend([(head + "\r\n").into(), buffer.bytes().clone()]);
    }
    pieces.push(format!("\r\n--{boundary}--\r\n").into());
    pieces
}

/// Returns the headers that describe a buffer: its place, and the element type and the shape of an array.
fn described(buffer: &Buffer) -> Vec<(&'static str, String)> {
    let pointer = buffer.pointer().split('/').map(|step| utf8_percent_encode(step, NON_ALPHANUMERIC).to_string());
    let mut headers = vec![("Herder-Pointer", pointer.collect::<Vec<_>>().join("/"))];
    if let (Some(dtype), Some(shape)) = (buffer.dtype(), buffer.shape()) {
        let shape = shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        headers.extend([("Herder-Dtype", dtype.to_owned()), ("Herder-Shape", shape)]);
    }
    headers
}

/// Returns a boundary that a handler cannot know, so that no buffer has it.
#[expect(clippy::disallowed_types, reason = "random, and no decision of a pool")]
fn boundary() -> String {
    let [first, second] = [0, 1].map(|number| std::collections::hash_map::RandomState::new().hash_one(number));
    format!("herder-{first:016x}{second:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn clients_get_json_unless_they_prefer_something_else() {
        let accepted = |text: &'static str| {
            Accepted::of(&TestRequest::default().insert_header((header::ACCEPT, text)).to_http_request())
        };
        assert_eq!(Accepted::of(&TestRequest::default().to_http_request()), Accepted::Json);
        for text in [
            "*/*",
            "application/json",
            "application/problem+json",
            "text/html,*/*;q=0.8",
            "text/plain",
            "text/plain, application/json, */*",
            "not a type",
        ] {
            assert_eq!(accepted(text), Accepted::Json, "{text}");
        }
        assert_eq!(accepted("application/json;q=0.5, multipart/mixed"), Accepted::Parts);
        assert_eq!(accepted("image/*"), Accepted::Bytes(None));
        assert_eq!(accepted("image/png, */*;q=0.1"), Accepted::Bytes(Some(HeaderValue::from_static("image/png"))));
    }

    #[test]
    fn parts_have_their_places_and_types() {
        let array = Buffer::array(vec![0; 8], "<f4", [2, 1]).unwrap().named("a b/c");
        let body = mixed("B", "{}".into(), &[array, Buffer::from("x").with_media_type("text/csv").unwrap()]).concat();
        let expected = "--B\r\nContent-Type: application/json\r\n\r\n{}\
            \r\n--B\r\nContent-Type: application/octet-stream\r\nContent-Length: 8\r\nHerder-Pointer: /a%20b%7E1c\r\n\
            Herder-Dtype: <f4\r\nHerder-Shape: 2,1\r\n\r\n\0\0\0\0\0\0\0\0\
            \r\n--B\r\nContent-Type: text/csv\r\nContent-Length: 1\r\nHerder-Pointer: \r\n\r\nx\r\n--B--\r\n";
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }
}
