//! The ids, errors and responses of JSON-RPC. Pure.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Display;

/// The largest length of an id that is a string, in bytes.
const LONGEST_ID: usize = 256;
/// How many characters of a client's text an error quotes.
const SHOWN: usize = 100;

/// The id of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    pub(super) const ALLOWED: &str = "`id` must be an integer of 64 bits or a string of at most 256 bytes";

    pub(super) fn is_short(&self) -> bool {
        !matches!(self, Self::Text(text) if text.len() > LONGEST_ID)
    }
}

/// An error response, with its HTTP status.
#[derive(Debug)]
pub(super) struct RpcError {
    status: StatusCode,
    code: i32,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    fn new(status: StatusCode, code: i32, message: impl Display) -> Self {
        Self { status, code, message: message.to_string(), data: None }
    }

    pub(super) fn parse_error(error: &serde_json::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32700, format_args!("the body is not valid JSON: {error}"))
    }

    pub(super) fn invalid_request(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32600, message)
    }

    pub(super) fn invalid_params(message: impl Display) -> Self {
        Self::new(StatusCode::OK, -32602, message)
    }

    /// The session of the header `Mcp-Session-Id` does not exist. A client then begins a new one.
    pub(super) fn no_session() -> Self {
        let message = "the session does not exist or has ended; send `initialize` without `Mcp-Session-Id`";
        Self::new(StatusCode::NOT_FOUND, -32600, message)
    }

    /// Revisions with `initialize` answer every error of a request with 200, later ones an unknown method with 404.
    pub(super) fn unknown_method(method: &str, status: StatusCode) -> Self {
        Self::new(status, -32601, format_args!("unknown method: {}", shown(method)))
    }

    pub(super) fn internal(message: impl Display) -> Self {
        Self::new(StatusCode::OK, -32603, message)
    }

    pub(super) fn header_mismatch(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32020, message)
    }

    pub(super) fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let data = json!({ "supported": supported, "requested": shown(requested) });
        let message = "unsupported protocol version";
        Self { data: Some(data), ..Self::new(StatusCode::BAD_REQUEST, -32022, message) }
    }

    /// The same error as one of the message itself.
    pub(super) fn in_request(self) -> Self {
        Self { code: -32600, ..self }.refused()
    }

    /// The same error with the HTTP status 400.
    pub(super) fn refused(self) -> Self {
        Self { status: StatusCode::BAD_REQUEST, ..self }
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> i32 {
        self.code
    }

    /// Returns the response. An error without `id` is one of a message whose id could not be read.
    pub(super) fn response(self, id: Option<&Id>) -> HttpResponse {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = self.data {
            error["data"] = data;
        }
        let mut message = json!({ "jsonrpc": "2.0", "error": error });
        if let Some(id) = id {
            message["id"] = json!(id);
        }
        response(self.status, message.to_string())
    }
}

/// Returns the beginning of a text that the client sent.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.into(),
    }
}

/// Returns the response with a result.
pub(super) fn success(id: &Id, result: &impl Serialize) -> HttpResponse {
    #[derive(Serialize)]
    struct Success<'a, R> {
        jsonrpc: &'static str,
        id: &'a Id,
        result: &'a R,
    }
    match serde_json::to_string(&Success { jsonrpc: "2.0", id, result }) {
        Ok(text) => response(StatusCode::OK, text),
        Err(error) => RpcError::internal(error).response(Some(id)),
    }
}

/// A result of the revision without sessions, with what clients may cache. The members of the result keep their bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cacheable<R> {
    pub(super) result_type: &'static str,
    pub(super) ttl_ms: u32,
    pub(super) cache_scope: &'static str,
    #[serde(rename = "_meta")]
    pub(super) meta: Value,
    #[serde(flatten)]
    pub(super) result: R,
}

fn response(status: StatusCode, text: String) -> HttpResponse {
    let mut response = HttpResponse::build(status).body(text);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use serde_json::value::RawValue;

    /// The order of the keys of a schema is that in which a model reads the parameters.
    #[actix_web::test]
    async fn a_result_keeps_the_bytes_of_schemas() {
        #[derive(Serialize)]
        struct Tools {
            tools: [Box<RawValue>; 1],
        }
        let schema = r#"{"type": "object", "properties":{"z":{},"a":{}}, "n":1.50}"#;
        let tools = [RawValue::from_string(schema.into()).unwrap()];
        let result = Cacheable {
            result_type: "complete",
            ttl_ms: 1,
            cache_scope: "private",
            meta: json!({}),
            result: Tools { tools },
        };
        let text = to_bytes(success(&Id::Number(1), &result).into_body()).await.unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete","ttlMs":1,"cacheScope":"private","_meta":{{}},"tools":[{schema}]}}}}"#
            )
        );
    }
}
