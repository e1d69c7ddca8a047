//! The response to `tools/call`: the result of a command, or its error, as the content of a tool's result. A large result
//! is not copied; its text form is a second copy, and both are counted.

use super::rpc::{Id, JSON, RpcError, shown};
use crate::{
    body_buffers::SMALL,
    http::{body_check, body_reader::Limits, envelope},
};
use actix_web::{
    HttpResponse, Result,
    body::BoxBody,
    http::{StatusCode, header},
    web,
};
use bytes::Bytes;
use herder_actors::{Error, ErrorDetail, ErrorId, PayloadError, Reply, check_json};
use serde::Serialize;
use serde_json::{Value, json};

/// The space for what surrounds the text of a result, with an id of usual length.
const HEAD: usize = 256;

/// How a result is written for the client's revision of the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form<'a> {
    pub(super) id: &'a Id,
    /// The revision has no sessions: results have a type, and may be structured without being objects.
    pub(super) is_stateless: bool,
}

/// A result that is not the one of a command.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: [Value; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Value>,
    is_error: bool,
    #[serde(rename = "_meta", skip_serializing_if = "Value::is_null")]
    meta: Value,
}

impl Form<'_> {
    /// Returns the response with the result of a command.
    pub(super) async fn result(self, reply: &Reply, limits: &Limits) -> Result<Result<HttpResponse, PayloadError>> {
        let result = reply.json();
        let room = match result.len() {
            0..=SMALL => None,
            length => {
                let both = length.saturating_add(escaped_length(result));
                Some(limits.buffers.hold_result(both).map_err(|full| full.refusal(true))?)
            }
        };
        if let Err(error) = body_check::checked(result, check_json).await? {
            return Ok(Err(error));
        }
        let (id, result, meta) = (self.id.clone(), result.clone(), reply.metadata());
        let is_long = result.len() >= body_check::LONG;
        let parts = move || parts(&id, self.is_stateless, &result, &meta);
        let parts = if is_long { web::block(parts).await?? } else { parts()? };
        let body = match room {
            Some(room) => envelope::in_pieces(parts.into(), Some(room)),
            None => BoxBody::new(Bytes::from(parts.concat())),
        };
        let mut response = HttpResponse::with_body(StatusCode::OK, body);
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        Ok(Ok(response))
    }

    /// Returns the response for a failed call. A model can read the text and correct its arguments.
    pub(super) fn failed(self, tool: &str, error: &Error, detail: ErrorDetail, id: ErrorId) -> HttpResponse {
        if matches!(error, Error::UnknownCommand { .. }) {
            return unknown_tool(tool).response(Some(self.id));
        }
        let mut problem = error.problem_in(detail);
        problem.error_id = problem.error_id.or(Some(id));
        let text = problem.detail.clone();
        let meta = serde_json::to_value(&problem).unwrap_or_default();
        self.write(true, &text, None, json!({ "herder/problem": meta }))
    }

    /// Returns the response for a call that was not made.
    pub(super) fn refused(self, text: &str) -> HttpResponse {
        self.write(true, text, None, Value::Null)
    }

    /// Returns the response of one of the endpoint's own tools.
    pub(super) fn own(self, value: &Value) -> HttpResponse {
        self.write(false, &value.to_string(), Some(value.clone()), Value::Null)
    }

    fn write(self, is_error: bool, text: &str, structured_content: Option<Value>, meta: Value) -> HttpResponse {
        let result_type = self.is_stateless.then_some("complete");
        let content = [json!({ "type": "text", "text": text })];
        super::rpc::success(self.id, &ToolResult { result_type, content, structured_content, is_error, meta })
    }
}

/// Returns the response in parts: what precedes the structured result, the result itself, and the rest.
fn parts(id: &Id, is_stateless: bool, result: &Bytes, meta: &impl Serialize) -> serde_json::Result<[Bytes; 3]> {
    let mut head = Vec::with_capacity(HEAD + escaped_length(result));
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    serde_json::to_writer(&mut head, id)?;
    head.extend_from_slice(b",\"result\":{");
    if is_stateless {
        head.extend_from_slice(b"\"resultType\":\"complete\",");
    }
    head.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    write_text(&mut head, result)?;
    head.extend_from_slice(b"}],\"isError\":false");
    let first = result.trim_ascii_start().first();
    let is_structured = is_stateless || first == Some(&b'{');
    let structured = if is_structured { result.clone() } else { Bytes::new() };
    head.extend_from_slice(if is_structured { b",\"structuredContent\":" } else { b"" });
    let tail = format!(",\"_meta\":{}}}}}", meta_text(meta)?);
    Ok([head.into(), structured, tail.into()])
}

pub(super) fn unknown_tool(name: &str) -> RpcError {
    RpcError::invalid_params(format_args!("Unknown tool: {}", shown(name)))
}

/// Returns `_meta` of a result: where the call ran, as in `meta` of other responses.
fn meta_text(meta: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("{{\"herder/call\":{}}}", serde_json::to_string(meta)?))
}

/// Writes the result as a JSON string: a string as it is, anything else as its JSON text.
fn write_text(to: &mut Vec<u8>, result: &[u8]) -> serde_json::Result<()> {
    let text = result.trim_ascii();
    if text.first() == Some(&b'"') {
        to.extend_from_slice(text);
        return Ok(());
    }
    // The result has been checked: it is JSON, and so UTF-8.
    serde_json::to_writer(to, &String::from_utf8_lossy(text))
}

/// Returns the length of the text as a JSON string. Text that is JSON has no control characters except for white space.
fn escaped_length(json: &[u8]) -> usize {
    let escaped = json.iter().filter(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
    json.len() + escaped + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(is_stateless: bool, result: &'static str) -> (String, Value) {
        let bytes = Bytes::from_static(result.as_bytes());
        let parts = parts(&Id::Number(1), is_stateless, &bytes, &json!({ "worker": "w1" })).unwrap();
        let mut alone = Vec::new();
        write_text(&mut alone, result.as_bytes()).unwrap();
        assert!(alone.len() <= escaped_length(result.as_bytes()), "the text is not longer than was counted: {result}");
        let text = String::from_utf8(parts.concat()).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn a_result_is_text_and_structure() {
        let object = "{\"a\": 1.50,\n\"b\":\"x\\n\\\"\"}";
        for is_stateless in [false, true] {
            let (written, value) = text(is_stateless, object);
            assert!(written.contains(&format!("\"structuredContent\":{object}")), "the bytes are kept: {written}");
            assert_eq!(value["result"]["content"][0]["text"], object);
            assert_eq!(value["result"]["_meta"]["herder/call"]["worker"], "w1");
            assert_eq!(value["result"]["resultType"], if is_stateless { json!("complete") } else { Value::Null });
        }
        for (result, expected) in
            [("7", "7"), (" \"a\\n\\u00e4\" ", "a\nä"), ("null", "null"), ("[1, \"x\"]", "[1, \"x\"]")]
        {
            let (_, value) = text(false, result);
            assert_eq!(value["result"]["content"][0]["text"], expected);
            assert!(value["result"].get("structuredContent").is_none(), "only objects, in revisions with sessions");
            let (_, value) = text(true, result);
            assert_eq!(value["result"]["structuredContent"], serde_json::from_str::<Value>(result).unwrap());
        }
    }
}
