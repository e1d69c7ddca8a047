//! A JSON-RPC message from its bytes. Arguments are not decoded: they stay a part of the body, whose bytes are counted.
//! Pure.

use super::rpc::{Id, RpcError, shown};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{error::Category, value::RawValue};

/// A message from a client.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    Notification { method: String, params: Params },
}

/// A request: a message that is answered.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) method: String,
    pub(super) params: Params,
}

/// The parameters of all methods that the endpoint has.
#[derive(Debug, Default)]
pub(super) struct Params {
    /// The protocol version in `_meta`: the request is one of a revision without `initialize`.
    pub(super) meta_version: Option<String>,
    /// Whether `_meta` has the capabilities of the client.
    pub(super) has_capabilities: bool,
    /// `initialize`: the version that the client asks for.
    pub(super) version: Option<String>,
    /// `tools/list`.
    pub(super) cursor: Option<String>,
    /// `tools/call`: the name of the tool.
    pub(super) name: Option<String>,
    /// `tools/call`: the arguments, as they arrived.
    pub(super) arguments: Option<Bytes>,
    /// `notifications/cancelled`.
    pub(super) request_id: Option<Id>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawParams<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "protocolVersion")]
    version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    request_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<&'a RawValue>,
    #[serde(default, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<IgnoredAny>,
}

/// A value of null counts as present.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a message.
///
/// # Errors
/// Returns the id of the request, if it could be read, with the error for its response.
pub(super) fn read(body: &Bytes) -> Result<Message, (Option<Id>, RpcError)> {
    let raw = read_envelope(body).map_err(|error| (None, error))?;
    let id = raw.id.map(read_id).transpose().map_err(|error| (None, error))?;
    let fail = |error| (id.clone(), error);
    if raw.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(fail(RpcError::invalid_request("`jsonrpc` must be \"2.0\"")));
    }
    let Some(method) = raw.method else {
        return Err(fail(RpcError::invalid_request("`method` is missing; this server sends no requests to clients")));
    };
    let method: String = field("method", method).map_err(|error| fail(error.in_request()))?;
    let params = raw.params.map(|params| read_params(body, params)).transpose().map_err(fail)?.unwrap_or_default();
    Ok(match id {
        Some(id) => Message::Request(Request { id, method, params }),
        None => Message::Notification { method, params },
    })
}

fn read_envelope(body: &[u8]) -> Result<RawMessage<'_>, RpcError> {
    // A struct can also be deserialized from an array, so the kind of value is checked first.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(RpcError::invalid_request("batches are not supported; send one message in each request"));
    }
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    match serde_json::from_slice(body) {
        Ok(raw) if is_object => Ok(raw),
        Err(error) if error.classify() != Category::Data => Err(RpcError::parse_error(&error)),
        Ok(_) => Err(RpcError::invalid_request("the message must be an object")),
        Err(error) => Err(RpcError::invalid_request(format_args!("not a JSON-RPC message: {error}"))),
    }
}

fn read_id(raw: &RawValue) -> Result<Id, RpcError> {
    let id = serde_json::from_str(raw.get()).ok().filter(Id::is_short);
    id.ok_or_else(|| RpcError::invalid_request(Id::ALLOWED))
}

fn read_params(body: &Bytes, raw: &RawValue) -> Result<Params, RpcError> {
    let params: RawParams<'_> = object("params", raw)?;
    let meta = params.meta.map(|meta| object::<RawMeta<'_>>("_meta", meta)).transpose()?;
    let arguments = params.arguments.map(|arguments| {
        check_object("arguments", arguments)?;
        Ok(body.slice_ref(arguments.get().as_bytes()))
    });
    Ok(Params {
        meta_version: meta
            .as_ref()
            .and_then(|meta| meta.version)
            .map(|raw| field("protocolVersion", raw))
            .transpose()?,
        has_capabilities: meta.is_some_and(|meta| meta.capabilities.is_some()),
        version: params.version.map(|raw| field("protocolVersion", raw)).transpose()?,
        cursor: params.cursor.map(|raw| field("cursor", raw)).transpose()?,
        name: params.name.map(|raw| field("name", raw)).transpose()?,
        arguments: arguments.transpose()?,
        request_id: params.request_id.map(|raw| field("requestId", raw)).transpose()?,
    })
}

/// Decodes an object with these fields. Other fields are ignored.
fn object<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, RpcError> {
    check_object(name, raw)?;
    serde_json::from_str(raw.get()).map_err(|error| RpcError::invalid_params(format_args!("`{name}`: {error}")))
}

fn check_object(name: &str, raw: &RawValue) -> Result<(), RpcError> {
    match raw.get().starts_with('{') {
        true => Ok(()),
        false => Err(RpcError::invalid_params(format_args!("`{name}` must be an object"))),
    }
}

fn field<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<T, RpcError> {
    let value = serde_json::from_str(raw.get());
    value.map_err(|_| RpcError::invalid_params(format_args!("`{name}` is invalid: {}", shown(raw.get()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> (Option<Id>, i32) {
        let (id, error) = read(&Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
        (id, error.code())
    }

    #[test]
    fn hostile_messages_have_the_codes_of_json_rpc() {
        let (parse, request, params) = (-32700, -32600, -32602);
        for text in ["", "{", "{\"jsonrpc\":\"2.0\",}", "nul", "{} {}", "\u{feff}{}"] {
            assert_eq!(error_of(text), (None, parse), "{text}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(1000));
        let without_id = [
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            "7",
            "\"ping\"",
            "null",
            "{}",
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            &long,
        ];
        for text in without_id {
            assert_eq!(error_of(text), (None, request), "{text}");
        }
        let one = Some(Id::Number(1));
        for (text, code) in [
            (r#"{"id":1,"method":"ping"}"#, request),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, request),
            (r#"{"jsonrpc":"2.0","id":1}"#, request),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, request),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, request),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":[]}}"#, params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#, params),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":[]}}"#, params),
        ] {
            assert_eq!(error_of(text), (one.clone(), code), "{text}");
        }
    }

    /// The arguments are a part of the body: no digit changes, and no memory is allocated for them.
    #[test]
    fn arguments_are_a_part_of_the_body() {
        let arguments = r#"{"n": 123456789012345678901234567890.10, "a":"\u00e4"}"#;
        let text = format!(
            r#"{{"method":"tools/call","params":{{"name":"t","arguments":{arguments} ,"x":1}},"id":"7","jsonrpc":"2.0"}}"#
        );
        let body = Bytes::from(text);
        let Message::Request(request) = read(&body).unwrap() else { panic!("it is a request") };
        let given = request.params.arguments.unwrap();
        assert_eq!(given, arguments);
        assert!(body.as_ptr_range().contains(&given.as_ptr()));
        assert_eq!((request.id, request.params.name.as_deref()), (Id::Text("7".into()), Some("t")));
    }
}
